"""`transferkit report`: the page of a record, of several runs compared, or of all records under a folder."""

import json
from pathlib import Path
from typing import Annotated

import typer


def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN|STUDY|INSPECTION|EVALUATION...",
            help="Record folders; several runs are compared. With --all one folder that holds records.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="List all records under a folder, by default this one, on one page.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page to be.",
            show_default="FOLDER/report.html, comparison.html for several, FOLDER/index.html with --all",
        ),
    ] = None,
    grid: Annotated[int, typer.Option(min=1, max=96, help="Images in each grid of predictions.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Draws one HTML page of what was recorded, for any browser."""
    from kit.errors import ConfigError
    from reports.drawing import write_index, write_report

    given = folders or []
    if every and len(given) > 1:
        raise ConfigError("--all lists the records under one folder, and several were given.", "Give their parent.")
    if not every and not given:
        raise ConfigError("No record was given.", "Give a record's folder, or --all for a list of those in this one.")
    page = write_index(given[0] if given else ".", out) if every else write_report(given, out, grid=grid)
    print(json.dumps({"page": str(page)}) if as_json else f"Page: {page}")
