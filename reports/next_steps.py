"""What to do next: a few lines drawn from the record, each with its number and a link to the place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from kit.significance import SIGNIFICANT, wilson_interval
from reports import text
from reports.curves import CurvesFacts
from reports.dataset import DatasetFacts
from reports.elements import NextStep, NextSteps, Section
from reports.label_issues import FALSE_ALARMS
from reports.learning_curve import CLEAR, WORTH, LearningCurveFacts
from reports.summary import SummaryFacts

MOST = 5  # lines
WIDE = 0.05  # half width of an interval that leaves much open
FEW_TO_CHOOSE_BY = 50  # validation images; 90% of them right is 90% give or take 8 points
FEWEST_ERRORS, LARGE_PART = 5, 0.25  # errors of one pair of classes, and their part of all, that are more than chance
OVERFITTING = 0.1  # training minus validation accuracy
STILL_FALLING = 0.01  # of the validation loss, in the last epoch
FEWEST_OF_CLASS = 5  # images of a class whose recall is judged
MANY_COPIES = 0.1  # share of the images
CALIBRATED, MISCALIBRATED = 0.03, 0.06  # calibration error
FEWEST_FOR_CALIBRATION = 100  # images; of fewer the calibration error is mostly noise


@dataclass(frozen=True)
class PageFacts:
    """What the rules read: facts of the sections of a run's page.

    `confusion` is of the scored split, in the order of `classes`; `validation` counts images; `doubted` is as
    insights.json has it; `phases` are the names of the configured phases.
    """

    summary: SummaryFacts = field(default_factory=SummaryFacts)
    classes: tuple[str, ...] = ()
    confusion: Sequence[Sequence[int]] = ()
    validation: int = 0
    curves: CurvesFacts | None = None
    phases: tuple[str, ...] = ()
    learning: LearningCurveFacts = field(default_factory=LearningCurveFacts)
    doubted: Mapping[str, int] | None = None
    data: DatasetFacts | None = None

    @property
    def errors(self) -> int:
        """Scored images that are predicted as another class."""
        return sum(map(sum, self.confusion)) - sum(row[i] for i, row in enumerate(self.confusion))


# === Rules: facts -> a step, or None where there is nothing to say ===


def _two_labels(facts: PageFacts) -> NextStep | None:
    found = _findings(facts, "conflict", "near-conflict")
    if not found:
        return None
    says = "lie under one label and, as copies, under another: one of the labels is wrong"
    return NextStep(text.count(len(found), "image"), says, "findings", "What the audit found")


def _leaks(facts: PageFacts) -> NextStep | None:
    found = _findings(facts, "leak", "near-leak")
    if not found:
        return None
    says = "lie in two splits, so the test has seen them: remove the copies from one"
    return NextStep(text.count(len(found), "image"), says, "findings", "What the audit found")


def _few_measured(facts: PageFacts) -> NextStep | None:
    summary = facts.summary
    if summary.interval is None or summary.split != "test":
        return None
    half = (summary.interval[1] - summary.interval[0]) / 2
    if half <= WIDE:
        return None
    says = (
        f"is how well {text.count(summary.n, 'test image')} tell the accuracy: "
        "`transferkit train DATA --folds 5` measures on every image"
    )
    return NextStep(f"±{100 * half:.0f} points", says, "data", "Images of each split")


def _few_to_choose_by(facts: PageFacts) -> NextStep | None:
    if not 0 < facts.validation < FEW_TO_CHOOSE_BY:
        return None
    one = 100 / facts.validation
    says = (
        f"choose{'s' if facts.validation == 1 else ''} the epoch: one more right is {one:.1f} points. Label more, or "
        "use `transferkit train DATA --folds 5`"
    )
    return NextStep(text.count(facts.validation, "validation image"), says, "curves", "Training")


def _mixed_up(facts: PageFacts) -> NextStep | None:
    if len(facts.confusion) < 3:
        return None
    pairs = [(facts.confusion[i][j] + row[i], i, j) for j, row in enumerate(facts.confusion) for i in range(j)]
    count, i, j = max(pairs, key=lambda pair: pair[0])
    if count < max(FEWEST_ERRORS, LARGE_PART * facts.errors):
        return None
    first, second = sorted((i, j))
    names = f"{text.name(facts.classes[first], 32)} and {text.name(facts.classes[second], 32)}"
    says = f"errors mix up {names}: review their labels, and add images that tell them apart"
    asked = {"pair": [first, second], "sort": "most"}
    return NextStep(f"{count:,} of {facts.errors:,}", says, "confusion", "Confusion matrix", asked, "these errors")


def _doubted_labels(facts: PageFacts) -> NextStep | None:
    if not facts.doubted:
        return None
    total, judged = facts.doubted["total"], facts.doubted["judged"]
    expected = FALSE_ALARMS * judged / 1000
    if total <= expected:
        return None
    says = f"are doubted, where about {expected:.0f} would be if all were right: review them"
    return NextStep(f"{total:,} of {judged:,} labels", says, "doubts", "Labels worth a second look")


def _still_improving(facts: PageFacts) -> NextStep | None:
    curves = facts.curves
    if curves is None or not curves.phases or curves.phases[-1].kept != curves.phases[-1].last:
        return None
    span = curves.phases[-1]
    losses = [record.val_loss for record in curves.history.phase(span.name)]
    if len(losses) < 3 or losses[-1] is None or losses[-2] is None:
        return None
    fell = 1 - losses[-1] / losses[-2] if losses[-2] else 0.0
    if curves.kept != span.last or fell < STILL_FALLING or span.name not in facts.phases:
        return None
    longer = f"phases.{facts.phases.index(span.name)}.epochs={2 * len(losses)}"
    command = f"transferkit train --config RUN/config.toml --set {longer}"
    says = (
        f"of {text.name(span.name, 24)} is the best, and validation loss still fell by {fell:.0%}: train longer, "
        f"`{command}`"
    )
    return NextStep(f"The last of {len(losses)} epochs", says, "curves", "Training")


def _fine_tuning_lost(facts: PageFacts) -> NextStep | None:
    summary = facts.summary
    if summary.p_value is None or summary.p_value >= SIGNIFICANT or summary.only_first <= summary.only_last:
        return None
    (_, before), (name, after) = summary.phases[0], summary.phases[-1]
    says = f"is what {text.name(name, 24)} changed, more than chance: lower its learning rate or its unfreeze depth"
    return NextStep(text.points(after - before, summary.n), says, "curves", "Training")


def _overfitting(facts: PageFacts) -> NextStep | None:
    gap = facts.curves.gap if facts.curves is not None else None
    if gap is None or gap < OVERFITTING:
        return None
    says = (
        "lie between training and validation accuracy: overfitting, against which more augmented views help, "
        "`transferkit train --config RUN/config.toml --views 5`"
    )
    return NextStep(f"{100 * gap:.0f} points", says, "curves", "Training")


def _weak_class(facts: PageFacts) -> NextStep | None:
    if facts.data is None or facts.summary.accuracy is None or len(facts.confusion) < 2:
        return None
    train = {one.label: one.train for one in facts.data.classes}
    typical = median(train.values()) if train else 0
    weak = []
    for i, label in enumerate(facts.classes):
        support, right = sum(facts.confusion[i]), facts.confusion[i][i]
        surely_low = support >= FEWEST_OF_CLASS and wilson_interval(right, support)[1] < facts.summary.accuracy
        if surely_low and train.get(label, 0) < typical / 2:
            weak.append((right / support, support, label, i))
    if not weak:
        return None
    recall, support, label, number = min(weak)
    says = (
        f"of {text.name(label, 32)} are found, from {text.count(train.get(label, 0), 'training image')} where other "
        f"classes have about {typical:,.0f}: add images of it"
    )
    asked = {"label": number}
    return NextStep(
        text.share(recall, support), says, "confusion", "Scores of each class", asked, "images of this class"
    )


def _more_images(facts: PageFacts) -> NextStep | None:
    gain, noise = facts.learning.gain, facts.learning.error or 0.0
    if gain is None:
        return None
    if gain > max(WORTH, noise):
        says = "is what the last doubling of the images brought: more images will help"
    elif abs(gain) <= noise <= CLEAR:
        says = "is what the last doubling of the images brought: more of the same will not help, better labels may"
    else:
        return None
    return NextStep(text.points(gain), says, "learning", "Would more images help?")


def _copies(facts: PageFacts) -> NextStep | None:
    found = _findings(facts, "duplicate", "near-duplicate")
    whole = facts.data.images + facts.data.left_out if facts.data is not None else 0
    if not whole or len(found) < MANY_COPIES * whole:
        return None
    says = "of the images are copies or near copies of others: there is less evidence than images"
    return NextStep(text.share(len(found) / whole, whole), says, "findings", "What the audit found")


def _left_out(facts: PageFacts) -> NextStep | None:
    if facts.data is None or not facts.data.left_out:
        return None
    says = "are unreadable: mend them or leave them out"
    return NextStep(text.count(facts.data.left_out, "file"), says, "findings", "What the audit found")


def _calibration(facts: PageFacts) -> NextStep | None:
    error, n = facts.summary.calibration_error, facts.summary.n
    if error is None or n < FEWEST_FOR_CALIBRATION:
        return None
    if error <= CALIBRATED:
        says = "lie confidence and accuracy apart: calibrated, so a threshold on confidence means what it says"
    elif error >= MISCALIBRATED:
        says = "lie confidence and accuracy apart: choose a threshold by the accuracy of the answers, not by its value"
    else:
        return None
    return NextStep(text.points(error).removeprefix("+"), says, "calibration", "Confidence")


def _findings(facts: PageFacts, *kinds: str) -> set[str]:
    """Paths of the findings of some kinds."""
    groups = (facts.data.findings or ()) if facts.data is not None else ()
    return {path for group in groups if group.kind in kinds for _, paths in group.found for path in paths}


# What is wrong with the data or the measurement comes before what could be better.
RULES: tuple[Callable[[PageFacts], NextStep | None], ...] = (
    _two_labels,
    _leaks,
    _few_measured,
    _few_to_choose_by,
    _mixed_up,
    _doubted_labels,
    _still_improving,
    _fine_tuning_lost,
    _overfitting,
    _weak_class,
    _more_images,
    _copies,
    _left_out,
    _calibration,
)


def next_steps(facts: PageFacts) -> tuple[NextStep, ...]:
    """First MOST steps that the rules give."""
    steps = (rule(facts) for rule in RULES)
    return tuple(step for step in steps if step is not None)[:MOST]


def scored_matrix(metrics: Mapping[str, Any], split: str) -> Sequence[Sequence[int]]:
    """Confusion matrix of a split of metrics.json; empty where it was not scored."""
    return metrics.get(split, {}).get("confusion") or ()


def next_steps_section(steps: Sequence[NextStep]) -> Section:
    """List of steps; without elements, and so left out, where there is nothing to say."""
    return Section("next", "What to do next", (NextSteps(tuple(steps)),) if steps else ())
