"""The page of whatever was recorded: what `transferkit report` and the Python API share."""

import os
from collections.abc import Iterable
from pathlib import Path

from kit.errors import ConfigError, StorageError
from kit.records import RunFolder
from reports.page import page_of, write_page

Name = str | os.PathLike[str]
Record = Name | RunFolder


def write_report(records: Record | Iterable[Record], out: Name | None = None, *, grid: int = 32) -> Path:
    """Draws one HTML page that needs no network, from what was recorded.

    Args:
        records: A run, a study or an inspection, by its folder; several runs are compared.
        out: The page to be; default `report.html` in the folder, `comparison.html` here for several.
        grid: Photos in each grid of predictions, 1 to 96.

    Returns:
        The page.

    Raises:
        UserError: If a folder is none of these, or a record in it is damaged, or `out` is a folder.
    """
    if not 1 <= grid <= 96:
        raise ConfigError(f"grid must be from 1 to 96, not {grid}.")
    given = [records] if isinstance(records, str | os.PathLike | RunFolder) else list(records)
    folders = [_folder(record) for record in given]
    path = None if out is None else Path(out)
    if path is not None and path.is_dir():
        raise StorageError(f"{path} is a folder.", "Name a file to be, such as page.html.")
    if len(folders) == 1:
        return write_page(page_of(folders[0], grid=grid), path or folders[0] / "report.html")
    from reports.compare_page import compare_page

    if not folders:
        raise ConfigError("No record was given.", "Give the folder of a run, a study or an inspection.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError("The same folder was given twice.", "Give each run once.")
    return write_page(compare_page(folders), path or Path("comparison.html"))


def _folder(record: Record) -> Path:
    return record.path if isinstance(record, RunFolder) else Path(record)
