"""Predictions of the scored images, to be browsed."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kit.insights import HEAT, HEAT_COVERS, HEAT_STEEP, Evidence
from reports import text
from reports.elements import ImageBrowser, Section, Thumbnail, missing_section

GRID = 32
NEW, GIVEN = "new images", "scored images"  # of an evaluation: new to the run; whichever were scored
SCORED = (NEW, GIVEN, "out-of-fold", "test", "validation")
BROWSED = 3000  # images that the page lists
PICTURE_BYTES = 1_400_000  # of thumbnails and evidence maps behind the grid: keeps the page below 8 MB
TOP = 3


@dataclass(frozen=True)
class ImagePrediction:
    """Label, predicted class and its probability, 0 to 1; `top` are the likeliest classes with theirs, if recorded."""

    path: str
    label: str
    predicted: str
    confidence: float
    top: tuple[tuple[str, float], ...] = ()

    @property
    def right(self) -> bool:
        """Whether the predicted class is the label."""
        return self.label == self.predicted


@dataclass(frozen=True)
class PredictionsFacts:
    """Predictions of one split.

    `split` is empty where nothing was scored. `images` are at most BROWSED of the n: first those drawn with the run's
    seed, of which the page shows `drawn`, then the mistakes, most confident first, then the others.
    """

    split: str = ""
    n: int = 0
    mistakes: int = 0
    drawn: int = 0
    images: tuple[ImagePrediction, ...] = ()


def scored_split(predictions: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Name and predictions of the first of SCORED that there is, else ("", none)."""
    present = set(predictions["split"])
    split = next((split for split in SCORED if split in present), "")
    return split, predictions[predictions["split"] == split]


def predictions_facts(
    predictions: pd.DataFrame, sample: Sequence[str], size: int = GRID, mapped: Sequence[str] = ()
) -> PredictionsFacts:
    """Facts from predictions.csv, with `size` images in the grid; its columns p_<class> may be left out.

    `sample` are the recorded paths; where there are none (an older run), the first images stand in. Of more than
    BROWSED images those that are `mapped` are listed before other right ones and the least sure mistakes.
    """
    split, rows = scored_split(predictions)
    if not split:
        return PredictionsFacts()
    # no pandas index or groupby on names: its string type rejects paths that are not UTF-8
    paths, labels, predicted = (rows[name].tolist() for name in ("path", "label", "predicted"))
    confidence = rows["confidence"].tolist()
    place = {path: i for i, path in enumerate(paths)}
    drawn = [place[path] for path in sample if path in place] or list(range(len(paths)))[:size]
    wrong = [i for i in range(len(paths)) if labels[i] != predicted[i]]
    surest = sorted(wrong, key=lambda i: (-confidence[i], paths[i]))
    ordered = list(dict.fromkeys([*drawn, *surest, *range(len(paths))]))
    first = [place[path] for path in mapped if path in place]
    kept = set(list(dict.fromkeys([*drawn, *first, *ordered]))[:BROWSED])
    chosen = [i for i in ordered if i in kept]
    likeliest = _likeliest(rows, chosen)
    images = tuple(
        ImagePrediction(paths[i], labels[i], predicted[i], confidence[i], top)
        for i, top in zip(chosen, likeliest, strict=True)
    )
    return PredictionsFacts(split, len(paths), len(wrong), min(size, len(drawn)), images)


def _likeliest(rows: pd.DataFrame, chosen: Sequence[int]) -> list[tuple[tuple[str, float], ...]]:
    """The TOP likeliest classes of some rows; none where the classes' columns were not read."""
    places = [i for i, name in enumerate(rows.columns) if name.startswith("p_")]
    if not places:
        return [()] * len(chosen)
    classes = [rows.columns[i].removeprefix("p_") for i in places]
    table = rows.iloc[chosen, places].to_numpy(np.float64)
    order = np.argsort(-table, axis=1, kind="stable")[:, :TOP]
    return [tuple((classes[j], float(table[row, j])) for j in likeliest) for row, likeliest in enumerate(order)]


# === Section ===


def predictions_section(
    facts: PredictionsFacts,
    album: Mapping[str, bytes],
    classes: Sequence[str],
    evidence: Evidence | None = None,
    for_predicted: Mapping[str, bytes] | None = None,
    for_label: Mapping[str, bytes] | None = None,
) -> Section:
    """Image browser; `classes` are in the model's order.

    `for_predicted` and `for_label` are of runs that recorded no `evidence`: they map the path of a mistake to a picture
    of the evidence for the predicted class and for the label.
    """
    if not facts.split:
        return missing_section("predictions", "Images", "No image was scored.")
    which = {
        NEW: "all new images",
        GIVEN: "all that were scored",
        "test": "the test images",
        "out-of-fold": "all images, each predicted by the model of a fold that held it out",
    }.get(facts.split, "the validation images, for there is no test split")
    sample = facts.images[: facts.drawn]
    wrong = sum(not one.right for one in sample)
    see = (
        f"{wrong} of these {len(sample)} {_are(wrong)} wrong; of {which}, {facts.mistakes:,} of {facts.n:,} "
        f"{_are(facts.mistakes)}."
    )
    maps = {
        path: (for_predicted[path], for_label[path])
        for path in for_predicted or ()
        if for_predicted is not None and for_label is not None and path in for_label
    }
    data, left_out = _browser_data(facts, album, classes, maps, evidence or Evidence())
    browser = ImageBrowser(
        "images",
        f"{text.count(len(sample), 'image')} drawn at random",
        see,
        tuple(thumbnail_of(one, album) for one in sample),
        data,
        _bounds(facts, left_out),
    )
    return Section("predictions", "Images", (browser,))


def _browser_data(
    facts: PredictionsFacts,
    album: Mapping[str, bytes],
    classes: Sequence[str],
    maps: Mapping[str, tuple[bytes, bytes]],
    evidence: Evidence,
) -> tuple[dict[str, Any], int]:
    """What templates/browser.js reads, and how many images of it have no picture.

    Pictures of the grid stand in the page already; those of the others follow while PICTURE_BYTES last.
    """
    number = {label: i for i, label in enumerate(classes)}
    pairs, heat, left = {}, {}, PICTURE_BYTES
    for i, one in enumerate(facts.images):
        of_one = evidence.images.get(one.path, [])
        if of_one and one.path in album and (left := left - sum(len(levels) for _, levels in of_one)) >= 0:
            heat[str(i)] = [[place, _encoded(levels)] for place, levels in of_one if place < len(classes)]
        if one.path in maps and (left := left - sum(map(len, maps[one.path]))) >= 0:
            pairs[str(i)] = [_encoded(picture) for picture in maps[one.path]]
    rows: list[list[Any]] = []
    pictures: list[str] = []
    without = 0
    for i, one in enumerate(facts.images):
        picture = album.get(one.path)
        place = -1
        if i >= facts.drawn and picture is not None and len(picture) <= left:
            left, place = left - len(picture), len(pictures)
            pictures.append(_encoded(picture))
        without += place < 0 and (i >= facts.drawn or picture is None)
        top = [[number[label], round(share, 7)] for label, share in one.top if label in number]
        known = number.get(one.label, -1), number.get(one.predicted, -1)
        rows.append([text.name(one.path, 160), *known, round(one.confidence, 7), top, place])
    names = [text.name(label, 48) for label in classes]
    colours = {"colours": HEAT, "covers": HEAT_COVERS, "steep": HEAT_STEEP, "grid": evidence.grid, "maps": heat}
    data = {"classes": names, "grid": facts.drawn, "images": rows, "pictures": pictures, "evidence": pairs}
    return data | {"heat": colours}, without


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bounds(facts: PredictionsFacts, without: int) -> str:
    """Sentence on what is left out; empty where nothing is."""
    says = []
    if facts.n > len(facts.images):
        says.append(f"{len(facts.images):,} of {facts.n:,} images are listed, all others are in predictions.csv.")
    if facts.images and not any(one.top for one in facts.images):  # too many classes and images to read them all
        says.append("Of each the most probable class is told, the others are in predictions.csv.")
    if without:
        has = "has" if without == 1 else "have"
        says.append(f"{without:,} of {len(facts.images):,} {has} no picture here.")
    return " ".join(says)


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def thumbnail_of(prediction: ImagePrediction, album: Mapping[str, bytes]) -> Thumbnail:
    """Image with its predicted class and, if wrong, its label."""
    mark = "right" if prediction.right else "wrong"
    label, predicted = text.name(prediction.label, 48), text.name(prediction.predicted, 48)
    says = f"{label}, predicted as {predicted}, {prediction.confidence:.0%}"
    return Thumbnail(text.name(prediction.path), album.get(prediction.path), _lines(prediction), mark, says=says)


def _lines(prediction: ImagePrediction) -> tuple[str, ...]:
    predicted = f"{text.name(prediction.predicted, 32)} {prediction.confidence:.0%}"
    return (predicted,) if prediction.right else (predicted, f"is {text.name(prediction.label, 32)}")
