"""Map of the scored images: those whose features are alike lie near each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from reports import text
from reports.charts import SERIES
from reports.elements import ImageMap, MapClass, MapPoint, Section, missing_section
from reports.predictions import PredictionsFacts

TITLE = "Map"
WIDE, MARGIN = 1000, 24  # of the drawing, in its own units
FLATTEST = 0.4  # height : width of it
SHAPES = 6
LISTED = 36  # classes in the legend
NOT_RECORDED = "This run recorded no map of its images."


@dataclass(frozen=True)
class MapFacts:
    """Places of images, from 0 to 1: (place among the images of the browser, x, y).

    `method` made it of `n` images, of which the page lists those in `points`.
    """

    method: str
    n: int
    points: tuple[tuple[int, float, float], ...]


def map_facts(places: pd.DataFrame, method: str, said: PredictionsFacts) -> MapFacts | None:
    """Facts from map.csv; None without one."""
    if not len(places):
        return None
    listed = {one.path: i for i, one in enumerate(said.images)}
    rows = zip(places["path"].tolist(), places["x"].tolist(), places["y"].tolist(), strict=True)
    points = tuple((listed[path], x, y) for path, x, y in rows if path in listed)
    return MapFacts(method, len(places), points)


def map_section(facts: MapFacts | None, said: PredictionsFacts, classes: Sequence[str], why: str = "") -> Section:
    """Section of the map; `why` it is missing."""
    if facts is None:
        return missing_section("map", TITLE, why or NOT_RECORDED)
    number = {label: i for i, label in enumerate(classes)}
    height = max(FLATTEST, max((y for _, _, y in facts.points), default=0.0))
    inner = WIDE - 2 * MARGIN
    images = [said.images[place] for place, _, _ in facts.points]
    points = tuple(
        MapPoint(
            place,
            MARGIN + inner * x,
            MARGIN + inner * y,
            *_look(number.get(one.label, 0)),
            not one.right,
            number.get(one.label, 0),
            f"{text.name(one.path, 60)}: {text.name(one.label)}, predicted as {text.name(one.predicted)}, "
            f"{text.share(one.confidence)}",
        )
        for (place, x, y), one in zip(facts.points, images, strict=True)
    )
    counts = pd.Series([one.label for one in images], dtype="object").value_counts().to_dict()
    legend = tuple(
        MapClass(text.name(label, 32), number[label], *_look(number[label]), counts[label])
        for label in classes
        if label in counts
    )
    wrong = sum(not one.right for one in images)
    ringed = f"{text.count(wrong, 'mistake')} {'is' if wrong == 1 else 'are'} ringed"
    see = f"Images near each other have similar features; {ringed}. Drag over some to see them among the images above."
    note = f"{facts.method} of at most 50 principal components of the pretrained features, seeded; distances between "
    note += "far groups mean nothing."
    if facts.n < said.n:
        note += f" {facts.n:,} of the {said.n:,} images, drawn at random."
    if len(points) < facts.n:
        note += f" {facts.n - len(points):,} of them are not listed above, and left out."
    if len(legend) > LISTED:
        note += f" The legend has {LISTED} of {len(legend):,} classes."
    size = round(inner * height) + 2 * MARGIN
    drawn = ImageMap("map-figure", TITLE, see, (WIDE, size), points, legend[:LISTED], note, MARGIN)
    return Section("map", TITLE, (drawn,))


def _look(number: int) -> tuple[str, int]:
    """Colour and shape of a class: both differ between the first six, at least one among the first 36."""
    return SERIES[number % len(SERIES)], (number + number // len(SERIES)) % SHAPES
