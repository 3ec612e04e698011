"""The record of a study: read from its folder alone."""

import csv
import subprocess
import sys

import pytest
from studies import asked

from kit.errors import StorageError
from kit.training.history import EpochRecord, History
from search.records import Counts, StudyRecord, TrialRecord, write_spec, write_trials


def epoch(number, accuracy, loss):
    return EpochRecord(number, "head", 0.5, 1e-3, 0.7, 0.6, loss, accuracy)


def trial(number, *values, loss=0.5, state="complete", **fields):
    history = History((epoch(1, 0.1, 2.0), epoch(2, values[0] if values else 0.2, loss)))
    return TrialRecord(number, state, {"model.head_units": 32 + number}, tuple(values), history, **fields)


def test_what_is_written_is_read_back(tmp_path):
    trials = (
        trial(0, 0.9, own=True, started="2026-01-01T00:00:00", seconds=0.0, worker="host-1-abc"),
        trial(1, state="failed", error="=SUM(A1) is no photo", seconds=1.5),
        trial(2, 0.8, retry_of=0, shared_head=True),
        TrialRecord(3, "waiting"),
    )
    record = asked(tmp_path, trials=trials, best_trial=0, latency={0: 1.25})
    write_spec(record)
    write_trials(record)
    assert StudyRecord.load(tmp_path) == record
    assert repr(record) == f"StudyRecord({str(tmp_path)!r}, 4 trials, best accuracy 0.900)"
    assert repr(asked(tmp_path)) == f"StudyRecord({str(tmp_path)!r}, 0 trials)"


def test_the_table_opens_safely_in_a_spreadsheet(tmp_path):
    record = asked(tmp_path, trials=(trial(0, 0.9), trial(1, state="failed", error='=HYPERLINK("x")')))
    header, first, second = csv.reader(record.to_csv().splitlines())
    assert header[:3] == ["number", "state", "accuracy"]
    assert first[header.index("model.head_units")] == "32"
    assert second[header.index("error")] == '\'=HYPERLINK("x")'


def test_ties_go_to_the_lower_loss_and_then_to_the_earlier(tmp_path):
    trials = (trial(0, 0.9, loss=0.5), trial(1, 0.9, loss=0.4), trial(2, 0.9, loss=0.4), trial(3, 0.95, loss=0.9))
    assert [one.number for one in asked(tmp_path, trials=trials).ranked()] == [3, 1, 2, 0]


def test_less_is_better_for_a_loss(tmp_path):
    record = asked(tmp_path, objectives=("log_loss",), trials=(trial(0, 0.5), trial(1, 0.3), trial(2, 0.4)))
    assert [one.number for one in record.ranked()] == [1, 2, 0]


def test_the_front_holds_whom_nobody_beats(tmp_path):
    points = [(0.9, 100), (0.8, 50), (0.85, 120), (0.8, 60), (0.7, 50), (0.9, 100), (0.6, 10)]
    trials = tuple(trial(number, *values) for number, values in enumerate(points))
    record = asked(tmp_path, objectives=("accuracy", "parameters"), trials=trials)
    assert [one.number for one in record.front()] == [0, 1, 6]


def test_counts():
    trials = [trial(0, 0.9), trial(1, state="pruned"), trial(2, state="failed"), TrialRecord(3, "running")]
    assert Counts.of(trials) == Counts(waiting=0, running=1, complete=1, pruned=1, failed=1)
    assert Counts.of(trials).finished == 2


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("study.toml", "kind = 'run'", "the record of another thing"),
        ("study.toml", "kind = 'study'\nschema_version = 99", "schema version 99"),
        ("study.toml", "kind = ", "is not TOML"),
        ("trials.json", "{", "not a readable JSON"),
        ("trials.json", '{"trials": [{"number": 0}]}', "is damaged"),
        ("trials.json", '{"trials": [{"number": 0, "state": "odd", "values": []}]}', "is damaged"),
    ],
)
def test_a_damaged_record_is_named(tmp_path, file, text, said):
    record = asked(tmp_path)
    write_spec(record)
    (tmp_path / file).write_text(text)
    with pytest.raises(StorageError, match=said):
        StudyRecord.load(tmp_path)


def test_reading_a_record_imports_neither_keras_nor_optuna(tmp_path):
    record = asked(tmp_path, trials=(trial(0, 0.9),))
    write_spec(record)
    write_trials(record)
    code = (
        "import sys; from pathlib import Path; from search.records import StudyRecord\n"
        f"assert StudyRecord.load(Path({str(tmp_path)!r})).trials[0].values == (0.9,)\n"
        "print(sorted({'keras', 'optuna', 'jax', 'tensorflow', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
