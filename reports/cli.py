"""`transferkit report`: the page of a run, a study or an inspection; of several runs, their comparison."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kit.errors import ConfigError, StorageError


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|STUDY|INSPECTION...", help="Record folders; several runs are compared.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The page to be.", show_default="FOLDER/report.html, comparison.html for several"),
    ] = None,
    grid: Annotated[int, typer.Option(min=1, max=96, help="Photos in each grid of predictions.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Draws one HTML page that needs no network, from what was recorded."""
    from reports.page import page_of, write_page

    if out is not None and out.is_dir():
        raise StorageError(f"{out} is a folder.", "Give --out a file to be, such as page.html.")
    if len(folders) == 1:
        page, path = page_of(folders[0], grid=grid), out or folders[0] / "report.html"
    else:
        from reports.compare_page import compare_page

        if len({folder.resolve() for folder in folders}) < len(folders):
            raise ConfigError("The same folder was given twice.", "Give each run once.")
        page, path = compare_page(folders), out or Path("comparison.html")
    write_page(page, path)
    print(json.dumps({"page": str(path)}) if as_json else f"Page: {path}")
