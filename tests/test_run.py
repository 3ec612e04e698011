"""The folder of a run: started, opened, locked, swept; the model at work is in test_api.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.config import RunConfig
from kit.errors import ConfigError, StorageError
from kit.run import SCHEMA_VERSION, default_run_path
from kit.run_writer import RunWriter


@pytest.fixture
def run(tmp_path) -> RunWriter:
    return RunWriter.create(tmp_path / "run", RunConfig())


# === Starting and opening ===


def test_a_new_run_can_be_opened(tmp_path):
    config = RunConfig(seed=7)
    run = RunWriter.create(tmp_path / "runs" / "one", config)
    assert RunWriter.open(run.path) == run
    assert run.config == config
    assert run.manifest["schema_version"] == SCHEMA_VERSION
    assert run.manifest["status"] == "running"


def test_a_run_is_not_written_over(run):
    with pytest.raises(StorageError, match="holds the record of a run already") as caught:
        RunWriter.create(run.path, RunConfig(seed=1))
    assert "--resume" in caught.value.hint
    assert run.config == RunConfig()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match="not empty and not a run folder"):
        RunWriter.create(tmp_path, RunConfig())
    assert not (tmp_path / "manifest.json").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(StorageError, match="a file is in its place"):
            RunWriter.create(path, RunConfig())


@pytest.mark.skipif(sys.platform != "linux", reason="has no /proc")
def test_a_place_that_takes_no_folders_is_one_message():
    with pytest.raises(StorageError, match=r"/proc/run cannot be"):
        RunWriter.create(Path("/proc/run"), RunConfig())


def test_what_a_kill_at_the_start_leaves_is_taken_over(run):
    (run.path / "config.toml").unlink()  # killed after the manifest, before the configuration
    (run.path / ".tmp-0123456789ab.config.toml").write_text("seed = ")
    assert RunWriter.create(run.path, RunConfig(seed=3)).config.seed == 3


def test_what_a_killed_writer_left_is_swept_but_for_pages_on_their_way(run):
    run.checkpoints.mkdir()
    left = [run.path / ".tmp-0123456789ab.model.keras", run.checkpoints / ".tmp-0123456789ab.state.npz"]
    page = run.path / ".tmp-0123456789ab.report.html"
    for path in (*left, page):
        path.write_text("half")
    before = sorted(path.name for path in run.path.iterdir() if not path.name.startswith(".tmp-"))
    with run.lock():
        run.remove_leftovers()
    assert [path for path in left if path.exists()] == []
    assert page.exists()
    assert set(before) <= {path.name for path in run.path.iterdir()}


def test_a_record_of_something_else_is_not_opened(tmp_path, run):
    with pytest.raises(StorageError, match=r"no manifest\.json"):
        RunWriter.open(tmp_path)
    with pytest.raises(StorageError, match="is not a folder"):
        RunWriter.open(tmp_path / "nothing")
    run.update_manifest(kind="inspection")
    with pytest.raises(StorageError, match="record of another thing"):
        RunWriter.open(run.path)


def test_a_newer_record_is_refused(run):
    run.update_manifest(schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(StorageError, match="schema version 3; this kit reads up to 2") as caught:
        RunWriter.open(run.path)
    assert "newer transferkit" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": "1"}'])
def test_a_broken_manifest_is_named(run, text):
    (run.path / "manifest.json").write_text(text)
    with pytest.raises(StorageError, match=r"manifest\.json is not"):
        RunWriter.open(run.path)


def test_a_missing_configuration_is_named(run):
    (run.path / "config.toml").unlink()
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read"):
        _ = run.config


def test_the_manifest_changes_field_by_field(run):
    created = run.manifest["created"]
    run.update_manifest(status="finished", stages={"decode": {"seconds": 1.5}})
    assert (run.manifest["status"], run.manifest["created"]) == ("finished", created)
    with pytest.raises(ValueError):
        run.update_manifest(seconds=float("nan"))
    assert "seconds" not in run.manifest


def test_no_temporary_file_stays(run):
    run.write_metrics({"test": {"accuracy": 0.9}})
    assert run.metrics == {"test": {"accuracy": 0.9}}
    assert not [name for name in os.listdir(run.path) if name.startswith(".tmp-")]


def test_default_run_paths_never_meet(tmp_path):
    first = default_run_path("my images/tulips", tmp_path)
    assert first.parent == tmp_path
    assert first.name.startswith("my-images-tulips-20")
    taken = set()
    for _ in range(3):
        path = default_run_path("flowers", tmp_path)
        path.mkdir()
        taken.add(path)
    assert len(taken) == 3
    assert default_run_path("..", tmp_path).name.startswith("run-")


# === The lock ===


def test_two_users_of_one_run_do_not_meet(run):
    with run.lock(), pytest.raises(StorageError, match="Another transferkit is at work"), run.lock():
        pass
    with run.lock():
        pass  # free again


def test_the_lock_of_a_killed_process_is_free(run):
    code = (
        "import sys, time; from kit.run_writer import RunWriter\n"
        "with RunWriter.open(sys.argv[1]).lock(): print('in', flush=True); time.sleep(60)"
    )
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", code, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": root}, text=True) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(StorageError, match="Another transferkit"), run.lock():
            pass
        other.kill()
        other.wait()
    with run.lock():
        assert run.manifest["status"] == "running"


def test_records_are_read_without_keras(run):
    code = "import sys; from kit.run import Run; Run.open(sys.argv[1]).config; print(*sys.modules)"
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", code, str(run.path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True, check=True)
    assert not {"keras", "jax", "tensorflow", "pandas"} & set(done.stdout.split())
