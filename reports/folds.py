"""Cross-validation: accuracy of each fold, and the epochs of the model that is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports import text
from reports.elements import Section, Table


@dataclass(frozen=True)
class Fold:
    """Images held out, trained on and validated with; accuracy, 0 to 1, with its 95% interval; epochs by phase."""

    fold: int
    n: int
    train: int
    validation: int
    accuracy: float
    interval: tuple[float, float]
    epochs: tuple[int, ...]


@dataclass(frozen=True)
class FoldsFacts:
    """Folds of a cross-validated run; none for another. `epochs` of the model that is kept, by phase."""

    folds: tuple[Fold, ...] = ()
    phases: tuple[str, ...] = ()
    epochs: tuple[int, ...] = ()
    n: int = 0


def folds_facts(metrics: Mapping[str, Any]) -> FoldsFacts:
    """Facts from metrics.json."""
    folds = tuple(
        Fold(
            one["fold"],
            one["n"],
            one["train"],
            one["validation"],
            one["accuracy"],
            tuple(one["accuracy_interval"]),
            tuple(one["epochs"]),
        )
        for one in metrics.get("folds", [])
    )
    if not folds:
        return FoldsFacts()
    phases = tuple(phase["name"] for phase in metrics["phases"])
    return FoldsFacts(folds, phases, tuple(metrics["epochs"]), metrics["train"]["n"])


def folds_section(facts: FoldsFacts) -> Section:
    """Table of the folds; without elements, and so left out, for a run that was not cross-validated."""
    if not facts.folds:
        return Section("folds", "The folds", ())
    names = [text.name(name) for name in facts.phases]
    fewest = min(one.n for one in facts.folds)  # one number of decimals a column
    rows = tuple(
        (
            str(one.fold),
            f"{one.train:,}",
            f"{one.validation:,}",
            f"{one.n:,}",
            text.share(one.accuracy, fewest),
            text.interval(one.interval, fewest),
            *(str(count) for count in one.epochs),
        )
        for one in facts.folds
    )
    head = ("fold", "trained on", "chose the epoch", "held out", "accuracy", "95% interval")
    kept = text.joined([f"{name} {count}" for name, count in zip(names, facts.epochs, strict=True)])
    return Section(
        "folds",
        "The folds",
        (Table("Each fold", (*head, *(f"epochs of {name}" for name in names)), rows),),
        "Every image was held out once, and predicted by the model of its fold: all scores, mistakes and confidences "
        f"on this page are of these predictions. The model that is kept was then trained on all {facts.n:,} images, "
        f"for the median of the epochs that the folds kept ({kept}); the curves are its own.",
    )
