"""`transferkit study`: search for the best settings. Nothing heavy is imported before a command runs."""

import json
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.commands import AsJson, ConfigFile, Log, Quiet, Recipe, Sets, by_key, parse_duration, setting_options

if TYPE_CHECKING:
    from search.kept_model import Refit
    from search.records import StudyRecord

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    help="Searches settings with Optuna: run, show, list, export, stop.",
)  # fmt: skip
ROOT = Path("studies")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="A study under studies/, or its folder.")]
_Storage = Annotated[
    str | None, typer.Option("--storage", metavar="URL", help="Where it is kept.", show_default="a file in its folder")
]


@app.command()
@setting_options(
    "backbone",
    "weights",
    "backend",
    "conflicts",
    "leaks",
    "strict",
    "columns",
    "corrections",
    "near_duplicates",
    "plugin",
    "group_by",
)
def run(
    data: Annotated[str, typer.Argument(metavar="DATA", help="The images, in any form that train takes.")],
    name: Annotated[str | None, typer.Option(help="Of the study.", show_default="that of the images")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Finished trials wanted, those of earlier runs included.")] = 20,
    timeout: Annotated[str | None, typer.Option(help="Begin no trial after 90s, 30m, 2h.", show_default="none")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the cores are divided between them.")] = 1,
    storage: _Storage = None,
    out: Annotated[Path | None, typer.Option(help="The output folder.", show_default="studies/NAME")] = None,
    sampler: Annotated[str, typer.Option(help="tpe, random or gp.")] = "tpe",
    pruner: Annotated[str, typer.Option(help="median or none.")] = "median",
    sampler_seed: Annotated[int, typer.Option(min=0, help="Of the sampler.")] = 0,
    objectives: Annotated[
        str, typer.Option(help="accuracy or log-loss; accuracy,parameters (or ,trained-parameters; ,multiply-adds).")
    ] = "accuracy",
    pick: Annotated[str, typer.Option(help="What is kept: accuracy, within:0.01, or a trial's number.")] = "accuracy",
    refit: Annotated[str, typer.Option(help="Train the best on train, or train+validation.")] = "train",
    space: Annotated[
        Path | None, typer.Option(help="What to search, in TOML.", show_default="units, depth and rate")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Draw the page anew every few seconds.")] = False,
    log: Log = None,
    config: ConfigFile = None,
    recipe: Recipe = "default",
    sets: Sets = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Searches, trains the best again, and scores it once on test. The same command goes on where it ended."""
    from kit import progress
    from kit.data import require_there
    from kit.settings import load_config

    progress.set_quiet(quiet or as_json)
    require_there(data)  # told at once: what follows takes seconds to import
    from search.api import run_study
    from search.show import best_lines, table

    seconds = None if timeout is None else parse_duration(timeout, "--timeout", bare="s")
    flags = by_key(settings) | {"data.path": data}
    study = run_study(
        load_config(flags=flags, sets=sets or (), environ=os.environ, file=config, recipe=recipe), trials,
        name=name, out=out, space=space, objectives=objectives, sampler=sampler, pruner=pruner, seed=sampler_seed,
        workers=workers, timeout=seconds, storage=storage, pick=pick, refit=refit, live=live, log=log or (),
    )  # fmt: skip
    if as_json:
        print(json.dumps(summary(study, study.best) | {"page": None if study.page is None else str(study.page)}))
        return
    page = [f"Page: {study.page}"] if study.page else []
    print("\n".join([*table(study), "", *best_lines(study, study.best), *page]))


@app.command()
def show(name: _Name, storage: _Storage = None, as_json: AsJson = False) -> None:
    """Prints a study: its trials, and its best configuration as TOML.

    The TOML is a file for `transferkit train --config`.
    """
    from search.show import best_lines, table, toml_lines

    record = _fresh(name, storage)
    best = record.best
    if as_json:
        print(json.dumps(summary(record, best) | {"trials": [trial_json(trial) for trial in record.trials]}))
        return
    print("\n".join([*table(record), "", *best_lines(record, best), *toml_lines(record)]))


@app.command("list")
def list_studies(as_json: AsJson = False) -> None:
    """Lists the studies under studies/."""
    from search.records import StudyRecord, is_study
    from search.show import listing

    records = [StudyRecord.load(path) for path in sorted(ROOT.glob("*")) if is_study(path)]
    if as_json:
        print(json.dumps([summary(record, None) for record in records]))
        return
    print("\n".join(listing(records)) if records else f"There are no studies under {ROOT}/.")


@app.command()
def export(
    name: _Name,
    out: Annotated[Path | None, typer.Option(help="The file to be.", show_default="standard output")] = None,
    storage: _Storage = None,
) -> None:
    """Writes a study's trials as CSV."""
    from kit.files import write_text

    text = _fresh(name, storage).to_csv()
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        print(f"Written to {out}")


@app.command()
def stop(name: _Name, storage: _Storage = None) -> None:
    """Ends a study early: what runs is finished, the best trained."""
    from search.study import find_study

    with closing(find_study(folder_of(name), _address(storage))) as study:
        study.note("stop", True)
        running = study.refresh().counts.running
    print(f"{study.record.name} begins no more trials; {running} still run. The same `study run` goes on with it.")


def _fresh(name: str, storage: str | None) -> "StudyRecord":
    """Record with what the storage knows if it can be reached; else as last written."""
    from kit import progress
    from kit.errors import UserError
    from search.records import StudyRecord
    from search.study import find_study

    path = folder_of(name)
    try:
        with closing(find_study(path, _address(storage))) as study:
            return study.refresh()
    except UserError as error:
        if storage is not None or not (path / "trials.json").exists():
            raise
        progress.say(f"warning: {error.what} What follows is the record of the last time.")
        return StudyRecord.load(path)


def _address(storage: str | None) -> Any:
    if storage is None:
        return None
    from search.storage import Address

    return Address.parse(storage)


def folder_of(name: str) -> Path:
    """Folder of a study by name (under studies/) or path; StorageError if there is none."""
    import difflib

    from kit.errors import StorageError
    from search.records import is_study

    for path in (ROOT / name, Path(name)):
        if is_study(path):
            return path
    near = difflib.get_close_matches(name, [path.name for path in ROOT.glob("*") if is_study(path)], n=1)
    hint = f"The nearest is {near[0]}." if near else "`transferkit study list` names those there are."
    raise StorageError(f"There is no study {name} under {ROOT}/.", hint)


def summary(record: "StudyRecord", best: "Refit | None") -> dict[str, Any]:
    from dataclasses import asdict

    kept = None if record.best_trial is None else trial_json(record.trial(record.best_trial))
    return {
        "study": str(record.path),
        "name": record.name,
        "objectives": list(record.objectives),
        "counts": asdict(record.counts),
        "best_trial": kept,
        "front": [trial.number for trial in record.front()] if len(record.objectives) > 1 else [],
        "latency_ms": {str(number): ms for number, ms in record.latency.items()},
        "best": None if best is None else best.to_dict(),
    }


def trial_json(trial: Any) -> dict[str, Any]:
    names = ("number", "state", "values", "seconds", "started", "error", "retry_of", "own", "shared_head")
    return {name: getattr(trial, name) for name in names} | {"params": dict(trial.params), "epochs": len(trial.history)}
