"""Objectives without keras, named `objectives:NAME` in a worker's job; each writes down which trials it ran."""

import os
import sys
import time
from pathlib import Path

import optuna

from search.study import space_of
from search.trial_queue import retried_trial_number


class Quick:
    """Draws the space, says what it ran, and scores by how near the head is to 256 units."""

    seconds = 0.0

    def __init__(self, record, threads):
        self.record, self.space, self.threads = record, space_of(record), threads

    def __call__(self, trial):
        config = self.space.suggest(trial)
        write_line(self.record.path / "ran.txt", f"{trial.number}")
        time.sleep(self.seconds)
        value = 1 - abs(config.model.head_units - 256) / 1024
        return (value,) if len(self.record.objectives) == 1 else (value, float(config.model.head_units))


class Short(Quick):
    """Long enough to be killed in."""

    seconds = 0.05


class Slow(Quick):
    """Long enough to be interrupted in, and without end while there is a file `hold`."""

    seconds = 0.4

    def __call__(self, trial):
        values = super().__call__(trial)
        while (self.record.path / "hold").exists():
            time.sleep(0.05)
        return values


class Failing(Quick):
    """Always fails in the same way."""

    def __call__(self, trial):
        super().__call__(trial)
        raise ValueError("the images are upside down")


class SometimesFailing(Quick):
    """Every third trial fails, each in a way of its own."""

    def __call__(self, trial):
        values = super().__call__(trial)
        if trial.number % 3 == 1:
            raise ValueError(f"trial {trial.number} had bad luck")
        return values


class Immeasurable(Quick):
    """Trial 1 has no score, as a training that diverged."""

    def __call__(self, trial):
        values = super().__call__(trial)
        return (float("nan"),) if trial.number == 1 else values


class Stopping(Quick):
    """Trial 1 runs while a person stops the study."""

    def __call__(self, trial):
        values = super().__call__(trial)
        if trial.number == 1:
            trial.study.set_user_attr("stop", True)
        return values


class DeadlyAndGrowing(Quick):
    """Trial 1 and all that repeat it end their worker, as the system does when memory is at its end.

    Each other trial keeps 30 MiB more, in a worker that is to be replaced when it has grown by 64.
    """

    def __init__(self, record, threads):
        super().__init__(record, threads)
        sys.modules["__main__"].GROWTH_BYTES = 64 << 20  # of search.worker, which runs as a program here
        self.kept = [bytes(range(256)) * (300 << 12)]  # once beyond what the start took, each trial shows

    def __call__(self, trial):
        values = super().__call__(trial)
        if 1 in (trial.number, retried_trial_number(trial.study.trials[trial.number])):
            os.kill(os.getpid(), 9)
        self.kept.append(bytes(range(256)) * (30 << 12))
        return values


class Reporting(Quick):
    """Reports the same value after each of 13 epochs, and lets itself be pruned."""

    def __call__(self, trial):
        (value,) = super().__call__(trial)
        for step in range(1, 14):
            trial.report(value, step)
            if trial.should_prune():
                write_line(self.record.path / "pruned.txt", f"{trial.number} {step}")
                raise optuna.TrialPruned
        return (value,)


def write_line(path: Path, text: str) -> None:
    """Appends a line in one write, so that lines of several processes stay whole."""
    with open(path, "ab", buffering=0) as file:
        file.write(f"{text}\n".encode())


def ran(path: Path) -> list[int]:
    """Numbers of the trials that were begun, in order."""
    file = path / "ran.txt"
    return [int(line) for line in file.read_text().split()] if file.exists() else []
