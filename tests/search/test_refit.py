"""Who trains the best again, when several machines could; without keras."""

import subprocess
import sys
from pathlib import Path

import pytest
from studies import make, run_here

from doubles import swap
from search import refit
from search.storage import exclusive

HOLDER = """
import sys
from search.storage import Address, exclusive
address = Address.parse(sys.stdin.readline().strip())
with exclusive(address, "best-test", wait=False) as free:
    print(free, flush=True)
    sys.stdin.readline()
"""


class FakeRun:
    """What `refit_trial` reads of a run."""

    def __init__(self, path, note):
        self.path, self.manifest, self.history = path, {"study": note, "status": "finished"}, None


@pytest.fixture
def trained(monkeypatch):
    """`train` only notes where it was called; `_read` returns the run."""
    calls: list[Path] = []

    def train(config, path, *, note, log):
        calls.append(path)
        if len(calls) == 1 and trained.dies:
            raise KeyboardInterrupt
        return FakeRun(path, note)

    class Read:
        reproduced = True

    def trained(dies=False):
        trained.dies = dies
        return calls

    import kit.pipeline

    swap(monkeypatch, kit.pipeline, "train", train)
    swap(monkeypatch, refit.Refit, "of", lambda record, run: Read())
    return trained


def on(monkeypatch, host, study):
    """refit_trial, as if on a machine of that name."""
    swap(monkeypatch, refit.platform, "node", lambda: host)
    return refit.refit_trial(study, 0)


def finished(path, address=None):
    study = make(path, address)
    run_here(study, 1)
    return study


def test_a_machine_that_died_training_the_best_is_taken_over(tmp_path, trained, monkeypatch):
    study, calls = finished(tmp_path), trained(dies=True)
    with pytest.raises(KeyboardInterrupt):
        on(monkeypatch, "first", study)
    assert on(monkeypatch, "second", study) is not None
    assert len(calls) == 2
    # now it is done, and nobody does it again
    assert on(monkeypatch, "third", study) is None
    assert len(calls) == 2


def test_the_best_is_trained_by_one_at_a_time_and_a_kill_frees_it(tmp_path, trained, monkeypatch, capsys):
    study, calls = finished(tmp_path), trained()
    assert_a_kill_frees(study, calls, monkeypatch, capsys)


def assert_a_kill_frees(study, calls, monkeypatch, capsys):
    """While another process trains the best, this one leaves it alone; once that is killed, this one does it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        one.stdin.write(f"{study.address.secret}\n")
        one.stdin.flush()
        assert one.stdout.readline() == "True\n"
        assert on(monkeypatch, "second", study) is None
        assert calls == []
        assert "being trained again on another process" in capsys.readouterr().err
        one.kill()
    assert on(monkeypatch, "second", study) is not None
    assert len(calls) == 1
    with exclusive(study.address, "best-test", wait=False) as free:
        assert free
