"""Threshold on confidence: what is answered above it, and how much of that is right."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kit.significance import wilson_interval
from kit.thresholds import Thresholds
from reports import text
from reports.elements import Table, ThresholdPicker

# Finer towards 1, where networks that are sure of most have most of their confidences.
THRESHOLDS = (
    *(step / 100 for step in range(96)),
    *(step / 1000 for step in range(955, 991, 5)),
    *(step / 1000 for step in range(991, 1001)),
)
TARGET = 0.95  # accuracy of the answers that the page begins with
CLASSES_LISTED = 50


@dataclass(frozen=True)
class ThresholdFacts:
    """Counts at `thresholds`: THRESHOLDS, and the run's own, of place `own`, where it has one.

    `answered` and `right` count images whose confidence reaches the threshold; `intervals` are Wilson's 95% of their
    accuracy, of as many as are independent. `classes` are (label, images, answered, right): those with the most images
    first, at most CLASSES_LISTED. `start` is the run's own, else the first at which TARGET of the answers are right,
    else 0.5. `strangeness` is the run's own threshold on that.
    """

    n: int
    thresholds: tuple[float, ...]
    answered: tuple[int, ...]
    right: tuple[int, ...]
    intervals: tuple[tuple[float, float], ...]
    classes: tuple[tuple[str, int, tuple[int, ...], tuple[int, ...]], ...]
    start: int
    own: int | None = None
    strangeness: float | None = None


def threshold_facts(
    scored: pd.DataFrame, n_effective: float | None = None, limits: Thresholds | None = None
) -> ThresholdFacts | None:
    """Facts from the predictions of one split; None where it is empty.

    `n_effective` counts images that are not independent once; None: all are. `limits` are the run's own.
    """
    n = len(scored)
    if not n:
        return None
    confidence = scored["confidence"].to_numpy(np.float64)
    labels, predicted = (scored[name].tolist() for name in ("label", "predicted"))
    correct = np.array([label == said for label, said in zip(labels, predicted, strict=True)])
    chosen = None if limits is None or not limits.confidence else math.floor(limits.confidence * 1e4) / 1e4
    thresholds = sorted({*THRESHOLDS, *(() if chosen is None else (chosen,))})
    # the last that a confidence reaches: as `confidence >= threshold` of kit.predict
    reached = np.searchsorted(thresholds, confidence, side="right") - 1

    def at_least(which: np.ndarray) -> tuple[int, ...]:
        """How many reach each threshold."""
        return tuple(np.bincount(which, minlength=len(thresholds))[::-1].cumsum()[::-1].tolist())

    answered, right = at_least(reached), at_least(reached[correct])
    independent = (n if n_effective is None else n_effective) / n
    intervals = tuple(
        wilson_interval(hits * independent, count * independent) for hits, count in zip(right, answered, strict=True)
    )
    rows: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        rows.setdefault(label, []).append(i)
    largest = sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))[:CLASSES_LISTED]
    classes = tuple(
        (label, len(at), at_least(reached[at]), at_least(reached[at][correct[at]])) for label, at in largest
    )
    enough = (
        step for step, (hits, count) in enumerate(zip(right, answered, strict=True)) if count and hits >= TARGET * count
    )
    own = None if chosen is None else thresholds.index(chosen)
    start = next(enough, thresholds.index(0.5)) if own is None else own
    strangeness = None if limits is None else limits.strangeness
    return ThresholdFacts(n, tuple(thresholds), answered, right, intervals, classes, start, own, strangeness)


def _shown(threshold: float) -> str:
    """0.5 -> 0.50, 0.9871 -> 0.9871."""
    return max(f"{threshold:.2f}", f"{threshold:g}", key=len)


def threshold_picker(facts: ThresholdFacts, run: str) -> ThresholdPicker:
    """Slider with what each threshold gives; `run` is the name of the run folder, for the command."""
    command = f"transferkit predict {shlex.quote(text.name(run, 200))} path/to/images --threshold "
    shown = [_shown(threshold) for threshold in facts.thresholds]
    data = {
        "n": facts.n,
        "thresholds": shown,
        "own": facts.own,
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
    head = ("class", "images", "answered", "unsure", "wrong answers", "accuracy of the answers")
    more = len(facts.classes) == CLASSES_LISTED
    note = f"The {CLASSES_LISTED} classes with the most images." if more else ""
    return ThresholdPicker(
        "threshold",
        "Threshold",
        f"{_SEE}{_own(facts, shown)}",
        step,
        len(shown) - 1,
        f"{command}{shown[step]}",
        data,
        Table("Each class at this threshold", head, rows, note),
        "" if facts.own is None else shown[facts.own],
    )


_SEE = "Below the threshold the answer is “unsure”: fewer images are answered, and more of the answers are right."


def _own(facts: ThresholdFacts, shown: Sequence[str]) -> str:
    """What the run does without an option."""
    says = []
    if facts.own is not None:
        says.append(f"is “unsure” below {shown[facts.own]}, the run's own threshold")
    if facts.strangeness is not None:
        says.append(
            f"answers “unlike” where an image is stranger than {facts.strangeness:.3g}, which is not counted here"
        )
    return f" Without an option predict {', and '.join(says)}." if says else ""


def _cells(answered: int, right: int, images: int) -> Sequence[str]:
    accuracy = f"{right / answered:.0%}" if answered else "–"
    return f"{answered:,}", f"{images - answered:,}", f"{answered - right:,}", accuracy
