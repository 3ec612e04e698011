import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.config import RunConfig
from kit.errors import ConfigError, StorageError
from kit.records import (
    PREDICTION_COLUMNS,
    SAMPLE_COLUMNS,
    SCHEMA_VERSION,
    RunFolder,
    StageClock,
    default_run_path,
    make_table,
    sweep,
    write_table,
)
from kit.training.history import EpochRecord, History

# what names and labels are made of, bytes that are not UTF-8 included (PEP 383), and what CSV and spreadsheets mind
TEXT = (
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary().map(lambda raw: raw.decode(errors="surrogateescape"))
    | st.text(st.sampled_from("=+-@'\"\t\r\n,;a \0"), max_size=6)
)
CELLS = st.none() | TEXT
AWKWARD = [
    "",
    "'",
    "''a",
    "=1+1",
    "+1",
    "-1",
    "@a",
    "\tb",
    "\r",
    "\n",
    'say "no"',
    "a,b",
    "NA",
    "nan",
    "None",
    "b\udc80.jpg",
]


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", RunConfig())


@pytest.fixture(scope="module")
def shared_run() -> RunFolder:
    with tempfile.TemporaryDirectory() as folder:
        yield RunFolder.create(Path(folder) / "run", RunConfig())


def samples(rows) -> pandas.DataFrame:
    return make_table({name: [row[i] for row in rows] for i, name in enumerate(SAMPLE_COLUMNS)})


def predictions(probabilities, names=("a", "b")) -> pandas.DataFrame:
    n = len(probabilities)
    texts = {name: [f"{name} {i}" for i in range(n)] for name in PREDICTION_COLUMNS[:-1]}
    table = {**texts, "confidence": probabilities.max(axis=1, initial=0)}
    return make_table(table | {f"p_{name}": probabilities[:, i] for i, name in enumerate(names)})


# === Starting and opening ===


def test_a_new_run_can_be_opened(tmp_path):
    config = RunConfig(seed=7)
    run = RunFolder.create(tmp_path / "runs" / "one", config)
    assert RunFolder.open(run.path) == run
    assert run.config == config
    assert run.manifest["schema_version"] == SCHEMA_VERSION
    assert run.manifest["status"] == "running"


def test_a_run_is_not_written_over(run):
    with pytest.raises(StorageError, match="holds the record of a run already") as caught:
        RunFolder.create(run.path, RunConfig(seed=1))
    assert "--resume" in caught.value.hint
    assert run.config == RunConfig()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match="not empty and not a run folder"):
        RunFolder.create(tmp_path, RunConfig())
    assert not (tmp_path / "manifest.json").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(StorageError, match="a file is in its place"):
            RunFolder.create(path, RunConfig())


@pytest.mark.skipif(sys.platform != "linux", reason="has no /proc")
def test_a_place_that_takes_no_folders_is_one_message():
    with pytest.raises(StorageError, match=r"/proc/run cannot be"):
        RunFolder.create(Path("/proc/run"), RunConfig())


def test_what_a_kill_at_the_start_leaves_is_taken_over(run):
    (run.path / "config.toml").unlink()  # killed after the manifest, before the configuration
    (run.path / ".tmp-0123456789ab.config.toml").write_text("seed = ")
    assert RunFolder.create(run.path, RunConfig(seed=3)).config.seed == 3


def test_what_a_killed_writer_left_is_swept_but_for_pages_on_their_way(run):
    run.checkpoints.mkdir()
    left = [run.path / ".tmp-0123456789ab.model.keras", run.checkpoints / ".tmp-0123456789ab.state.npz"]
    page = run.path / ".tmp-0123456789ab.report.html"
    for path in (*left, page):
        path.write_text("half")
    before = sorted(path.name for path in run.path.iterdir() if not path.name.startswith(".tmp-"))
    with run.lock():
        sweep(run)
    assert [path for path in left if path.exists()] == []
    assert page.exists()
    assert set(before) <= {path.name for path in run.path.iterdir()}


def test_a_record_of_something_else_is_not_opened(tmp_path, run):
    with pytest.raises(StorageError, match=r"no manifest\.json"):
        RunFolder.open(tmp_path)
    with pytest.raises(StorageError, match="is not a folder"):
        RunFolder.open(tmp_path / "nothing")
    run.update_manifest(kind="inspection")
    with pytest.raises(StorageError, match="record of another thing"):
        RunFolder.open(run.path)


def test_a_newer_record_is_refused(run):
    run.update_manifest(schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(StorageError, match="schema version 2; this kit reads up to 1") as caught:
        RunFolder.open(run.path)
    assert "newer transferkit" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": "1"}'])
def test_a_broken_manifest_is_named(run, text):
    (run.path / "manifest.json").write_text(text)
    with pytest.raises(StorageError, match=r"manifest\.json is not"):
        RunFolder.open(run.path)


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
        "import sys, time; from kit.records import RunFolder\n"
        "with RunFolder.open(sys.argv[1]).lock(): print('in', flush=True); time.sleep(60)"
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


# === Tables ===


@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS, CELLS), max_size=5))
def test_samples_read_back_as_they_were(shared_run, rows):
    table = samples(rows)
    shared_run.write_samples(table)
    read = shared_run.samples
    assert read.to_dict("list") == table.to_dict("list")


def test_awkward_text_survives_and_spreadsheets_run_none_of_it(run):
    run.write_samples(samples([(text, text, None, text, None) for text in AWKWARD]))
    read = run.samples
    assert read["path"].tolist() == read["label"].tolist() == read["group"].tolist() == AWKWARD
    assert read["split"].tolist() == [None] * len(AWKWARD)
    text = (run.path / "samples.csv").read_text(encoding="utf-8", errors="surrogateescape")
    # what a spreadsheet sees: no cell starts a formula
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


@given(values=st.lists(st.floats(width=32, allow_nan=False, min_value=0, max_value=1), min_size=2, max_size=8))
def test_probabilities_read_back_to_the_bit(shared_run, values):
    table = np.array(values[: len(values) // 2 * 2], dtype=np.float32).reshape(-1, 2)
    shared_run.write_predictions(predictions(table))
    read = shared_run.predictions
    assert read[["p_a", "p_b"]].to_numpy().dtype == np.float32
    assert np.array_equal(read[["p_a", "p_b"]].to_numpy().view(np.uint32), table.view(np.uint32))
    assert np.array_equal(read["confidence"].to_numpy(), table.max(axis=1))


def test_probabilities_take_no_more_than_nine_digits(run):
    run.write_predictions(predictions(np.float64([[1 / 3, 2 / 3]])))
    assert (run.path / "predictions.csv").read_text().endswith(",0.666666687,0.333333343,0.666666687\n")


def test_any_label_may_be_a_column(run):
    names = ("=a", "b\udc80", 'say "no", twice', "")
    run.write_predictions(predictions(np.eye(4), names))
    assert list(run.predictions.columns[-4:]) == [f"p_{name}" for name in names]


def test_predictions_of_no_images(run):
    run.write_predictions(predictions(np.zeros((0, 2))))
    assert len(run.predictions) == 0


@given(
    numbers=st.lists(st.floats(0, 1e300), min_size=3, max_size=3),
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=2),
    phase=TEXT,
)
def test_history_reads_back_to_the_bit(shared_run, numbers, shares, phase):
    seconds, rate, loss = numbers
    first = EpochRecord(1, phase, seconds, rate, loss, shares[0])
    history = History((first, EpochRecord(2, phase, seconds, rate, loss, shares[0], loss, shares[1])))
    shared_run.write_history(history)
    assert shared_run.history == history
    shared_run.write_history(History())
    assert shared_run.history == History()


def test_a_table_has_its_columns(run):
    with pytest.raises(ValueError, match=r"samples\.csv must have the columns"):
        run.write_samples(samples([]).drop(columns="group"))
    with pytest.raises(ValueError, match=r"predictions\.csv must have the columns"):
        run.write_predictions(predictions(np.ones((1, 2)))[["path", "p_a", "p_b"]])


def test_text_and_numbers_do_not_mix(tmp_path):
    for table in ({"label": [3], "seconds": [1.0]}, {"label": ["a"], "seconds": ["1.0"]}):
        with pytest.raises(ValueError, match="must be"):
            write_table(tmp_path / "table.csv", make_table(table), ["label", "seconds"])
    assert not list(tmp_path.iterdir())


def test_pandas_own_text_type_is_read_too(run):
    table = pandas.DataFrame({name: pandas.Series(["a", None], dtype="str") for name in SAMPLE_COLUMNS})
    run.write_samples(table)
    assert run.samples["label"].tolist() == ["a", None]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a readable table"),  # empty: not even a header
        ('"path","label"\n', "lacks the columns split, group, finding"),
        ('"path","label","split","group","finding"\n"a","b"\n', "row 1 has 2 cells, not 5"),
        ('"path","label","split","group","finding"\n"a","b', "not a readable table"),  # torn within quotes
    ],
)
def test_a_damaged_table_is_named(run, text, complaint):
    (run.path / "samples.csv").write_text(text)
    with pytest.raises(StorageError, match=complaint) as caught:
        _ = run.samples
    assert "samples.csv" in caught.value.what


def test_a_missing_table_is_named(run):
    with pytest.raises(StorageError, match=r"no file .*samples\.csv"):
        _ = run.samples
    with pytest.raises(StorageError, match=r"no file .*metrics\.json"):
        _ = run.metrics


def test_a_history_without_its_start_is_damaged(run):
    run.write_history(History((EpochRecord(2, "head", 1.0, 0.1, 0.1, 0.5),)))
    with pytest.raises(StorageError, match="starts at epoch 2, not 1"):
        _ = run.history


def test_a_table_that_fails_half_way_leaves_the_old_one(run, monkeypatch):
    run.write_samples(samples([("old",) * 5]))

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match="full"):
        run.write_samples(samples([("new",) * 5]))
    assert run.samples["path"].tolist() == ["old"]


# === Stages ===


def test_stages_add_up_and_fit_the_manifest(run):
    clock = StageClock()
    with clock.stage("decode"):
        time.sleep(0.01)
    with pytest.raises(KeyError), clock.stage("decode"):
        raise KeyError
    with clock.stage("train"):
        pass
    assert list(clock.stages) == ["decode", "train"]
    assert 0.01 <= clock.stages["decode"]["seconds"] < 10
    peak = clock.stages["train"]["peak_memory_bytes"]
    assert peak is None or 10**6 < clock.stages["decode"]["peak_memory_bytes"] <= peak < 10**12
    run.update_manifest(stages=clock.stages)
    assert json.loads((run.path / "manifest.json").read_text())["stages"] == clock.stages


def test_records_are_read_without_keras(run):
    code = "import sys; from kit.records import RunFolder; RunFolder.open(sys.argv[1]).config; print(*sys.modules)"
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", code, str(run.path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True, check=True)
    assert not {"keras", "jax", "tensorflow", "pandas"} & set(done.stdout.split())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="elsewhere getrusage is all there is")
def test_peak_memory_is_not_that_of_the_process_that_started_this_one(run_python):
    held = bytes(range(256)) * (400 << 12)  # 400 MiB; getrusage of a child would begin there
    done = run_python("-c", "from kit.records import peak_memory; print(peak_memory())")
    assert 10**6 < int(done.stdout) < len(held)
