"""Folders and files below a root, and which files are images.

What systems leave behind (hidden files, `Thumbs.db`, `@eaDir`, ...) and what transferkit itself wrote (runs, studies,
inspections, exports, its cache) is passed over wherever it lies.
"""

import json
import os
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from kit.data.images import FORMATS, is_heic, reads_heic
from kit.machine import cache_folder

HEIC_SUFFIXES = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
_SYSTEM = frozenset(
    {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "#recycle", "#snapshot"}
    | {"$recycle.bin", "recycler", "system volume information", "lost+found"}
)
# File of a record -> kinds of records that it makes of its folder.
RECORDS = {
    "manifest.json": {"run", "inspection", "evaluation"},
    "export.json": {"export"},
    "seeds.json": {"seeds"},
    "study.toml": {"study"},
}


@dataclass(frozen=True, slots=True)
class Listing:
    """Content of one folder, sorted; `record` says what transferkit recorded there: `run`, `study`, ..., or nothing."""

    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    record: str


class Tree:
    """Folders below a root, each listed once."""

    def __init__(self) -> None:
        self._known: dict[Path, Listing] = {}
        self._cache = Path(os.path.abspath(cache_folder()))

    def look(self, folder: Path) -> Listing:
        """Content of a folder; a broken link counts as a file, a pipe as nothing."""
        if folder not in self._known:
            self._known[folder] = _list(folder)
        return self._known[folder]

    def folders(self, folder: Path) -> list[Path]:
        """Folders in a folder that are not transferkit's own."""
        return [inner for inner in self.look(folder).folders if not self.is_own(inner)]

    def is_own(self, folder: Path) -> bool:
        """Whether transferkit wrote the folder: a record, its cache, or a folder of nothing but those (`runs/`)."""
        listing = self.look(folder)
        if listing.record or folder == self._cache:
            return True
        inner = listing.folders
        return bool(inner) and not listing.files and all(not one.is_symlink() and self.is_own(one) for one in inner)

    def files(self, folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
        """Yield all files below a folder; links are followed, each real folder is entered once."""
        identity = identify(folder)
        listing = self.look(folder)
        if identity in seen or listing.record or folder == self._cache:
            return
        seen.add(identity)
        yield from listing.files
        for inner in listing.folders:
            yield from self.files(inner, seen)


def identify(folder: Path) -> tuple[int, int]:
    """Device and number of a folder, equal for all links to it."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def looks_like_image(file: Path) -> bool:
    """Whether a file's name or its first bytes are those of an image; it may still be damaged."""
    if file.suffix.lower() in image_suffixes():
        return True
    try:
        with open(file, "rb") as opened:
            head = opened.read(32)
    except (OSError, ValueError):
        return False
    return is_heic(head) or any(accept(head) is True for accept in _signatures())


def count_kinds(files: Iterable[Path]) -> str:
    """Number of files by suffix, in words: `3 .txt, 1 .csv`."""
    kinds = Counter(file.suffix.lower() or "without a suffix" for file in files).most_common()
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds[:5]) + (", ..." if len(kinds) > 5 else "")


def heic_advice(unread: Iterable[Path]) -> list[str]:
    """A sentence on how HEIC images are read, if some of these files are such and nothing reads them here."""
    count = 0 if reads_heic() else sum(file.suffix.lower() in HEIC_SUFFIXES for file in unread)
    files = f"{count:,} HEIC images are" if count != 1 else "One HEIC image is"
    return [f"{files} left out: `pip install pillow-heif`, and they are read, or convert them."] if count else []


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of the formats that are read, and of HEIC, in lower case."""
    return HEIC_SUFFIXES | {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}


@cache
def _signatures() -> tuple:
    """Pillow's tests of a file's first bytes, one a format."""
    return tuple(accept for name in FORMATS if name in Image.OPEN and (accept := Image.OPEN[name][1]))


def _list(folder: Path) -> Listing:
    folders: list[Path] = []
    files: list[Path] = []
    names = set()
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        names.add(entry.name)
        if entry.name.startswith(".") or entry.name.lower() in _SYSTEM:
            continue
        try:
            kind = folders if entry.is_dir() else files if entry.is_file() or not os.path.exists(entry.path) else None
        except OSError:  # a loop of links: the audit reports it
            kind = files
        if kind is not None:
            kind.append(Path(entry.path))
    return Listing(tuple(folders), tuple(files), _record(folder, names))


def _record(folder: Path, names: set[str]) -> str:
    """Kind of the record that a folder of these names is; empty if it is none."""
    for name in names & RECORDS.keys():
        try:
            with open(folder / name, "rb") as file:
                content = tomllib.load(file) if name.endswith(".toml") else json.load(file)
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and "schema_version" in content and content.get("kind") in RECORDS[name]:
            return content["kind"]
    visible = {name for name in names if not name.startswith(".")}
    if "optuna.db" in visible and "study.toml" not in visible:  # a study killed while it began
        return "study"
    if ".lock" in names and not visible:  # a run killed while it began
        return "run"
    return ""
