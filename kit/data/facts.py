"""Facts of image files: hash, size, format, perceptual hash, mean colour, quality; read once, then kept in SQLite.

Thumbnails, of those images only whose hashes are near to another's, are kept beside them.
"""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from kit.data.decoding import usual_range
from kit.data.images import DECODER_VERSION, ImageProblem, read_file, read_image
from kit.data.likeness import SIDE
from kit.data.quality import Quality, measure
from kit.machine import cache_folder
from kit.progress import say, track

FLAT = 2.0  # standard deviation, in grey levels, below which an image's hash is that of its noise
FACTS_VERSION = 3  # raise it whenever the same pixels would give other facts
_BATCH, _TASK = 512, 8


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts of one file.

    Attributes:
        sha256: Of its bytes, 64 hex digits; empty if unreadable.
        width: As displayed (EXIF orientation applied), in pixels, like `height`; 0 if it is not an image.
        format: Pillow's name of the file format, such as `JPEG`; `mode` is Pillow's, such as `RGB`.
        phash: Perceptual hash, 64 bits; 0 where the image is too flat to have a meaningful one.
        mean_colour: Red, green, blue, 0-255.
        values: Least and greatest value of grey of 16 or 32 bits, or of colours of 16 bits a channel; None for others.
        profile: `converted` or `unusable` where a colour profile other than sRGB is embedded, else empty.
        problem: Kind of the ImageProblem, or empty; `detail` says more in one line.
        quality: Sharpness, light and the like; None if it is not an image.
    """

    sha256: str
    bytes: int
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    phash: int = 0
    mean_colour: tuple[float, float, float] = (0.0, 0.0, 0.0)
    values: tuple[int, int] | None = None
    profile: str = ""
    problem: str = ""
    detail: str = ""
    quality: Quality | None = None

    @property
    def is_deep_grey(self) -> bool:
        """Whether the image is grey of 16 or 32 bits, which is scaled to 8."""
        return self.values is not None and self.mode.startswith("I")


def read_facts(files: Sequence[Path], background: tuple[int, ...], threads: int) -> list[ImageFacts]:
    """Facts of every file; those not in the cache are decoded, several at a time."""
    facts: list[ImageFacts] = []
    cache = FactCache(cache_folder() / "audit")
    with closing(cache) as known, ThreadPoolExecutor(threads) as pool, track("auditing", len(files)) as advance:

        def read(few: Sequence[Path]) -> list[ImageFacts]:
            return [_facts_of(file, background, known) for file in few]

        for start in range(0, len(files), _BATCH):  # in batches: Ctrl-C waits for one and keeps those before it
            batch = files[start : start + _BATCH]
            # several a task: handing one over costs as much as hashing a small image
            for some in pool.map(read, [batch[k : k + _TASK] for k in range(0, len(batch), _TASK)]):
                facts += some
                advance(len(some))
            known.save()
    return facts


def grey_range_of(facts: Sequence[ImageFacts]) -> tuple[int, ...]:
    """Values of 16- and 32-bit grey that become black and white, one pair for all images; empty if none is such."""
    values = [fact.values for fact in facts if fact.values is not None and fact.is_deep_grey]
    return usual_range(min(low for low, _ in values), max(high for _, high in values)) if values else ()


def read_thumbnails(
    files: Sequence[Path], facts: Sequence[ImageFacts], background: tuple[int, ...], threads: int
) -> np.ndarray:
    """Grey thumbnails of readable files: uint8 (n, SIDE, SIDE), all of the image, distorted; kept like the facts.

    A file that can no longer be read, or has changed, is flat.
    """
    with closing(FactCache(cache_folder() / "audit")) as known, ThreadPoolExecutor(threads) as pool:
        read = partial(_thumbnail_of, background=background, known=known)
        return np.stack(list(pool.map(read, files, [fact.sha256 for fact in facts])))


def _thumbnail_of(file: Path, sha256: str, background: tuple[int, ...], known: "FactCache") -> np.ndarray:
    key = _key(sha256, background)
    content = known.thumbnail(key)
    if content is None or len(content) != SIDE**2:
        try:
            image = read_image(read_file(file), background, at_least=128).image
        except ImageProblem:
            return np.zeros((SIDE, SIDE), np.uint8)
        small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
        known.put_thumbnail(key, content := small.tobytes())
    return np.frombuffer(content, np.uint8).reshape(SIDE, SIDE)


def _key(sha256: str, background: tuple[int, ...]) -> str:
    return f"{sha256}:{','.join(map(str, background))}"


def _facts_of(file: Path, background: tuple[int, ...], known: "FactCache") -> ImageFacts:
    try:
        content = read_file(file)
    except ImageProblem as problem:
        return ImageFacts("", _size(file), problem=problem.kind, detail=problem.detail)
    sha256 = hashlib.sha256(content).hexdigest()
    key = _key(sha256, background)
    try:
        if found := known.get(key):
            tuples = {name: tuple(found[name]) for name in ("mean_colour", "values") if found[name] is not None}
            return ImageFacts(**{**found, **tuples, "quality": Quality(*found["quality"])})
    except (TypeError, KeyError):  # written by another version
        pass
    try:
        decoded = read_image(content, background, at_least=128)
    except ImageProblem as problem:
        return ImageFacts(sha256, len(content), problem=problem.kind, detail=problem.detail)
    phash, colour, quality = _appearance(decoded.image)
    shape = (decoded.width, decoded.height, decoded.format, decoded.mode)
    facts = ImageFacts(sha256, len(content), *shape, phash, colour, decoded.values, decoded.profile, quality=quality)
    known.put(key, {name: getattr(facts, name) for name in ImageFacts.__slots__})
    return facts


def _appearance(image: Image.Image) -> tuple[int, tuple[float, float, float], Quality]:
    """Perceptual hash, mean colour and quality.

    pHash (Zauner 2010, Implementation and benchmarking of perceptual image hash functions): which of the 8 x 8 lowest
    frequencies of the DCT of the 32 x 32 grey image are above their median.
    """
    copy = image.resize((32, 32), Image.Resampling.BILINEAR, reducing_gap=3.0)
    quality, small = measure(image, copy), np.asarray(copy, np.float64)
    red, green, blue = (round(float(mean), 2) for mean in np.einsum("ijk->k", small) / 32**2)
    grey = small @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
    around = grey - grey.mean()
    if np.einsum("ij,ij->", around, around) < FLAT**2 * grey.size:
        return 0, (red, green, blue), quality
    # np.einsum gives the same bits on every machine, a threaded matrix product does not.
    low = np.einsum("kj,lj->kl", np.einsum("ki,ij->kj", _cosines(), grey), _cosines()).reshape(-1)
    above = low > np.partition(low[1:], 31)[31]
    return int.from_bytes(np.packbits(above).tobytes()), (red, green, blue), quality


@cache
def _cosines() -> np.ndarray:
    """Rows 0 to 7 of the orthonormal DCT-II of 32 points: float64 (8, 32)."""
    rows = np.cos(np.pi / 32 * (np.arange(32) + 0.5) * np.arange(8)[:, None]) * np.sqrt(2 / 32)
    rows[0] /= np.sqrt(2)
    return rows


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except (OSError, ValueError):
        return 0


class FactCache:
    """Facts by key in an SQLite file; an unusable file is ignored, a damaged one replaced."""

    def __init__(self, folder: Path):
        file = folder / f"facts-{FACTS_VERSION}-{DECODER_VERSION}-{PIL.__version__}.sqlite"
        self._lock = threading.Lock()
        self._new: list[tuple[str, str]] = []
        self._new_thumbnails: list[tuple[str, bytes]] = []
        self._connection: sqlite3.Connection | None = None
        for _ in range(2):
            try:
                self._connection = _connected(file)
                return
            except (sqlite3.OperationalError, OSError):  # locked, read-only, full
                return
            except sqlite3.DatabaseError:  # not a database, or a damaged one
                file.unlink(missing_ok=True)

    def get(self, key: str) -> dict[str, Any] | None:
        """Facts of a key, or None."""
        try:
            found = self._cell("SELECT facts FROM facts WHERE key = ?", key)
            return json.loads(found) if found else None
        except (TypeError, ValueError):
            return None

    def thumbnail(self, key: str) -> bytes | None:
        """Grey pixels of a key, row by row, or None."""
        found = self._cell("SELECT pixels FROM thumbnails WHERE key = ?", key)
        return found if isinstance(found, bytes) else None

    def _cell(self, query: str, key: str) -> Any:
        with self._lock:
            if self._connection is None:
                return None
            try:
                row = self._connection.execute(query, (key,)).fetchone()
            except sqlite3.Error:
                return None
            return row[0] if row else None

    def put(self, key: str, facts: dict[str, Any]) -> None:
        """Add facts; `save` writes them."""
        with self._lock:
            self._new.append((key, json.dumps(facts)))

    def put_thumbnail(self, key: str, pixels: bytes) -> None:
        """Add a thumbnail; `save` writes it."""
        with self._lock:
            self._new_thumbnails.append((key, pixels))

    def save(self) -> None:
        """Write what was added."""
        with self._lock:
            new, self._new = self._new, []
            thumbnails, self._new_thumbnails = self._new_thumbnails, []
            if self._connection is None or not (new or thumbnails):
                return
            try:
                with self._connection:
                    self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", new)
                    self._connection.executemany("INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", thumbnails)
            except sqlite3.Error as error:
                say(f"The audit cache cannot be written ({error}); the images will be read again next time.")
                self._connection.close()
                self._connection = None

    def close(self) -> None:
        """Save, and close the file."""
        self.save()
        if self._connection is not None:
            self._connection.close()


def _connected(file: Path) -> sqlite3.Connection:
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file, timeout=30, check_same_thread=False)  # a lock keeps threads apart
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, facts TEXT) WITHOUT ROWID")
        connection.execute("CREATE TABLE IF NOT EXISTS thumbnails (key TEXT PRIMARY KEY, pixels BLOB) WITHOUT ROWID")
        connection.execute("SELECT key FROM facts LIMIT 1").fetchone()
        connection.commit()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
