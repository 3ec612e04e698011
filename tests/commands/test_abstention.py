"""When a model gives no answer: `train` and `threshold` set it, `predict` says it, in every form."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics.pairwise import cosine_distances

import kit
from judged import CLASSES, make_unsure_images, train_judged
from kit.config import AbstentionConfig
from kit.data.images import decode
from kit.model.strangeness import Strangeness, choose_kept, distances
from kit.run import Run
from kit.run_writer import RunWriter
from kit.thresholds import choose_thresholds


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Path:
    return make_unsure_images(tmp_path_factory.mktemp("mine"))


@pytest.fixture(scope="module")
def judged(mine, toy_weights, tmp_path_factory) -> Run:
    """A run with both thresholds; never write into it."""
    return train_judged(mine, toy_weights, tmp_path_factory.mktemp("judged") / "run")


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("noise") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(file)
    return file


@pytest.fixture
def own(judged, tmp_path) -> RunWriter:
    """A copy that a test may write into."""
    return RunWriter.open(Path(shutil.copytree(judged.path, tmp_path / "own")))


# === Thresholds ===


def chosen(right: str, strangeness: list[float] | None = None, groups: list[str] | None = None, **wanted):
    """Of images in order of falling confidence, whether each is right: `"rrrwr"`."""
    n = len(right)
    confidence = np.linspace(0.99, 0.6, n)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = np.array([0 if one == "r" else 1 for one in right])
    settings = AbstentionConfig(**{"known": 0.0, **wanted})
    strange = None if strangeness is None else np.array(strangeness)
    return choose_thresholds(probabilities, labels, groups or list(map(str, range(n))), strange, settings), confidence


def test_the_lowest_confidence_that_promises_the_accuracy():
    found, confidence = chosen("r" * 9 + "w" + "r" * 15 + "w" * 5, accuracy=0.9)
    # of 25 answers one is wrong: 1 - 2 / 26 = 0.92; with the next wrong ones 1 - 3 / 27 = 0.89
    assert (found.answered, found.right) == (25, 24)
    assert confidence[25] < found.confidence < confidence[24]
    low, high = found.accuracy_interval
    assert low < 24 / 25 < high
    assert (found.coverage, found.accuracy, found.notes) == (0.0, 0.9, ())
    assert chosen("r" * 20, accuracy=0.9)[0].confidence == 0.0, "all can be answered"


def test_too_few_images_promise_nothing():
    found, _ = chosen("r" * 50, accuracy=0.99)
    assert (found.confidence, found.answered) == (None, 50)
    assert "takes 99 validation images, and there are 50: at most 0.980, where 50 of 50 are answered" in found.notes[0]
    wrong, _ = chosen("w" + "r" * 150, accuracy=0.99)
    assert "No confidence promises an accuracy of 0.99" in wrong.notes[0]
    copies, _ = chosen("r" * 120, groups=[str(i // 2) for i in range(120)], accuracy=0.99)
    assert "there are 60" in copies.notes[0], "copies count once"
    assert "No number of images" in chosen("r" * 30, accuracy=1.0)[0].notes[0]
    assert "there are no validation images" in chosen("", accuracy=0.9)[0].notes[0]


def test_coverage_is_of_all_images_those_that_are_unlike_among_them():
    found, confidence = chosen("r" * 40, coverage=0.9)
    assert (found.answered, found.n) == (36, 40)
    assert confidence[36] < found.confidence < confidence[35]
    strange = [5.0] + [1.0] * 39
    within, _ = chosen("r" * 40, strange, coverage=0.9, known=0.95)
    assert (within.unlike, within.answered) == (1, 36)
    assert 1.0 <= within.strangeness < 5.0
    most, _ = chosen("r" * 40, strange, coverage=1.0, known=0.95)
    assert (most.answered, most.confidence) == (39, 0.0)


def test_the_next_image_passes_as_often_as_asked():
    """Split conformal: of 19 images the largest, of 39 the second largest but one."""
    assert chosen("r" * 19, list(range(19)), accuracy=0, known=0.95)[0].strangeness == 18
    assert chosen("r" * 39, list(range(39)), accuracy=0, known=0.95)[0].strangeness == 37
    few, _ = chosen("r" * 18, list(range(18)), accuracy=0, known=0.95)
    assert few.strangeness is None
    assert "takes 19 validation images, and there are 18" in few.notes[0]
    draws = np.random.default_rng(0).exponential(size=(1000, 40))
    passed = [one[39] <= chosen("r" * 39, one[:39].tolist(), accuracy=0, known=0.9)[0].strangeness for one in draws]
    assert np.mean(passed) == pytest.approx(0.9, abs=0.03)


def test_strangeness_is_the_cosine_distance_to_the_nearest_kept_image():
    """Beside scikit-learn's; of length 0 nothing is near."""
    random = np.random.default_rng(0)
    pooled = random.random((3, 20))[random.integers(0, 3, 400)] * 3 + random.random((400, 20))
    found = Strangeness.fit(pooled[:300], distances(pooled[:300], pooled[300:]))
    assert found.held_out.tolist() == found.of(pooled[300:]).tolist()
    other = random.random((100, 20)) * np.linspace(0, 3, 20)
    nearest = cosine_distances(other, pooled[:300]).min(axis=1)
    np.testing.assert_allclose(found.of(other), nearest / found.scale, rtol=1e-2)
    np.testing.assert_allclose(found.of(5 * other), found.of(other), rtol=1e-3)
    assert np.median(found.of(pooled[300:])) == pytest.approx(1)
    assert found.of(np.zeros((1, 20))) == pytest.approx(1 / found.scale)
    assert np.mean(found.of(other) > np.quantile(found.held_out, 0.95)) > 0.9


@pytest.mark.parametrize(
    ("counts", "kept"), [((3, 5000, 600), (3, 499, 498)), ((2, 4), (2, 4)), ((1,) * 1200, (1,) * 1200)]
)
def test_a_bounded_number_of_training_images_is_kept_of_each_class_in_turn(counts, kept):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    chosen = choose_kept(labels, seed=0)
    found = tuple(np.bincount(labels[chosen], minlength=len(counts)).tolist())
    assert all(abs(one - wanted) <= 1 for one, wanted in zip(found, kept, strict=True))
    assert len(chosen) == min(len(labels), max(1000, len(counts)))
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, choose_kept(labels, seed=0))


# === What a run records ===


@pytest.mark.backend
def test_train_sets_both_thresholds_and_says_so(judged, capsys):
    limits = judged.abstention
    validation = judged.predictions[judged.predictions["split"] == "validation"]
    assert (limits.n, limits.split, limits.accuracy, limits.known) == (len(validation), "validation", 0.0, 0.95)
    assert 0 < limits.confidence < 1
    strange = judged.strangeness.held_out
    assert 1 <= limits.unlike == (strange > limits.strangeness).sum() <= 0.05 * len(strange)
    answered = (strange <= limits.strangeness) & (validation["confidence"].to_numpy() >= limits.confidence)
    right = answered & (validation["label"] == validation["predicted"]).to_numpy()
    assert (limits.answered, limits.right) == (answered.sum(), right.sum())
    assert limits.answered == np.ceil(0.8 * limits.n)
    assert kit.load_run(judged.path).abstention == limits


@pytest.mark.backend
def test_the_strangeness_of_validation_images_is_that_of_predict(judged, mine):
    validation = judged.predictions[judged.predictions["split"] == "validation"]
    said = judged.predict([mine / path for path in validation["path"]])
    np.testing.assert_allclose([one.strangeness for one in said], judged.strangeness.held_out, rtol=1e-3)
    expected = [
        "unlike" if one.strangeness > judged.abstention.strangeness
        else "unsure" if one.confidence < judged.abstention.confidence
        else one.label
        for one in said
    ]  # fmt: skip
    assert [one.answer() for one in said] == expected
    assert {"unlike", "unsure"} < set(expected)
    for one in said:
        assert len(one.between) >= 2
        assert one.between[0] == one.label
    assert [one.answer(1.0) for one in said].count("unlike") == expected.count("unlike")


@pytest.mark.backend
def test_tta_is_strange_as_image_and_mirror_image_are(judged, mine, noise):
    file = min(mine.rglob("*.jpg"))
    pixels = decode(file, judged.config.data)
    both = [judged.predict(one).strangeness for one in (pixels, np.ascontiguousarray(pixels[:, ::-1]))]
    assert judged.predict(pixels, tta=True).strangeness == pytest.approx(np.mean(both), rel=1e-4)
    assert judged.explain(noise).prediction.answer() == "unlike"


# === What predict says ===


@pytest.mark.backend
def test_predict_answers_unsure_or_unlike_with_both_numbers(judged, mine, noise, command):
    limits = judged.abstention
    asked = ("predict", judged.path, mine, noise)
    said = json.loads(command(*asked, "--json").out)
    assert (said["threshold"], said["strangeness_threshold"]) == (limits.confidence, limits.strangeness)
    told = said["predictions"]
    assert told[-1]["answer"] == "unlike"
    assert told[-1]["strangeness"] > limits.strangeness
    answers = [one["answer"] for one in told]
    assert {"unsure", "unlike", *CLASSES} == set(answers)
    assert all(("between" in one) == (one["answer"] == "unsure") for one in told)
    rows = list(csv.DictReader(io.StringIO(command(*asked, "--csv").out)))
    assert [row["answer"] for row in rows] == answers
    np.testing.assert_allclose([float(row["strangeness"]) for row in rows], [one["strangeness"] for one in told])
    done = command(*asked)
    lines = done.out.splitlines()
    assert [re.split(" {2,}", line)[1].split(" ")[0] for line in lines] == answers
    unsure = answers.index("unsure")
    assert (
        f"between {' or '.join(told[unsure]['between'])}  strangeness {told[unsure]['strangeness']:.2f}"
        in lines[unsure]
    )
    assert f"unlike anything it was trained on  strangeness {told[-1]['strangeness']:.2f}" in lines[-1]
    assert f"beyond a strangeness of {limits.strangeness:.3g}; --always-answer switches that off." in done.err


@pytest.mark.backend
def test_always_answer_gives_a_class_for_every_image(judged, mine, noise, command, refused):
    said = json.loads(command("predict", judged.path, noise, "--always-answer", "--json").out)
    (one,) = said["predictions"]
    assert one["label"] in CLASSES
    assert {"answer", "between"} & one.keys() == set()
    assert {"threshold", "strangeness_threshold"} & said.keys() == set()
    assert command("predict", judged.path, noise, "--always-answer").out.split()[1] == one["label"]
    assert "exclude each other" in refused("predict", judged.path, noise, "--always-answer", "--threshold", "0.5")
    strict = json.loads(command("predict", judged.path, mine, noise, "--threshold", "1", "--json").out)
    assert strict["threshold"] == 1
    assert {one["answer"] for one in strict["predictions"]} == {"unsure", "unlike"}


@pytest.mark.backend
def test_a_run_without_the_record_always_answers(own, noise, command):
    for name in ("abstention.json", "strangeness.npz"):
        (own.path / name).unlink()
    said = json.loads(command("predict", own.path, noise, "--json").out)
    assert set(said["predictions"][0]) == {"path", "label", "confidence", "probabilities"}
    one = own.predict(noise)
    assert (one.answer(), one.strangeness) == (one.label, None)


# === The command ===


@pytest.mark.backend
def test_threshold_changes_what_is_wanted_without_the_images(own, command, refused):
    before = own.abstention
    done = command("threshold", own.path, "--coverage", "0.5", "--json")
    assert (done.status, done.err) == (0, "")
    said, now = json.loads(done.out), own.abstention
    assert (said["coverage"], said["accuracy"], said["confidence"]) == (0.5, 0.0, now.confidence)
    assert abs(now.answered - 0.5 * now.n) <= 1
    assert now.strangeness == before.strangeness
    assert "it is unsure (coverage 0.5 wanted)" in command("threshold", own.path, "--coverage", "0.5").out
    assert command("threshold", own.path).status == 0
    assert own.abstention == before, "nothing given is as it was trained"
    told = refused("threshold", own.path, "--accuracy", "0.999")
    assert "To promise an accuracy of 0.999 takes 999 validation images" in told
    assert own.abstention == before
    assert "exclude each other" in refused("threshold", own.path, "--accuracy", "0.9", "--coverage", "0.9")
    assert "takes 999 validation images" in refused("threshold", own.path, "--known", "0.999")
    command("threshold", own.path, "--accuracy", "0", "--known", "0")
    assert (own.abstention.confidence, own.abstention.strangeness) == (None, None)


@pytest.mark.backend
def test_an_older_run_gets_what_train_would_have_set(own, judged, command, noise):
    for name in ("abstention.json", "strangeness.npz"):
        (own.path / name).unlink()
    done = command("threshold", own.path)
    assert done.status == 0, done.err
    assert own.abstention.confidence == judged.abstention.confidence
    assert own.abstention.strangeness == pytest.approx(judged.abstention.strangeness, rel=1e-3)
    assert own.predict(noise).answer() == "unlike"
    assert "(coverage 0.8 wanted)" in done.out


@pytest.mark.backend
def test_a_damaged_record_says_what_to_do(own, noise, refused):
    (own.path / "strangeness.npz").write_bytes(b"PK torn")
    assert "Delete it and abstention.json" in refused("predict", own.path, noise)
    (own.path / "abstention.json").write_text("[]")
    assert "the model always answers" in refused("predict", own.path, noise)
