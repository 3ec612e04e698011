import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference

from kit.evaluation import (
    FEWEST_ERRORS,
    PRIOR_SPREAD,
    SMALLEST_PROBABILITY,
    TEMPERATURES,
    apply_temperature,
    calibration_error,
    explain_temperature,
    fit_temperature,
    log_loss,
    score,
    top_k_accuracy,
    wrong,
)


@st.composite
def scored(draw, most_images=40, most_classes=13):
    """Probabilities (n, c) and labels (n,), n from 1, c from 2."""
    n, c = draw(st.integers(1, most_images)), draw(st.integers(2, most_classes))
    weights = draw(arrays(np.float64, (n, c), elements=st.floats(0.001, 1)))
    labels = draw(arrays(np.int64, (n,), elements=st.integers(0, c - 1)))
    return weights / weights.sum(axis=1, keepdims=True), labels


def some(n, c, seed=0, sharpness=1.0):
    """Probabilities and labels drawn from them: a calibrated model, made over- or underconfident by `sharpness`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, c)) * 2
    fair = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (generator.random((n, 1)) > fair.cumsum(axis=1)).sum(axis=1).clip(0, c - 1)
    sharp = np.exp(logits * sharpness)
    return sharp / sharp.sum(axis=1, keepdims=True), labels


# === Scores ===


@given(scored())
def test_scores_agree_with_scikit_learn(example):
    probabilities, labels = example
    names = [f"class {i}" for i in range(probabilities.shape[1])]
    codes = list(range(len(names)))
    predicted = probabilities.argmax(axis=1)
    scores = score(probabilities, labels, names)
    assert scores.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert scores.macro_f1 == pytest.approx(reference.f1_score(labels, predicted, average="macro", zero_division=0))
    assert scores.log_loss == pytest.approx(reference.log_loss(labels, probabilities, labels=codes))
    assert np.array_equal(scores.confusion, reference.confusion_matrix(labels, predicted, labels=codes))
    expected = reference.precision_recall_fscore_support(labels, predicted, labels=codes, zero_division=np.nan)
    for i, name in enumerate(names):
        values = [scores.per_class[name][key] for key in ("precision", "recall", "f1", "support")]
        known = [math.nan if value is None else value for value in values]
        assert known == pytest.approx([column[i] for column in expected], nan_ok=True)


@given(scored())
def test_scores_are_what_their_formulas_say(example):
    """Worked out from counts, without scikit-learn: the formulas of metrics.json since version 0.1."""
    probabilities, labels = example
    classes, predicted = probabilities.shape[1], probabilities.argmax(axis=1)
    matrix = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    hits, said, support = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
    f1 = 2 * hits / np.maximum(said + support, 1)
    scores = score(probabilities, labels, [str(i) for i in range(classes)])
    assert scores.confusion == tuple(map(tuple, matrix.tolist()))
    assert scores.macro_f1 == pytest.approx(f1[said + support > 0].mean(), abs=1e-12)
    assert scores.log_loss == pytest.approx(-np.log(probabilities[np.arange(len(labels)), labels]).mean(), abs=1e-12)
    columns = {"precision": (hits, said), "recall": (hits, support), "f1": (2 * hits, said + support)}
    for name, (part, whole) in columns.items():
        expected = [None if not n else pytest.approx(k / n, abs=1e-12) for k, n in zip(part, whole, strict=True)]
        assert [one[name] for one in scores.per_class.values()] == expected
    assert [one["support"] for one in scores.per_class.values()] == support.tolist()


@given(scored())
def test_calibration_error_is_the_sum_over_the_bins(example):
    probabilities, labels = example
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for low, high in zip(np.linspace(0, 1, 16)[:-1], np.linspace(0, 1, 16)[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("probabilities", "labels", "error"),
    [
        ([[1.0, 0.0]], [0], 0.0),  # certain and right
        ([[1.0, 0.0]], [1], 1.0),  # certain and wrong
        ([[0.5, 0.5], [0.5, 0.5]], [0, 1], 0.0),  # half right at confidence one half (ties go to the first class)
        ([[0.6, 0.4], [0.6, 0.4]], [0, 0], 0.4),  # always right at confidence 0.6
        # 0.6 = 9/15 is the upper edge of its bin: apart from 0.61, the two errors do not cancel
        ([[0.6, 0.4], [0.61, 0.39]], [0, 1], (0.4 + 0.61) / 2),
    ],
)
def test_calibration_error_of_known_cases(probabilities, labels, error):
    assert calibration_error(np.array(probabilities), np.array(labels)) == pytest.approx(error)


def test_log_loss_of_an_impossible_label_is_finite_and_stated():
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-math.log(SMALLEST_PROBABILITY))
    assert log_loss(np.array([[1.0, 0.0]]), np.array([0])) == 0


@given(scored(most_classes=15), st.integers(1, 15))
def test_top_k_counts_labels_among_the_k_most_probable(example, k):
    probabilities, labels = example
    better = (probabilities > probabilities[np.arange(len(labels)), labels][:, None]).sum(axis=1)
    earlier = [(row[:label] == row[label]).sum() for row, label in zip(probabilities, labels, strict=True)]
    assert top_k_accuracy(probabilities, labels, k) == pytest.approx(np.mean(better + earlier < k))


def test_top_5_is_scored_over_ten_classes_only():
    ten, eleven = some(50, 10), some(50, 11)
    assert score(*ten, [str(i) for i in range(10)]).top_5_accuracy is None
    expected = reference.top_k_accuracy_score(eleven[1], eleven[0], k=5, labels=range(11))
    assert score(*eleven, [str(i) for i in range(11)]).top_5_accuracy == pytest.approx(expected)


def test_a_class_nobody_has_or_predicts_does_not_weigh_on_macro_f1():
    labels = np.array([0, 0, 1])
    scores = score(np.eye(3)[labels], labels, ["a", "b", "c"])
    assert scores.macro_f1 == 1
    assert scores.per_class["c"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_a_class_without_images_has_no_recall_and_one_never_predicted_no_precision():
    scores = score(np.eye(3)[[0, 2, 0]], np.array([0, 0, 1]), ["a", "b", "c"])
    assert scores.per_class["c"] == {"precision": 0, "recall": None, "f1": 0, "support": 0}
    assert scores.per_class["b"] == {"precision": None, "recall": 0, "f1": 0, "support": 1}


def test_copies_leave_the_interval_as_wide_as_without_them():
    probabilities, labels = some(60, 3)
    once = score(probabilities, labels, "abc")
    twice = score(
        np.repeat(probabilities, 2, axis=0), np.repeat(labels, 2), "abc", groups=[str(k // 2) for k in range(120)]
    )
    assert (twice.n, twice.n_effective, twice.accuracy) == (120, 60, once.accuracy)
    assert twice.accuracy_interval == pytest.approx(once.accuracy_interval)
    assert once.n_effective == once.n == 60


def test_an_empty_split_scores_none_and_is_json():
    scores = score(np.zeros((0, 12)), np.zeros(0), [str(i) for i in range(12)], temperature=2.0)
    entry = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert entry["n"] == 0
    assert {key for key, value in entry.items() if value is None} == set(entry) - {
        "n",
        "n_effective",
        "confusion",
        "per_class",
    }


def test_an_entry_of_metrics_has_the_recorded_keys():
    entry = score(*some(60, 3), ["a", "b", "c"], temperature=1.5).to_dict()
    assert set(entry) == {
        "n", "n_effective", "accuracy", "accuracy_interval", "macro_f1", "log_loss", "log_loss_unscaled",
        "calibration_error", "calibration_error_unscaled", "top_5_accuracy", "confusion", "per_class",
    }  # fmt: skip
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    low, high = entry["accuracy_interval"]
    assert low < entry["accuracy"] < high
    assert np.sum(entry["confusion"]) == entry["n"] == 60


def test_float32_probabilities_give_the_figures_of_their_float64_copy():
    probabilities, labels = some(200, 5)
    narrow = probabilities.astype(np.float32)
    assert score(narrow, labels, "abcde", 1.3) == score(narrow.astype(np.float64), labels, "abcde", 1.3)


@pytest.mark.parametrize(
    ("probabilities", "labels", "names", "complaint"),
    [
        ([[0.5, 0.5]], [0, 1], "ab", "labels"),  # two labels, one image
        ([0.5, 0.5], [0, 1], "ab", "probabilities must be"),  # not a table
        ([[0.5, 0.5]], [2], "ab", "from 0 to 1"),  # no such class
        ([[0.5, 0.5]], [-1], "ab", "from 0 to 1"),  # would index from the end
        ([[0.5, 0.5]], [0.0], "ab", "whole numbers"),  # labels as floats
        ([[0.5, 0.4]], [0], "ab", "add up to 1"),  # not a distribution
        ([[1.5, -0.5]], [0], "ab", "add up to 1"),  # adds up, but is none
        ([[float("nan"), 1.0]], [0], "ab", "add up to 1"),  # a broken model
        ([[0.5, 0.5]], [0], "abc", "names"),  # three names, two classes
        ([[0.5, 0.5]], [0], "aa", "different names"),  # one name twice
    ],
)
def test_score_refuses_what_it_cannot_mean(probabilities, labels, names, complaint):
    with pytest.raises(ValueError, match=complaint):
        score(np.array(probabilities), np.array(labels), list(names))


# === Temperature ===


def loss_at(probabilities, labels, temperature) -> float:
    """Mean log loss after scaling."""
    return float(-np.log(apply_temperature(probabilities, temperature)[np.arange(len(labels)), labels]).mean())


@given(scored(most_images=60))
def test_a_fitted_temperature_never_raises_the_loss_it_was_fitted_on(example):
    temperature = fit_temperature(*example)
    assert TEMPERATURES[0] <= temperature <= TEMPERATURES[1]
    assert loss_at(*example, temperature) <= loss_at(*example, 1.0) + 1e-9


@given(scored(most_images=60), st.floats(*TEMPERATURES))
def test_no_other_temperature_is_more_probable(example, other):
    """Among those allowed: log loss and prior together."""
    probabilities, labels = example
    best = fit_temperature(probabilities, labels)

    def cost(temperature):
        prior = (math.log(temperature) / PRIOR_SPREAD) ** 2 / 2
        return len(labels) * loss_at(probabilities, labels, temperature) + prior

    if wrong(probabilities, labels) < FEWEST_ERRORS:
        assert best >= 1
        other = max(other, 1.0)
    assert cost(best) <= cost(other) + 1e-9


@given(scored(most_images=60))
def test_scaling_by_the_fitted_temperature_flips_no_prediction(example):
    probabilities = example[0].astype(np.float32)
    scaled = apply_temperature(probabilities, fit_temperature(probabilities, example[1]))
    assert (scaled.argmax(axis=1) == probabilities.argmax(axis=1)).all()


@given(scored(most_images=200))
def test_images_that_are_all_right_raise_no_confidence(example):
    """Never more than 0 above the network's own: perfect images do not tell how much surer it may be."""
    probabilities = example[0]
    labels = probabilities.argmax(axis=1)
    temperature = fit_temperature(probabilities, labels)
    assert temperature == 1
    assert apply_temperature(probabilities, temperature).max() <= probabilities.max() + 1e-12
    assert explain_temperature(temperature, probabilities, labels).startswith("Confidence stays as the network gives")


def test_thirty_right_at_six_tenths_do_not_make_forty_hundredths_certain():
    thirty = np.tile([0.6, 0.4], (30, 1)), np.zeros(30, int)
    other = np.array([[0.4, 0.35, 0.25]])
    assert apply_temperature(other, fit_temperature(*thirty)).max() == pytest.approx(0.4)


@given(st.floats(0.34, 0.99), st.integers(FEWEST_ERRORS, 20), st.integers(20, 400))
def test_equal_confidences_are_raised_at_most_to_the_accuracy(confidence, errors, right):
    probabilities = np.tile([confidence, *([(1 - confidence) / 2] * 2)], (errors + right, 1))
    labels = np.repeat([1, 0], [errors, right])
    scaled = apply_temperature(probabilities, fit_temperature(probabilities, labels)).max()
    assert scaled <= max(confidence, right / (errors + right)) + 1e-9


def test_few_images_move_the_temperature_little_and_many_all_the_way():
    """One image in five is wrong at a confidence of 0.99: T = 3.3 would make it 0.8."""
    few, many = (fit_temperature(np.tile([0.99, 0.01], (5 * n, 1)), np.tile([0, 0, 0, 0, 1], n)) for n in (1, 1000))
    assert 1.3 < few < 2.6
    assert many == pytest.approx(math.log(99) / math.log(4), rel=0.01)


@pytest.mark.parametrize("sharpness", [0.6, 1.0, 3.0])
def test_the_fitted_temperature_undoes_over_and_underconfidence(sharpness):
    probabilities, labels = some(20_000, 4, sharpness=sharpness)
    temperature = fit_temperature(probabilities, labels)
    assert temperature == pytest.approx(sharpness, rel=0.05)
    assert explain_temperature(temperature, probabilities, labels) == ""
    scores = score(apply_temperature(probabilities, temperature), labels, "abcd", temperature)
    assert scores.log_loss <= scores.log_loss_unscaled
    assert scores.calibration_error < 0.015
    before = score(probabilities, labels, "abcd")
    assert scores.log_loss_unscaled == pytest.approx(before.log_loss)
    assert scores.calibration_error_unscaled == pytest.approx(before.calibration_error)


@pytest.mark.parametrize(
    ("probabilities", "labels", "temperature"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), 1.0),  # no validation split
        (np.full((4, 2), 0.5), np.array([0, 1, 0, 0]), 1.0),  # a constant model: nothing to scale
        (np.ones((4, 1)), np.zeros(4, int), 1.0),  # one class
        (np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]), 1.0),  # all right: sharper is better, by how much?
        (np.array([[0.9, 0.1]] * 40), np.ones(40, int), TEMPERATURES[1]),  # all wrong: flatter is better
        (np.array([[0.6, 0.4]] * 995 + [[0.4, 0.6]] * 5), np.zeros(1000, int), TEMPERATURES[0]),  # almost all right
        (np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1, 0]), TEMPERATURES[1]),  # certain and wrong: no infinity
    ],
)
def test_fit_temperature_at_the_edges(probabilities, labels, temperature):
    assert fit_temperature(probabilities, labels) == temperature


@given(scored(), st.floats(0.05, 20))
def test_scaling_keeps_rows_whole_and_classes_in_order(example, temperature):
    probabilities, _ = example
    scaled = apply_temperature(probabilities, temperature)
    assert np.allclose(scaled.sum(axis=1), 1)
    order = np.argsort(probabilities, axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(scaled, order, axis=1), axis=1) >= 0).all()
    assert np.allclose(apply_temperature(probabilities, 1.0), probabilities)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_apply_temperature_refuses_what_is_none(temperature):
    with pytest.raises(ValueError, match="temperature"):
        apply_temperature(np.array([[0.5, 0.5]]), temperature)
