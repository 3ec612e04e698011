"""Each facts function against records made by hand, with `==`."""

from dataclasses import replace

import numpy as np
import pytest
from handmade import SPACE

from kit.config import RunConfig
from kit.csv_tables import make_table
from kit.run_writer import RunWriter
from kit.significance import mcnemar, newcombe_interval, paired_interval, wilson_interval
from kit.thresholds import Thresholds
from kit.training.history import EpochRecord, History
from reports import text
from reports.calibration import Abstention, Bin, calibration_facts
from reports.compare.facts import Disagreement, PairFacts, RunFacts, comparison_facts, flatten
from reports.compare.scores import differences_figure, differences_section
from reports.confusion import ClassScore, ConfusionFacts, Pair, confusion_facts, confusion_section
from reports.curves import CurvesFacts, PhaseSpan, curves_facts
from reports.dataset import ClassCount, DatasetFacts, dataset_facts, dataset_sections
from reports.findings import FindingGroup
from reports.label_issues import LabelIssue, label_issues, label_issues_section
from reports.learning_curve import CurvePoint, LearningCurveFacts, learning_curve_facts
from reports.network import NetworkFacts, PhaseFacts, network_facts, network_section
from reports.predictions import ImagePrediction, PredictionsFacts, predictions_facts, predictions_section
from reports.provenance import ProvenanceFacts, provenance_facts
from reports.sizes import Sizes
from reports.summary import SummaryFacts, summary_box, summary_facts
from reports.threshold import threshold_facts, threshold_picker
from reports.trials.facts import trials_facts
from reports.trials.settings import coordinates
from search.records import StudyRecord, TrialRecord
from search.show import best_lines


def predictions(*rows):
    """(path, split, label, predicted, confidence) -> predictions.csv without the classes' columns."""
    columns = list(zip(*rows, strict=True)) or [[]] * 5
    names = ("path", "split", "label", "predicted", "confidence")
    table = dict(zip(names, map(list, columns), strict=True))
    return make_table({**table, "predicted_phase1": table["predicted"]})


SAID = predictions(
    ("a/1", "test", "a", "a", 0.95),
    ("a/2", "test", "a", "b", 0.55),
    ("b/1", "test", "b", "a", 0.75),
    ("b/2", "test", "b", "b", 0.35),
    ("b/3", "validation", "b", "b", 0.9),
)


def test_summary():
    scores = {
        "n": 10,
        "accuracy": 0.8,
        "accuracy_interval": [0.5, 0.9],
        "calibration_error": 0.1,
        "calibration_error_unscaled": 0.05,
        "log_loss": 0.4,
        "macro_f1": 0.79,
    }
    phases = [{"name": "head", "test": {"accuracy": 0.7}}, {"name": "fine-tune", "test": {"accuracy": 0.8}}]
    metrics = {
        "test": scores,
        "validation": {"n": 4, "accuracy": 0.75},
        "phases": phases,
        "mcnemar": {"only_a": 1, "only_b": 2, "p_value": 1.0},
        "temperature_note": "Confidence stays as it is.",
    }
    assert summary_facts(metrics) == SummaryFacts(
        split="test",
        n=10,
        n_effective=10,
        accuracy=0.8,
        interval=(0.5, 0.9),
        optimism=0.75 - 0.8,
        optimism_interval=newcombe_interval(0.75, 4, 0.8, 10),
        calibration_error=0.1,
        calibration_error_unscaled=0.05,
        temperature_note="Confidence stays as it is.",
        log_loss=0.4,
        macro_f1=0.79,
        phases=(("head", 0.7), ("fine-tune", 0.8)),
        only_first=1,
        only_last=2,
        p_value=1.0,
    )


SCORED = SummaryFacts(
    split="test", n=400, n_effective=400, accuracy=0.9, phases=(("head", 0.88), ("fine-tune", 0.9)), p_value=0.01
)


@pytest.mark.parametrize(
    ("facts", "value", "says"),
    [
        (replace(SCORED, only_first=2, only_last=10), "+2.0 points", "a gain, more than chance (McNemar p = 0.01)"),
        (
            replace(SCORED, phases=(("head", 0.9), ("fine-tune", 0.88)), only_first=9, only_last=1, p_value=0.3),
            "−2.0 points",
            "1 image only fine-tune got right, 9 only head: a loss, which may be chance (McNemar p = 0.3)",
        ),
        (replace(SCORED, phases=(("head", 0.9), ("fine-tune", 0.9))), "0.0 points", "got the same images right"),
        (
            replace(SCORED, phases=(("head", 0.9), ("fine-tune", 0.9)), only_first=3, only_last=3, p_value=1.0),
            "0.0 points",
            "3 images only fine-tune got right, 3 only head: neither gain nor loss (McNemar p = 1)",
        ),
        (replace(SCORED, p_value=None), "+2.0 points", "fine-tune against head."),
    ],
)
def test_a_loss_by_fine_tuning_is_called_one(facts, value, says):
    figure = next(one for one in summary_box(facts).metrics if one.name == "Fine-tuning")
    assert figure.value == value
    assert says in figure.says


@pytest.mark.parametrize(
    ("optimism", "interval", "says"),
    [
        (0.1, (0.06, 0.14), "Optimistic, for validation chose the epoch"),
        (-0.1, (-0.14, -0.06), "Test images were easier"),
        (0.03, (-0.01, 0.07), "Within chance (95% interval −1 points to +7 points)."),
        (-0.03, (-0.07, 0.01), "Within chance"),
    ],
)
def test_what_chance_explains_is_not_called_optimism(optimism, interval, says):
    figures = summary_box(replace(SCORED, optimism=optimism, optimism_interval=interval)).metrics
    figure = next(one for one in figures if one.name == "Validation minus test")
    assert figure.value == f"{100 * optimism:+.1f} points".replace("-", "−")
    assert figure.says.startswith(says)


def test_all_of_20_against_16_of_20_reads_the_same_everywhere(tmp_path):
    """A run's page, a study's page and `study show` judge validation minus test by one method."""
    scores = dict.fromkeys(("calibration_error", "calibration_error_unscaled", "log_loss", "macro_f1"), 0.5)
    metrics = {
        split: {"n": 20, "accuracy": right / 20, "accuracy_interval": list(wilson_interval(right, 20)), **scores}
        for split, right in (("validation", 20), ("test", 16))
    }
    figure = next(one for one in summary_box(summary_facts(metrics)).metrics if one.name == "Validation minus test")
    assert figure.says.startswith("Within chance")
    run = RunWriter.create(tmp_path / "best", RunConfig())
    run.write_metrics(metrics)
    run.write_history(history := History((EpochRecord(1, "head", 1.0, 1e-3, 0.1, 1.0, 0.1, 1.0),)))
    with run.lock():
        run.update_manifest(status="finished", study={"trial": 0, "refit": "train"})
    record = replace(study(tmp_path, TrialRecord(0, "complete", {}, (1.0,), history)), best_trial=0)
    lines = best_lines(record, record.best)
    (line,) = (line for line in lines if line.startswith("Validation minus test +0.200 ["))
    assert line.endswith("], within chance (validation 1.000, which chose)")


def test_near_copies_are_said_to_be_no_evidence_of_their_own():
    facts = replace(SCORED, n=400, n_effective=372.4, interval=(0.86, 0.93))
    assert "the interval is that of 372 independent images" in summary_box(facts).says
    assert "near copies" not in summary_box(replace(facts, n_effective=400)).says


def test_summary_without_a_test_split_speaks_of_validation_and_without_any_of_nothing():
    scores = dict.fromkeys(("calibration_error", "calibration_error_unscaled", "log_loss", "macro_f1"), 0.5)
    validation = {"n": 4, "accuracy": 0.75, "accuracy_interval": [0.3, 0.95], **scores}
    facts = summary_facts({"test": {"n": 0, "accuracy": None}, "validation": validation})
    assert (facts.split, facts.accuracy, facts.optimism, facts.p_value) == ("validation", 0.75, None, None)
    assert summary_facts({}) == SummaryFacts()


def test_curves():
    history = History(
        (
            EpochRecord(1, "head", 1.0, 1e-3, 0.9, 0.5, 0.8, 0.6),
            EpochRecord(2, "head", 1.0, 1e-3, 0.7, 0.7, 0.7, 0.7),
            EpochRecord(3, "fine-tune", 2.0, 1e-4, 0.6, 0.8, 0.6, 0.75),
            EpochRecord(4, "fine-tune", 2.0, 1e-5, 0.5, 0.9, 0.65, 0.75),
        )
    )
    assert curves_facts(history) == CurvesFacts(
        history, (PhaseSpan("head", 1, 2, 2), PhaseSpan("fine-tune", 3, 4, 3)), kept=3, gap=0.8 - 0.75
    )
    assert curves_facts(history, "val_loss").kept == 3
    assert curves_facts(History()) == CurvesFacts(History())


def test_curves_without_validation_keep_the_last_epoch():
    history = History((EpochRecord(1, "head", 1.0, 1e-3, 0.9, 0.5), EpochRecord(2, "head", 1.0, 1e-3, 0.8, 0.6)))
    assert curves_facts(history) == CurvesFacts(history, (PhaseSpan("head", 1, 2, 2),), kept=2, gap=None)


def test_predictions():
    drawn = (ImagePrediction("b/2", "b", "b", 0.35),)
    surest_mistakes = (ImagePrediction("b/1", "b", "a", 0.75), ImagePrediction("a/2", "a", "b", 0.55))
    others = (ImagePrediction("a/1", "a", "a", 0.95),)
    assert predictions_facts(SAID, ["b/2", "gone"], size=2) == PredictionsFacts(
        split="test", n=4, mistakes=2, drawn=1, images=(*drawn, *surest_mistakes, *others)
    )
    assert predictions_facts(predictions(("a/1", "train", "a", "a", 0.9)), []) == PredictionsFacts()


def test_the_likeliest_classes_of_an_image_come_with_it():
    table = predictions(("x/1", "test", "c", "b", 0.5))
    for name, share in (("a", 0.1), ("b", 0.5), ("c", 0.3), ("d", 0.1)):
        table[f"p_{name}"] = [share]
    assert predictions_facts(table, []).images[0].top == (("b", 0.5), ("c", 0.3), ("a", 0.1))


def test_a_page_lists_a_bounded_number_of_images_and_says_so():
    table = predictions(*((f"a/{k}", "test", "a", "b" if k == 4900 else "a", 0.5) for k in range(5000)))
    facts = predictions_facts(table, ["a/7"])
    assert (facts.n, len(facts.images)) == (5000, 3000)
    assert [one.path for one in facts.images[:3]] == ["a/7", "a/4900", "a/0"]
    (browser,) = predictions_section(facts, {"a/7": b"1", "a/0": b"2"}, ["a", "b"]).elements
    assert browser.note == (
        "3,000 of 5,000 images are listed, all others are in predictions.csv. Of each the most probable class is told, "
        "the others are in predictions.csv. 2,998 of 3,000 have no picture here."
    )


def test_pictures_end_before_the_page_is_too_large(monkeypatch):
    monkeypatch.setattr("reports.predictions.PICTURE_BYTES", 25)
    table = predictions(*((f"a/{k}", "test", "a", "a", 0.5) for k in range(6)))
    (browser,) = predictions_section(
        predictions_facts(table, ["a/0", "a/1"]), {f"a/{k}": b"0123456789" for k in range(6)}, ["a"]
    ).elements
    assert len(browser.images) == 2  # stand in the page themselves
    assert len(browser.data["pictures"]) == 2
    assert [row[5] for row in browser.data["images"]] == [-1, -1, 0, 1, -1, -1]


def test_confusion():
    per_class = {
        "a": {"precision": 0.75, "recall": 0.6, "f1": 2 / 3, "support": 5},
        "b": {"precision": 0.5, "recall": 2 / 3, "f1": 4 / 7, "support": 3},
        "c": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    }
    scores = {"n": 8, "confusion": [[3, 2, 0], [1, 2, 0], [0, 0, 0]], "per_class": per_class}
    assert confusion_facts("test", scores, ["a", "b", "c"]) == ConfusionFacts(
        split="test",
        n=8,
        classes=("a", "b", "c"),
        numbers=(0, 1, 2),
        left_out=0,
        counts=((3, 2, 0), (1, 2, 0), (0, 0, 0)),
        scores=(
            ClassScore("b", 3, 4, 0.5, 2 / 3, 4 / 7),
            ClassScore("a", 5, 4, 0.75, 0.6, 2 / 3),
            ClassScore("c", 0, 0, None, None, None),
        ),
        pairs=(Pair("a", "b", 2, 5), Pair("b", "a", 1, 3)),
    )


def test_a_class_without_images_has_a_dash_and_no_recall():
    per_class = {name: dict.fromkeys(("precision", "recall", "f1"), 0.0) for name in "ab"}
    facts = confusion_facts("test", {"n": 2, "confusion": [[1, 1], [0, 0]], "per_class": per_class}, ["a", "b"])
    table = confusion_section(facts).elements[1]
    assert ("b", "0", "1", "0%", "–", "–") in table.rows


def test_a_large_matrix_shows_the_classes_with_the_most_errors():
    n = 140
    names = [f"class {i}" for i in range(n)]
    matrix = [[5 if i == j else 0 for j in range(n)] for i in range(n)]
    matrix[7][31] = 4
    score = dict.fromkeys(("precision", "recall", "f1"), 1.0) | {"support": 5}
    facts = confusion_facts("test", {"n": 204, "confusion": matrix, "per_class": dict.fromkeys(names, score)}, names)
    assert (len(facts.classes), facts.left_out, len(facts.scores)) == (100, 40, 140)
    assert [names[number] for number in facts.numbers] == list(facts.classes)
    assert {"class 7", "class 31"} <= set(facts.classes)
    assert facts.pairs == (Pair("class 7", "class 31", 4, 9),)


def test_calibration():
    facts = calibration_facts(SAID)
    assert (facts.split, facts.n, len(facts.bins), facts.accuracy) == ("test", 4, 15, 0.5)
    assert facts.mean_confidence == pytest.approx(0.65)
    filled = [one for one in facts.bins if one.n]
    assert [(one.n, one.right, one.accuracy) for one in filled] == [(1, 1, 1.0), (1, 0, 0.0), (1, 0, 0.0), (1, 1, 1.0)]
    assert facts.bins[14] == Bin(14 / 15, 1.0, 1, 1, 0.95, wilson_interval(1, 1))
    assert facts.bins[0] == Bin(0.0, 1 / 15, 0, 0, None, None)
    by_threshold = {one.threshold: one for one in facts.abstention}
    assert by_threshold[0.0] == Abstention(0.0, 1.0, 0.5)
    assert by_threshold[0.6] == Abstention(0.6, 0.5, 0.5)
    assert by_threshold[0.8] == Abstention(0.8, 0.25, 1.0)
    assert by_threshold[0.99] == Abstention(0.99, 0.0, None)


def test_thresholds():
    facts = threshold_facts(SAID[SAID["split"] == "test"], 4)
    assert (facts.n, facts.answered[0], facts.right[0]) == (4, 4, 2)
    assert (facts.answered[55], facts.answered[56]) == (3, 2)  # 0.55 reaches 0.55, as in `predict --threshold`
    assert (facts.answered[80], facts.right[80], facts.answered[-1]) == (1, 1, 0)
    assert facts.thresholds[:97] == (*(step / 100 for step in range(96)), 0.955)
    assert facts.thresholds[-3:] == (0.998, 0.999, 1.0)
    assert facts.intervals[80] == wilson_interval(1, 1)
    assert facts.start == 76  # from there on the one answer is right
    assert [(label, images, answered[60]) for label, images, answered, _ in facts.classes] == [("a", 2, 1), ("b", 2, 1)]
    assert threshold_picker(facts, "my run").command == ("transferkit predict 'my run' path/to/images --threshold 0.76")
    assert threshold_facts(SAID[SAID["split"] == "none"]) is None


def test_the_runs_own_threshold_is_where_one_begins():
    limits = Thresholds(0.58349, 0.41234, 0.99, 0, 0.95, "validation", 4, 4.0, 2, 1, (0.1, 0.9), 1)
    facts = threshold_facts(SAID[SAID["split"] == "test"], 4, limits)
    assert facts.thresholds[facts.own] == 0.5834
    assert (facts.start, facts.answered[facts.own]) == (facts.own, 2)
    picker = threshold_picker(facts, "run")
    assert picker.command.endswith("--threshold 0.5834")
    assert picker.own == picker.data["thresholds"][picker.step] == "0.5834"
    assert "predict is “unsure” below 0.5834, the run's own threshold, and answers “unlike”" in picker.see
    never = threshold_facts(SAID[SAID["split"] == "test"], 4, replace(limits, confidence=None, strangeness=None))
    assert (never.own, threshold_picker(never, "run").own) == (None, "")


def test_near_copies_widen_the_interval_of_the_answers():
    scored = SAID[SAID["split"] == "test"]
    (low, high), (few_low, few_high) = (threshold_facts(scored, n).intervals[0] for n in (4, 2))
    assert few_low < low < high < few_high


def test_dataset():
    used = make_table({"path": ["a/1", "a/2", "b/1"], "label": ["a", "a", "b"], "split": ["train", "test", "train"]})
    sizes = {"width": [100, 200, 400], "height": [100, 100, 100]}
    colours = {"mean_r": [10.0, 20.0, 7.0], "mean_g": [30.0, 30.0, 8.0], "mean_b": [0.0, 1.0, 9.0]}
    images = make_table({"path": ["a/1", "a/2", "b/1"], **sizes, **colours})
    findings = [
        {"kind": "extreme-size", "severity": "note", "paths": ["b/1"], "message": "wide"},
        {"kind": "duplicate", "severity": "warning", "paths": ["a/1", "a/2"], "message": "twice"},
    ]
    facts = dataset_facts(used, 4, images, findings, ["a", "b"], {"a/2": b"", "b/1": b""})
    assert facts == DatasetFacts(
        classes=(ClassCount("a", 1, 0, 1), ClassCount("b", 1, 0, 0)),
        left_out=4,
        imbalance=2.0,
        sizes=facts.sizes,
        findings=(
            FindingGroup("duplicate", "warning", (("twice", ("a/1", "a/2")),)),
            FindingGroup("extreme-size", "note", (("wide", ("b/1",)),)),
        ),
        samples=(("a", ("a/2",)), ("b", ("b/1",))),
    )
    assert facts.sizes == Sizes(
        width=(100, 200.0, 400),
        height=(100, 100.0, 100),
        megapixels=facts.sizes.megapixels,
        aspect=facts.sizes.aspect,
        colours=(("a", (15, 30, 0)), ("b", (7, 8, 9))),
    )
    assert sum(facts.sizes.megapixels[0]) == sum(facts.sizes.aspect[0]) == 3
    table = dataset_sections(facts, {})[0].elements[0].table
    assert table.rows == (
        ("a", "1 (50.0%)", "0", "1 (100.0%)", "2 (66.7%)"),
        ("b", "1 (50.0%)", "0", "0 (0.0%)", "1 (33.3%)"),
    )
    assert table.foot == (("largest to smallest", "1.0 : 1", "–", "–", "2.0 : 1"),)


def test_dataset_of_a_class_without_images():
    nothing = make_table({"path": [], "label": [], "split": []})
    assert dataset_facts(nothing, 0, nothing, [], ["a"], {}) == DatasetFacts(
        (ClassCount("a", 0, 0, 0),), 0, None, None, (), ()
    )


def test_label_issues():
    doubted = {
        "path": ["x"],
        "split": ["train"],
        "label": ["a"],
        "predicted": ["b"],
        "p_label": [0.1],
        "p_predicted": [0.9],
    }
    assert label_issues(make_table(doubted)) == (LabelIssue("x", "train", "a", "b", 0.1, 0.9),)
    assert label_issues(make_table({name: [] for name in doubted})) == ()


def test_the_list_of_doubted_labels_says_its_cap_its_total_and_the_false_alarms_to_expect():
    issues = [LabelIssue(f"{k}.jpg", "train", "a", "b", 0.004, 0.996) for k in range(200)]
    section = label_issues_section(issues, {}, "", {"total": 312, "judged": 15_000})
    assert section.lead == (
        "Of 15,000 labels 312 are doubted, of which the 200 least plausible are listed. Where all labels are right, "
        "about 20 of 1,000 are: expect up to about 300 of these to be right."
    )
    assert section.elements[1].rows[0][-2:] == ("0.4%", "99.6%")
    assert label_issues_section(issues, {}).lead == ""  # a record of 0.1 does not say


def test_learning_curve():
    curve = {"photos": [10, 10, 20], "draw": [0, 1, 0], "accuracy": [0.4, 0.6, 0.8]}
    assert learning_curve_facts(make_table(curve), 16) == LearningCurveFacts(
        points=(CurvePoint(10, 0.5, 0.4, 0.6), CurvePoint(20, 0.8, 0.8, 0.8)),
        gain=0.8 - 0.5,
        error=pytest.approx((0.8 * (1 - 0.8) / 16 + 1 / (4 * 16**2)) ** 0.5 / (1 + 1 / 16), rel=1e-3),
    )
    assert learning_curve_facts(make_table({"photos": [], "accuracy": []}), 0) == LearningCurveFacts()


def test_provenance():
    manifest = {
        "created": "2026-01-02",
        "data": {"name": "flowers", "fingerprint": "ff"},
        "seeds": {"run": 3},
        "environment": {"backend": "jax", "device_name": ""},
        "stages": {"audit": {"seconds": 1.5, "peak_memory_bytes": None}, "saving": {"seconds": 0.5, "programs": 3}},
        "network": {"backbone": "tiny", "kernels": "own"},
    }
    assert provenance_facts(manifest, "my run") == ProvenanceFacts(
        environment=(("backend", "jax"),),
        origin=(
            ("started", "2026-01-02"),
            ("backbone", "tiny"),
            ("data", "flowers"),
            ("data fingerprint", "ff"),
            ("seed of the run", "3"),
            ("kernels", "own"),
        ),
        stages=(("audit", 1.5, None, None), ("saving", 0.5, None, 3)),
        command="transferkit train --config 'my run/config.toml' --out again",
    )


def test_network():
    network = {
        "parameters": 200,
        "backbone": "tiny",
        "blocks": ["stem", "block1"],
        "phases": [{"name": "head", "unfreeze_depth": 0, "cut": "pooled", "trained_parameters": 50}],
    }
    assert network_facts(network) == NetworkFacts(
        parameters=200,
        multiply_adds=None,
        backbone="tiny",
        blocks=("stem", "block1"),
        phases=(PhaseFacts("head", 0, "pooled", 50, 0.25),),
    )
    assert network_facts({}).parameters is None


def test_the_blocks_that_a_phase_trained_are_marked():
    phases = [{"name": "tail", "unfreeze_depth": 2, "cut": "b", "trained_parameters": 50}]
    blocks = ["stem", "a", "b", "c"]
    facts = network_facts({"parameters": 100, "blocks": blocks, "phases": phases})
    (chart, _) = network_section(facts).elements
    assert chart.parts == (*blocks, "head")
    assert [marked for _, marked, _ in chart.phases] == [(False, False, True, True, True)]


def test_any_backbone_is_drawn_by_its_own_blocks():
    phases = [
        {"name": "top", "unfreeze_depth": 1, "cut": "stage4", "trained_parameters": 60},
        {"name": "whole", "unfreeze_depth": -1, "cut": "all", "trained_parameters": 100},
    ]
    network = {"backbone": "resnet50", "blocks": ["stem", "stage3", "stage4"], "parameters": 100, "phases": phases}
    facts = network_facts({**network, "multiply_adds": 3_860_000_000})
    assert (facts.backbone, facts.blocks) == ("resnet50", ("stem", "stage3", "stage4"))
    bars = network_section(facts).elements[0]
    assert bars.parts == ("stem", "stage3", "stage4", "head")
    assert [trained for _, trained, _ in bars.phases] == [(False, False, True, True), (True, True, True, True)]
    assert "100 parameters, resnet50 and a head" in bars.see
    assert "3,860 million multiply-adds an image" in bars.see


# === Comparison ===


def compared(name, backend, said, settings):
    return RunFacts(name, backend, "same photos", settings, SummaryFacts(), History(), {}, said)


def test_comparison():
    first = compared("one", "jax", {"p": ("a", "a"), "q": ("b", "a"), "r": ("a", "a")}, {"backend": "jax", "seed": "0"})
    said = {"p": ("a", "b"), "q": ("b", "a"), "r": ("a", "a")}
    second = compared("two", "tensorflow", said, {"backend": "tensorflow", "seed": "0"})
    facts = comparison_facts([first, second])
    assert facts.differing == (("backend", ("jax", "tensorflow")),)
    interval = paired_interval(mcnemar(np.array([True, False, True]), np.array([False, False, True])))
    pair = PairFacts("one", "two", 3, 2, 1, 0, True, 1.0, 1.0, difference=1 / 3, interval=interval)
    assert facts.pairs == (pair,)
    assert facts.disagreements == (Disagreement("p", "a", ("a", "b")),)
    assert (facts.disagreed, facts.same_images, facts.pairs[0].clear) == (1, True, False)


def beaten(only_first, only_second, copies=1, runs=2):
    """Runs of which the first alone is right on some images, the others on some more; each image `copies` times."""
    paths = [f"{k}-{copy}" for k in range(only_first + only_second) for copy in range(copies)]
    first = [int(path.partition("-")[0]) < only_first for path in paths]
    groups = {path: path.partition("-")[0] for path in paths}
    said = [{path: ("a", "a" if one else "b") for path, one in zip(paths, first, strict=True)}]
    said += [{path: ("a", "b" if one else "a") for path, one in zip(paths, first, strict=True)}] * (runs - 1)
    return comparison_facts(
        [replace(compared(f"run {k}", "jax", one, {}), groups=groups) for k, one in enumerate(said)]
    )


@pytest.mark.parametrize(
    ("only_first", "only_second", "clear"),
    [(0, 1, False), (10, 2, True), (10, 5, False), (100, 70, True)],
)
def test_a_difference_is_clear_or_may_be_chance(only_first, only_second, clear):
    assert beaten(only_first, only_second).pairs[0].clear is clear


def test_copies_make_no_difference_clear():
    assert not beaten(5, 1, copies=3).pairs[0].clear
    assert beaten(15, 3).pairs[0].clear


def test_many_pairs_are_not_all_tested_at_5_percent():
    facts = beaten(10, 2, runs=20)
    assert len(facts.pairs) == 190
    assert facts.pairs[0].p_value < 0.05
    assert not any(pair.clear for pair in facts.pairs)
    assert "adjusted for the 190 pairs" in differences_section(facts, {}).elements[0].table.note
    assert "adjusted" not in differences_section(beaten(10, 2), {}).elements[0].note


def test_the_matrix_of_differences_is_that_of_the_pairs():
    """Twice each pair, with opposite signs, and a star where Holm's p is below 0.05."""
    facts = beaten(12, 2, runs=3)
    matrix = differences_figure(facts).data[0]
    assert [pair.clear for pair in facts.pairs] == [True, True, False]
    assert matrix.z[0][1] == pytest.approx(100 * 10 / 14) == -matrix.z[1][0]
    assert matrix.z[0][0] is None
    low, high = facts.pairs[0].interval
    assert 0 < low < 10 / 14 < high
    assert matrix.text[0][1] == f"+71.4 ★<br>+{100 * low:.1f} to +{100 * high:.1f}"
    assert matrix.text[1][2] == matrix.text[2][1] == "0.0<br>" + matrix.text[1][2].partition("<br>")[2]


def test_copies_widen_the_interval_of_a_difference():
    alone, copied = (beaten(15, 3, copies=copies).pairs[0] for copies in (1, 3))
    assert copied.difference == alone.difference
    assert copied.interval == pytest.approx(alone.interval)


def test_runs_on_other_images_are_told():
    first, second = compared("a", "jax", {"p": ("a", "a")}, {}), compared("b", "jax", {"q": ("a", "a")}, {})
    facts = comparison_facts([first, second])
    assert (facts.pairs, facts.same_images, facts.disagreements) == ((), False, ())


def test_settings_are_flattened():
    nested = {"seed": 0, "phases": ({"epochs": 1}, {"epochs": 2}), "data": {"background": (255, 255, 255)}}
    assert flatten(nested) == {
        "seed": "0",
        "phases.0.epochs": "1",
        "phases.1.epochs": "2",
        "data.background": "(255, 255, 255)",
    }


# === Study ===


def study(tmp_path, *trials, objectives=("accuracy",)):
    return StudyRecord(
        tmp_path,
        "s",
        "2026",
        objectives,
        "tpe",
        "none",
        0,
        "",
        {},
        SPACE,
        {"training": {"monitor": "val_accuracy"}},
        trials,
    )


def test_trials(tmp_path):
    half = History((EpochRecord(1, "head", 1.0, 1e-3, 0.9, 0.5, 0.8, 0.55),))
    facts = trials_facts(
        study(
            tmp_path,
            TrialRecord(0, "complete", {}, (0.8,), own=True, worker="w1"),
            TrialRecord(1, "pruned", {}, history=half, worker="w2"),
            TrialRecord(2, "complete", {}, (0.9,), worker="w1"),
            TrialRecord(3, "failed", {}, error="no"),
        )
    )
    assert facts.values == {0: 0.8, 1: 0.55, 2: 0.9}
    assert facts.best_so_far == {0: 0.8, 1: 0.8, 2: 0.9, 3: 0.9}
    assert (facts.best, facts.workers, facts.importance) == (2, ("w1", "w2"), ())
    assert facts.gain == pytest.approx(0.1)


def test_the_setting_that_decides_is_the_most_important(tmp_path):
    trials = [
        TrialRecord(
            k,
            "complete",
            {"model.head_units": 32 * (1 + k * 7 % 5), "phases.1.unfreeze_depth": 9 * k // 15},
            (0.05 * k,),
        )
        for k in range(15)
    ]
    assert trials_facts(study(tmp_path, *trials[:14])).importance == ()
    importance = trials_facts(study(tmp_path, *trials)).importance
    assert importance[0][0] == "phases.1.unfreeze_depth"
    assert sum(share for _, share in importance) == pytest.approx(1)


def test_a_loss_is_better_when_lower_and_the_front_is_known(tmp_path):
    values = [(0.5, 100.0), (0.4, 200.0), (0.6, 150.0)]
    trials = [TrialRecord(k, "complete", {}, pair) for k, pair in enumerate(values)]
    facts = trials_facts(study(tmp_path, *trials, objectives=("log_loss", "parameters")))
    assert (facts.best_so_far, facts.best) == ({0: 0.5, 1: 0.4, 2: 0.4}, 1)
    assert {trial.number for trial in facts.study.front()} == {0, 1}


def test_places_on_a_settings_axis(tmp_path):
    trials = [
        TrialRecord(0, "complete", {"phases.1.learning_rate": 1e-6, "training.optimizer": "sgd"}, (0.5,)),
        TrialRecord(1, "complete", {"phases.1.learning_rate": 1e-3, "training.optimizer": "adam"}, (0.5,)),
        TrialRecord(2, "complete", {}, (0.5,)),
    ]
    one = study(tmp_path, *trials)
    assert coordinates(one, "phases.1.learning_rate", trials)[:2].tolist() == pytest.approx([0, 1])
    assert coordinates(one, "training.optimizer", trials)[:2].tolist() == [1, 0]
    assert coordinates(one, "training.optimizer", trials)[2] != coordinates(one, "training.optimizer", trials)[2]


# === One format a column ===


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([0.2, 0.35, None], ["0.20", "0.35", "–"]),
        ([1e-3, 5e-5], ["1.00e-03", "5.00e-05"]),
        ([1e-3, 2.5e-4, 0.0], ["0.00100", "0.00025", "0.00000"]),
        ([2, 1200.0], ["2", "1,200"]),
        ([], []),
    ],
)
def test_numbers_of_a_column_have_one_format(given, shown):
    assert text.numbers(given) == shown


def test_times_of_a_column_have_one_unit():
    assert text.durations([0.25, 12.0, None]) == ["0.2 s", "12.0 s", "–"]
    assert text.durations([0.25, 90.0, 119.0]) == ["0.2 s", "90.0 s", "119.0 s"]
    assert text.durations([30.0, 240.0]) == ["0.5 min", "4.0 min"]
    assert text.durations([60.0, 9000.0]) == ["0.0 h", "2.5 h"]


def test_shares_of_a_column_have_the_digits_of_the_smallest_class():
    assert text.shares([0.923, 0.5, None], [1000, 20, 0]) == ["92%", "50%", "–"]
    assert text.shares([0.923, 0.5], [1000, 200]) == ["92.3%", "50.0%"]


def test_bins_have_wilsons_interval_of_independent_images():
    said = predictions(*((f"{k}.jpg", "test", "a", "a" if k < 30 else "b", 0.9) for k in range(40)))
    filled = [one for one in calibration_facts(said).bins if one.n]
    assert [(one.n, one.interval) for one in filled] == [(40, wilson_interval(30, 40))]
    copies = [one.interval for one in calibration_facts(said, 20.0).bins if one.n]
    assert copies == [wilson_interval(15, 20)]
