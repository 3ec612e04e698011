"""Going on from a finished run: `model.weights` names it, and its fine-tuned backbone is where the new run starts."""

import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest

import kit
from image_files import make_images
from kit.data.dataset import load_dataset
from kit.errors import WeightsError
from kit.export.model_card import _licence, _provenance
from kit.model.backbones import build_backbone, preprocessing_layer
from kit.model.catalog import CAFFE
from kit.model.classifier import Classifier, build_head
from kit.model.saving import save_model
from kit.model.weights import Weights, load_into
from kit.pipeline import resume, train
from kit.run_images import earlier_runs
from kit.run_weights import count_seen, resolve_weights, warn_of_weights
from kit.run_writer import RunWriter
from kit.settings import from_toml, override, to_toml, value_of

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]

FAST = {"head_epochs": 1, "fine_tune_epochs": 1, "unfreeze_depth": 1, "views": 1}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in FAST.items()]


def started_from(run, data, **settings):
    return kit.configure(str(data), weights=run, **FAST | settings)


def classifier_parts(run):
    _, _, backbone, _, head = keras.saving.load_model(run.model_path).layers
    return backbone, head


@pytest.mark.parametrize("named", ["", "model.keras"])
def test_the_backbone_of_the_run_is_loaded_and_no_head(run, images, named):
    config = started_from(run.path / named, images)
    weights = resolve_weights(config)
    fresh = build_backbone(config.model.backbone, 48)
    load_into(fresh.model, weights)
    trained, _ = classifier_parts(run)
    assert len(trained.weights) == len(fresh.model.weights) > 0
    assert all(np.array_equal(a, b) for a, b in zip(trained.get_weights(), fresh.model.get_weights(), strict=True))


@pytest.mark.parametrize("hub", [False, True])
def test_a_network_with_a_preprocessing_of_its_own_is_told_from_it(toy_weights, tmp_path, hub):
    trained, fresh = (replace(build_backbone("toy", 32), preprocessing=preprocessing_layer(CAFFE)) for _ in range(2))
    assert isinstance(trained.preprocessing, keras.Model)  # numbered before the backbone in the file
    load_into(trained.model, Weights("toy", toy_weights, "0" * 64))
    head = build_head(32, classes=3, units=8, dropout=0.0, seed=0)
    save_model(Classifier(trained, head, "stock").full(), tmp_path / "model.keras")
    load_into(fresh.model, Weights("model.keras", tmp_path / "model.keras", "0" * 64), hub=hub)
    pairs = zip(trained.model.get_weights(), fresh.model.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_what_the_network_needs_comes_with_it_unless_given(run, images, tmp_path):
    recorded = {"data.resize": "pad", "data.background": (9, 9, 9), "data.grey_range": (0, 4095), "split.seed": 5}
    folder = tmp_path / "earlier"
    folder.mkdir()
    (folder / "config.toml").write_text(to_toml(override(run.config, recorded, "the test")))
    config = started_from(folder, images)
    assert (config.model.backbone, config.data.image_size) == ("toy", 48)
    assert {key: value_of(config, key) for key in recorded} == recorded
    given = started_from(folder, images, image_size=32, **{"data.resize": "crop", "split.seed": 0})
    assert (given.data.image_size, given.data.resize, given.split.seed) == (32, "crop", 0)
    shutil.rmtree(folder)
    assert from_toml(to_toml(given)) == given  # a recorded configuration is read without the earlier run


def test_a_run_goes_on_with_other_classes_and_names_where_it_comes_from(run, tmp_path, command):
    photos = make_images(tmp_path / "photos", ("blue", "green", "red", "violet"), 8, seed=1)
    done = command("train", photos, "--weights", run.path, "--out", tmp_path / "second", *FLAGS)
    assert done.status == 0, done.err
    assert "have seen" not in done.err
    second = RunWriter.open(tmp_path / "second")
    assert second.classes == ("blue", "green", "red", "violet")
    origin = second.manifest["weights"]
    assert origin["name"] == "small/model.keras"
    assert origin["run"]["path"] == str(run.path.absolute())
    assert origin["run"]["weights"] == run.manifest["weights"]
    assert origin["seen"] == {"test": 0, "validation": 0}
    trained, old = classifier_parts(second)[0], classifier_parts(run)[0]
    frozen = [layer.name for layer in trained.layers if layer.weights and layer.name.startswith(("stem", "block_1"))]
    assert frozen
    for name in frozen:
        pairs = zip(trained.get_layer(name).get_weights(), old.get_layer(name).get_weights(), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_a_copy_of_the_run_elsewhere_is_the_same_weights(run, images, tmp_path):
    moved = shutil.copytree(run.path, tmp_path / "copied")
    there, here = (resolve_weights(started_from(place, images)) for place in (moved, run.path))
    assert there.sha256 == here.sha256
    assert there.path != here.path


def warnings_of(config):
    dataset = load_dataset(config)
    return " ".join(warn_of_weights(config, dataset, count_seen(config, dataset)))


def test_images_that_the_weights_have_seen_are_counted(run, images, tmp_path, command):
    assert warnings_of(started_from(run, images)) == ""  # the seed comes along: nothing changes sides
    other = train(started_from(run, images, **{"split.seed": 6}), tmp_path / "second")
    before, now = (one.samples.set_index("path")["split"] for one in (run, other))
    expected = {
        "test": int((before[now == "test"] != "test").sum()),
        "validation": int((before[now == "validation"] == "train").sum()),
    }
    assert all(expected.values())
    assert other.manifest["weights"]["seen"] == expected
    sentence = f"have seen {expected['test']} of the {(now == 'test').sum()} test images"
    assert any(sentence in warning for warning in other.manifest["warnings"])
    total = int((before != "test").sum())
    assert f"have seen {total} of the 72 out-of-fold images" in warnings_of(started_from(run, images, folds=3))

    # what the first run was trained on, the second has seen through its weights
    assert [earlier.path for earlier in earlier_runs(other)[0]] == [run.path]
    done = json.loads(command("evaluate", other.path, images, "--json", "--out", tmp_path / "scored").out)
    assert done["images"]["test"] == (now == "test").sum() - expected["test"]

    # a third run says what is not known of the first
    origin = other.manifest["weights"]
    origin["run"]["path"] = str(tmp_path / "nowhere")
    other.update_manifest(weights=origin)
    assert f"no longer in {tmp_path / 'nowhere'}" in warnings_of(started_from(other, images))


def test_a_dry_run_tells_what_going_on_would_cost_and_what_was_seen(run, images, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("train", images, "--weights", run.path, "--split-seed", "6", *FLAGS, "--dry-run")
    done = command(*asked, "--json")
    assert done.status == 0, done.err
    plan = json.loads(done.out)
    assert (tuple(plan["classes"]), sum(plan["photos"].values())) == (run.classes, 72)
    assert {"audit", "phase 1: head"} <= {stage["name"] for stage in plan["stages"]}
    told = command(*asked)
    assert f"The weights of {run.path} have seen" in told.err
    assert f"of the {plan['photos']['test']} test images" in told.err
    assert list(tmp_path.iterdir()) == []


def test_a_card_gives_the_licence_of_the_first_weights(run, images):
    manifest = run.manifest
    manifest["weights"] = {"name": "imagenet", "sha256": "0" * 64}
    manifest["network"] |= {"backbone": "resnet50"}
    later = manifest | {
        "weights": {
            "name": "small/model.keras",
            "sha256": "1" * 64,
            "run": {"data": "photos", "weights": manifest["weights"]},
        }
    }
    assert _licence(later) == _licence(manifest)
    assert _licence(later)[0] == "mit"
    assert "pretrained weights" in _provenance(run)


def test_a_run_is_resumed_from_the_same_weights_or_says_what_is_missing(run, images, tmp_path):
    source = shutil.copytree(run.path, tmp_path / "source")

    def stop(history):
        raise OSError("the machine is gone")

    with pytest.raises(OSError, match="the machine"):
        train(started_from(source, images), tmp_path / "run", on_epoch=stop)
    away = source.rename(tmp_path / "away")
    with pytest.raises(WeightsError, match="is gone") as caught:
        resume(tmp_path / "run")
    settings = tmp_path / "run" / "config.toml"
    assert str(settings) in caught.value.hint
    settings.write_text(settings.read_text().replace(str(source), str(away)))
    assert resume(tmp_path / "run").manifest["status"] == "finished"


def test_what_is_no_finished_run_or_another_network_is_one_message(run, images, tmp_path, refused):
    def told(weights, *options):
        return " ".join(refused("train", images, "--weights", weights, *options, *FLAGS).split())

    (tmp_path / "empty").mkdir()
    assert "is not a run folder: it has no manifest.json" in told(tmp_path / "empty")
    unfinished = shutil.copytree(run.path, tmp_path / "unfinished")
    (unfinished / "model.keras").unlink()
    for named in (unfinished, unfinished / "model.keras"):
        assert f"transferkit train --resume {unfinished}" in told(named)
    study = tmp_path / "study"
    shutil.copytree(run.path, study / "best")
    assert f"--weights {study / 'best'}" in told(study)
    assert "whole model" in told(shutil.copy(run.model_path, tmp_path / "alone.keras"))
    assert "or the folder of a finished run" in told(tmp_path / "missing")
    message = told(run.path, "--backbone", "resnet50")
    assert f"The weights of {run.path} are of backbone toy; model.backbone is resnet50" in message
    assert "Leave model.backbone out" in message
    damaged = shutil.copytree(run.path, tmp_path / "damaged")
    (damaged / "model.keras").write_bytes(run.model_path.read_bytes()[:5000])
    assert "cannot be loaded" in told(damaged)
