"""The photos themselves: classes, sizes, colours, samples, and what the audit found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from reports import text
from reports.blocks import Chart, Note, Photo, Photos, Section, Table
from reports.charts import BLUE, GREEN, GREY, VERMILLION, bar_height, new_figure

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

SPLITS = ("train", "validation", "test")
CLASSES_DRAWN = 60  # more bars cannot be read: the largest and the smallest stay
CLASSES_SAMPLED, PER_CLASS = 12, 6
FINDINGS_SHOWN, PER_FINDING = 8, 4
BINS = 24
IMBALANCED = 5.0


@dataclass(frozen=True)
class ClassCount:
    """Photos of one class in each split."""

    label: str
    train: int
    validation: int
    test: int

    @property
    def photos(self) -> int:
        """In all splits together."""
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class Sizes:
    """Sizes and colours of the photos.

    Attributes:
        width: Smallest, median, largest, in pixels.
        height: Likewise.
        megapixels: Counts and edges of a histogram.
        aspect: The same of width / height, between 1/4 and 4 (what lies outside counts in the last bins).
        colours: Class -> mean red, green, blue, 0-255.
    """

    width: tuple[int, float, int]
    height: tuple[int, float, int]
    megapixels: tuple[tuple[int, ...], tuple[float, ...]]
    aspect: tuple[tuple[int, ...], tuple[float, ...]]
    colours: tuple[tuple[str, tuple[int, int, int]], ...]


@dataclass(frozen=True)
class FindingGroup:
    """Findings of one kind.

    Attributes:
        kind: Such as `duplicate`.
        severity: `error`, `warning` or `note`.
        count: How many.
        shown: The first ones: (message, paths).
    """

    kind: str
    severity: str
    count: int
    shown: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class DatasetFacts:
    """What is in the data.

    Attributes:
        classes: In the model's order.
        left_out: Files that are not used.
        imbalance: Photos of the largest class over those of the smallest; None where a class has none.
        sizes: None where they were not recorded.
        findings: By kind, gravest first.
        samples: Class -> paths of photos of it.
    """

    classes: tuple[ClassCount, ...]
    left_out: int
    imbalance: float | None
    sizes: Sizes | None
    findings: tuple[FindingGroup, ...]
    samples: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def photos(self) -> int:
        """That are used."""
        return sum(one.photos for one in self.classes)


def dataset_facts(
    used: "pandas.DataFrame",
    left_out: int,
    images: "pandas.DataFrame",
    findings: Sequence[Mapping[str, Any]],
    classes: Sequence[str],
    album: Mapping[str, bytes],
) -> DatasetFacts:
    """From samples.csv, images.csv and findings.json of a run's insights, or from the record of an inspection.

    Args:
        used: path, label and split of the photos that are used.
        left_out: Files that are not.
        images: path, width, height, mean_r, mean_g, mean_b; may be empty.
        findings: kind, severity, paths, message.
        classes: In the model's order.
        album: Only photos in it are sampled.
    """
    # counted in Python: pandas' text type cannot hold a name that is not UTF-8
    cells = Counter(zip(used["label"].tolist(), used["split"].tolist(), strict=True))
    counts = tuple(ClassCount(label, *(cells[label, split] for split in SPLITS)) for label in classes)
    smallest = min((one.photos for one in counts), default=0)
    return DatasetFacts(
        classes=counts,
        left_out=left_out,
        imbalance=max(one.photos for one in counts) / smallest if smallest else None,
        sizes=_sizes(images, used, classes) if len(images) else None,
        findings=_groups(findings),
        samples=_samples(used, classes, album),
    )


def _sizes(images: "pandas.DataFrame", used: "pandas.DataFrame", classes: Sequence[str]) -> Sizes:
    width, height = images["width"].to_numpy(np.float64), images["height"].to_numpy(np.float64)
    number = {label: i for i, label in enumerate(classes)}
    label_of = dict(zip(used["path"].tolist(), used["label"].tolist(), strict=True))
    at = np.array([number.get(label_of.get(path, ""), len(classes)) for path in images["path"].tolist()], int)
    seen = np.bincount(at, minlength=len(classes) + 1)
    sums = [
        np.bincount(at, images[name].to_numpy(np.float64), len(classes) + 1) for name in ("mean_r", "mean_g", "mean_b")
    ]
    red, green, blue = (np.rint(channel / np.maximum(seen, 1)).astype(int).tolist() for channel in sums)
    colours = tuple((label, (red[i], green[i], blue[i])) for i, label in enumerate(classes) if seen[i])
    megapixels = width * height / 1e6
    top = float(np.quantile(megapixels, 0.995)) or 1.0
    return Sizes(
        width=(int(width.min()), float(np.median(width)), int(width.max())),
        height=(int(height.min()), float(np.median(height)), int(height.max())),
        megapixels=_histogram(np.minimum(megapixels, top), np.linspace(0, top, BINS + 1)),
        aspect=_histogram(np.clip(width / height, 0.25, 4.0), np.geomspace(0.25, 4.0, BINS + 1)),
        colours=colours,
    )


def _histogram(values: np.ndarray, edges: np.ndarray) -> tuple[tuple[int, ...], tuple[float, ...]]:
    counts, _ = np.histogram(values, edges)
    return tuple(counts.tolist()), tuple(edges.tolist())


_GRAVITY = {"error": 0, "warning": 1, "note": 2}


def _groups(findings: Sequence[Mapping[str, Any]]) -> tuple[FindingGroup, ...]:
    kinds: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for finding in findings:
        kinds.setdefault((finding["kind"], finding["severity"]), []).append(finding)
    ordered = sorted(kinds.items(), key=lambda item: (_GRAVITY.get(item[0][1], 3), item[0][0]))
    return tuple(
        FindingGroup(
            kind, severity, len(found), tuple((one["message"], tuple(one["paths"])) for one in found[:FINDINGS_SHOWN])
        )
        for (kind, severity), found in ordered
    )


def _samples(
    used: "pandas.DataFrame", classes: Sequence[str], album: Mapping[str, bytes]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    by_class: dict[str, list[str]] = {label: [] for label in classes}
    for path, label in zip(used["path"].tolist(), used["label"].tolist(), strict=True):
        if path in album and label in by_class and len(by_class[label]) < PER_CLASS:
            by_class[label].append(path)
    return tuple((label, tuple(paths)) for label, paths in by_class.items() if paths)[:CLASSES_SAMPLED]


# === Figures ===


def classes_figure(facts: DatasetFacts) -> go.Figure:
    """Photos of each class, split by split."""
    shown = _drawn(facts.classes)
    figure = new_figure(
        bar_height(len(shown)),
        barmode="stack",
        xaxis={"title": {"text": "photos"}},
        yaxis={"autorange": "reversed", "automargin": True, "type": "category"},
    )
    names = text.labels([one.label for one in shown])
    for split, colour, pattern in zip(SPLITS, (BLUE, GREEN, VERMILLION), ("", "/", "."), strict=True):
        figure.add_bar(
            y=names,
            x=[getattr(one, split) for one in shown],
            name=split,
            orientation="h",
            marker={"color": colour, "pattern": {"shape": pattern}},
            hovertemplate="%{y}: %{x:,} " + split + "<extra></extra>",
        )
    return figure


def _drawn(classes: Sequence[ClassCount]) -> list[ClassCount]:
    """All classes, or the largest and the smallest where there are too many."""
    if len(classes) <= CLASSES_DRAWN:
        return list(classes)
    ordered = sorted(classes, key=lambda one: -one.photos)
    return ordered[: CLASSES_DRAWN // 2] + ordered[-CLASSES_DRAWN // 2 :]


def sizes_figure(sizes: Sizes) -> go.Figure:
    """How large the photos are, and how wide for their height."""
    figure = new_figure(
        300,
        xaxis={"domain": [0, 0.46], "title": {"text": "megapixels"}, "rangemode": "tozero"},
        xaxis2={
            "domain": [0.54, 1],
            "title": {"text": "width : height"},
            "type": "log",
            "tickvals": [0.25, 0.5, 1, 2, 4],
            "ticktext": ["1:4", "1:2", "1:1", "2:1", "4:1"],
        },
        yaxis={"title": {"text": "photos"}},
        yaxis2={"anchor": "x2"},
        showlegend=False,
    )
    for (counts, edges), axis, unit in ((sizes.megapixels, "", " megapixels"), (sizes.aspect, "2", " : 1")):
        figure.add_bar(
            x=[(low + high) / 2 for low, high in pairwise(edges)],
            width=[high - low for low, high in pairwise(edges)],
            y=list(counts),
            xaxis=f"x{axis}",
            yaxis=f"y{axis}",
            marker={"color": BLUE},
            hovertemplate="%{y:,} photos at about %{x:.2f}" + unit + "<extra></extra>",
        )
    return figure


def colours_figure(sizes: Sizes) -> go.Figure:
    """The mean colour of each class's photos, at the length of its brightness."""
    shown = sizes.colours[:CLASSES_DRAWN]
    figure = new_figure(
        bar_height(len(shown)),
        showlegend=False,
        xaxis={"title": {"text": "mean brightness (0 to 255)"}, "range": [0, 255]},
        yaxis={"autorange": "reversed", "automargin": True, "type": "category"},
    )
    figure.add_bar(
        y=text.labels([label for label, _ in shown]),
        x=[_brightness(colour) for _, colour in shown],
        orientation="h",
        marker={"color": [f"rgb{colour}" for _, colour in shown], "line": {"color": GREY, "width": 1}},
        customdata=[f"red {r}, green {g}, blue {b}" for _, (r, g, b) in shown],
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )
    return figure


def _brightness(colour: tuple[int, int, int]) -> float:
    """Luma, ITU-R BT.601."""
    return round(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2], 1)


# === Section ===


def dataset_sections(facts: DatasetFacts, album: Mapping[str, bytes]) -> tuple[Section, ...]:
    """Classes and sizes; samples; findings."""
    blocks: list = [
        Chart("classes-figure", "Photos of each class", _see_classes(facts), classes_figure(facts), _class_table(facts))
    ]
    if facts.sizes is None:
        blocks.append(Note("Sizes and colours of the photos were not recorded.", "missing"))
    else:
        blocks += [_sizes_chart(facts.sizes), _colours_chart(facts.sizes)]
    samples = tuple(
        Photos(
            f"class-{place}",
            text.name(label),
            "",
            tuple(Photo(text.name(path), album.get(path)) for path in paths),
        )
        for place, (label, paths) in enumerate(facts.samples)
    )
    more = len(facts.classes) - len(samples)
    which = "the first" if more > 0 else "all"
    lead = f"The first photos of {which} {text.count(len(samples), 'class', 'classes')}."
    nothing = (Note("This record holds no pictures.", "missing"),)
    return (
        Section("data", "Data", tuple(blocks)),
        Section("samples", "Photos of each class", samples or nothing, lead if samples else ""),
        Section("findings", "What the audit found", _findings(facts, album)),
    )


def _see_classes(facts: DatasetFacts) -> str:
    counted = f"{text.count(facts.photos, 'photo')} in {text.count(len(facts.classes), 'class', 'classes')}"
    left = f"; {text.count(facts.left_out, 'file')} left out" if facts.left_out else ""
    if facts.imbalance is None:
        return f"{counted}{left}; at least one class has no photo."
    ratio = f"the largest class has {facts.imbalance:.1f} times as many photos as the smallest"
    if facts.imbalance >= IMBALANCED:
        ratio += ", enough for the rare ones to suffer: read macro F1 beside accuracy"
    return f"{counted}{left}; {ratio}."


def _class_table(facts: DatasetFacts) -> Table:
    rows = tuple(
        (
            text.name(one.label),
            *(f"{getattr(one, split):,}" for split in SPLITS),
            f"{one.photos:,}",
            text.share(one.photos / facts.photos if facts.photos else None),
        )
        for one in facts.classes[:200]
    )
    more = len(facts.classes) - len(rows)
    note = f"{more:,} further classes are left out." if more else ""
    return Table("Photos of each class", ("class", *SPLITS, "all", "share"), rows, note)


def _sizes_chart(sizes: Sizes) -> Chart:
    (narrow, width, wide), (low, height, high) = sizes.width, sizes.height
    see = (
        f"The median photo is {width:,.0f} x {height:,.0f} pixels; widths go from {narrow:,} to {wide:,}, "
        f"heights from {low:,} to {high:,}."
    )
    rows = tuple(
        (what, f"{edges[k]:.2f} to {edges[k + 1]:.2f}", f"{count:,}")
        for what, (counts, edges) in (("megapixels", sizes.megapixels), ("width : height", sizes.aspect))
        for k, count in enumerate(counts)
        if count
    )
    return Chart(
        "sizes-figure",
        "Sizes and shapes",
        see,
        sizes_figure(sizes),
        Table("Photos by size and shape", ("", "from, to", "photos"), rows),
    )


def _colours_chart(sizes: Sizes) -> Chart:
    by_light = sorted(sizes.colours, key=lambda item: _brightness(item[1]))
    (dark, _), (bright, _) = by_light[0], by_light[-1]
    rows = tuple(
        (text.name(label), *map(str, colour), str(_brightness(colour))) for label, colour in sizes.colours[:200]
    )
    return Chart(
        "colours-figure",
        "Mean colour",
        f"{text.name(dark, 32)} is the darkest class on average, {text.name(bright, 32)} the brightest; colours that "
        "tell classes apart may be what a model learns instead of the subject.",
        colours_figure(sizes),
        Table("Mean colour of each class, 0 to 255", ("class", "red", "green", "blue", "brightness"), rows),
    )


def _findings(facts: DatasetFacts, album: Mapping[str, bytes]) -> tuple:
    if not facts.findings:
        return (Note("Nothing odd was found."),)
    blocks = []
    for place, group in enumerate(facts.findings):
        photos = tuple(_finding_photo(message, paths, album) for message, paths in group.shown)
        more = group.count - len(photos)
        see = f"{group.severity.capitalize()}: {text.count(group.count, 'finding')}" + (
            f", of which the first {len(photos)} are shown." if more else "."
        )
        blocks.append(Photos(f"finding-{place}", group.kind, see, photos, wide=True))
    return tuple(blocks)


def _finding_photo(message: str, paths: tuple[str, ...], album: Mapping[str, bytes]) -> Photo:
    first, *rest = paths[:PER_FINDING]
    others = tuple((text.name(path, 40), album[path]) for path in rest if path in album)
    return Photo(text.name(first, 40), album.get(first), (text.name(message, 300),), "", others)
