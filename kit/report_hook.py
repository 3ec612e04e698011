"""Hooks by which records are shown, found as entry points: what draws pages knows records, and records not it.

Of the group `transferkit.pages` any name -> function (Path of a record folder) -> Path of the page drawn at a command's
end, or None for a kind of folder that it does not draw. Of the group `transferkit.notebook` any name -> module with
`Figures` and `summary_html`, both called with the Path of a record folder.
"""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from kit import progress
from kit.errors import ConfigError, StorageError

GROUP, NOTEBOOK = "transferkit.pages", "transferkit.notebook"
# what pyproject.toml lists, for a checkout that is not installed
BUILT_IN = {GROUP: {"report": "reports.drawing:draw"}, NOTEBOOK: {"report": "reports.notebook"}}


def draw_page(folder: Path) -> Path | None:
    """Draw the page of a finished record; None where there is none. Failing costs only a warning."""
    for point in _points(GROUP):
        try:
            page = point.load()(folder)
        except Exception as error:
            progress.say(f"warning: no page of {folder}: {error}\n`transferkit report {folder}` tries again.")
            continue
        if page is not None:
            return page
    return None


def require_page(folder: Path) -> Path:
    """Draw the page of a record; StorageError if it cannot be drawn."""
    page = draw_page(folder)
    if page is None:
        raise StorageError(f"The page of {folder} was not drawn.", f"`transferkit report {folder}` says why.")
    return page


def figures(folder: Path) -> Any:
    """Figures of a record's page, by name; ConfigError where nothing draws them."""
    for point in _points(NOTEBOOK):
        return point.load().Figures(folder)
    raise ConfigError("Nothing that is installed draws figures.", "Install transferkit with its reports.")


def summary_html(folder: Path) -> str | None:
    """Summary of a record for a notebook; None where it cannot be shown: the notebook falls back on the text."""
    try:
        return next((point.load().summary_html(folder) for point in _points(NOTEBOOK)), None)
    except Exception:  # a cell's output must not fail
        return None


def _points(group: str) -> list[EntryPoint]:
    """Entry points of a group, by name."""
    found = list(entry_points(group=group)) or [EntryPoint(*entry, group) for entry in BUILT_IN[group].items()]
    return sorted(found, key=lambda point: point.name)
