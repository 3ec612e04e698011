"""CSV tables read back exactly, and spreadsheets run none of them."""

import csv
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.config import RunConfig
from kit.csv_tables import PREDICTION_COLUMNS, SAMPLE_COLUMNS, make_table, write_table
from kit.errors import StorageError
from kit.run_writer import RunWriter
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
def run(tmp_path) -> RunWriter:
    return RunWriter.create(tmp_path / "run", RunConfig())


@pytest.fixture(scope="module")
def shared_run() -> RunWriter:
    with tempfile.TemporaryDirectory() as folder:
        yield RunWriter.create(Path(folder) / "run", RunConfig())


def samples(rows) -> pandas.DataFrame:
    return make_table({name: [row[i] for row in rows] for i, name in enumerate(SAMPLE_COLUMNS)})


def predictions(probabilities, names=("a", "b")) -> pandas.DataFrame:
    n = len(probabilities)
    texts = {name: [f"{name} {i}" for i in range(n)] for name in PREDICTION_COLUMNS[:-1]}
    table = {**texts, "confidence": probabilities.max(axis=1, initial=0)}
    return make_table(table | {f"p_{name}": probabilities[:, i] for i, name in enumerate(names)})


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
