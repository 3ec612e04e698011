"""`transferkit train`: a folder of images in, a scored classifier out."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.commands import AsJson, ConfigFile, Log, Quiet, Recipe, Sets, by_key, setting_options
from kit.data import OUT_OF_FOLD

if TYPE_CHECKING:
    from kit.config import RunConfig
    from kit.run import Run

_DATA = "A folder of class folders, split folders, a table, an archive, or `flowers`."


@setting_options()
def train(
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help=_DATA, show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="The output folder.", show_default="runs/NAME-TIME")] = None,
    config: ConfigFile = None,
    recipe: Recipe = "default",
    sets: Sets = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run.", show_default="begin one")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with this many seeds; report mean and spread.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and what it would cost.")] = False,
    log: Log = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Trains a classifier on a folder of images and scores it.

    A flag or --set goes over TRANSFERKIT_<KEY> in the environment, that over --config, that over --recipe.
    """
    from kit import progress
    from kit.data import require_there
    from kit.errors import ConfigError
    from kit.settings import load_config
    from kit.tracking import chosen as chosen_trackers

    progress.set_quiet(quiet or as_json)
    told = chosen_trackers(log or ())
    given = by_key(settings) | ({} if data is None else {"data.path": data})
    if resume is not None:
        if given or sets or config or recipe != "default" or out or dry_run or log or seeds > 1:
            raise ConfigError(
                "--resume goes on with a run as it was started; no setting can be given with it.",
                "Leave the other options out, or start a new run.",
            )
        from kit.pipeline import resume as resume_one

        _show(resume_one(resume), as_json)
        return
    chosen = load_config(flags=given, sets=sets or [], environ=os.environ, file=config, recipe=recipe)
    require_there(chosen.data.path)  # told at once: what follows takes seconds to import
    if dry_run:
        _show_plan(chosen, seeds, out, as_json)
    elif seeds > 1:
        _show_seeds(chosen, seeds, out, as_json, told)
    else:
        from kit.pipeline import train as train_one

        _show(train_one(chosen, out, log=told), as_json)


def _show(run: "Run", as_json: bool) -> None:
    metrics = run.metrics
    if as_json:
        print(json.dumps({"run": str(run.path), "status": run.manifest["status"], "metrics": metrics}))
        return
    page = [f"Page: {run.report_path}"] if run.report_path.exists() else []
    lines = [*score_lines(metrics), *fold_lines(metrics), *_phase_lines(metrics), *page, f"Run folder: {run.path}"]
    print("\n".join(lines))


def score_lines(metrics: dict[str, Any]) -> list[str]:
    """One line for each split that was scored."""
    lines = []
    for split, scores in metrics.items():
        if isinstance(scores, dict) and scores.get("n"):
            low, high = scores["accuracy_interval"]
            lines.append(
                f"{split:<11} accuracy {scores['accuracy']:.3f} [{low:.3f}, {high:.3f}]  "
                f"macro F1 {scores['macro_f1']:.3f}  log loss {scores['log_loss']:.3f}  "
                f"calibration error {scores['calibration_error']:.3f}  n = {scores['n']:,}"
            )
    return lines


def fold_lines(metrics: dict[str, Any]) -> list[str]:
    """What the scores of a cross-validated run are; none for another run."""
    if "folds" not in metrics:
        return []
    folds, epochs = metrics["folds"], zip(metrics["phases"], metrics["epochs"], strict=True)
    kept = ", ".join(f"{phase['name']} {count}" for phase, count in epochs)
    accuracies = ", ".join(f"{fold['accuracy']:.3f}" for fold in folds)
    return [
        f"Out-of-fold: each image by the one of {len(folds)} models that was not trained on it (folds: {accuracies}).",
        f"The model that is kept was trained on all {metrics['train']['n']:,} images (epochs: {kept}); `train` is its "
        "score on those, and no image is left to test it.",
    ]


def _phase_lines(metrics: dict[str, Any]) -> list[str]:
    split = OUT_OF_FOLD if OUT_OF_FOLD in metrics else "test"
    test = [(phase["name"], phase[split]["accuracy"]) for phase in metrics["phases"] if phase[split]["n"]]
    if len(test) < 2:
        return []
    paired = metrics["mcnemar"]
    scored = ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in test)
    return [
        f"{'On test' if split == 'test' else 'Out of fold'}: {scored}; only {paired['first']} right "
        f"{paired['only_a']}, only {paired['second']} right {paired['only_b']} (McNemar p = {paired['p_value']:.3f})"
    ]


def _show_seeds(config: "RunConfig", seeds: int, out: Path | None, as_json: bool, log: Sequence[str]) -> None:
    from kit.seeds import train_seeds

    folder, summary = train_seeds(config, seeds, out, log)
    if as_json:
        print(json.dumps({"folder": str(folder), **summary}))
        return
    print("\n".join([*seed_lines(summary["scores"]), f"Runs of {seeds} seeds: {folder}"]))


def seed_lines(scores: dict[str, Any]) -> list[str]:
    """One line a split: mean, sample standard deviation and range over the runs."""
    lines = []
    for split in ("train", "validation", "test", OUT_OF_FOLD):
        shown = {"accuracy": "accuracy", "macro F1": "macro_f1", "log loss": "log_loss"}
        found = scores.get(split, {})
        figures = [f"{name} {_spread(found[key])}" for name, key in shown.items() if key in found]
        if figures:
            lines.append(f"{split:<11} {'  '.join(figures)}")
    return lines


def _spread(score: dict[str, Any]) -> str:
    deviation = "" if score["standard_deviation"] is None else f" ± {score['standard_deviation']:.3f}"
    return f"{score['mean']:.3f}{deviation} ({score['low']:.3f} to {score['high']:.3f})"


def _show_plan(config: "RunConfig", seeds: int, out: Path | None, as_json: bool) -> None:
    from dataclasses import asdict

    from kit.files import free_bytes
    from kit.machine import cache_folder
    from kit.pipeline import rehearse
    from kit.progress import duration, printable
    from kit.run_writer import RunWriter

    if out is not None and seeds == 1:
        RunWriter(out).require_vacant()
    plan = rehearse(config)
    free = free_bytes(cache_folder())
    seconds, size = sum(stage.seconds for stage in plan.stages), sum(stage.bytes for stage in plan.stages)
    if as_json:
        content = {"photos": plan.images, "classes": plan.classes, "stages": [asdict(stage) for stage in plan.stages]}
        print(
            json.dumps(
                {"tree": plan.tree, **content, "seconds": seconds, "bytes": size, "free_bytes": free, "seeds": seeds}
            )
        )
        return
    counts = ", ".join(f"{count:,} {split}" for split, count in plan.images.items())
    print(f"{printable(plan.name)}: {counts}; classes: {printable(', '.join(plan.classes))}")
    width = max(len(stage.name) for stage in plan.stages)
    for stage in plan.stages:
        print(f"{stage.name:<{width}}  {duration(stage.seconds):>12}  {_size(stage.bytes):>9}  {stage.work}")
    print(f"In all about {duration(seconds)} and {_size(size)} of disk; {_size(free)} are free.")
    if config.split.folds:
        print(f"That is {config.split.folds} folds, and a model of all images.")
    if seeds > 1:
        print(f"That is one run; each of the {seeds} seeds draws its own split and views, and costs about as much.")
    print("Nothing was trained or recorded.")


def _size(count: int) -> str:
    from kit.progress import mebibytes

    return mebibytes(count) if count else "-"
