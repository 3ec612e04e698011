"""Scores of new images beside those of the run's own measured images, in all and by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.significance import newcombe_interval, wilson_interval
from reports.predictions import GIVEN, NEW
from reports.summary import difference_interval, independent_n

ORIGIN_NEW = "new"
OWN = {"test": "test", "out-of-fold": "cross-validation"}  # split of the run -> what its images are of
NEEDED = 0.95  # confidence of intervals


@dataclass(frozen=True)
class ClassBeside:
    """Scores of a class on new images and on the run's own; `n` images of it, `predicted` ones called so.

    Recall and its interval (Wilson's) are None without images, precision if never predicted. `difference` is of the
    recalls, new minus own; `clear` where Newcombe's interval, adjusted for the number of classes compared, excludes 0.
    """

    label: str
    n: int
    predicted: int
    recall: float | None
    interval: tuple[float, float] | None
    precision: float | None
    own_n: int
    own_predicted: int
    own_recall: float | None
    own_interval: tuple[float, float] | None
    own_precision: float | None
    difference: float | None = None
    clear: bool = False


@dataclass(frozen=True)
class EvaluationFacts:
    """Scores of new images (as in metrics.json) beside the run's own.

    `shown` is NEW, or GIVEN where none of the images is new; nothing is compared then. `alone` is the class that all
    images are of, and accuracies are its recalls; None where there are several. `absent` are classes without images
    here. `own` is `test`, `out-of-fold`, or empty where there is nothing to compare with; `own_scores` are empty then.
    `difference` is new minus own with Newcombe's 95% interval. `expected` is the own accuracy if its images had the
    classes of the new ones (direct standardisation). `classes` have the greatest fall in recall first.
    """

    shown: str
    scores: Mapping[str, Any]
    own: str
    own_scores: Mapping[str, Any]
    alone: str | None
    absent: tuple[str, ...]
    own_accuracy: float | None
    own_n: int
    own_interval: tuple[float, float] | None
    difference: float | None
    difference_interval: tuple[float, float] | None
    expected: float | None
    confidence: tuple[float, float] | None
    classes: tuple[ClassBeside, ...]

    @property
    def chance(self) -> bool:
        """Whether chance explains the difference; True where nothing is compared."""
        return self.difference_interval is None or self.difference_interval[0] <= 0 <= self.difference_interval[1]


def evaluation_facts(metrics: Mapping[str, Any], classes: Sequence[str]) -> EvaluationFacts:
    """Facts from the metrics.json of an evaluation; `classes` in the model's order."""
    shown = NEW if metrics["new"]["n"] else GIVEN
    scores = metrics["new"] if shown == NEW else metrics["all"]
    own = next((split for split in OWN if metrics.get(split, {}).get("n")), "") if shown == NEW else ""
    own_scores = metrics[own] if own else {}
    present = [name for name in classes if scores["per_class"][name]["support"]]
    alone = present[0] if len(present) == 1 else None
    beside = own_scores
    if own and alone is not None:
        of = own_scores["per_class"][alone]
        beside = {"accuracy": of["recall"], "n": of["support"]}
        beside["n_effective"] = of["support"] * independent_n(own_scores) / own_scores["n"]
    compared = bool(beside.get("n"))
    medians = [(row["own_median"], row["new_median"]) for row in metrics["drift"] if row["property"] == "confidence"]
    return EvaluationFacts(
        shown=shown,
        scores=scores,
        own=own,
        own_scores=own_scores,
        alone=alone,
        absent=tuple(name for name in classes if name not in present),
        own_accuracy=beside["accuracy"] if compared else None,
        own_n=beside["n"] if compared else 0,
        own_interval=_interval(beside["accuracy"], independent_n(beside)) if compared else None,
        difference=scores["accuracy"] - beside["accuracy"] if compared else None,
        difference_interval=difference_interval(scores, beside) if compared else None,
        expected=_expected(scores, own_scores, present) if own and alone is None else None,
        confidence=medians[0] if medians else None,
        classes=_by_class(scores, own_scores, classes),
    )


def _interval(share: float, n: float) -> tuple[float, float]:
    return wilson_interval(share * n, n, NEEDED)


def _expected(scores: Mapping[str, Any], own: Mapping[str, Any], present: Sequence[str]) -> float | None:
    """Own accuracy at the new images' shares of the classes; None where a class of theirs has no own image."""
    of, mix = own["per_class"], {name: scores["per_class"][name]["support"] for name in present}
    if not all(of[name]["support"] for name in present):
        return None
    return float(sum(count * of[name]["recall"] for name, count in mix.items()) / scores["n"])


def _by_class(scores: Mapping[str, Any], own: Mapping[str, Any], classes: Sequence[str]) -> tuple[ClassBeside, ...]:
    compared = sum(bool(scores["per_class"][name]["support"] and _of(own, name)["support"]) for name in classes)
    rows = [_class_beside(name, place, scores, own, compared) for place, name in enumerate(classes)]
    return tuple(sorted(rows, key=lambda row: 2.0 if row.difference is None else row.difference))


def _of(scores: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return scores["per_class"][name] if scores else {"support": 0}


def _class_beside(
    name: str, place: int, scores: Mapping[str, Any], own: Mapping[str, Any], compared: int
) -> ClassBeside:
    new, n, predicted, precision = _measured(name, place, scores)
    old, own_n, own_predicted, own_precision = _measured(name, place, own)
    difference, clear = None, False
    if n and own_n:
        difference = new["recall"] - old["recall"]
        # Bonferroni: among many classes some would differ by chance
        confidence = 1 - (1 - NEEDED) / compared
        low, high = newcombe_interval(
            new["recall"], n * _independence(scores), old["recall"], own_n * _independence(own), confidence
        )
        clear = not low <= 0 <= high
    return ClassBeside(
        label=name,
        n=n,
        predicted=predicted,
        recall=new["recall"] if n else None,
        interval=_interval(new["recall"], n * _independence(scores)) if n else None,
        precision=precision,
        own_n=own_n,
        own_predicted=own_predicted,
        own_recall=old["recall"] if own_n else None,
        own_interval=_interval(old["recall"], own_n * _independence(own)) if own_n else None,
        own_precision=own_precision,
        difference=difference,
        clear=clear,
    )


def _measured(name: str, place: int, scores: Mapping[str, Any]) -> tuple[Mapping[str, Any], int, int, float | None]:
    """Scores of a class, its images, how many were predicted as it, and the precision."""
    of = _of(scores, name)
    predicted = sum(row[place] for row in scores["confusion"]) if scores else 0
    return of, of["support"], predicted, of["precision"] if predicted else None


def _independence(scores: Mapping[str, Any]) -> float:
    """Share of the images that count: copies count once, in every class alike."""
    return independent_n(scores) / scores["n"]
