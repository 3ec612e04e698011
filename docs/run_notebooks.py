"""Runs a notebook from its first cell to its last, as its reader does, and stores it with what its cells show.

    python docs/run_notebooks.py examples/own_images.ipynb

Needs nbclient and ipykernel, and for the figures playwright and Chromium (CHROMIUM names it): beside what Jupyter shows
they are stored as images, since a code host runs no scripts. `--into FOLDER` leaves the notebooks as they are and
writes copies; `--no-images` leaves the images out. `--first CELL` runs another text in place of the first cell of code,
such as data that lie elsewhere; stored is the notebook's own.
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

CELL_SECONDS = 1800
PLOTLY, PNG, JPEG = "application/vnd.plotly.v1+json", "image/png", "image/jpeg"
WIDTH, HEIGHT = 760, 420  # of a figure that has no size of its own, in CSS pixels


def run(file: Path, workplace: Path, into: Path, images: bool, first: str = "") -> None:
    """Runs one notebook in `workplace`; writes it, with its outputs, into the folder `into`."""
    notebook = nbformat.read(file, as_version=4)
    opening = next(cell for cell in notebook.cells if cell.cell_type == "code")
    own = opening.source
    opening.source = first or own
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(workplace)}},
    )
    client.execute()
    opening.source = own
    if images:
        shown = [output["data"] for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
        add_images([data for data in shown if PLOTLY in data])
    notebook.metadata["language_info"] = {"name": "python"}  # not the Python that ran it
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
    (into / file.name).write_text(text + "\n", encoding="utf-8")


def add_images(shown: list[Any]) -> None:
    """Adds to each figure that plotly drew an image of it."""
    from playwright.sync_api import sync_playwright
    from plotly.offline import get_plotlyjs

    with sync_playwright() as play:
        program = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(content=get_plotlyjs())
        for data in shown:
            layout = data[PLOTLY]["layout"]
            photos = any(trace.get("type") == "image" for trace in data[PLOTLY]["data"])
            size = {"width": layout.get("width", WIDTH), "height": layout.get("height", HEIGHT)}
            size["format"] = "jpeg" if photos else "png"
            figure = {name: data[PLOTLY][name] for name in ("data", "layout")}
            address = page.evaluate("([figure, size]) => Plotly.toImage(figure, size)", [figure, size])
            data[JPEG if photos else PNG] = address.partition(",")[2]
            if photos:
                del data[PLOTLY]  # which holds a megabyte of pixels
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--workplace", type=Path, default=Path())
    parser.add_argument("--no-images", action="store_true")
    parser.add_argument("--first", default="")
    asked = parser.parse_args()
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"  # the figure alone, without 5 MB of script
    for one in asked.notebooks:
        run(one, asked.workplace, asked.into or one.parent, not asked.no_images, asked.first)
