"""`transferkit predict`: class and probabilities for files, folders and globs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kit.predict import Prediction, Predictor

SHOWN = 3  # classes beside the first in the table


def predict(
    run: Annotated[Path, typer.Argument(help="A finished run folder.", show_default=False)],
    paths: Annotated[list[str], typer.Argument(help="Photos, folders or globs.", show_default=False)],
    backend: Annotated[str, typer.Option(help="jax or tensorflow.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One row for each photo on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Says what a run's model sees in photos. Files that cannot be read are named, and the exit status is then 2."""
    from kit import progress
    from kit.backend import start
    from kit.errors import ConfigError, DataError
    from kit.predict import Predictor, find_photos
    from kit.records import RunFolder

    if as_json and as_csv:
        raise ConfigError("--json and --csv exclude each other.", "Choose one.")
    progress.set_quiet(quiet or as_json or as_csv)
    files, folder = find_photos(paths), RunFolder.open(run)
    start(backend, folder.config.threads)
    predictor = Predictor.of(folder)
    predictions = list(predictor.predict(files))
    if as_json:
        print(json.dumps({"run": str(run), "predictions": [_as_dict(one, predictor) for one in predictions]}))
    elif as_csv:
        _print_csv(predictions, predictor)
    else:
        for one in predictions:
            print(f"{one.path}  {_in_words(one, predictor)}")
    unreadable = [one for one in predictions if one.problem]
    if unreadable:
        named = "; ".join(f"{one.path} ({one.problem})" for one in unreadable[:5])
        raise DataError(f"{len(unreadable)} of {len(predictions)} files could not be read: {named}.")


def _as_dict(one: "Prediction", predictor: "Predictor") -> dict[str, object]:
    if one.problem:
        return {"path": one.path, "problem": one.problem}
    probabilities = dict(zip(predictor.classes, one.probabilities, strict=True))
    return {"path": one.path, "label": one.label, "confidence": one.confidence, "probabilities": probabilities}


def _in_words(one: "Prediction", predictor: "Predictor") -> str:
    if one.problem:
        return one.problem
    ranked = sorted(zip(one.probabilities, predictor.classes, strict=True), reverse=True)[1 : 1 + SHOWN]
    others = ", ".join(f"{name} {probability:.3f}" for probability, name in ranked)
    return f"{one.label} {one.confidence:.3f}  ({others})"


def _print_csv(predictions: "list[Prediction]", predictor: "Predictor") -> None:
    import csv

    from kit.records import escape_cell

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "predicted", "confidence", *(f"p_{name}" for name in predictor.classes), "problem"])
    for one in predictions:
        numbers = [f"{value:.9g}" for value in (one.confidence, *one.probabilities)] if one.probabilities else []
        blanks = [""] * (1 + len(predictor.classes) - len(numbers))
        writer.writerow([escape_cell(one.path), one.label and escape_cell(one.label), *numbers, *blanks, one.problem])
