"""The recipe of the starter weights at tiny scale: what it may see, its arithmetic, and that it goes on after a kill.

What trains or runs a network is tested on TensorFlow, which the recipe is for: XLA on a CPU trains stock depthwise
convolutions ten times slower.
"""

import shutil
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest

from image_files import make_images
from kit import backends
from kit.model.backbones import Backbone, mobilenet_v2
from kit.model.weights import resolve
from kit.synthetic import DemoData
from networks import lively

pytestmark = [pytest.mark.backend, pytest.mark.full, pytest.mark.once(backend="tensorflow")]

ROOT = Path(__file__).resolve().parents[1]
needs_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the recipe is for TensorFlow")


@pytest.fixture(scope="module", autouse=True)
def recipe():
    """The modules of the recipe, by name; not installed, so found from the root of the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from starter import images, probe, slimming, student, targets

        patch.setattr(images, "TEACHER_SIZE", 64)
        patch.setattr(images, "STUDENT_SIZE", 32)
        patch.setattr(images, "DRAWN", DemoData(per_class=2, classes=8, size=64))
        patch.setattr(targets, "SHARD", 20)
        patch.setattr(targets, "MAP_COMPONENTS", 8)
        patch.setattr(targets, "POOLED_COMPONENTS", 4)
        yield {module.__name__.partition(".")[2]: module for module in (images, probe, slimming, student, targets)}


@pytest.fixture(scope="module")
def seen(recipe, tmp_path_factory):
    """Sixty images, and ten copies of one of them."""
    folder = make_images(tmp_path_factory.mktemp("starter"), ("blue", "green", "red"), 20)
    for number in range(10):
        shutil.copy(folder / "blue" / "0000.jpg", folder / "blue" / f"copy-{number}.jpg")
    return recipe["images"].read(str(folder))


def small_targets(recipe, n=20, views=4):
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (n, views, 32, 32, 3), np.uint8)
    maps, pooled = draw.normal(size=(n, views, 1, 1, 8)), draw.normal(size=(n, views, 4))
    return recipe["targets"].Targets(pixels, maps.astype(np.float16), pooled.astype(np.float16))


# === What it may see ===


def test_a_fifth_is_held_out_and_copies_stay_together(seen):
    counts = seen.counts()
    assert 0.1 < counts["test"] / len(seen.paths) < 0.35
    copies = {split for path, split in zip(seen.paths, seen.splits, strict=True) if "copy-" in path}
    assert len(copies) <= 1


def test_of_drawn_images_those_of_the_demos_species_are_not_shown(recipe, tmp_path):
    drawn, shown = recipe["images"].draw(tmp_path / "drawn")
    assert len(drawn.paths) == 16
    assert {drawn.classes[drawn.labels[place]] for place in shown} == {"species-0005", "species-0006", "species-0007"}
    assert len(shown) == 6


def test_teacher_and_student_are_shown_the_same_views(recipe, seen):
    images = recipe["images"]
    (one,) = images.render(seen, [3], [0, 1, 2])
    assert (one.large.shape, one.small.shape) == ((3, 64, 64, 3), (3, 32, 32, 3))
    halved = one.large.reshape(3, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - one.small).mean(axis=(1, 2, 3)).max() < 6  # levels of 255
    assert np.abs(one.small[1].astype(int) - one.small[2]).mean() > 6


def test_over_as_many_epochs_as_there_are_views_every_view_is_seen_once(recipe):
    student, targets = recipe["student"], small_targets(recipe)
    plan, seen = student.Recipe(batch_size=10), Counter()
    for epoch in range(4):
        pixels, wanted = student.epoch_of(targets, np.arange(20), plan, epoch)
        assert sorted(wanted["label"]) == list(range(20))
        for number, shown, pooled in zip(wanted["label"], pixels, wanted["pooled"], strict=True):
            (view,) = (v for v in range(4) if np.array_equal(targets.pixels[number, v], shown))
            assert np.array_equal(pooled, targets.pooled[number, view])
            seen[number, view] += 1
    assert set(seen.values()) == {1}
    assert len(seen) == 80


def test_an_epoch_has_whole_batches_only(recipe):
    student = recipe["student"]
    pixels, _ = student.epoch_of(small_targets(recipe), np.arange(20), student.Recipe(batch_size=8), 0)
    assert len(pixels) == 16


# === Its arithmetic ===


@pytest.mark.parametrize(("rows", "side"), [(7, 4), (5, 4), (4, 4), (2, 1)])
def test_regridding_keeps_the_mean_of_every_channel(recipe, rows, side):
    maps = np.random.default_rng(0).normal(size=(2, rows, rows, 3))
    grid = recipe["targets"].regrid(maps, side)
    assert grid.shape == (2, side, side, 3)
    np.testing.assert_allclose(grid.mean(axis=(1, 2)), maps.mean(axis=(1, 2)), atol=1e-12)
    if rows == side:
        np.testing.assert_allclose(grid, maps)


def test_components_are_half_whitened(recipe):
    spread = np.array([16.0, 4.0, 1.0, 0.1])
    features = np.random.default_rng(0).normal(size=(4000, 4)) * spread + 5
    components = recipe["targets"].fit_projection(features, 3)(features)
    covariance = np.cov(components, rowvar=False)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-5)
    # variances 256, 16, 1 become their square roots, 16, 4, 1, divided by their mean, 7
    np.testing.assert_allclose(np.diag(covariance), np.array([16, 4, 1]) / 7, rtol=0.1)
    np.testing.assert_allclose(components.mean(axis=0), 0, atol=1e-4)


def test_a_probe_tells_what_a_line_can_tell(recipe):
    draw = np.random.default_rng(0)
    labels = np.arange(120) % 3
    features = np.eye(3)[labels] * 6 + draw.normal(size=(120, 3))
    found = recipe["probe"].probe(features[:60], labels[:60], features[60:], labels[60:])
    assert (found.n, found.accuracy > 0.95) == (60, True)
    assert str(found).startswith(f"{found.accuracy:.4f} [")
    noise = recipe["probe"].probe(features[:60] * 0, labels[:60], features[60:] * 0, labels[60:])
    assert noise.accuracy < 0.5


@needs_tensorflow
def test_slimming_to_the_same_width_gives_the_same_network(recipe):
    backends.start(seed=0)
    teacher, student = mobilenet_v2(64, 0.35), mobilenet_v2(64, 0.35)
    lively(teacher)
    images = np.random.default_rng(0).uniform(-1, 1, (64, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    images = images.astype(np.float32)
    untrained = agreement(teacher.model(images), student.model(images))
    recipe["slimming"].slim(teacher.model, student.model, images)
    assert untrained < 0.2
    assert agreement(teacher.model(images), student.model(images)) > 0.97


def agreement(one, other):
    return np.corrcoef(np.ravel(one), np.ravel(other))[0, 1]


# === It goes on ===


@needs_tensorflow
def test_training_goes_on_from_the_last_epoch_to_the_same_weights(recipe, tmp_path):
    whole = trained(recipe, tmp_path / "whole")

    class Killed(Exception):
        pass

    def stop_at_two(epoch):
        if epoch == 2:
            raise Killed
        return ""

    with pytest.raises(Killed):
        trained(recipe, tmp_path / "killed", stop_at_two)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["epoch-1.weights.h5"]
    went_on = trained(recipe, tmp_path / "killed")
    assert all(np.array_equal(a, b) for a, b in zip(whole, went_on, strict=True))


def trained(recipe, folder, watch=lambda epoch: ""):
    backends.start(seed=0)
    student, targets = recipe["student"], recipe["targets"]
    inputs = keras.Input((32, 32, 3))  # a network that compiles at once, unlike a MobileNetV2
    outputs = keras.layers.ReLU()(keras.layers.BatchNormalization()(keras.layers.Conv2D(16, 32)(inputs)))
    backbone = Backbone(keras.Model(inputs, outputs), keras.layers.Rescaling(1 / 127.5, offset=-1.0), ())
    draw = np.random.default_rng(1)
    projections = tuple(targets.fit_projection(draw.normal(size=(50, 16)), count) for count in (8, 4))
    plan = student.Recipe(epochs=3, batch_size=10)
    model = student.build(backbone, projections, 2, plan, steps=2)
    student.train(model, small_targets(recipe), np.arange(20) % 2, plan, folder, watch)
    return model.get_weights()


@needs_tensorflow
def test_the_whole_recipe_makes_a_weights_file_that_the_kit_takes(recipe, seen, tmp_path, capsys):
    from starter import distil

    teacher = mobilenet_v2(64, 1.0)
    lively(teacher)
    teacher.model.save_weights(tmp_path / "teacher.weights.h5")
    folder = str(seen.files[0].parents[1])
    out = tmp_path / "small.weights.h5"
    distil.distil(folder, str(tmp_path / "teacher.weights.h5"), out=out, work=tmp_path / "work", epochs=1)
    assert resolve(str(out), 0.35, 32).path == out
    counts = {}
    for lot in ("targets", "drawn-targets"):
        shards = sorted((tmp_path / "work").glob(f"*/{lot}/*.npz"))
        counts[lot] = sum(len(np.load(shard, allow_pickle=False)["pixels"]) for shard in shards)
    assert counts == {"targets": seen.counts()["train"], "drawn-targets": 6}
    assert "epoch 1 of 1: " in capsys.readouterr().err


def test_a_teacher_that_is_not_there_is_one_message(run_python, images, tmp_path):
    missing = tmp_path / "none.weights.h5"
    done = run_python("-m", "starter.distil", images, "--teacher", missing, cwd=ROOT, env={"PYTHONPATH": ROOT})
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert done.stderr.count("error: ") == 1
    assert f"no weights file {missing}" in done.stderr
