"""Hook that draws a page at a command's end, by entry points of the group `transferkit.pages`.

Any name -> function (Path of a record folder) -> Path of the page, or None for a kind of folder that it does not draw.
"""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from kit import progress

GROUP = "transferkit.pages"
BUILT_IN = {"report": "reports.drawing:draw"}  # what pyproject.toml lists, for a checkout that is not installed


def draw_page(folder: Path) -> Path | None:
    """Draw the page of a finished record; None where there is none. Failing costs only a warning."""
    points = list(entry_points(group=GROUP)) or [EntryPoint(name, value, GROUP) for name, value in BUILT_IN.items()]
    for point in sorted(points, key=lambda point: point.name):
        try:
            page = point.load()(folder)
        except Exception as error:
            progress.say(f"warning: no page of {folder}: {error}\n`transferkit report {folder}` tries again.")
            continue
        if page is not None:
            return page
    return None
