"""Downloads that resume, are verified, and appear whole or not at all (docs/decisions/0010-download.md)."""

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kit.errors import DataError
from kit.files import atomic_path, require_space, sha256_file, storage_errors, write_json
from kit.progress import say, track

CHUNK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each further attempt that follows one without progress


class DownloadError(DataError):
    """A file cannot be downloaded, or is not the expected one."""


class _Interrupted(Exception):
    """The connection broke; the bytes so far are in the .part file."""


def fetch(url: str, target: Path, *, size: int | None = None, sha256: str | None = None, label: str = "") -> Path:
    """Download a file to `target`, unless one that passes the checks is there; return `target`.

    The bytes so far are kept in `.NAME.part` beside the target; the next call resumes if the server still has the same
    version, and starts again if not. Two processes that fetch the same target take turns. `url` is http or https;
    up to five redirects are followed, never from https to http. `size` (bytes) and `sha256` (64 hex digits) are checked
    where given; `label` is shown to the user ("TF flowers"), else the file's name.

    Raises:
        DownloadError: If the download fails, or the file fails a check and is removed.
        StorageError: If the disk is full or may not be written.
    """
    from filelock import FileLock

    target = Path(target)
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url!r} is not a web address: it must begin with http:// or https://.")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(target.with_name(f".{target.name}.lock"))):
            if target.is_file() and _fault(target, size, sha256) is None:
                return target
            download = _Download(url, target.with_name(f".{target.name}.part"), size, sha256, label or target.name)
            download.run()
            if fault := _fault(download.part, size, sha256):
                download.remove()
                raise DownloadError(
                    f"{url} is not the file it should be: {fault}.",
                    "It was removed; try again later, or get the file from elsewhere.",
                )
            with atomic_path(target) as temporary:
                download.part.replace(temporary)
            download.remove()
    return target


@dataclass(frozen=True)
class _Download:
    """Download into a .part file; a note beside it names the version of its bytes."""

    url: str
    part: Path
    size: int | None
    sha256: str | None
    label: str

    @property
    def note(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def remove(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def run(self) -> None:
        """Retry as long as attempts make progress."""
        size = f" ({self.size / 1e6:,.1f} MB)" if self.size else ""
        say(f"Downloading {self.label}{size} from {urlsplit(self.url).netloc}")
        waits = iter(WAITS)
        while True:
            before = self._length()
            try:
                return self._attempt()
            except _Interrupted as error:
                length = self._length()
                if length > before:
                    waits = iter(WAITS)
                wait = next(waits, None)
                # An unreachable server is reported soon: most often there is no network.
                if wait is None or (length == 0 and wait > WAITS[0]):
                    raise DownloadError(
                        f"{self.url} could not be downloaded: {error}.",
                        f"The {length:,} bytes that came are kept: the same command goes on from there."
                        if length
                        else "Check the network connection and try again.",
                    ) from None
                time.sleep(wait)

    def _attempt(self) -> None:
        """Send one request for the missing bytes."""
        known = self._known()
        # Bytes are added only to the same version: proved by the server's validator, or by the digest in the end.
        resumable = known.get("url") == self.url and (known.get("validator") or self.sha256)
        start = self._length() if resumable else 0
        if start and start == known.get("total"):
            return
        headers = {"Accept-Encoding": "identity", "User-Agent": "transferkit"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if known["validator"]:
                headers["If-Range"] = known["validator"]
        try:
            request = urllib.request.Request(self.url, headers=headers)
            with urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT) as response:
                first, total = _range(response)
                if None not in (total, self.size) and total != self.size:
                    raise DownloadError(
                        f"{self.url} is not the file it should be: it has {total:,} bytes, not {self.size:,}.",
                        "Nothing was kept; try again later, or get the file from elsewhere.",
                    )
                if not start or first != start:
                    start = 0
                    self.part.write_bytes(b"")  # before the note, which must name the version of the bytes
                    write_json(self.note, {"url": self.url, "validator": _validator(response), "total": total})
                self._append(response, start, total or self.size)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error)
        except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            raise _Interrupted(str(reason) or type(reason).__name__) from None

    def _append(self, response: Any, done: int, total: int | None) -> None:
        """Append the response's body; raise _Interrupted if it ends before `total` bytes."""
        require_space(self.part, (total or done) - done)
        in_kb = track(self.label, -(-(total or 0) // 1000), "kB")
        with in_kb as advance, storage_errors(self.part, total), open(self.part, "ab") as file:
            advance(done // 1000)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                file.flush()  # a killed process loses no received byte
                advance((done + len(chunk)) // 1000 - done // 1000)
                done += len(chunk)
        if total is not None and done < total:
            raise _Interrupted(f"the connection closed after {done:,} of {total:,} bytes")

    def _refused(self, error: urllib.error.HTTPError) -> None:
        if error.code == 416:  # the range lies outside the file: it is another file now
            self.remove()
            raise _Interrupted("the file has changed on the server")
        if error.code in (408, 429) or error.code >= 500:
            raise _Interrupted(f"the server answers {error.code} {error.reason}")
        raise DownloadError(
            f"{self.url} cannot be had: the server answers {error.code} {error.reason}.", "Check the address."
        )

    def _length(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _known(self) -> dict[str, Any]:
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            return note if {"url", "validator", "total"} <= note.keys() else {}
        except (OSError, ValueError, AttributeError):
            return {}


def _fault(path: Path, size: int | None, sha256: str | None) -> str | None:
    """Why a file fails a check, or None."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"it has {found:,} bytes, not {size:,}"
    if sha256 is not None and (digest := sha256_file(path)) != sha256:
        return f"its SHA-256 is {digest}, not {sha256}"
    return None


def _validator(response: Any) -> str:
    """Strong ETag, else Last-Modified date, for If-Range (RFC 9110, section 13.1.5); empty if neither."""
    etag = response.headers.get("ETag", "")
    # A weak ETag promises a similar file, not the same bytes, and If-Range refuses it.
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _range(response: Any) -> tuple[int, int | None]:
    """Offset of the response's first byte in the file, and the file's size or None."""
    first, total = "0", response.headers.get("Content-Length", "")
    if response.status == 206:  # Content-Range: bytes FIRST-LAST/TOTAL
        content_range = response.headers.get("Content-Range", "").removeprefix("bytes ")
        first, total = content_range.partition("-")[0], content_range.rpartition("/")[2]
    return int(first) if first.isdecimal() else -1, int(total) if total.isdecimal() else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow at most five redirects, only to http or https and never from https to http."""

    max_redirections = 5

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        kept = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if kept not in (("http", "http"), ("http", "https"), ("https", "https")):
            raise DownloadError(f"{req.full_url} leads to {newurl}, which is not followed: it is not https.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
