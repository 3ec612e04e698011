"""What a user points at -> samples: a folder, split folders, a table, an archive, or the name `flowers`.

Sources only list files. Whether a file is an image is for `kit.data.audit` to find out, so that nothing vanishes.
"""

import csv
import os
import shutil
import stat
import tarfile
import unicodedata
import uuid
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from kit.errors import DataError
from kit.files import cache_folder, free_bytes, is_address, require_space, sha256_file, storage_errors
from kit.progress import say

SPLITS = ("train", "validation", "test")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_MEMBERS = 5_000_000
MAX_UNPACKED_BYTES = 1 << 40

_SPLIT_NAMES = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_IGNORED = {"__macosx", "thumbs.db", "desktop.ini"}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".bmp", ".tif", ".tiff"}
_LAYOUT_HINT = "Name one folder a class (roses/, tulips/, ...), train/ and val/ holding those, a table or an archive."
_TABLE_HINT = "The first row names the columns: path,label and, if you like, split,group; paths count from its folder."


@dataclass(frozen=True, slots=True)
class Sample:
    """One file that should be an image.

    Attributes:
        path: As recorded: relative to the root, with `/` between folders. Names that are not UTF-8 keep their bytes as
            surrogate escapes.
        file: Absolute path.
        label: Its class.
        split: `train`, `validation` or `test` where the source gives it, else None.
        group: Images of one group must share a split; None where the source says nothing.
    """

    path: str
    file: Path
    label: str
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class SampleSet:
    """All samples of one source, sorted by path.

    Attributes:
        name: Short name for run folders: that of the folder, table or archive.
        kind: `folder`, `splits`, `table` or `archive`.
        root: The folder from which recorded paths count.
    """

    name: str
    kind: str
    root: Path
    samples: tuple[Sample, ...]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels, in codepoint order: class k of the model is the k-th."""
        return tuple(sorted({sample.label for sample in self.samples}))


def load_samples(path: str) -> SampleSet:
    """Lists the samples of a folder, split folders, a table, an archive, or the name `flowers`.

    Raises:
        DataError: If there is nothing there, it is no source, or it holds fewer than two classes.
    """
    if not path or "\0" in path:
        raise DataError("No data was named.", "Name a folder, a table, an archive, or `flowers`.")
    source = Path(os.path.abspath(Path(path).expanduser()))
    if is_address(path) and not source.exists():
        raise DataError(f"Images must be on this machine, not at the address {path}.", "Download them first.")
    if path == "flowers" and not source.exists():
        from kit.data.download import flowers

        return _checked(_from_folder(_step_in(flowers()), "flowers"), path)
    try:
        found = _from_any(source)
    except OSError as error:
        raise DataError(
            f"{source} cannot be read: {error.strerror or error}.", "Check the path and its permissions."
        ) from error
    return _checked(found, path)


def _from_any(source: Path) -> SampleSet:
    lower = source.name.lower()
    if source.is_dir():
        return _from_folder(source, source.name or "data")
    if not source.exists():
        raise DataError(f"There is no {source}.", "Check the path; the name `flowers` downloads an example.")
    if lower.endswith((".csv", ".parquet")):
        return _from_table(source)
    if suffix := next((suffix for suffix in ARCHIVES if lower.endswith(suffix)), None):
        inside = _step_in(extract_archive(source))
        unpacked = _from_folder(inside, source.name[: -len(suffix)])
        return SampleSet(unpacked.name, "archive", inside, unpacked.samples)
    raise DataError(
        f"{source} is a file, and neither a table (.csv, .parquet) nor an archive ({', '.join(ARCHIVES)}).",
        "Name the folder that holds one folder a class.",
    )


def _checked(found: SampleSet, path: str) -> SampleSet:
    if not found.samples:
        raise DataError(f"{path} holds no images.", _LAYOUT_HINT)
    if len(found.classes) < 2:
        raise DataError(
            f"{path} holds one class only ({found.classes[0]!r}); a classifier needs at least two.",
            "Name the folder above it, or the folder inside it that holds one folder a class.",
        )
    return found


# === Folders ===


def _from_folder(root: Path, name: str) -> SampleSet:
    root = Path(os.path.abspath(root))
    folders, _ = _visible(root)
    split_of = {folder: _SPLIT_NAMES[folder.name.lower()] for folder in folders if folder.name.lower() in _SPLIT_NAMES}
    # `train` alone may be a class, beside `bus` and `car`
    if "train" in split_of.values() and len(set(split_of.values())) > 1:
        others = [folder.name for folder in folders if folder not in split_of]
        if others:
            raise DataError(
                f"{root} holds split folders ({', '.join(f.name for f in split_of)}) and also {', '.join(others[:5])}.",
                "Move what is no split elsewhere, so that it is clear what is a class.",
            )
        listed = [sample for folder, split in split_of.items() for sample in _class_folders(root, folder, split)]
        return _folder_set(name, "splits", root, listed)
    return _folder_set(name, "folder", root, list(_class_folders(root, root, None)))


def _folder_set(name: str, kind: str, root: Path, listed: list[Sample | str]) -> SampleSet:
    samples = tuple(sorted((entry for entry in listed if isinstance(entry, Sample)), key=lambda sample: sample.path))
    empty = {entry for entry in listed if isinstance(entry, str)} - {sample.label for sample in samples}
    if empty and samples:
        raise DataError(
            f"{root} has class folders without a single file: {', '.join(sorted(empty)[:5])}.",
            "Put images into them, or remove them.",
        )
    return SampleSet(name, kind, root, samples)


def _class_folders(root: Path, parent: Path, split: str | None) -> Iterator[Sample | str]:
    """Yields a sample for each file of each class folder in `parent`; the bare label where a class folder is empty."""
    folders, files = _visible(parent)
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
        empty = True
        # A link back to a parent would give every image of every class this label.
        for file in _walk(folder, seen={_identity(root), _identity(parent)}):
            empty = False
            yield Sample(file.relative_to(root).as_posix(), file, label, split)
        if empty:
            yield label


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """All files below `folder`, links followed, each real folder entered once: link loops end."""
    identity = _identity(folder)
    if identity in seen:
        return
    seen.add(identity)
    folders, files = _visible(folder)
    yield from files
    for inner in folders:
        yield from _walk(inner, seen)


def _visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files that a user put into `folder`, each sorted; broken links count as files, pipes as nothing."""
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


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


# === Tables ===


def _from_table(table: Path) -> SampleSet:
    header, rows = _parquet_rows(table) if table.suffix.lower() == ".parquet" else _csv_rows(table)
    columns = [name.strip().lower() for name in header]
    wanted = ("path", "label", "split", "group")
    if missing := [name for name in wanted[:2] if name not in columns]:
        raise DataError(
            f"{table} lacks the column {' and '.join(missing)}; it has {', '.join(columns) or 'none'}.", _TABLE_HINT
        )
    if twice := [name for name in wanted if columns.count(name) > 1]:
        raise DataError(f"{table} has the column {twice[0]} more than once.", _TABLE_HINT)
    places = [columns.index(name) if name in columns else None for name in wanted]
    numbers, cells, too_wide = [], [], []
    for number, row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(columns):
            too_wide.append(number)
        numbers.append(number)
        cells.append([row[place].strip() if place is not None and place < len(row) else "" for place in places])
    _refuse(table, "more cells than the header has columns", too_wide, "Put quotes around cells that hold a comma.")
    if not cells:
        raise DataError(f"{table} has no rows.", _TABLE_HINT)
    return _table_set(table, numbers, cells)


def _table_set(table: Path, numbers: list[int], cells: list[list[str]]) -> SampleSet:
    paired = list(zip(numbers, cells, strict=True))
    _refuse(table, "no path", [n for n, cell in paired if not cell[0] or "\0" in cell[0]], "Fill in the column path.")
    _refuse(
        table, "no label", [n for n, cell in paired if not cell[1]], "Fill in the column label, or remove the rows."
    )
    unknown = [n for n, cell in paired if cell[2] and cell[2].lower() not in _SPLIT_NAMES]
    _refuse(table, "an unknown split", unknown, "A split is train, val (or valid, validation), test, or empty.")
    samples = [_table_sample(table.parent, *cell) for cell in cells]
    times = Counter(sample.file for sample in samples)
    repeated = [n for n, sample in zip(numbers, samples, strict=True) if times[sample.file] > 1]
    _refuse(table, "a path that another row has too", repeated, "Keep one row for each image.")
    if not any(sample.file.exists() for sample in samples):
        raise DataError(
            f"None of the {len(samples)} files that {table} lists exists; the first is {samples[0].file}.",
            "Relative paths count from the table's folder.",
        )
    return SampleSet(table.stem, "table", table.parent, tuple(sorted(samples, key=lambda sample: sample.path)))


def _table_sample(root: Path, path: str, label: str, split: str, group: str) -> Sample:
    file = Path(os.path.abspath(root / path))
    if "\\" in path and not file.exists():  # written on Windows
        file = Path(os.path.abspath(root / path.replace("\\", "/")))
    try:
        recorded = Path(os.path.relpath(file, root)) if not Path(path).is_absolute() else file.relative_to(root)
    except ValueError:  # absolute and elsewhere
        recorded = file
    label = unicodedata.normalize("NFC", label)
    return Sample(recorded.as_posix(), file, label, _SPLIT_NAMES.get(split.lower()), group or None)


def _refuse(table: Path, fault: str, rows: list[int], hint: str) -> None:
    if rows:
        named = ", ".join(map(str, rows[:10])) + (f" and {len(rows) - 10} more" if len(rows) > 10 else "")
        raise DataError(
            f"{table} has {fault} in row{'s' if len(rows) > 1 else ''} {named} (the header is row 1).", hint
        )


def _csv_rows(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    # newline="" as the csv module asks; surrogateescape, because file names need not be UTF-8
    with open(table, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=first.count)  # spreadsheets write semicolons where the comma is the decimal point
        try:
            rows = list(csv.reader(file, delimiter=delimiter))
        except csv.Error as error:
            raise DataError(f"{table} is not a readable CSV file: {error}.", _TABLE_HINT) from None
    if not rows:
        raise DataError(f"{table} is empty.", _TABLE_HINT)
    return rows[0], list(enumerate(rows[1:], start=2))


def _parquet_rows(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(
            f"{table} is a Parquet table, and pyarrow, which reads those, is not installed.",
            "Run `pip install 'transferkit[parquet]'`, or save the table as CSV.",
        ) from None
    try:
        names = parquet.read_schema(table).names
        wanted = [name for name in names if name.strip().lower() in ("path", "label", "split", "group")]
        # Other columns are not read: some tables carry the images' bytes.
        columns = parquet.read_table(table, columns=wanted).to_pydict()
    except (ValueError, OSError) as error:
        raise DataError(
            f"{table} is not a readable Parquet table: {str(error).splitlines()[0]}.", _TABLE_HINT
        ) from None
    cells = [["" if value is None or value != value else str(value) for value in columns[name]] for name in wanted]
    header = wanted if {"path", "label"} <= {name.strip().lower() for name in wanted} else names
    return header, list(enumerate(map(list, zip(*cells, strict=True)), start=2))


# === Archives ===


def extract_archive(archive: Path) -> Path:
    """The folder the archive is unpacked into: once, beside its final name, then renamed."""
    from filelock import FileLock

    target = cache_folder() / "archives" / sha256_file(archive)[:16]
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.is_dir():
                return target
            for left in target.parent.glob(f".tmp-{target.name}-*"):  # of a process that was killed: we hold the lock
                shutil.rmtree(left, ignore_errors=True)
            temporary = target.parent / f".tmp-{target.name}-{uuid.uuid4().hex[:8]}"
            say(f"Unpacking {archive} into {target}")
            try:
                temporary.mkdir()
                _unpack(archive, temporary)
                if hasattr(os, "sync"):  # one call instead of one fsync for each of thousands of files
                    os.sync()
                os.replace(temporary, target)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return target


def _unpack(archive: Path, folder: Path) -> None:
    damaged = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, RuntimeError, ValueError)
    try:
        if archive.name.lower().endswith(".zip"):
            _unpack_zip(archive, folder)
        else:
            _unpack_tar(archive, folder)
    except tarfile.FilterError as error:
        raise _unsafe(archive, str(error)) from error
    except damaged as error:
        raise DataError(f"{archive} cannot be unpacked: {error}.", "Fetch it again, or unpack it yourself.") from error


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        total = 0
        for count, member in enumerate(opened.infolist(), start=1):
            total += member.file_size
            _admit(archive, member.filename, count, total)
        require_space(folder, total)
        opened.extractall(folder)  # a link in a zip becomes a small text file: a finding, no danger


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        total, free = 0, free_bytes(folder)
        links: set[str] = set()
        for count, member in enumerate(opened, start=1):  # one pass: listing a .tar.gz first would decompress it twice
            total += member.size
            _admit(archive, member.name, count, total)
            if member.islnk() or member.issym():
                _admit_link(archive, member, links)
            if total > free:
                require_space(folder, member.size)
            opened.extract(member, folder, filter="data")  # refuses devices, and links that lead out


def _admit(archive: Path, name: str, count: int, total: int) -> None:
    """Raises DataError if a member would land outside, or if by now there are too many members or bytes."""
    if ".." in _parts(name) or _absolute(name):
        raise _unsafe(archive, f"{name!r} leads out of it")
    if count > MAX_MEMBERS or total > MAX_UNPACKED_BYTES:
        raise DataError(
            f"{archive} holds more than {MAX_MEMBERS:,} files or {MAX_UNPACKED_BYTES:,} bytes.",
            "Unpack it yourself and name the folder.",
        )


def _admit_link(archive: Path, member: tarfile.TarInfo, links: set[str]) -> None:
    """Raises DataError unless a link leads to a place inside, as its text alone shows; adds it to `links`.

    tarfile's own filter asks the disk, where Pythons before 3.11.13, 3.12.11 and 3.13.4 are deceived by names too long
    to be followed (CVE-2025-4517) and by hard links to symbolic ones (CVE-2025-4330). So a symbolic link may go up at
    its beginning only, and only where no folder above it is a link; a hard link goes neither up nor through a link.

    Args:
        archive: What the message calls it.
        member: A symbolic or hard link.
        links: Places of the links before it, as a disk that ignores case compares them.
    """
    path, target = _parts(member.name), _parts(member.linkname)
    climbs = next((i for i, part in enumerate(target) if part != ".."), len(target))
    if member.issym():
        inside = climbs < len(path) and not (climbs and links.intersection(_places(path[:-1])))
    else:  # counted from the archive's top
        inside = not climbs and not links.intersection(_places(target))
    if not inside or ".." in target[climbs:] or _absolute(member.linkname) or "\\" in member.name + member.linkname:
        raise _unsafe(archive, f"{member.name!r} links to {member.linkname!r}, which may lead out of it")
    links.update(_places(path)[-1:])


def _places(parts: tuple[str, ...]) -> list[str]:
    """A path and the folders above it, the highest first, as a disk that ignores case compares them."""
    return [unicodedata.normalize("NFC", "/".join(parts[:n])).casefold() for n in range(1, len(parts) + 1)]


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts


def _absolute(name: str) -> bool:
    return name.startswith(("/", "\\")) or bool(PureWindowsPath(name).drive)


def _unsafe(archive: Path, why: str) -> DataError:
    return DataError(
        f"{archive} is not safe to unpack: {why}.", "Look into it, unpack it yourself, and name the folder."
    )


def _step_in(folder: Path) -> Path:
    """Steps into the single folder that most archives wrap everything in."""
    while True:
        folders, _ = _visible(folder)
        if len(folders) != 1 or not _visible(folders[0])[0]:
            return folder
        folder = folders[0]
