"""`transferkit report`: the page of a record, or of several runs compared."""

import json
from pathlib import Path
from typing import Annotated

import typer


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|STUDY|INSPECTION|EVALUATION...",
            help="Record folders; several runs are compared.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The page to be.", show_default="FOLDER/report.html, comparison.html for several"),
    ] = None,
    grid: Annotated[int, typer.Option(min=1, max=96, help="Images in each grid of predictions.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Draws one HTML page that needs no network, from what was recorded."""
    from reports.drawing import write_report

    page = write_report(folders, out, grid=grid)
    print(json.dumps({"page": str(page)}) if as_json else f"Page: {page}")
