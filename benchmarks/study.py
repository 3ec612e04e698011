"""Time of a study of twenty trials, against one straightforward run of the same recipe."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Annotated, Any

import common
import typer
from run import plain_side
from straightforward import require_plain

from kit import settings
from kit.backends.choice import explain_choice
from kit.config import RunConfig
from kit.errors import UserError
from kit.files import write_text
from kit.run import Run
from search.records import StudyRecord


def study(
    data: common.Data,
    weights: common.WeightsOption = "imagenet",
    recipe: common.Recipe = str(common.NOTEBOOK),
    backend: Annotated[str, typer.Option(help="`jax`, `tensorflow`, `torch` or `auto`.")] = "auto",
    trials: Annotated[int, typer.Option(min=1, help="Finished trials of the study.")] = 20,
    patience: Annotated[int, typer.Option(min=0, help="Early stopping of the trials; 0 for none.")] = 3,
    samplers: Annotated[str, typer.Option(help="Samplers to compare, at equal trials: `tpe` or `tpe,random`.")] = "tpe",
    seeds: Annotated[int, typer.Option(min=1, help="Studies of each sampler, with --sampler-seed 0, 1, ...")] = 1,
    epochs_timed: Annotated[
        int, typer.Option(min=0, help="Straightforward side: whole epochs to time in each phase; 0 runs all.")
    ] = 0,
    straightforward_seconds: Annotated[
        float | None, typer.Option(help="Do not time that side again: benchmarks/run.py has.", show_default=False)
    ] = None,
    space: Annotated[Path | None, typer.Option(help="What to search; the default space without it.")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="A folder, new or empty, for the studies and their pages.", show_default=False)
    ] = None,
    sets: common.Sets = None,
    results: common.Results = common.RESULTS,
) -> None:
    """How long does a study take, images to the best model scored on test, against ONE straightforward run?

    The first study starts with an empty cache, and its time is what is compared; the others share that cache, and are
    there to compare samplers. Both sides have a process of their own. Pruning and early stopping are on, as by default.
    What the first trial computes of the frozen layers, and what all others together do, is counted: the latter is 0
    where the trunk ran once for the whole study.
    """
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UserError(f"--keep needs a new or empty folder, not {keep}.", "Give another.")
    config = common.load_recipe(recipe, sets, {"data.path": data, "model.weights": weights})
    require_plain(config)
    config = replace(config, backend=explain_choice(backend if backend != "auto" else config.backend).name)
    patient = replace(config, phases=tuple(replace(phase, patience=patience) for phase in config.phases))
    studies: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
        for sampler in samplers.split(","):
            for seed in range(seeds):
                options = ["--trials", str(trials), "--sampler", sampler, "--sampler-seed", str(seed)]
                options += ["--space", str(space.absolute())] if space else []
                out = (keep or Path(folder) / "studies") / f"{sampler}-{seed}-{config.backend}"
                studies.append({"sampler": sampler, "seed": seed, **run_study(patient, Path(folder), out, options)})
    seconds = straightforward_seconds
    if seconds is None:
        with plain_side(config, epochs_timed, "auto") as plain:
            seconds = plain()["seconds"]
    facts = {
        "recipe": Path(recipe).stem,
        "data": data,
        "trials": trials,
        "patience": patience,
        "straightforward_seconds": seconds,
        "ratio": studies[0]["seconds"] / seconds,
        "epochs_timed": epochs_timed,
        "studies": studies,
    }
    _show(facts, config.backend)
    common.record(results, f"study-{config.backend}", studies[0]["environment"], facts)


def run_study(config: RunConfig, folder: Path, out: Path, options: Sequence[str]) -> dict[str, Any]:
    """Run one study by the command line, with `options` of `transferkit study run`.

    `out` is the study's folder; `folder` holds the cache, shared by studies.
    """
    recipe = folder / "recipe.toml"
    write_text(recipe, settings.to_toml(config))
    command = [sys.executable, "-m", "kit.cli", "study", "run", config.data.path, "--config", str(recipe)]
    command += ["--out", str(out), "--name", out.name, "--json", *options]
    environ = {**os.environ, "TRANSFERKIT_CACHE": str(folder / "cache"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    began = perf_counter()
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=False)
    seconds = perf_counter() - began
    if done.returncode:
        raise UserError(f"The study ended with status {done.returncode}.", "Its own message stands above.")
    return {"seconds": seconds, **summary(StudyRecord.load(out), json.loads(done.stdout), Run.open(out / "best"))}


def summary(record: StudyRecord, said: Mapping[str, Any], best: Run) -> dict[str, Any]:
    """Counts of a study, its shared work, and its best against the given configuration."""
    own = next(trial for trial in record.trials if trial.own and trial.state == "complete")
    ended = [trial for trial in record.trials if trial.finished and not trial.own]
    return {
        "counts": said["counts"],
        "epochs": sum(len(trial.history) for trial in record.trials),
        "first_trial_seconds": record.trials[0].seconds,
        "later_trial_seconds": fmean(trial.seconds or 0.0 for trial in ended) if ended else None,
        "shared_heads": sum(trial.shared_head for trial in record.trials),
        "photos": dict(best.manifest["data"]["photos"]),
        "computed_first_trial": dict(record.trials[0].computed),
        "computed_later_trials": sum(sum(trial.computed.values()) for trial in record.trials[1:]),
        "trials_all_cached": sum(trial.finished and not trial.computed for trial in record.trials),
        "trials": [
            {
                "number": trial.number,
                "state": trial.state,
                "values": list(trial.values),
                "params": dict(trial.params),
                "epochs": len(trial.history),
                "seconds": trial.seconds,
                "shared_head": trial.shared_head,
            }
            for trial in record.trials
        ],
        "best_seconds": sum(stage["seconds"] for stage in best.manifest["stages"].values()),
        "own_validation": own.values[0],
        "best_validation": record.trial(said["best"]["trial"]).values[0],
        "test_accuracy": said["best"]["test_accuracy"],
        "test_interval": said["best"]["test_interval"],
        "validation_minus_test": said["best"]["validation_minus_test"],
        "reproduced": said["best"]["reproduced"],
        "best_params": dict(record.trial(said["best"]["trial"]).params),
        "environment": best.manifest["environment"],
    }


def _show(facts: Mapping[str, Any], backend: str) -> None:
    rows = [
        [
            f"{one['sampler']} {one['seed']}",
            f"{one['seconds']:.0f}",
            one["counts"]["pruned"],
            one["epochs"],
            one["shared_heads"],
            f"{max(one['computed_first_trial'].values(), default=0)}/{one['computed_later_trials']}",
            f"{one['own_validation']:.4f}",
            f"{one['best_validation']:.4f}",
            f"{one['test_accuracy']:.4f} [{one['test_interval'][0]:.3f}, {one['test_interval'][1]:.3f}]",
        ]
        for one in facts["studies"]
    ]
    common.show(
        rows,
        (
            f"sampler, {backend}",
            "seconds",
            "pruned",
            "epochs",
            "shared heads",
            "images through trunk, first/others",
            "own val",
            "best val",
            "test",
        ),
    )
    print("\nImages through trunk: what the first trial computed, and what all later trials together did.")
    print(
        f"{facts['trials']} trials take {facts['ratio']:.2f} times one straightforward run "
        f"({facts['straightforward_seconds']:.0f} s)."
    )


if __name__ == "__main__":
    common.start(study)
