"""Confusion matrix, scores of each class, most frequent confusions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports import text
from reports.elements import ConfusionMatrix, MatrixClass, Section, Table, limited_table, missing_section

LARGEST = 100  # classes in the matrix; more are illegible
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

    `classes` are all, or the LARGEST with the most errors (`left_out` counts the others), in the model's order, where
    their places are `numbers`. Rows of `counts` are labels, columns predicted classes. `scores` hold every class,
    lowest F1 first and those without images last; `pairs` are at most PAIRS.
    """

    split: str
    n: int
    classes: tuple[str, ...]
    numbers: tuple[int, ...]
    left_out: int
    counts: tuple[tuple[int, ...], ...]
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
        numbers=tuple(worst),
        left_out=len(classes) - len(worst),
        counts=tuple(tuple(matrix[i][j] for j in worst) for i in worst),
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


def confusion_section(facts: ConfusionFacts | None) -> Section:
    """Matrix and table of classes; `facts` is None where nothing was scored."""
    title = "Classes"
    if facts is None:
        return missing_section("confusion", title, "No image was scored.")
    matrix = ConfusionMatrix("confusion-matrix", "Confusion matrix", _see(facts), _matrix_classes(facts), facts.counts)
    return Section("confusion", title, (matrix, _class_table(facts)))


def _matrix_classes(facts: ConfusionFacts) -> tuple[MatrixClass, ...]:
    scores = {one.label: one for one in facts.scores}
    return tuple(
        MatrixClass(text.name(label, 24), number, scores[label].support, scores[label].predicted)
        for label, number in zip(facts.classes, facts.numbers, strict=True)
    )


def _see(facts: ConfusionFacts) -> str:
    if not facts.pairs:
        return "Every image lies on the diagonal: no class was predicted as another."
    pair = facts.pairs[0]
    cap = f" Shown are the {len(facts.classes)} classes with the most errors." if facts.left_out else ""
    return (
        "Rows are labels, columns what was predicted: off the diagonal are the mistakes. The most frequent one is "
        f"{text.name(pair.label, 32)} predicted as {text.name(pair.predicted, 32)}, "
        f"{text.count(pair.images, 'image')}.{cap}"
    )


def _class_table(facts: ConfusionFacts) -> Table:
    # one number of decimals a column: that of the smallest class
    fewest, fewest_predicted = (
        min(filter(None, counts), default=0)
        for counts in zip(*((one.support, one.predicted) for one in facts.scores), strict=True)
    )
    rows = tuple(
        (
            text.name(one.label),
            f"{one.support:,}",
            f"{one.predicted:,}",
            text.share(one.precision, fewest_predicted),
            text.share(one.recall, fewest),
            "–" if one.f1 is None else f"{one.f1:.2f}",
        )
        for one in facts.scores
    )
    head = ("class", "images", "predicted", "precision", "recall", "F1")
    rest = "classes with a higher F1 are left out; metrics.json has them"
    return limited_table(f"Each class on {facts.split}, the weakest first", head, rows, LARGEST_TABLE, rest)
