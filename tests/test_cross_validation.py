"""`--folds K`: an out-of-fold prediction of every image, then one model of all images, on the same activations."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import kit
import reports
from doubles import swap
from in_process import _loud, command, refused  # noqa: F401  # fixtures
from kit.config import PhaseConfig, SplitConfig, TrainingConfig
from kit.cross_validation import fold_split, kept_epochs
from kit.data.dataset import load_dataset
from kit.pipeline import resume, train
from kit.training.history import EpochRecord, History

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]
FOLDS = 3


@pytest.fixture(scope="module")
def config(images, toy_weights):
    from training.small import small_toy

    return small_toy(
        images,
        PhaseConfig(name="head", epochs=4, learning_rate=1e-2),
        PhaseConfig(name="tail", epochs=2, unfreeze_depth=1, learning_rate=1e-3),
        split=SplitConfig(folds=FOLDS),
        views={"count": 2},
        model={"backbone": "toy", "alpha": 1.0, "weights": str(toy_weights)},
        training=TrainingConfig(batch_size=16),
    )


@pytest.fixture(scope="module")
def counted(config, tmp_path_factory):
    """A finished run, and how many images each extraction computed, by cut."""
    from kit.training import extraction

    computed = []
    original = extraction.extract

    def counting(session, *, to_train=True, depths=()):
        found = original(session, to_train=to_train, depths=depths)
        computed.append(found.computed)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        swap(patch, extraction, "extract", counting)
        run = train(config, tmp_path_factory.mktemp("runs") / "folds")
    return run, computed


@pytest.fixture(scope="module")
def run(counted):
    """Never write into it."""
    return counted[0]


def test_the_trunk_runs_once_for_all_folds_and_the_model_kept(counted):
    """Each of 72 images in two views, at each cut; the folds find all of it in the cache."""
    whole, *folds = counted[1]
    assert whole == dict.fromkeys(whole, 72 * 2)
    assert folds == [{}] * (FOLDS + 1)


def test_every_image_is_predicted_by_a_model_that_was_not_trained_on_it(run, config):
    samples, predictions, metrics = run.samples, run.predictions, run.metrics
    assert set(samples["split"]) == {"train"}
    assert Counter(samples["fold"]) == {"1": 24, "2": 24, "3": 24}
    assert Counter(zip(samples["label"], samples["fold"], strict=True)).most_common()[-1][1] == 8
    assert predictions["path"].tolist() == samples["path"].tolist()
    assert set(predictions["split"]) == {"out-of-fold"}
    right = predictions["label"] == predictions["predicted"]
    assert metrics["out-of-fold"]["n"] == metrics["train"]["n"] == 72
    assert metrics["out-of-fold"]["accuracy"] == right.mean()
    for score in metrics["folds"]:
        held = (samples["fold"] == str(score["fold"])).to_numpy()
        assert score["accuracy"] == right[held].mean()
        assert (score["n"], score["train"] + score["validation"]) == (24, 48)
    dataset = load_dataset(config)
    for fold in range(1, FOLDS + 1):
        split = fold_split(dataset, fold, config)
        assert split.indices("test").tolist() == np.flatnonzero(dataset.folds == fold).tolist()
        assert {group for group, part in zip(split.groups, split.splits, strict=True) if part == "test"}.isdisjoint(
            group for group, part in zip(split.groups, split.splits, strict=True) if part != "test"
        )
        assert Counter(zip(split.labels.tolist(), split.splits.tolist(), strict=True))[0, "validation"] in (2, 3)


def test_the_model_kept_is_trained_on_all_images_for_the_median_of_the_folds_epochs(run):
    metrics = run.metrics
    epochs = np.array([fold["epochs"] for fold in metrics["folds"]])
    assert metrics["epochs"] == [round(float(median)) for median in np.median(epochs, axis=0)]
    lengths = [len(run.history.phase(name)) for name in ("head", "tail")]
    assert lengths == metrics["epochs"]
    assert all(record.val_accuracy is None for record in run.history)
    assert kit.evaluate(run) == {split: metrics[split] for split in ("train", "validation", "test")}
    one = run.predict(run.config.data.path + "/" + run.samples["path"][0])
    assert one.label in run.classes


def test_the_strangeness_is_of_images_that_their_fold_held_out(run, command, tmp_path):  # noqa: F811
    limits, found = run.abstention, run.strangeness
    assert (limits.split, limits.n, limits.known) == ("out-of-fold", 72, 0.95)
    assert limits.unlike == (found.held_out > limits.strangeness).sum()
    files = [f"{run.config.data.path}/{path}" for path in run.samples["path"]]
    own = np.array([one.strangeness for one in run.predict(files)])
    assert (own < found.held_out).all(), "the model that is kept has seen them"
    copy = kit.Run(shutil.copytree(run.path, tmp_path / "copy"))
    assert "Beyond a strangeness" in command("threshold", copy.path, "--known", "0.9").out
    assert copy.abstention.unlike > limits.unlike
    for name in ("abstention.json", "strangeness.npz"):
        (copy.path / name).unlink()
    assert "it is chosen while the models of its folds are there" in command("threshold", copy.path).out
    assert copy.abstention.strangeness is None


def test_a_run_that_was_killed_in_a_fold_goes_on_there(run, config, tmp_path):
    """Killed in the second fold's third epoch; the first fold is not trained again, nor that fold's first epochs."""

    class Killed(BaseException):
        pass

    epochs = []

    def die(history):
        epochs.append(len(history))
        if epochs.count(1) == 2 and len(history) == 3:
            raise Killed

    with pytest.raises(Killed):
        train(config, tmp_path / "killed", on_epoch=die)
    assert epochs == [1, 2, 3, 4, 5, 6, 1, 2, 3]
    epochs.clear()
    resumed = resume(tmp_path / "killed", on_epoch=lambda history: epochs.append(len(history)))
    assert epochs[:4] == [3, 4, 5, 6]
    assert epochs.count(1) == 2  # the third fold, and the model that is kept
    assert resumed.metrics == run.metrics
    assert resumed.strangeness.held_out.tolist() == run.strangeness.held_out.tolist()
    assert resumed.history.equal_curves(run.history)
    assert (resumed.path / "predictions.csv").read_bytes() == (run.path / "predictions.csv").read_bytes()


def test_the_page_and_the_command_say_which_number_is_which(run, command, tmp_path):  # noqa: F811
    copy = kit.Run(shutil.copytree(run.path, tmp_path / "copy"))
    page = reports.write_report(copy).read_text(encoding="utf-8")
    assert "Cross-validated accuracy" in page
    assert "of 72 right, each by the one of 3 models that was not trained on it." in page
    assert "The folds" in page
    done = command("evaluate", copy.path)
    assert done.status == 0
    assert "Recorded by cross-validation:\nout-of-fold accuracy" in done.out
    assert "trained on all 72 images" in done.out


@pytest.mark.full
def test_the_card_of_an_export_says_it_too(run, command, tmp_path):  # noqa: F811
    copy = kit.Run(shutil.copytree(run.path, tmp_path / "copy"))
    exported = command("export", copy.path, "--format", "keras", "--out", tmp_path / "exported", "--json")
    assert json.loads(exported.out)["gate"]["split"] == "train"
    card = " ".join((tmp_path / "exported/README.md").read_text(encoding="utf-8").split())
    assert "In cross-validation with 3 folds, models trained as it was are right on" in card
    assert "| out-of-fold | 72 |" in card


def test_what_cannot_be_cross_validated_is_refused(refused, images, tmp_path):  # noqa: F811
    given, none = tmp_path / "given", ("--weights", "none")
    for split in ("train", "val"):
        shutil.copytree(images, given / split)
    assert "splits of their own" in refused("train", given, "--folds", 3, "--leaks", "drop", *none)
    assert "do not make 100 folds" in refused("train", images, "--folds", 100, *none)
    assert "cross-validates one configuration" in refused("study", "run", images, "--set", "split.folds=3", *none)
    assert kit.configure(images, folds=5).split.folds == 5
    assert "split.folds must be 0 or from 2 to 100" in refused("train", images, "--folds", 1)


def test_epochs_that_each_phase_kept():
    def record(epoch, phase, accuracy):
        return EpochRecord(epoch, phase, 1.0, 0.1, 1.0, 0.5, 1.0, accuracy)

    head = [record(1, "head", 0.5), record(2, "head", 0.8), record(3, "head", 0.7)]
    better, worse = [record(4, "tail", 0.7), record(5, "tail", 0.9)], [record(4, "tail", 0.7)]
    assert kept_epochs(History((*head, *better)), ("head", "tail"), "val_accuracy") == (2, 2)
    assert kept_epochs(History((*head, *worse)), ("head", "tail"), "val_accuracy") == (2, 0)
    assert kept_epochs(History(tuple(head)), ("head", "tail"), "val_accuracy") == (2, 0)
    unvalidated = History(tuple(replace(one, val_loss=None, val_accuracy=None) for one in head))
    assert kept_epochs(unvalidated, ("head",), "val_accuracy") == (3,)
