"""Several workers on one PostgreSQL that is not always there; `nox -s postgres` runs these."""

import os
import signal
import threading
import time

import pytest
from objectives import ran
from studies import QUICK_HEART, assert_exact, make
from test_kills import a_worker, kill_some, wait_for
from test_refit import assert_a_kill_frees, finished, trained  # noqa: F401  # the last is a fixture

from kit.errors import StorageError
from search.records import StudyRecord
from search.storage import Address, open_storage
from search.workers import run_trials

pytestmark = pytest.mark.postgres


@pytest.fixture
def address(server) -> Address:
    return Address.parse(server.url)


def test_eight_workers_three_killed_and_the_server_restarted(tmp_path, server, address):
    study = make(tmp_path / "study", address)

    def disturb():
        kill_some(study.record.path, 2)
        server.restart()
        kill_some(study.record.path, 1, after=60)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    record = run_trials(study, 100, workers=8, objective="objectives:Short", **QUICK_HEART)
    disturber.join()
    assert_exact(record, 100)


def test_two_machines_share_a_study(tmp_path, address):
    """Two parents with folders of their own, as on two hosts; what one of them leaves, the other finds."""
    first, second = make(tmp_path / "one", address), make(tmp_path / "two", address)
    threads = [
        threading.Thread(target=run_trials, args=(study, 30), kwargs={"objective": "objectives:Short", **QUICK_HEART})
        for study in (first, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = [study.refresh() for study in (first, second)]
    assert records[0].trials == records[1].trials == StudyRecord.load(tmp_path / "two").trials
    begun = ran(tmp_path / "one") + ran(tmp_path / "two")
    assert sorted(begun) == list(range(30))


def test_a_worker_of_a_machine_that_is_gone_is_found_out_by_its_silence(tmp_path, address):
    study = make(tmp_path / "here", address)
    gone = make(tmp_path / "gone", address)
    stopper = threading.Thread(target=freeze_a_worker, args=(tmp_path / "gone",))
    stopper.start()
    thread = threading.Thread(
        target=run_trials, args=(gone, 6), kwargs={"objective": "objectives:Slow", **QUICK_HEART}, daemon=True
    )
    thread.start()
    stopper.join()
    # its files are not in this folder, so only the heart can tell
    record = run_trials(study, 6, objective="objectives:Short", **QUICK_HEART)
    assert record.counts.finished == 6
    assert [trial.error for trial in record.trials if trial.state == "failed"] == ["Its worker died."]
    os.kill(a_worker(tmp_path / "gone"), signal.SIGKILL)
    thread.join(60)
    assert study.refresh().counts.finished == 6


def freeze_a_worker(path):
    """Stops the worker of a running trial, as a machine that swaps or has lost its network."""
    wait_for(lambda: len(ran(path)) >= 2)
    os.kill(a_worker(path), signal.SIGSTOP)
    time.sleep(0.1)


def test_who_dies_training_the_best_is_taken_over(tmp_path, address, trained, monkeypatch, capsys):  # noqa: F811
    assert_a_kill_frees(finished(tmp_path / "study", address), trained(), monkeypatch, capsys)


def test_the_password_is_written_nowhere(tmp_path, address):
    study = make(tmp_path / "study", address)
    run_trials(study, 2, objective="objectives:Quick", **QUICK_HEART)
    written = [path.read_bytes() for path in (tmp_path / "study").rglob("*") if path.is_file()]
    assert written
    assert not any(b"s3cret" in content for content in written)
    assert "***" in study.record.storage
    assert "s3cret" not in repr(address)


def test_a_wrong_password_is_told_in_one_message(server):
    with pytest.raises(StorageError, match="does not accept the user name and password") as caught:
        open_storage(Address.parse(server.url.replace("s3cret", "guessed")))
    assert "guessed" not in str(caught.value)


def test_a_database_that_is_not_there_is_told(server):
    with pytest.raises(StorageError, match="does not exist"):
        open_storage(Address.parse(server.url.replace("/postgres", "/nowhere")))
