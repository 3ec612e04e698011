"""Hook that draws a page at a command's end; the package that draws is found through its entry point.

Entry points of the group `transferkit.pages`: any name -> function (Path of a record folder) -> Path of the page, or
None where the folder is of a kind it does not draw.
"""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from kit import progress

GROUP = "transferkit.pages"
BUILT_IN = {"report": "reports.drawing:draw"}  # what pyproject.toml lists, for a checkout that is not installed


def draw_page(folder: Path) -> Path | None:
    """Draw the page of a record folder.

    A page that cannot be drawn costs a warning, never the run.

    Args:
        folder: Of a finished run, study or inspection.

    Returns:
        The page; None where there is none.
    """
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
