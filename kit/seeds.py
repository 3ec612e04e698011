"""Repeated runs that differ only in their seed: mean and spread of each score."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from kit import progress
from kit.config import RunConfig
from kit.errors import ConfigError
from kit.files import sha256_file, write_json
from kit.pipeline import resume, start, train
from kit.run import Run, default_run_path


def train_seeds(
    config: RunConfig, seeds: int, out: Path | None = None, log: Sequence[str] = ()
) -> tuple[Path, dict[str, Any]]:
    """Repeat a run with several seeds: `seed` and `split.seed` both count up from the configuration's.

    A second call on the same folder continues: finished runs are kept, an interrupted one is resumed. `out` will hold
    `seed-0`, `seed-1`, ... and `seeds.json`; default `runs/<data>-<time>`. `log` is as for `train`. Returns the folder,
    and the content of `seeds.json`.

    Raises UserError as `train`, and if the folder holds runs of other settings.
    """
    config, found = start(config)
    import keras  # late: keras picks its backend on import

    folder = out or default_run_path(found.name)
    parts = [_of_seed(config, folder, i) for i in range(seeds)]
    metrics: list[dict[str, Any]] = []
    for one, part in parts:
        progress.say(f"Seed {len(metrics) + 1} of {seeds}; the same command with --out {folder} goes on if it stops.")
        run = resume(part) if (part / "config.toml").exists() else train(one, part, log=log)
        metrics.append(run.metrics)
        keras.backend.clear_session()
    summary = {"schema_version": 1, "kind": "seeds", "runs": seeds, "scores": summarise_seeds(metrics)}
    write_json(folder / "seeds.json", summary)
    return folder, summary


def _of_seed(config: RunConfig, folder: Path, i: int) -> tuple[RunConfig, Path]:
    """Configuration and folder of run `i`; ConfigError if a run there has another configuration."""
    one = replace(config, seed=config.seed + i, split=replace(config.split, seed=config.split.seed + i))
    part = folder / f"seed-{i}"
    if (part / "config.toml").exists() and not _is_of(one, Run.open(part).config):
        raise ConfigError(f"{part} holds a run of other settings.", "Give the settings it has, or --out another.")
    return one, part


def _is_of(asked: RunConfig, recorded: RunConfig) -> bool:
    """Whether a run's configuration is the one asked for, apart from what it took from its images and its copies."""
    found = asked.data.grey_range or recorded.data.grey_range
    files = asked.data.corrections, recorded.data.corrections
    same = all(files) and sha256_file(Path(files[0])) == sha256_file(Path(files[1]))
    data = replace(asked.data, grey_range=found, corrections=files[1] if same else files[0])
    return replace(asked, data=data) == recorded


def summarise_seeds(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread of every number over runs.

    Takes one metrics dict a run, nested as metrics.json is. Returns the same nesting; in place of each number {"mean",
    "standard_deviation" (n - 1 in the denominator; None for one run), "low", "high", "runs" (those that have the
    number)}. Lists, texts and entries that are None in every run drop out.
    """
    summary: dict[str, Any] = {}
    for key in dict.fromkeys(key for run in metrics for key in run):
        values = [run[key] for run in metrics if run.get(key) is not None]
        if values and all(isinstance(value, Mapping) for value in values):
            summary[key] = summarise_seeds(values)
        elif values and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            summary[key] = {
                "mean": fmean(values),
                "standard_deviation": stdev(values) if len(values) > 1 else None,
                "low": min(values),
                "high": max(values),
                "runs": len(values),
            }
    return summary
