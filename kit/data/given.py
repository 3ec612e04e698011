"""Images and tables that a program holds in memory, kept in the cache as a table of files, under their content.

    given/KEY/NAME.csv   path, label, and split and group where there are any
    given/KEY/12.png     image 12, without loss; train/12.png where splits were given
    given/KEY/root.txt   of a DataFrame: the folder from which its paths count; its images stay where they are

From there on they are data like any others: a recorded run finds them again by the path of the table.
"""

import csv
import hashlib
import io
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from kit.cache.writer import lock_path
from kit.data.forms import Part, describe_label, parts_of
from kit.data.in_memory import PixelCheck, as_file, is_table
from kit.data.tables import read_frame
from kit.errors import DataError
from kit.files import storage_errors, write_text
from kit.machine import given_folder, require_cache
from kit.progress import mebibytes, say

_ROOT = "root.txt"
_VERSION = 1  # raise it whenever the same images would give other files


class _Row(NamedTuple):
    """One image: the SHA-256 of its content, its label, and its file where it was written."""

    digest: str
    label: int | str
    split: str | None
    group: str | None
    file: Path | None


def is_given(data: Any) -> bool:
    """Whether data are something in memory rather than the name of a folder, table or archive."""
    return data is not None and not isinstance(data, str | bytes | os.PathLike)


def root_of(table: Path) -> Path | None:
    """Folder from which the paths of a kept table count, if that is not its own; a kept table is used by this."""
    if table.parent.parent != Path(os.path.abspath(given_folder())):
        return None
    _touch(table)
    file = table.parent / _ROOT
    if not file.exists():
        return None
    return Path(file.read_text(encoding="utf-8", errors="surrogateescape"))


def keep(data: Any, labels: Any = None, columns: str = "", known: Sequence[str] = ()) -> Path:
    """Keep what a program gave, and return the table of it; the same content gives the same table.

    Args:
        data: A DataFrame, or what `kit.data.forms` reads.
        labels: Beside images without any.
        columns: Which column of a table is what (`data.columns`).
        known: Classes of a run that is to be scored: of those, number 7 is the one that reads as 7, be it called 07.

    Raises:
        DataError: If it is nothing that can be read, or its pixels are not as they were read.
        StorageError: If the cache cannot hold it.
    """
    require_cache()
    if labels is None and is_table(data) and data.ndim == 2:
        return _keep_frame(data, columns)
    return _keep_images(parts_of(data, labels, columns), known)


# === Tables of files ===


def _keep_frame(frame: Any, columns: str) -> Path:
    source = read_frame(frame, columns)
    folders = {os.path.dirname(sample.file) for sample in source.samples}
    try:
        root = Path(os.path.commonpath(folders))
    except ValueError:  # on several drives: paths stay absolute
        root = source.root
    rows = [(_relative(sample.file, root), sample.label, sample.split, sample.group) for sample in source.samples]
    text = _table_text(rows)
    folder = _folder_of(f"{root}\n{text}")
    table = folder / f"{root.name or 'table'}.csv"
    with _locked():
        if not (table.exists() and (folder / _ROOT).exists()):
            write_text(folder / _ROOT, str(root))
            write_text(table, text)
    _touch(table)
    say(f"{source.tree[0]}; recorded as {table}")
    return table


def _relative(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()


def _table_text(rows: Sequence[tuple[str, str, str | None, str | None]]) -> str:
    header = ("path", "label", "split", "group")
    used = [i for i in range(len(header)) if i < 2 or any(row[i] for row in rows)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([header[i] for i in used])
    writer.writerows([row[i] or "" for i in used] for row in rows)
    return text.getvalue()


def _folder_of(content: str) -> Path:
    key = hashlib.sha256(content.encode("utf-8", errors="surrogateescape")).hexdigest()
    return Path(os.path.abspath(given_folder())) / f"{key[:24]}-{_VERSION}"


# === Images ===


def _keep_images(parts: Sequence[Part], known: Sequence[str]) -> Path:
    with _locked() as place:
        for left in place.glob(".tmp-*"):  # of a killed process: this one holds the lock
            shutil.rmtree(left, ignore_errors=True)
        if all(part.again for part in parts):  # looked at first: nothing is written where it lies there already
            rows = _read(parts, None)
            table = _table_path(rows, parts, known)[0]
            if table.exists():
                return _kept_already(table, len(rows))
        temporary = place / f".tmp-{uuid.uuid4().hex[:12]}"
        try:
            with storage_errors(temporary):
                temporary.mkdir()
            return _put(_read(parts, temporary), parts, known, temporary)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _locked() -> Iterator[Path]:
    """Hold the folder of what was given against other programs, `cache prune` among them."""
    from filelock import FileLock

    place = Path(os.path.abspath(given_folder()))
    with storage_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_path(place))
        lock.acquire()
    try:
        yield place
    finally:
        lock.release()


def _kept_already(table: Path, images: int) -> Path:
    _touch(table)
    say(f"The {images:,} images given in memory are kept in {table.parent} already.")
    return table


def _touch(table: Path) -> None:
    """Record the use, for `cache list` and `cache prune`; a read-only cache is fine."""
    with suppress(OSError):
        os.utime(table.parent)


def _read(parts: Sequence[Part], folder: Path | None) -> list[_Row]:
    """Look at every image once, and write it into the folder, if there is one."""
    check, unlabelled = PixelCheck(), 0
    rows: list[_Row] = []
    for part in parts:
        mine: list[_Row] = []
        for image, label, group in part.items():
            name = describe_label(label, part.names)
            if name is None:
                unlabelled += 1
                continue
            source = image if isinstance(image, bytes | Image.Image) else check.convert(image)
            file = None
            if folder is not None:
                content = as_file(source)
                file = folder / f"{len(rows) + len(mine)}{_suffix(content)}"
                with storage_errors(file):
                    file.write_bytes(content)
            mine.append(_Row(_digest(source), name, part.split, group, file))
        # where the order may be another the next time, content decides it
        rows += mine if part.ordered else sorted(mine, key=lambda row: (row.digest, str(row.label)))
    check.require_unscaled()
    if not rows:
        raise DataError("No labelled images were given.", "Give at least a few images of each of two classes.")
    if folder is not None:
        for happened, what in (
            (check.rounded, "Pixel values with fractions were rounded to whole ones."),
            (check.turned, "Images with their channels first were turned to (height, width, channels)."),
            (unlabelled, f"{unlabelled:,} images without a label (-1) are left out."),
        ):
            if happened:
                say(what)
    return rows


def _digest(source: Any) -> str:
    """SHA-256 over an image's content, independent of how Pillow's version compresses."""
    if isinstance(source, Image.Image):
        palette = source.getpalette() if source.mode == "P" else None
        about = f"{source.mode}{source.size}{palette}{source.getexif().tobytes()!r}{source.info.get('transparency')}"
        return hashlib.sha256(about.encode() + source.tobytes()).hexdigest()
    if hasattr(source, "shape"):
        return hashlib.sha256(f"{source.shape}".encode() + source.tobytes()).hexdigest()
    return hashlib.sha256(source).hexdigest()


def _suffix(content: bytes) -> str:
    try:
        with Image.open(io.BytesIO(content)) as image:
            name = (image.format or "").lower()
    except (OSError, ValueError, SyntaxError):
        return ""  # the audit says what is wrong with it
    return {"jpeg": ".jpg", "mpo": ".jpg", "tiff": ".tif"}.get(name, f".{name}")


def _table_path(
    rows: Sequence[_Row], parts: Sequence[Part], known: Sequence[str]
) -> tuple[Path, list[tuple[str, _Row]]]:
    """Path of the table of these images, and the name of each one's file without suffix."""
    numbers: Counter[str | None] = Counter()
    width = len(str(max(Counter(row.split for row in rows).values()) - 1))
    named = []
    for row in rows:
        name = f"{numbers[row.split]:0{width}}"
        numbers[row.split] += 1
        named.append((f"{row.split}/{name}" if row.split else name, row))
    labels = _label_texts(rows, known)
    content = [f"{name},{row.digest},{label!r},{row.group!r}" for (name, row), label in zip(named, labels, strict=True)]
    return _folder_of("\n".join(content)) / f"{parts[0].name}.csv", named


def _label_texts(rows: Sequence[_Row], known: Sequence[str]) -> list[str]:
    """Labels as texts; numbers of equal width, so that class k of the model is the k-th of them."""
    reads = {int(name): name for name in known if name.isdecimal()}
    numbers = [row.label for row in rows if isinstance(row.label, int)]
    width = len(str(max(numbers))) if numbers and min(numbers) >= 0 else 0
    return [row.label if isinstance(row.label, str) else reads.get(row.label, f"{row.label:0{width}}") for row in rows]


def _put(rows: list[_Row], parts: Sequence[Part], known: Sequence[str], temporary: Path) -> Path:
    """Move what was written into its place, under its names, with the table of it."""
    table, named = _table_path(rows, parts, known)
    if table.exists():
        return _kept_already(table, len(rows))
    folder = table.parent
    total = sum(row.file.stat().st_size for row in rows if row.file)
    lines = []
    with storage_errors(folder):
        ready = temporary / "ready"
        ready.mkdir()
        for (name, row), label in zip(named, _label_texts(rows, known), strict=True):
            assert row.file is not None
            target = ready / f"{name}{row.file.suffix}"
            target.parent.mkdir(exist_ok=True)
            os.replace(row.file, target)
            lines.append((target.relative_to(ready).as_posix(), label, row.split, row.group))
        (ready / table.name).write_text(_table_text(lines), encoding="utf-8", errors="surrogateescape")
        if hasattr(os, "sync"):  # one call instead of one fsync for each of thousands of files
            os.sync()
        shutil.rmtree(folder, ignore_errors=True)  # without its table: images that somebody removed in part
        os.replace(ready, folder)
    say(f"{len(rows):,} images given in memory are kept in {folder} ({mebibytes(total)}), and found again there.")
    return table
