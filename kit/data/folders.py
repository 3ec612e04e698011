"""Class folders, alone or inside split folders, as samples."""

import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from kit.data.samples import IMAGE_SUFFIXES, SPLIT_NAMES, Sample, Source
from kit.errors import DataError
from kit.progress import say

_IGNORED = {"__macosx", "thumbs.db", "desktop.ini"}


def read_folder(root: Path, name: str) -> Source:
    """List the samples of class folders: `roses/`, `tulips/`, or `train/` and `val/` holding those."""
    root = Path(os.path.abspath(root))
    folders, _ = visible(root)
    split_of = {folder: SPLIT_NAMES[folder.name.lower()] for folder in folders if folder.name.lower() in SPLIT_NAMES}
    # `train` alone may be a class, beside `bus` and `car`
    if "train" not in split_of.values() or len(set(split_of.values())) == 1:
        return _source(name, "folder", root, list(_class_folders(root, root, None)))
    if others := [folder.name for folder in folders if folder not in split_of]:
        raise DataError(
            f"{root} holds split folders ({', '.join(f.name for f in split_of)}) and also {', '.join(others[:5])}.",
            "Move what is no split elsewhere, so that it is clear what is a class.",
        )
    listed = [entry for folder, split in split_of.items() for entry in _class_folders(root, folder, split)]
    return _source(name, "splits", root, listed)


def visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files, sorted, without hidden ones; a broken link counts as a file, a pipe as nothing."""
    folders, files = [], []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name.lower() in _IGNORED:
            continue
        try:
            mode = os.stat(entry.path).st_mode
        except OSError:  # a broken link, a loop of links: the audit reports it
            mode = stat.S_IFREG
        if stat.S_ISDIR(mode):
            folders.append(Path(entry.path))
        elif stat.S_ISREG(mode):
            files.append(Path(entry.path))
    return folders, files


def _source(name: str, kind: str, root: Path, listed: list[Sample | str]) -> Source:
    samples = tuple(sorted((entry for entry in listed if isinstance(entry, Sample)), key=lambda sample: sample.path))
    empty = {entry for entry in listed if isinstance(entry, str)} - {sample.label for sample in samples}
    if empty and samples:
        raise DataError(
            f"{root} has class folders without a single file: {', '.join(sorted(empty)[:5])}.",
            "Put images into them, or remove them.",
        )
    return Source(name, kind, root, samples)


def _class_folders(root: Path, parent: Path, split: str | None) -> Iterator[Sample | str]:
    """Yield a sample for each file of the class folders in `parent`, and the label of each empty one."""
    folders, files = visible(parent)
    loose = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if loose and not folders:
        raise DataError(
            f"{parent} holds images ({loose[0].name}, ...) but no class folders.",
            "Sort the images into one folder a class, or list them in a table with the columns path,label.",
        )
    if loose:
        say(f"{len(loose)} images lie beside the class folders of {parent}, have no label and are left out.")
    for folder in folders:
        label = unicodedata.normalize("NFC", folder.name)  # macOS may list `é` as two codepoints, Linux as one
        # A link back to a parent would give every image of every class this label.
        files = list(_walk(folder, seen={_identity(root), _identity(parent)}))
        yield from (Sample(file.relative_to(root).as_posix(), file, label, split) for file in files)
        if not files:
            yield label


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield all files below `folder`; links are followed, each real folder is entered once."""
    identity = _identity(folder)
    if identity in seen:
        return
    seen.add(identity)
    folders, files = visible(folder)
    yield from files
    for inner in folders:
        yield from _walk(inner, seen)


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
