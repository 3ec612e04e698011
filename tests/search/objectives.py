"""Objectives without keras, named `objectives:NAME` in a worker's job; each writes down which trials it ran."""

import os
import sys
import time
from pathlib import Path

import optuna

from search.study import space_of


class _Objective:
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


class Quick(_Objective):
    """Ends at once."""


class Short(_Objective):
    """Long enough to be killed in."""

    seconds = 0.05


class Slow(_Objective):
    """Long enough to be interrupted in."""

    seconds = 0.4


class Failing(_Objective):
    """Always fails in the same way."""

    def __call__(self, trial):
        super().__call__(trial)
        raise ValueError("the photos are upside down")


class SometimesFailing(_Objective):
    """Every third trial fails, each in a way of its own."""

    def __call__(self, trial):
        values = super().__call__(trial)
        if trial.number % 3 == 1:
            raise ValueError(f"trial {trial.number} had bad luck")
        return values


class Deadly(_Objective):
    """Trial 1 and all that repeat it end their worker, as the system does when memory is at its end."""

    def __call__(self, trial):
        values = super().__call__(trial)
        stored = trial.study.trials[trial.number]
        if 1 in (trial.number, stored.system_attrs.get("failed_trial")):
            os.kill(os.getpid(), 9)
        return values


class Growing(_Objective):
    """Keeps 30 MiB more with every trial, in a worker that is to be replaced when it has grown by 64."""

    def __init__(self, record, threads):
        super().__init__(record, threads)
        sys.modules["__main__"].GROWTH_BYTES = 64 << 20  # of search.workers, which runs as a program here
        self.kept = [bytes(range(256)) * (300 << 12)]  # once beyond what the start took, each trial shows

    def __call__(self, trial):
        self.kept.append(bytes(range(256)) * (30 << 12))
        return super().__call__(trial)


class Reporting(_Objective):
    """Reports the same value after each of twenty epochs, and lets itself be pruned."""

    def __call__(self, trial):
        (value,) = super().__call__(trial)
        for step in range(1, 21):
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
