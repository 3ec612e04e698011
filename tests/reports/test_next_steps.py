"""What to do next: each rule speaks where it should and is silent where not."""

from dataclasses import replace

import pytest

from kit.training.history import EpochRecord, History
from reports import next_steps as rules
from reports.curves import curves_facts
from reports.dataset import ClassCount, DatasetFacts
from reports.findings import FindingGroup
from reports.learning_curve import LearningCurveFacts
from reports.next_steps import MOST, RULES, PageFacts, next_steps
from reports.summary import SummaryFacts


def data(*train, left_out=0, **findings):
    """Data of classes with `train` images each, and findings: kind -> paths."""
    counts = tuple(ClassCount(label, n, 5, 5) for label, n in zip("abcdef", train, strict=False))
    groups = tuple(
        FindingGroup(kind.replace("_", "-"), "warning", (("twice", paths),)) for kind, paths in findings.items()
    )
    return DatasetFacts(counts, left_out, None, None, groups, ())


def curves(*losses, accuracy=0.9, training=0.92):
    """One phase `head` whose validation loss is `losses`."""
    rows = [
        EpochRecord(n, "head", 1.0, 1e-3, 0.5, training, loss, accuracy + n * 1e-4) for n, loss in enumerate(losses, 1)
    ]
    return curves_facts(History(tuple(rows)))


def scored(**changes):
    whole = SummaryFacts(split="test", n=400, n_effective=400, accuracy=0.9, interval=(0.87, 0.93))
    return replace(whole, **changes)


PHASES = (("head", 0.9), ("fine-tune", 0.87))
MIXED = ((8, 2, 0), (4, 6, 0), (0, 1, 9))
# rule -> facts for which it speaks, what it then says, facts for which it is silent
CASES = {
    rules._two_labels: (
        PageFacts(data=data(9, conflict=("a/1", "b/1"))),
        ("2 images", "one of the labels is wrong", "findings"),
        PageFacts(data=data(9, duplicate=("a/1", "a/2"))),
    ),
    rules._leaks: (
        PageFacts(data=data(9, near_leak=("a/1", "a/2"))),
        ("2 images", "the test has seen them", "findings"),
        PageFacts(data=data(9)),
    ),
    rules._few_measured: (
        PageFacts(scored(n=40, interval=(0.77, 0.95))),
        ("±9 points", "is how well 40 test images tell the accuracy", "data"),
        PageFacts(scored()),
    ),
    rules._few_to_choose_by: (
        PageFacts(validation=10),
        ("10 validation images", "one more right is 10.0 points", "curves"),
        PageFacts(validation=50),
    ),
    rules._mixed_up: (
        PageFacts(classes=("roses", "tulips", "daisy"), confusion=MIXED),
        ("6 of 7", "errors mix up roses and tulips", "confusion"),
        PageFacts(classes=("roses", "tulips"), confusion=((8, 5), (5, 8))),  # of two classes there is one pair
    ),
    rules._doubted_labels: (
        PageFacts(doubted={"total": 20, "judged": 500}),
        ("20 of 500 labels", "about 10 would be if all were right", "doubts"),
        PageFacts(doubted={"total": 9, "judged": 500}),
    ),
    rules._still_improving: (
        PageFacts(curves=curves(0.9, 0.7, 0.6), phases=("head",)),
        (
            "The last of 3 epochs",
            "fell by 14%: train longer, `transferkit train --config RUN/config.toml --set phases.0.epochs=6`",
            "curves",
        ),
        PageFacts(curves=curves(0.9, 0.6, 0.598), phases=("head",)),
    ),
    rules._fine_tuning_lost: (
        PageFacts(scored(phases=PHASES, only_first=14, only_last=2, p_value=0.01)),
        ("−3.0 points", "is what fine-tune changed, more than chance", "curves"),
        PageFacts(scored(phases=PHASES, only_first=14, only_last=2, p_value=0.1)),
    ),
    rules._overfitting: (
        PageFacts(curves=curves(0.9, training=0.99, accuracy=0.8)),
        ("19 points", "overfitting", "curves"),
        PageFacts(curves=curves(0.9)),
    ),
    rules._weak_class: (
        PageFacts(scored(), ("a", "b"), ((2, 8), (0, 90)), data=data(12, 200)),
        ("20%", "of a are found, from 12 training images where other classes have about 106", "confusion"),
        PageFacts(scored(), ("a", "b"), ((2, 8), (0, 90)), data=data(190, 200)),  # as many images as the other
    ),
    rules._more_images: (
        PageFacts(learning=LearningCurveFacts(gain=0.03, error=0.01)),
        ("+3.0 points", "more images will help", "learning"),
        PageFacts(learning=LearningCurveFacts(gain=0.01, error=0.05)),  # noise
    ),
    rules._copies: (
        PageFacts(data=data(10, near_duplicate=("a/1", "a/2", "a/3"))),
        ("15%", "copies or near copies", "findings"),
        PageFacts(data=data(50, near_duplicate=("a/1", "a/2", "a/3"))),
    ),
    rules._left_out: (
        PageFacts(data=data(9, left_out=3)),
        ("3 files", "are unreadable", "findings"),
        PageFacts(data=data(9)),
    ),
    rules._calibration: (
        PageFacts(scored(calibration_error=0.02)),
        ("2.0 points", "calibrated", "calibration"),
        PageFacts(scored(calibration_error=0.02, n=40)),
    ),
}


def test_every_rule_has_a_case():
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_speaks_where_it_should_and_is_silent_where_not(rule):
    speaks, (number, says, section), silent = CASES[rule]
    step = rule(speaks)
    assert (step.number, step.section) == (number, section)
    assert says in step.says
    assert rule(silent) is None
    assert rule(PageFacts()) is None  # a run that was killed at its start


def test_advice_on_classes_leads_to_their_images():
    assert rules._mixed_up(CASES[rules._mixed_up][0]).browse == {"pair": [0, 1], "sort": "most"}
    assert rules._weak_class(CASES[rules._weak_class][0]).browse == {"label": 0}


def test_three_errors_of_a_pair_are_no_pattern():
    few = ((30, 1, 1), (2, 30, 1), (1, 1, 30))
    assert rules._mixed_up(PageFacts(classes=("roses", "tulips", "daisy"), confusion=few)) is None


def test_a_flat_learning_curve_and_a_wrong_confidence_say_the_other_thing():
    flat = rules._more_images(PageFacts(learning=LearningCurveFacts(gain=0.001, error=0.01)))
    assert "more of the same will not help" in flat.says
    off = rules._calibration(PageFacts(scored(calibration_error=0.09)))
    assert "choose a threshold by the accuracy of the answers" in off.says


def test_at_most_five_the_gravest_first():
    whole = PageFacts(
        scored(n=40, interval=(0.77, 0.95), calibration_error=0.2),
        validation=10,
        doubted={"total": 20, "judged": 500},
        data=data(9, left_out=3, conflict=("a/1", "b/1"), leak=("a/1", "a/2")),
    )
    steps = next_steps(whole)
    assert len(steps) == MOST
    assert [step.number for step in steps][:3] == ["2 images", "2 images", "±9 points"]
    assert next_steps(PageFacts()) == ()
