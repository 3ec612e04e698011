"""`transferkit threshold`: when the model of a finished run gives no answer."""

import json
from typing import Annotated

import typer

from kit.commands import AsJson, FinishedRun, Quiet
from kit.commands.finished_run import Moved, OwnBackend, open_run


def threshold(
    run: FinishedRun,
    accuracy: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Wanted of the answers, such as 0.99.", show_default="as the run was trained"),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of images wanted to be answered.", show_default="as the run was trained"
        ),
    ] = None,
    known: Annotated[
        float | None,
        typer.Option(min=0, max=0.999, help="Share of such images that pass as known.", show_default="0.95"),
    ] = None,
    moved: Moved = None,
    backend: OwnBackend = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Sets when a run's model gives no answer.

    On its validation images, or on all of a cross-validated run: below a confidence it is "unsure", and beyond a
    strangeness an image is "unlike" anything it was trained on. Nothing given is as the run was trained. Its images are
    read only where it has no strangeness yet, as a run of an older transferkit.
    """
    from dataclasses import replace

    from kit import progress
    from kit.abstention import set_thresholds
    from kit.errors import ConfigError
    from kit.run_writer import RunWriter

    progress.set_quiet(quiet or as_json)
    if accuracy is not None and coverage is not None:
        raise ConfigError("--accuracy and --coverage exclude each other.", "Choose one.")
    folder = RunWriter.open(open_run(run).path)
    folder.require_finished()
    wanted = folder.config.abstention
    if accuracy is not None:
        wanted = replace(wanted, accuracy=accuracy, coverage=0.0)
    if coverage is not None:
        wanted = replace(wanted, coverage=coverage)
    if known is not None:
        wanted = replace(wanted, known=known)
    given = {"accuracy": accuracy, "coverage": coverage, "known": known}
    insist = [name for name, value in given.items() if value is not None]
    chosen = set_thresholds(folder, wanted, insist=insist, moved=moved, backend_name=backend)
    if as_json:
        print(json.dumps({"run": str(run), **chosen.to_dict()}))
    else:
        print("\n".join(chosen.describe() or ["It always answers."]))
