"""Downloads that resume, prove what they got, and appear whole or not at all; the known data set `flowers`."""

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kit.errors import DataError
from kit.files import atomic_path, cache_folder, require_space, sha256_file, storage_errors, write_json
from kit.progress import say, track

FLOWERS_URL = "https://download.tensorflow.org/example_images/flower_photos.tgz"
FLOWERS_SIZE = 228_813_984
FLOWERS_SHA256 = "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c"

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt that follows one without progress


class DownloadError(DataError):
    """A file cannot be had from its address, or is not what it should be."""


class _Interrupted(Exception):
    """The connection broke; what came so far is in the .part file."""


def fetch(url: str, target: Path, *, size: int | None = None, sha256: str | None = None, label: str = "") -> Path:
    """Downloads `url` to `target`, unless a file that passes the checks is there already.

    What has come is kept in `.NAME.part` beside the target, with the server's name for that version of the file; the
    next call goes on from there if the server still has the same version, and starts again if not. Two processes that
    fetch the same target take turns.

    Args:
        url: http or https; followed through at most five redirects, never from https to http.
        target: The file to be.
        size: Its size in bytes, where known.
        sha256: Its SHA-256 (64 hex digits), where known.
        label: What a person calls it ("TF flowers"); the file's name if empty.

    Returns:
        `target`.

    Raises:
        DownloadError: If it cannot be had, or is not the file it should be; such a file is removed.
        StorageError: If the disk is full or may not be written.
    """
    from filelock import FileLock

    target, label = Path(target), label or Path(target).name
    _require_web(url)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(target.with_name(f".{target.name}.lock"))):
            if target.is_file() and _fault(target, size, sha256) is None:
                return target
            part = _Part.beside(target)
            _download(url, part, size, sha256 is not None, label)
            fault = _fault(part.path, size, sha256)
            if fault:
                part.remove()
                raise DownloadError(
                    f"{url} is not the file it should be: {fault}.",
                    "What came was removed; try again later, or get the file from elsewhere.",
                )
            with atomic_path(target) as temporary:
                part.path.replace(temporary)
            part.remove()
    return target


def flowers() -> Path:
    """The class folders of TF flowers (3,670 images of five species), downloaded and unpacked in the cache.

    Raises:
        DownloadError: If the archive cannot be had.
    """
    from kit.data.sources import extract_archive

    archive = cache_folder() / "downloads" / "flower_photos.tgz"
    fetch(FLOWERS_URL, archive, size=FLOWERS_SIZE, sha256=FLOWERS_SHA256, label="TF flowers")
    return extract_archive(archive)


@dataclass(frozen=True)
class _Version:
    """Which version of which file a .part file holds the beginning of.

    Attributes:
        url: Where it comes from.
        validator: The server's strong ETag or its Last-Modified date, as If-Range takes it (RFC 9110, section 13.1.5);
            empty where it gave neither.
        total: Size of the whole file in bytes; None where the server did not say.
    """

    url: str
    validator: str
    total: int | None


@dataclass(frozen=True)
class _Part:
    """An unfinished download: the bytes so far, and the version they belong to."""

    path: Path
    note: Path

    @classmethod
    def beside(cls, target: Path) -> "_Part":
        return cls(target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.part.json"))

    def length(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self) -> _Version | None:
        try:
            return _Version(**json.loads(self.note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, version: _Version) -> None:
        self.path.write_bytes(b"")  # before the note: bytes of one version never stand beside the name of another
        write_json(self.note, asdict(version))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _download(url: str, part: _Part, size: int | None, provable: bool, label: str) -> None:
    """Fills the .part file, in as many attempts as it takes while each makes progress."""
    say(f"Downloading {label}{f' ({size / 1e6:,.1f} MB)' if size else ''} from {urlsplit(url).netloc}")
    waits = iter(WAITS)
    while True:
        before = part.length()
        try:
            return _attempt(url, part, size, provable, label)
        except _Interrupted as error:
            if part.length() > before:
                waits = iter(WAITS)
            wait = next(waits, None)
            # A server that cannot be reached at all is reported soon: most often there is no network.
            if wait is None or (part.length() == 0 and wait > WAITS[0]):
                kept = f"The {part.length():,} bytes that came are kept: the same command goes on from there."
                raise DownloadError(
                    f"{url} could not be downloaded: {error}.",
                    kept if part.length() else "Check the network connection and try again.",
                ) from None
            time.sleep(wait)


def _attempt(url: str, part: _Part, size: int | None, provable: bool, label: str) -> None:
    """One request: goes on where the .part file ends, if the server agrees that it is the same file."""
    known = part.version()
    start = part.length() if known and known.url == url and (known.validator or provable) else 0
    if start and known and start == known.total:
        return
    try:
        with _open(url, start, known) as response:
            resumed = response.status == 206 and _range_start(response) == start
            version = _Version(url, _validator(response), _total(response))
            _require_size(url, version.total, size)
            if not resumed:
                start = 0
                part.begin(version)
            _copy(response, part.path, start, version.total or size, label)
    except urllib.error.HTTPError as error:
        with error:
            _refused(url, error, part)
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
        raise _Interrupted(_reason(error)) from None


def _open(url: str, start: int, known: _Version | None) -> Any:
    headers = {"Accept-Encoding": "identity", "User-Agent": "transferkit"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if known and known.validator:
            headers["If-Range"] = known.validator
    return _OPENER.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)


def _copy(response: Any, path: Path, start: int, total: int | None, label: str) -> None:
    """Appends the response's body to the file; raises _Interrupted if it ends before `total` bytes."""
    require_space(path, (total or start) - start)
    done = start
    with track(label, -(-(total or 0) // 1000), "kB") as advance, storage_errors(path, total), open(path, "ab") as file:
        shown = _thousands(advance)
        shown(start)
        while chunk := response.read(CHUNK):
            file.write(chunk)
            file.flush()  # a process that is killed loses nothing that came
            done += len(chunk)
            shown(len(chunk))
    if total is not None and done < total:
        raise _Interrupted(f"the connection closed after {done:,} of {total:,} bytes")


def _thousands(advance: Callable[[int], None]) -> Callable[[int], None]:
    """Turns bytes into whole kilobytes without losing the rest."""
    count = 0

    def add(size: int) -> None:
        nonlocal count
        advance((count + size) // 1000 - count // 1000)
        count += size

    return add


def _refused(url: str, error: urllib.error.HTTPError, part: _Part) -> None:
    if error.code == 416:  # the range asked for lies outside the file: it is another file now
        part.remove()
        raise _Interrupted("the file has changed on the server")
    if error.code in (408, 429) or error.code >= 500:
        raise _Interrupted(f"the server answers {error.code} {error.reason}")
    raise DownloadError(f"{url} cannot be had: the server answers {error.code} {error.reason}.", "Check the address.")


def _fault(path: Path, size: int | None, sha256: str | None) -> str | None:
    """What is wrong with a file, or None."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"it has {found:,} bytes, not {size:,}"
    if sha256 is not None:
        digest = sha256_file(path)
        if digest != sha256:
            return f"its SHA-256 is {digest}, not {sha256}"
    return None


def _require_web(url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url!r} is not a web address: it must begin with http:// or https://.")


def _require_size(url: str, total: int | None, size: int | None) -> None:
    if None not in (total, size) and total != size:
        raise DownloadError(
            f"{url} is not the file it should be: it has {total:,} bytes, not {size:,}.",
            "Nothing was kept; try again later, or get the file from elsewhere.",
        )


def _validator(response: Any) -> str:
    etag = response.headers.get("ETag", "")
    # A weak ETag promises a similar file, not the same bytes, and If-Range refuses it.
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _range_start(response: Any) -> int | None:
    """First byte of `Content-Range: bytes FIRST-LAST/TOTAL`."""
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else None


def _total(response: Any) -> int | None:
    text = response.headers.get("Content-Length", "")
    if response.status == 206:
        text = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(text) if text.isdecimal() else None


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(reason).__name__


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows few redirects, and none that leaves the web or gives up encryption."""

    max_redirections = 5

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        kept = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if kept not in (("http", "http"), ("http", "https"), ("https", "https")):
            raise DownloadError(f"{req.full_url} leads to {newurl}, which is not followed: it is not https.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)
