"""Threshold on confidence: what is answered above it, and how much of that is right."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kit.significance import wilson_interval
from reports import text
from reports.elements import Table, ThresholdPicker

STEPS = 100  # thresholds 0.00, 0.01, ... 1.00
TARGET = 0.95  # accuracy of the answers that the page begins with
CLASSES_LISTED = 50


@dataclass(frozen=True)
class ThresholdFacts:
    """Counts at the thresholds 0 to 1 in STEPS + 1 equal steps.

    `answered` and `right` count images whose confidence reaches the threshold; `intervals` are Wilson's 95% of their
    accuracy, of as many as are independent. `classes` are (label, images, answered, right): those with the most images
    first, at most CLASSES_LISTED. `start` is the first step at which TARGET of the answers are right, STEPS / 2 where
    none is.
    """

    n: int
    answered: tuple[int, ...]
    right: tuple[int, ...]
    intervals: tuple[tuple[float, float], ...]
    classes: tuple[tuple[str, int, tuple[int, ...], tuple[int, ...]], ...]
    start: int


def threshold_facts(scored: pd.DataFrame, n_effective: float | None = None) -> ThresholdFacts | None:
    """Facts from the predictions of one split; None where it is empty.

    `n_effective` counts images that are not independent once; None: all are.
    """
    n = len(scored)
    if not n:
        return None
    confidence = scored["confidence"].to_numpy(np.float64)
    labels, predicted = (scored[name].tolist() for name in ("label", "predicted"))
    correct = np.array([label == said for label, said in zip(labels, predicted, strict=True)])
    # the last step that a confidence reaches: as `confidence >= threshold` of kit.predict
    thresholds = np.array([step / STEPS for step in range(STEPS + 1)])
    reached = np.searchsorted(thresholds, confidence, side="right") - 1
    answered, right = _at_least(reached), _at_least(reached[correct])
    independent = (n if n_effective is None else n_effective) / n
    intervals = tuple(
        wilson_interval(hits * independent, count * independent) for hits, count in zip(right, answered, strict=True)
    )
    rows: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        rows.setdefault(label, []).append(i)
    largest = sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))[:CLASSES_LISTED]
    classes = tuple(
        (label, len(at), _at_least(reached[at]), _at_least(reached[at][correct[at]])) for label, at in largest
    )
    enough = (
        step for step, (hits, count) in enumerate(zip(right, answered, strict=True)) if count and hits >= TARGET * count
    )
    return ThresholdFacts(n, answered, right, intervals, classes, next(enough, STEPS // 2))


def _at_least(reached: np.ndarray) -> tuple[int, ...]:
    """How many reach each step."""
    return tuple(np.bincount(reached, minlength=STEPS + 1)[::-1].cumsum()[::-1].tolist())


def threshold_picker(facts: ThresholdFacts, run: str) -> ThresholdPicker:
    """Slider with what each threshold gives; `run` is the name of the run folder, for the command."""
    command = f"transferkit predict {shlex.quote(text.name(run, 200))} path/to/images --threshold "
    data = {
        "n": facts.n,
        "answered": facts.answered,
        "right": facts.right,
        "intervals": [[round(bound, 4) for bound in interval] for interval in facts.intervals],
        "classes": [(answered, right) for _, _, answered, right in facts.classes],
        "command": command,
    }
    step = facts.start
    rows = tuple(
        (text.name(label), f"{images:,}", *_cells(answered[step], right[step], images))
        for label, images, answered, right in facts.classes
    )
    head = ("class", "images", "answered", "unsure", "wrong answers", "right among the answers")
    more = len(facts.classes) == CLASSES_LISTED
    note = f"The {CLASSES_LISTED} classes with the most images." if more else ""
    return ThresholdPicker(
        "threshold",
        "Threshold",
        "Below the threshold the answer is “unsure”: fewer images are answered, and more of the answers are right.",
        step,
        STEPS,
        f"{command}{step / STEPS:.2f}",
        data,
        Table("Each class at this threshold", head, rows, note),
    )


def _cells(answered: int, right: int, images: int) -> Sequence[str]:
    accuracy = f"{right / answered:.0%}" if answered else "–"
    return f"{answered:,}", f"{images - answered:,}", f"{answered - right:,}", accuracy
