"""Summary box: test accuracy, its interval, and the optimism of validation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kit.significance import SIGNIFICANT, newcombe_interval
from reports import text
from reports.elements import Metric, SummaryBox

OPTIMISM, CALIBRATION = "Validation minus test", "Calibration error"

_NO_TEST = "on images that also chose the epoch that is kept, for there is no test split: read it as an upper bound"


@dataclass(frozen=True)
class SummaryFacts:
    """Scores of the summary box; accuracies and calibration errors are 0 to 1.

    `split` is `test`, `validation` where no images were kept for a test, or empty where nothing was scored. Scores are
    then None. `n_effective` counts images that are not independent once; `interval` is 95% and of as many.
    `optimism` is validation minus test accuracy, None unless both were measured, and `optimism_interval` its 95%
    interval (Newcombe's). `calibration_error_unscaled` is before temperature scaling, and `temperature_note` says why
    there was none; `log_loss` in nats; `phases` are (name, accuracy on `split`).

    `only_first` and `only_last` count images that only the first or the last phase's model got right; `p_value` is
    McNemar's test of the two, None with fewer than two phases.
    """

    split: str = ""
    n: int = 0
    n_effective: float = 0.0
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    optimism: float | None = None
    optimism_interval: tuple[float, float] | None = None
    calibration_error: float | None = None
    calibration_error_unscaled: float | None = None
    temperature_note: str = ""
    log_loss: float | None = None
    macro_f1: float | None = None
    phases: tuple[tuple[str, float], ...] = ()
    only_first: int = 0
    only_last: int = 0
    p_value: float | None = None
    folds: int = 0


def summary_facts(metrics: dict[str, Any]) -> SummaryFacts:
    """Facts from metrics.json; empty for a run that was not scored."""
    split = next((split for split in ("out-of-fold", "test", "validation") if metrics.get(split, {}).get("n")), "")
    if not split:
        return SummaryFacts()
    scores, validation = metrics[split], metrics.get("validation", {})
    chosen = split == "test" and validation.get("accuracy") is not None
    phases = tuple((phase["name"], phase[split]["accuracy"]) for phase in metrics.get("phases", []))
    paired = metrics.get("mcnemar") if split != "validation" and len(phases) > 1 else None
    return SummaryFacts(
        split=split,
        n=scores["n"],
        n_effective=independent_n(scores),
        accuracy=scores["accuracy"],
        interval=tuple(scores["accuracy_interval"]),
        optimism=validation["accuracy"] - scores["accuracy"] if chosen else None,
        optimism_interval=difference_interval(validation, scores) if chosen else None,
        calibration_error=scores["calibration_error"],
        calibration_error_unscaled=scores["calibration_error_unscaled"],
        temperature_note=metrics.get("temperature_note", ""),
        log_loss=scores["log_loss"],
        macro_f1=scores["macro_f1"],
        phases=phases,
        only_first=paired["only_a"] if paired else 0,
        only_last=paired["only_b"] if paired else 0,
        p_value=paired["p_value"] if paired else None,
        folds=len(metrics.get("folds", [])),
    )


def difference_interval(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[float, float]:
    """Newcombe's 95% interval of the accuracy of `first` minus that of `second`; both as in metrics.json."""
    return newcombe_interval(first["accuracy"], independent_n(first), second["accuracy"], independent_n(second))


def independent_n(scores: Mapping[str, Any]) -> float:
    """Its `n_effective`; n in the records of 0.1, which lack it."""
    return float(scores.get("n_effective", scores["n"]))


def summary_box(facts: SummaryFacts) -> SummaryBox:
    """Box with the accuracy, its interval, optimism and calibration."""
    if facts.accuracy is None:
        return SummaryBox("Test accuracy", "–", "The model has not been scored.")
    kept, then = {
        "test": ("on images that played no part in training or choosing", ""),
        "out-of-fold": (
            f"each by the one of {facts.folds} models that was not trained on it",
            " The model that is kept was trained on all of them, and has none left to be tested on.",
        ),
    }.get(facts.split, (_NO_TEST, ""))
    right = round(facts.accuracy * facts.n)
    says = (
        f"{right:,} of {facts.n:,} right, {kept}. With 95% confidence the accuracy on such images lies between "
        f"{text.share(facts.interval[0], facts.n)} and {text.share(facts.interval[1], facts.n)}."
        f"{copies_note(facts.n, facts.n_effective)}{then}"
        if facts.interval
        else ""
    )
    metrics = (_phases(facts), _optimism(facts), _calibration(facts), _balance(facts))
    return SummaryBox(
        "Cross-validated accuracy" if facts.folds else f"{facts.split.capitalize()} accuracy",
        text.share(facts.accuracy, facts.n),
        says,
        tuple(metric for metric in metrics if metric is not None),
    )


def copies_note(n: int, n_effective: float) -> str:
    """Sentence, after a space, on images that are not independent; empty where all are."""
    if n_effective > n - 0.5:
        return ""
    return (
        " Some of them are near copies or belong together, and are no evidence of their own: the interval is that of "
        f"{text.count(max(1, round(n_effective)), 'independent image')}."
    )


def _phases(facts: SummaryFacts) -> Metric | None:
    if len(facts.phases) < 2:
        return None
    (first, before), (last, after) = facts.phases[0], facts.phases[-1]
    value = text.points(after - before, facts.n)
    first, last = text.name(first), text.name(last)
    if facts.p_value is None:
        return Metric("Fine-tuning", value, f"{last} against {first}.")
    if facts.only_last == facts.only_first == 0:
        return Metric("Fine-tuning", value, f"{last} and {first} got the same images right.")
    paired = f"{text.count(facts.only_last, 'image')} only {last} got right, {facts.only_first:,} only {first}"
    side = "a gain" if facts.only_last > facts.only_first else "a loss"
    chance = f"{side}, {'more than chance' if facts.p_value < SIGNIFICANT else 'which may be chance'}"
    if facts.only_last == facts.only_first:
        chance = "neither gain nor loss"
    return Metric("Fine-tuning", value, f"{paired}: {chance} (McNemar p {text.p_equals(facts.p_value)}).")


def _optimism(facts: SummaryFacts) -> Metric | None:
    if facts.optimism is None:
        return None
    low, high = facts.optimism_interval or (-1.0, 1.0)
    if low <= 0 <= high:
        says = "Within chance"
    elif facts.optimism > 0:
        says = "Optimistic, for validation chose the epoch: believe the test"
    else:
        says = "Test images were easier than validation ones: no sign of optimism"
    between = f"95% interval {text.points(low, 0)} to {text.points(high, 0)}"
    return Metric(OPTIMISM, text.points(facts.optimism, facts.n), f"{says} ({between}).")


def _calibration(facts: SummaryFacts) -> Metric | None:
    if facts.calibration_error is None:
        return None
    unscaled = facts.calibration_error_unscaled
    before = f" {facts.temperature_note or f'Before temperature scaling: {text.share(unscaled, facts.n)}.'}"
    return Metric(
        CALIBRATION,
        text.share(facts.calibration_error, facts.n),
        f"How far confidence and accuracy lie apart, on average.{before if unscaled is not None else ''}",
    )


def _balance(facts: SummaryFacts) -> Metric | None:
    if facts.macro_f1 is None:
        return None
    return Metric(
        "Macro F1",
        f"{facts.macro_f1:.3f}",
        f"Every class weighing the same. Log loss {abs(facts.log_loss or 0.0):.3f} nats.",
    )
