"""`transferkit push`: a run's model with its card, on the Hugging Face Hub."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kit.commands import AsJson, Quiet

_SOURCE = "A finished run, a study (its best run), or the folder of an export."
_FORMAT = "As of export; one that lies in the run's folder is taken."


def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=_SOURCE, show_default=False)],
    repository: Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository.", show_default=False)],
    format_name: Annotated[str, typer.Option("--format", help=_FORMAT, show_default="keras")] = "",
    private: Annotated[bool, typer.Option("--private", help="Make a repository that only its owner sees.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Uploads a run's model and its card to the Hugging Face Hub."""
    from kit import hub_push, progress
    from kit.commands.finished_run import open_run

    progress.set_quiet(quiet or as_json)
    source = run if hub_push.is_export(run) else open_run(run)
    address = hub_push.push(source, repository, format_name=format_name, private=private)
    print(json.dumps({"run": str(run), "page": address}) if as_json else f"Page: {address}")
