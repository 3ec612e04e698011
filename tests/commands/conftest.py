"""One trained run for all tests of the commands, and a way to call the command line in this process."""

import sys
from dataclasses import dataclass

import pytest

from kit import cli, progress

SMALL = ("--image-size", "48", "--alpha", "0.35", "--views", "2", "--head-units", "16", "--batch-size", "16")


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

    return run


@pytest.fixture
def refused(command):
    """Runs a command that must be refused; returns its one message."""

    def run(*args) -> str:
        done = command(*args)
        assert done.status == 2
        assert done.out == ""
        assert done.err.count("error: ") == 1
        return done.err

    return run


@pytest.fixture(scope="session")
def settings(lively_weights) -> tuple[str, ...]:
    """Flags of the small network."""
    return ("--weights", str(lively_weights), *SMALL)


@pytest.fixture(scope="session")
def run(photos, lively_weights, tmp_path_factory):
    """A finished run with two phases; never write into it."""
    from kit.experiment import train
    from kit.settings import load_config

    sets = {
        "data.path": str(photos),
        "model.weights": str(lively_weights),
        "data.image_size": 48,
        "model.alpha": 0.35,
        "views.count": 2,
        "model.head_units": 16,
        "training.batch_size": 16,
        "phases.0.epochs": 12,
        "phases.0.learning_rate": 1e-3,
        "phases.1.epochs": 2,
        "phases.1.unfreeze_depth": 1,
    }
    return train(load_config(flags=sets), tmp_path_factory.mktemp("runs") / "small")
