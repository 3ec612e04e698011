"""Confusion matrix, scores of each class, most frequent confusions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from reports import text
from reports.charts import SHADES, new_figure
from reports.elements import Chart, Section, Table, limited_table, missing_section

LARGEST = 25  # classes in the matrix; more are illegible
SHARES_WRITTEN = 6  # classes up to which the share fits into a cell on a telephone
LARGEST_TABLE = 100
PAIRS = 5


@dataclass(frozen=True)
class ClassScore:
    """Scores of a class: `support` images of it, `predicted` images predicted as it.

    Recall and F1 are None without images, precision if never predicted.
    """

    label: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Pair:
    """Images of `label` predicted as another class, out of `support` of the label."""

    label: str
    predicted: str
    images: int
    support: int


@dataclass(frozen=True)
class ConfusionFacts:
    """Confusion matrix of one split, scores and most frequent confusions.

    `classes` are all, or the LARGEST with the most errors (`left_out` counts the others), in the model's order. Rows of
    `counts` are labels, columns predicted classes; `shares` are of all images of the label, 0 where it has none.
    `scores` hold every class, lowest F1 first and those without images last; `pairs` are at most PAIRS.
    """

    split: str
    n: int
    classes: tuple[str, ...]
    left_out: int
    counts: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    scores: tuple[ClassScore, ...]
    pairs: tuple[Pair, ...]


def confusion_facts(split: str, scores: Mapping[str, Any], classes: Sequence[str]) -> ConfusionFacts:
    """Facts from one split of metrics.json (`n`, `confusion`, `per_class`); `classes` in the model's order."""
    matrix = scores["confusion"]
    support = [sum(row) for row in matrix]
    predicted = [sum(column) for column in zip(*matrix, strict=True)]
    errors = [support[i] + predicted[i] - 2 * matrix[i][i] for i in range(len(classes))]
    worst = sorted(sorted(range(len(classes)), key=lambda i: -errors[i])[:LARGEST])
    per_class = [
        _class_score(name, support[i], predicted[i], scores["per_class"][name]) for i, name in enumerate(classes)
    ]
    pairs = [
        Pair(classes[i], classes[j], count, support[i])
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if count and i != j
    ]
    return ConfusionFacts(
        split=split,
        n=scores["n"],
        classes=tuple(classes[i] for i in worst),
        left_out=len(classes) - len(worst),
        counts=tuple(tuple(matrix[i][j] for j in worst) for i in worst),
        shares=tuple(tuple(matrix[i][j] / support[i] if support[i] else 0.0 for j in worst) for i in worst),
        scores=tuple(sorted(per_class, key=lambda one: 2.0 if one.f1 is None else one.f1)),
        pairs=tuple(sorted(pairs, key=lambda pair: -pair.images)[:PAIRS]),
    )


def _class_score(name: str, support: int, predicted: int, scores: Mapping[str, float | None]) -> ClassScore:
    # metrics.json of 0.1 holds 0 where a score is undefined
    return ClassScore(
        name,
        support,
        predicted,
        precision=scores["precision"] if predicted else None,
        recall=scores["recall"] if support else None,
        f1=scores["f1"] if support else None,
    )


def confusion_figure(facts: ConfusionFacts) -> go.Figure:
    """Matrix shaded by share of the label, with counts and, where they fit, shares."""
    names = text.labels(list(facts.classes), 16)
    both = len(names) <= SHARES_WRITTEN
    rows = [list(zip(*row, strict=True)) for row in zip(facts.counts, facts.shares, strict=True)]
    written = [
        [(f"{count:,}<br>{share:.0%}" if both else f"{count:,}") if count else "" for count, share in row]
        for row in rows
    ]
    hover = [
        [(label, name, f"{count:,}", f"{share:.1%}") for name, (count, share) in zip(names, row, strict=True)]
        for label, row in zip(names, rows, strict=True)
    ]
    size = min(760, 150 + 44 * len(names)) if len(names) <= 12 else 180 + 26 * len(names)
    figure = new_figure(
        max(300, size),
        xaxis={"title": "predicted", "tickangle": -40, "type": "category", "showgrid": False},
        yaxis={"title": "label", "autorange": "reversed", "type": "category", "showgrid": False},
    )
    figure.add_heatmap(
        x=names,
        y=names,
        z=[list(row) for row in facts.shares],
        zmin=0,
        zmax=1,
        colorscale=SHADES,
        text=written if len(names) <= 16 else None,
        texttemplate="%{text}" if len(names) <= 16 else None,
        customdata=hover,
        hovertemplate=(
            "%{customdata[0]} predicted as %{customdata[1]}<br>%{customdata[2]} images, %{customdata[3]} of the class"
            "<extra></extra>"
        ),
        xgap=2,
        ygap=2,
        showscale=False,
    )
    return figure


def confusion_section(facts: ConfusionFacts | None) -> Section:
    """Matrix and table of classes; `facts` is None where nothing was scored."""
    title = "Classes"
    if facts is None:
        return missing_section("confusion", title, "No image was scored.")
    matrix = Chart("confusion-figure", "Confusion matrix", _see(facts), confusion_figure(facts), _matrix_table(facts))
    return Section("confusion", title, (matrix, _class_table(facts)))


def _see(facts: ConfusionFacts) -> str:
    if not facts.pairs:
        return "Every image lies on the diagonal: no class was predicted as another."
    pair = facts.pairs[0]
    cap = f" Shown are the {len(facts.classes)} classes with the most errors." if facts.left_out else ""
    return (
        f"Off the diagonal are the mistakes; the most frequent one is {text.name(pair.label, 32)} predicted as "
        f"{text.name(pair.predicted, 32)}, {text.count(pair.images, 'image')}.{cap}"
    )


def _matrix_table(facts: ConfusionFacts) -> Table:
    head = ("label \\ predicted", *(text.name(label, 24) for label in facts.classes))
    rows = tuple(
        (
            text.name(label, 24),
            *(f"{count:,} ({share:.0%})" if count else "0" for count, share in zip(*row, strict=True)),
        )
        for label, *row in zip(facts.classes, facts.counts, facts.shares, strict=True)
    )
    return Table("Images, and their share of the label's", head, rows)


def _class_table(facts: ConfusionFacts) -> Table:
    rows = tuple(
        (
            text.name(one.label),
            f"{one.support:,}",
            f"{one.predicted:,}",
            text.share(one.precision, one.predicted),
            text.share(one.recall, one.support),
            "–" if one.f1 is None else f"{one.f1:.2f}",
        )
        for one in facts.scores
    )
    head = ("class", "images", "predicted", "precision", "recall", "F1")
    rest = "classes with a higher F1 are left out; metrics.json has them"
    return limited_table(f"Each class on {facts.split}, the weakest first", head, rows, LARGEST_TABLE, rest)
