"""Fixtures that call the command line in this process; the conftest.py of a folder that needs them imports them."""

import sys
from dataclasses import dataclass

import pytest

from kit import cli, progress


@dataclass(frozen=True)
class Done:
    """How a command ended: exit status, and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _loud():
    """`--quiet` and `--json` last for a process; here many commands share one."""
    yield
    progress.set_quiet(False)


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs the command line in this process: `command("train", folder, "--json")`."""

    def run(*args) -> Done:
        progress.set_quiet(False)
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["transferkit", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    yield run
    progress.set_quiet(False)  # for tests whose modules import this fixture alone


@pytest.fixture
def refused(command):
    """Runs a command that must be refused; returns its one message."""

    def run(*args) -> str:
        done = command(*args)
        assert done.status == 2
        assert "--json" in args or done.out == ""  # who asked for JSON gets the message as such too
        assert done.err.count("error: ") == 1
        return done.err

    return run
