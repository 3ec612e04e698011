"""Accuracy of a recipe's models over several split seeds, on one backend or on both."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import common
import typer

from kit import progress
from kit.backends.choice import BACKENDS, explain_choice
from kit.config import RunConfig
from kit.errors import UserError


def accuracy(
    data: common.Data,
    weights: common.WeightsOption = "imagenet",
    seeds: Annotated[int, typer.Option(min=1, help="How many splits: split.seed = 0, 1, ...")] = 3,
    recipe: common.Recipe = str(common.NOTEBOOK),
    backend: Annotated[str, typer.Option(help="`jax`, `tensorflow`, `both`, `torch`, or `auto`.")] = "auto",
    sets: common.Sets = None,
    runs: Annotated[Path | None, typer.Option(help="Keep the run folders here.")] = None,
    results: common.Results = common.RESULTS,
) -> None:
    """How good are the models of a recipe, over several splits of the images, and do the backends agree?

    Every run has a process of its own and the same run seed, so all splits share what is stored of the images. The
    interval of a run is Wilson's, over its test images; that of the mean is Student's t, over the runs (their test
    images overlap, so it tells how much the split matters rather than how sure the mean is).
    """
    flags = {"data.path": data, "model.weights": weights}
    config = common.load_recipe(recipe, sets, flags)
    names = BACKENDS[:2] if backend == "both" else (explain_choice(backend).name,)
    for name in names:
        explain_choice(name)
    facts: dict[str, Any] = {"recipe": Path(recipe).stem, "data": data, "runs": {}, "means": {}}
    for name in names:
        facts["runs"][name] = _runs(replace(config, backend=name), seeds, runs)
        facts["means"][name] = means(facts["runs"][name])
    _show(facts["runs"], facts["means"])
    if len(names) == 2:
        facts["difference"] = facts["means"][names[0]]["test"] - facts["means"][names[1]]["test"]
        print(f"\nMean test accuracy, {names[0]} less {names[1]}: {facts['difference']:+.4f}")
    environment = {key: value for name in names for key, value in facts["runs"][name][0]["environment"].items()}
    if len(names) == 2:
        environment["backend"] = "both"
    common.record(
        results, f"accuracy-{facts['recipe']}-{backend if backend == 'both' else names[0]}", environment, facts
    )


def means(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over runs on different splits; the interval is that of the test mean, None for one run."""
    test = [run["accuracy"]["test"] for run in runs]
    return {
        "test": fmean(test),
        "test_interval": common.mean_interval(test),
        "train": fmean(run["accuracy"]["train"] for run in runs),
        "phase_1": fmean(run["phase_accuracy"][0] for run in runs),
        "seconds": fmean(run["seconds"] for run in runs),
    }


def _runs(config: RunConfig, seeds: int, keep: Path | None) -> list[dict[str, Any]]:
    found = []
    for seed in range(seeds):
        chosen = replace(config, split=replace(config.split, seed=seed))
        out = keep / f"{config.backend}-split-{seed}" if keep else None
        facts = common.train_in_child(chosen, out)
        if facts["accuracy"]["test"] is None:
            raise UserError("The test split has no images.", "Raise split.test, or give more images.")
        found.append({"split_seed": seed, **facts})
        progress.say(f"{config.backend}, split {seed}: {facts['accuracy']['test']:.4f} in {facts['seconds']:.0f} s")
    return found


def _show(runs: dict[str, list[dict[str, Any]]], summaries: dict[str, dict[str, Any]]) -> None:
    rows: list[list[object]] = []
    for name, of_backend in runs.items():
        for run in of_backend:
            scores = (run["accuracy"]["test"], run["accuracy_interval"], run["phase_accuracy"][0])
            rows.append([name, run["split_seed"], *_cells(*scores, run["accuracy"]["train"], run["seconds"])])
        mean = summaries[name]
        scores = (mean["test"], mean["test_interval"], mean["phase_1"])
        rows.append([name, "mean", *_cells(*scores, mean["train"], mean["seconds"])])
    common.show(rows, ("backend", "split", "test", "95% interval", "phase 1", "train", "seconds"))


def _cells(test: float, interval: Sequence[float] | None, phase_1: float, train: float, seconds: float) -> list[object]:
    between = None if interval is None else f"{interval[0]:.4f}-{interval[1]:.4f}"
    return [f"{test:.4f}", between, f"{phase_1:.4f}", f"{train:.4f}", f"{seconds:.1f}"]


if __name__ == "__main__":
    common.start(accuracy)
