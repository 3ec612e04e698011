"""Runs and trials in TensorBoard's event files and in an MLflow store, read back as their own packages read them."""

import json
import sqlite3
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

import kit
from doubles import swap
from kit import tracking
from kit.config import RunConfig
from kit.errors import ConfigError, UserError
from kit.setting_table import flat
from kit.training.history import EpochRecord, History
from search.records import StudyRecord, TrialRecord
from search.trial_log import TrialLog
from small_settings import SMALL
from test_docs_run import blocks_of

EPOCHS = [
    EpochRecord(1, "head", 1.0, 1e-3, 1.5, 0.25, 1.25, 0.5),
    EpochRecord(2, "head", 1.0, 1e-3, 1.0, 0.5, 0.75, 0.625),
    EpochRecord(3, "fine-tune", 1.0, 1e-4, 0.5, 0.75),
]
API_PAGE = Path(__file__).parents[1] / "docs/python-api.md"
SPACE = "phases.1.unfreeze_depth = { low = 0, high = 2 }\n"  # the toy has few blocks
SUBJECT = tracking.Subject("first", "photos", flat(RunConfig()), {"folder": "/runs/first"})
needs_tensorboard = pytest.mark.skipif(not find_spec("tensorboard"), reason="needs the extra tensorboard")
needs_mlflow = pytest.mark.skipif(not find_spec("mlflow"), reason="needs the extra mlflow")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) of the event files in a folder, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.fixture
def mlflow_store(tmp_path, monkeypatch):
    """A client of a file store of its own, which the trackers find by the environment."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    from mlflow import MlflowClient

    return MlflowClient()


@needs_tensorboard
def test_event_files_hold_curves_scores_and_settings(tmp_path):
    trackers = tracking.begin(["tensorboard"], tmp_path / "tensorboard", SUBJECT)
    for record in EPOCHS:
        trackers.epoch(record)
    trackers.close({"test_accuracy": 0.5}, 3)
    train, validation = scalars(tmp_path / "tensorboard/train"), scalars(tmp_path / "tensorboard/validation")
    assert train["epoch_loss"] == [(1, 1.5), (2, 1.0), (3, 0.5)]
    assert train["epoch_accuracy"] == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert [value for _, value in train["epoch_learning_rate"]] == pytest.approx([1e-3, 1e-3, 1e-4])
    assert train["scores/test_accuracy"] == [(3, 0.5)]
    assert validation == {"epoch_loss": [(1, 1.25), (2, 0.75)], "epoch_accuracy": [(1, 0.5), (2, 0.625)]}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "tensorboard/train"))
    found.Reload()
    (text,) = found.Tensors("settings")[0].tensor_proto.string_val
    assert "| model.backbone | mobilenet_v2 |" in text.decode()


@needs_tensorboard
def test_epochs_that_are_trained_again_replace_those_of_before(tmp_path):
    first = tracking.begin(["tensorboard"], tmp_path / "tensorboard", SUBJECT)
    for record in EPOCHS[:2]:
        first.epoch(record)
    first.close({}, 2, tracking.KILLED)
    again = tracking.begin(["tensorboard"], tmp_path / "tensorboard", SUBJECT, epochs=1)
    again.epoch(EpochRecord(2, "head", 1.0, 1e-3, 0.875, 0.5))
    again.close({}, 2)
    assert scalars(tmp_path / "tensorboard/train")["epoch_loss"] == [(1, 1.5), (2, 0.875)]


@needs_mlflow
def test_a_run_of_mlflow_goes_on_when_it_is_resumed(mlflow_store, tmp_path):
    first = tracking.begin(["mlflow"], tmp_path, SUBJECT)
    first.epoch(EPOCHS[0])
    first.close({}, 1, tracking.KILLED)
    experiment = mlflow_store.get_experiment_by_name("photos").experiment_id
    assert [run.info.status for run in mlflow_store.search_runs([experiment])] == ["KILLED"]
    again = tracking.begin(["mlflow"], tmp_path, SUBJECT, first.references, epochs=1)
    for record in EPOCHS[1:]:
        again.epoch(record)
    again.close({"test_accuracy": 0.5}, 3)
    (run,) = mlflow_store.search_runs([experiment])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert run.data.params == {key: str(value) for key, value in flat(RunConfig()).items()} | {
        key: value for key, value in run.data.params.items() if value == ""
    }
    assert run.data.tags["transferkit.folder"] == "/runs/first"
    history = [(one.step, one.value) for one in mlflow_store.get_metric_history(run.info.run_id, "loss")]
    assert history == [(1, 1.5), (2, 1.0), (3, 0.5)]
    assert run.data.metrics["test_accuracy"] == 0.5
    assert run.data.metrics["val_accuracy"] == 0.625


@needs_tensorboard
@needs_mlflow
def test_each_trial_of_a_study_is_a_run_told_of_once(mlflow_store, tmp_path, monkeypatch):
    swap(monkeypatch, "search.trial_log", "config_of", lambda record, number: RunConfig(seed=number))
    trials = (
        TrialRecord(0, "complete", values=(0.625,), history=History(tuple(EPOCHS[:2])), seconds=2.0),
        TrialRecord(1, "pruned", history=History(tuple(EPOCHS[:1])), seconds=1.0),
        TrialRecord(2, "running", history=History(tuple(EPOCHS[:1]))),
        TrialRecord(3, "failed", history=History(tuple(EPOCHS[:1])), seconds=1.0, error="it broke"),
    )
    record = study(tmp_path, trials)
    log = TrialLog(tmp_path, ["tensorboard", "mlflow"])
    log.update(record)
    log.update(record)
    TrialLog(tmp_path, ["tensorboard", "mlflow"]).update(record)  # the next call of `study run`
    experiment = mlflow_store.get_experiment_by_name("photos").experiment_id
    runs = {run.data.tags["transferkit.trial"]: run for run in mlflow_store.search_runs([experiment])}
    assert {number: (run.info.status, run.data.tags["transferkit.state"]) for number, run in runs.items()} == {
        "0": ("FINISHED", "complete"),
        "1": ("FINISHED", "pruned"),
        "3": ("FAILED", "failed"),
    }
    assert len(mlflow_store.search_runs([experiment])) == 3
    assert runs["0"].data.metrics["objective_accuracy"] == 0.625
    assert runs["1"].data.params["seed"] == "1"
    assert sorted(path.name for path in (tmp_path / "tensorboard").iterdir()) == [
        "trial-0000", "trial-0001", "trial-0003",
    ]  # fmt: skip
    assert scalars(tmp_path / "tensorboard/trial-0000/train")["scores/objective_accuracy"] == [(2, 0.625)]


def study(folder: Path, trials: tuple[TrialRecord, ...]) -> StudyRecord:
    return StudyRecord(
        path=folder, name="photos", created="2026-01-01T00:00:00", objectives=("accuracy",), sampler="tpe",
        pruner="median", seed=0, storage="", data={}, space={}, config={"training": {"monitor": "val_accuracy"}},
        trials=trials,
    )  # fmt: skip


@needs_mlflow
def test_a_server_that_goes_away_ends_no_run(mlflow_store, tmp_path, monkeypatch, capsys):
    from mlflow import MlflowClient

    trackers = tracking.begin(["mlflow"], tmp_path, SUBJECT)

    def lost(client, *_, **__):
        raise ConnectionError("the server is gone")

    swap(monkeypatch, MlflowClient, "log_batch", lost)
    for record in EPOCHS:
        trackers.epoch(record)
    said = capsys.readouterr().err
    assert said.count("mlflow could not be told (ConnectionError: the server is gone)") == 1


def test_what_cannot_be_logged_to_is_told_first(monkeypatch):
    with pytest.raises(ConfigError, match="tensorboard or mlflow, not to 'wandb'"):
        tracking.chosen(["wandb"])
    swap(monkeypatch, tracking, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"its package is missing\.\nInstall it: pip install 'mlflow-skinny>=3\.1'"):
        tracking.chosen("mlflow")


@needs_mlflow
@pytest.mark.filterwarnings("ignore")  # of MLflow's tables, which it makes anew
def test_mlflow_without_a_place_is_a_file_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trackers = tracking.begin(["mlflow"], tmp_path, SUBJECT)
    trackers.close({"test_accuracy": 0.5}, 3)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as base:
        assert list(base.execute("SELECT key, value FROM metrics")) == [("test_accuracy", 0.5)]


@pytest.fixture
def documented(tmp_path, images, toy_weights, run_python):
    """Runs the Python block of docs/python-api.md that imports a package, on the toy; returns the run's record."""

    def run(package):
        (block,) = (one.text for one in blocks_of(API_PAGE) if f"import {package}\n" in one.text)
        settings = SMALL | {"out": str(tmp_path / "run"), "weights": str(toy_weights)}
        code = f"settings = {settings!r}\n" + block.replace("path/to/photos", str(images))
        here = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "TRACKIO_DIR": str(tmp_path / "trackio")}
        done = run_python("-c", code, env=here, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return kit.load_run(tmp_path / "run")

    return run


@pytest.mark.skipif(not find_spec("wandb"), reason="needs wandb")
@pytest.mark.backend
@pytest.mark.once(backend="jax")
def test_the_lines_for_weights_and_biases_tell_it_each_epoch_and_the_score(documented, tmp_path):
    documented("wandb")
    (told,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = told.read_bytes()
    assert content.count(b"val_accuracy") >= 3
    assert b"test_accuracy" in content


@pytest.mark.skipif(not find_spec("trackio"), reason="needs trackio")
@pytest.mark.backend
@pytest.mark.once(backend="jax")
def test_the_lines_for_trackio_tell_it_each_epoch_and_the_score(documented, tmp_path):
    run = documented("trackio")
    with closing(sqlite3.connect(tmp_path / "trackio/photos.db")) as base:
        *epochs, score = [json.loads(row) for (row,) in base.execute("SELECT metrics FROM metrics ORDER BY step")]
    assert [one["val_accuracy"] for one in epochs] == [one.val_accuracy for one in run.history]
    assert score == {"test_accuracy": run.metrics["test"]["accuracy"]}


@needs_tensorboard
@needs_mlflow
@pytest.mark.backend
@pytest.mark.full
@pytest.mark.once(backend="jax")
def test_the_command_line_logs_a_run_and_the_trials_of_a_study(mlflow_store, images, toy_weights, run_cli, tmp_path):
    small = ["--weights", toy_weights, "--backbone", "toy"]
    sets = [f"--set={pair}" for pair in (
        "data.image_size=32", "views.count=1", "model.head_units=8", "phases.0.epochs=2", "phases.1.epochs=1",
        "phases.1.unfreeze_depth=1",
    )]  # fmt: skip
    logs = ["--log", "tensorboard", "--log", "mlflow"]
    done = run_cli("train", images, "--out", "run", *small, *sets, *logs, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    shown = scalars(tmp_path / "run/tensorboard/train")
    assert [step for step, _ in shown["epoch_loss"]] == [1, 2, 3]
    ((step, accuracy),) = shown["scores/test_accuracy"]
    assert (step, accuracy) == (3, pytest.approx(metrics["test"]["accuracy"]))
    (run,) = mlflow_store.search_runs([mlflow_store.get_experiment_by_name(images.name).experiment_id])
    assert run.data.metrics["test_accuracy"] == pytest.approx(metrics["test"]["accuracy"])
    assert run.data.params["phases.0.epochs"] == "2"
    assert run.info.run_name == "run"

    space = tmp_path / "space.toml"
    space.write_text("phases.0.learning_rate = { low = 1e-4, high = 1e-2, log = true }\n" + SPACE)
    study_run = ["study", "run", images, "--name", "photos", "--trials", "2", "--space", space, "--quiet"]
    done = run_cli(*study_run, *small, *sets, *logs, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = mlflow_store.search_runs([mlflow_store.get_experiment_by_name("photos").experiment_id])
    assert sorted(run.data.tags["transferkit.trial"] for run in runs) == ["0", "1"]
    assert len(list((tmp_path / "studies/photos/tensorboard").iterdir())) == 2
    assert scalars(tmp_path / "studies/photos/best/tensorboard/train")["scores/test_accuracy"]
