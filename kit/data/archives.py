"""Unpack zip and tar archives into the cache; refuse members that would land outside."""

import os
import shutil
import tarfile
import unicodedata
import uuid
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from kit.errors import DataError
from kit.files import free_bytes, require_space, sha256_file, storage_errors
from kit.machine import cache_folder
from kit.progress import say

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_MEMBERS = 5_000_000
MAX_UNPACKED_BYTES = 1 << 40
_LAYOUT_VERSION = 2  # raise it whenever the same archive would give other files
_UTF8_NAMES = 0x800  # flag of a zip's member: its name is UTF-8 (PKWARE APPNOTE 4.4.4, bit 11)


def suffix_of(file: Path) -> str | None:
    """Archive suffix of a file name, or None."""
    return next((suffix for suffix in SUFFIXES if file.name.lower().endswith(suffix)), None)


def extract(archive: Path) -> Path:
    """Unpack an archive into the cache, once per content, and return the folder.

    Raises:
        DataError: If it is damaged, too large, or holds a member that leads out of the folder.
    """
    from filelock import FileLock

    target = cache_folder() / "archives" / f"{sha256_file(archive)[:16]}-{_LAYOUT_VERSION}"
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.is_dir():
                return target
            for left in target.parent.glob(f".tmp-{target.name}-*"):  # of a killed process: this one holds the lock
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
        total, members = 0, opened.infolist()
        _mend_names(members)
        for count, member in enumerate(members, start=1):
            total += member.file_size
            _require_admissible(archive, member.filename, count, total)
        require_space(folder, total)
        opened.extractall(folder, members)  # a link in a zip becomes a small text file: a finding, no danger


def _mend_names(members: list[zipfile.ZipInfo]) -> None:
    """Read names as their writers meant them: UTF-8 that is not flagged so, and the backslashes of Windows."""
    unflagged = {member: member.filename.encode("cp437") for member in members if not member.flag_bits & _UTF8_NAMES}
    try:
        names = {member: name.decode("utf-8") for member, name in unflagged.items()}
    except UnicodeDecodeError:  # the standard's code page 437, as zipfile reads them
        names = {}
    for member, name in names.items():
        member.filename = name
    if not any("/" in member.filename for member in members):
        for member in members:
            member.filename = member.filename.replace("\\", "/")


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        total, free = 0, free_bytes(folder)
        links: set[str] = set()
        for count, member in enumerate(opened, start=1):  # one pass: listing a .tar.gz first would decompress it twice
            total += member.size
            _require_admissible(archive, member.name, count, total)
            if member.islnk() or member.issym():
                _require_inner_link(archive, member, links)
            if total > free:
                require_space(folder, member.size)
            opened.extract(member, folder, filter="data")  # refuses devices, and links that lead out


def _require_admissible(archive: Path, name: str, count: int, total: int) -> None:
    """Raise DataError if a member would land outside, or members or bytes are too many so far."""
    if ".." in _parts(name) or _absolute(name):
        raise _unsafe(archive, f"{name!r} leads out of it")
    if count > MAX_MEMBERS or total > MAX_UNPACKED_BYTES:
        raise DataError(
            f"{archive} holds more than {MAX_MEMBERS:,} files or {MAX_UNPACKED_BYTES:,} bytes.",
            "Unpack it yourself and name the folder.",
        )


def _require_inner_link(archive: Path, member: tarfile.TarInfo, links: set[str]) -> None:
    """Raise DataError unless the text of a link alone shows that it leads inside; add its place to `links`.

    tarfile's own filter asks the disk, where Pythons before 3.11.13, 3.12.11 and 3.13.4 are deceived by names too long
    to follow (CVE-2025-4517) and by hard links to symbolic ones (CVE-2025-4330). So a symbolic link may go up only at
    its beginning and only where no folder above it is a link; a hard link may go neither up nor through a link.
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
    """A path and the folders above it, topmost first, as a disk that ignores case compares them."""
    return [unicodedata.normalize("NFC", "/".join(parts[:n])).casefold() for n in range(1, len(parts) + 1)]


def _parts(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts


def _absolute(name: str) -> bool:
    return name.startswith(("/", "\\")) or bool(PureWindowsPath(name).drive)


def _unsafe(archive: Path, why: str) -> DataError:
    return DataError(
        f"{archive} is not safe to unpack: {why}.", "Look into it, unpack it yourself, and name the folder."
    )
