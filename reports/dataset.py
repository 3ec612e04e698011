"""Classes, splits, samples and audit findings of the data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from reports import text
from reports.charts import BLUE, GREEN, VERMILLION, bar, bars_figure
from reports.elements import Chart, Note, Section, Table, Thumbnail, ThumbnailGrid, missing_section
from reports.findings import FindingGroup, findings_facts, findings_section
from reports.review import Reviewing
from reports.sizes import Sizes, colours_chart, sizes_chart, sizes_facts

SPLITS = ("train", "validation", "test")
CLASSES_DRAWN = 60  # more bars are illegible: the largest and the smallest stay
CLASSES_LISTED = 200
CLASSES_SAMPLED, PER_CLASS = 12, 6
EVEN, IMBALANCED = 1.05, 5.0


@dataclass(frozen=True)
class ClassCount:
    """Images of one class in each split."""

    label: str
    train: int
    validation: int
    test: int

    @property
    def images(self) -> int:
        """Images of the class in all splits."""
        return self.train + self.validation + self.test


def imbalance(counts: Sequence[int]) -> float | None:
    """Ratio of the largest class to the smallest; None where a class is empty."""
    return max(counts) / min(counts) if counts and min(counts) else None


@dataclass(frozen=True)
class DatasetFacts:
    """Classes, sizes, findings and samples of the data.

    `classes` are in the model's order, `left_out` counts unused files, `findings` are by kind, gravest first.
    `imbalance` is None where a class is empty; `sizes` and `findings` where they were not recorded. `samples` are
    (class, paths).
    """

    classes: tuple[ClassCount, ...]
    left_out: int
    imbalance: float | None
    sizes: Sizes | None
    findings: tuple[FindingGroup, ...] | None
    samples: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def images(self) -> int:
        """Images that are used."""
        return sum(one.images for one in self.classes)


def dataset_facts(
    used: pd.DataFrame,
    left_out: int,
    images: pd.DataFrame,
    findings: Sequence[Mapping[str, Any]] | None,
    classes: Sequence[str],
    album: Mapping[str, bytes],
) -> DatasetFacts:
    """Facts from the records of a run or of an inspection.

    `used` has path, label and split; `images` path, width, height, mean_r, mean_g, mean_b, and may be empty; `findings`
    kind, severity, paths, message, and is None where not recorded. `classes` are in the model's order, `left_out`
    counts unused files. Only images in `album` are sampled.
    """
    # counted in Python: pandas' string type rejects names that are not UTF-8
    cells = Counter(zip(used["label"].tolist(), used["split"].tolist(), strict=True))
    counts = tuple(ClassCount(label, *(cells[label, split] for split in SPLITS)) for label in classes)
    return DatasetFacts(
        classes=counts,
        left_out=left_out,
        imbalance=imbalance([one.images for one in counts]),
        sizes=sizes_facts(images, used, classes) if len(images) else None,
        findings=None if findings is None else findings_facts(findings),
        samples=_samples(used, classes, album),
    )


def _samples(
    used: pd.DataFrame, classes: Sequence[str], album: Mapping[str, bytes]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    by_class: dict[str, list[str]] = {label: [] for label in classes}
    for path, label in zip(used["path"].tolist(), used["label"].tolist(), strict=True):
        if path in album and label in by_class and len(by_class[label]) < PER_CLASS:
            by_class[label].append(path)
    return tuple((label, tuple(paths)) for label, paths in by_class.items() if paths)[:CLASSES_SAMPLED]


# === Figures ===


def classes_figure(facts: DatasetFacts) -> go.Figure:
    """Images of each class, split by split."""
    shown = _drawn(facts.classes)
    # 30: a legend of two lines, on a telephone
    figure = bars_figure(len(shown), 30, barmode="stack", xaxis={"title": "images"})
    names = text.labels([one.label for one in shown])
    for split, colour, pattern in zip(SPLITS, (BLUE, GREEN, VERMILLION), ("", "/", "."), strict=True):
        figure.add_bar(
            y=names,
            x=[getattr(one, split) for one in shown],
            name=split,
            orientation="h",
            marker=bar(colour, pattern),
            hovertemplate="%{y}: %{x:,} " + split + "<extra></extra>",
        )
    return figure


def _drawn(classes: Sequence[ClassCount]) -> list[ClassCount]:
    """All classes, or the largest and the smallest where there are too many."""
    if len(classes) <= CLASSES_DRAWN:
        return list(classes)
    ordered = sorted(classes, key=lambda one: -one.images)
    return ordered[: CLASSES_DRAWN // 2] + ordered[-CLASSES_DRAWN // 2 :]


# === Sections ===


def dataset_sections(
    facts: DatasetFacts, album: Mapping[str, bytes], reviewing: Reviewing | None = None
) -> tuple[Section, ...]:
    """Classes and sizes; samples; findings, to be reviewed if `reviewing` says how."""
    findings = findings_section(facts.findings, album, reviewing or Reviewing())
    return (_data_section(facts), _samples_section(facts, album), findings)


def _data_section(facts: DatasetFacts) -> Section:
    if not facts.classes:
        return missing_section("data", "Data", "The run was not so far that it knew its images.")
    see, figure = _see_classes(facts), classes_figure(facts)
    classes = Chart("classes-figure", "Images of each class", see, figure, _class_table(facts))
    if facts.sizes is None:
        return Section("data", "Data", (classes, Note("Sizes and colours of the images were not recorded.", "missing")))
    return Section("data", "Data", (classes, sizes_chart(facts.sizes), colours_chart(facts.sizes)))


def _samples_section(facts: DatasetFacts, album: Mapping[str, bytes]) -> Section:
    title = "What they look like"
    if not facts.samples:
        return missing_section("samples", title, "This record holds no pictures.")
    grids = tuple(
        ThumbnailGrid(f"class-{place}", text.name(label), "", tuple(_thumbnail(path, label, album) for path in paths))
        for place, (label, paths) in enumerate(facts.samples)
    )
    which = f"each of the first {len(grids)} classes" if len(facts.classes) > len(grids) else "each class"
    return Section("samples", title, grids, f"The first images of {which}.")


def _thumbnail(path: str, label: str, album: Mapping[str, bytes]) -> Thumbnail:
    return Thumbnail(text.name(path), album.get(path), says=f"{text.name(label)}: {text.name(path)}")


def _see_classes(facts: DatasetFacts) -> str:
    counted = f"{text.count(facts.images, 'image')} in {text.count(len(facts.classes), 'class', 'classes')}"
    left = f"; {text.count(facts.left_out, 'file')} left out" if facts.left_out else ""
    if facts.imbalance is None:
        return f"{counted}{left}; at least one class has no image."
    if facts.imbalance < EVEN:
        return f"{counted}{left}" + ("; every class has about as many." if len(facts.classes) > 1 else ".")
    ratio = f"the largest class has {facts.imbalance:.1f} times as many images as the smallest"
    if facts.imbalance >= IMBALANCED:
        ratio += ", enough for the rare ones to suffer: read macro F1 beside accuracy"
    return f"{counted}{left}; {ratio}."


def _class_table(facts: DatasetFacts) -> Table:
    columns = [[getattr(one, split) for one in facts.classes] for split in (*SPLITS, "images")]
    cells = [[_counted(count, sum(column)) for count in column[:CLASSES_LISTED]] for column in columns]
    names = [text.name(one.label) for one in facts.classes[:CLASSES_LISTED]]
    ratios = (f"{ratio:.1f} : 1" if (ratio := imbalance(column)) else "–" for column in columns)
    rows, foot = tuple(zip(names, *cells, strict=True)), (("largest to smallest", *ratios),)
    more = len(facts.classes) - len(names)
    note = f"{more:,} further classes are left out." if more else ""
    return Table("Images of each class, and their share of the split", ("class", *SPLITS, "all"), rows, note, foot)


def _counted(count: int, of: int) -> str:
    return f"{count:,} ({count / of:.1%})" if of else "0"
