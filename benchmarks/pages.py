"""Time and memory of drawing a page."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import common
import typer

from kit.errors import UserError
from reports.drawing import kind_of

DRAW = """
import json, sys, time
from pathlib import Path
from kit.stage_clock import peak_memory
from reports.drawing import page_of, write_page
start = time.perf_counter()
write_page(page_of(Path(sys.argv[1])), Path(sys.argv[2]))
print(json.dumps({"seconds": time.perf_counter() - start, "peak_memory_bytes": peak_memory()}))
"""
MIB = 2**20


def pages(
    records: Annotated[list[Path], typer.Argument(metavar="RECORD...", help="Folders of runs, studies, inspections.")],
    rounds: Annotated[int, typer.Option(min=1, help="How often to draw each.")] = 3,
    results: common.Results = common.RESULTS,
) -> None:
    """How long does drawing a page take after start-up, how much memory, and how large is it?

    Each page is drawn by a process of its own, into a temporary folder: the records stay as they are.
    """
    for record in records:
        if kind_of(record) is None:
            raise UserError(f"{record} is not the folder of a run, a study or an inspection.")
    found = {}
    for record in records:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.html"
            drawn = [_draw(record, page) for _ in range(rounds)]
            found[str(record)] = {
                "seconds": median(one["seconds"] for one in drawn),
                "peak_memory_bytes": max(one["peak_memory_bytes"] or 0 for one in drawn),
                "page_bytes": page.stat().st_size,
            }
    rows = [
        [name, f"{one['seconds']:.2f}", f"{one['peak_memory_bytes'] / MIB:,.0f}", f"{one['page_bytes'] / MIB:.1f}"]
        for name, one in found.items()
    ]
    common.show(rows, ("page of", "seconds", "peak memory, MiB", "page, MiB"))
    common.record(results, "pages", {}, {"pages": found})


def _draw(record: Path, page: Path) -> dict:
    command = [sys.executable, "-c", DRAW, str(record), str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"No page of {record} could be drawn.", done.stderr.strip())
    return json.loads(done.stdout)


if __name__ == "__main__":
    common.start(pages)
