"""Looks at every file once: facts, findings, groups; then settles what training may use.

`kit.data.findings` turns facts into findings; this module reads files, keeps their facts, and decides.
"""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from kit.backend import available_threads
from kit.config import DataConfig
from kit.data.findings import Clusters, Finding, ImageFacts, find, look_alikes, same_bytes
from kit.data.images import DECODER_VERSION, ImageProblem, read_file, read_image
from kit.data.sources import SPLITS, Sample, SampleSet
from kit.errors import DataError
from kit.files import cache_folder, fingerprint
from kit.progress import say, track

__all__ = ["Audit", "Finding", "ImageFacts", "Usable", "audit", "data_fingerprint", "settle"]

FACTS_VERSION = 1  # raise it whenever the same pixels would give other facts
FLAT = 2.0  # standard deviation, in grey levels, below which a picture's hash is that of its noise

_BATCH = 512


@dataclass(frozen=True)
class Audit:
    """What was found out about a SampleSet.

    Attributes:
        facts: One for each sample, in their order.
        findings: What their owner should know.
        groups: One name for each sample: samples of one name must share a split. `group:` and the name of a given
            group, or else the smallest SHA-256 among the members.
    """

    facts: tuple[ImageFacts, ...]
    findings: tuple[Finding, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Usable:
    """What training may use.

    Attributes:
        samples: Those kept, in their order.
        facts: Parallel to samples.
        groups: Parallel to samples.
        dropped: Recorded path -> kind of the finding it was left out for.
    """

    samples: tuple[Sample, ...]
    facts: tuple[ImageFacts, ...]
    groups: tuple[str, ...]
    dropped: dict[str, str]


def audit(samples: SampleSet, config: DataConfig, threads: int = 0) -> Audit:
    """Reads every file, decodes those it has not seen before, and compares them all.

    Args:
        threads: CPU threads to use; 0 means all.
    """
    facts = _all_facts(samples.samples, config, threads or available_threads())
    exact = same_bytes(facts)
    alike = look_alikes(facts, config.near_duplicate_bits)
    findings = find(samples.samples, facts, exact, alike)
    return Audit(tuple(facts), tuple(findings), tuple(_groups(samples.samples, facts, alike)))


def settle(samples: SampleSet, audit: Audit, config: DataConfig) -> Usable:
    """Leaves out what cannot be trained on, or refuses, as the configuration says.

    Raises:
        DataError: If an image is unreadable and `config.strict`; if the same bytes have two labels (`config.conflicts`)
            or lie in two given splits (`config.leaks`) and that is to be refused; if a class has no image left.
    """
    problems = {sample.path: fact for sample, fact in zip(samples.samples, audit.facts, strict=True) if fact.problem}
    if problems and config.strict:
        named = [f"{path} ({fact.problem})" for path, fact in problems.items()]
        raise DataError(
            f"{_count(len(named), 'file')} cannot be read as an image: {_some(named)}.",
            "Mend or remove them, or train without --strict, which leaves them out.",
        )
    dropped = {path: fact.problem for path, fact in problems.items()}
    split_of = {sample.path: sample.split for sample in samples.samples}
    conflicts = [finding.paths for finding in audit.findings if finding.kind == "conflict"]
    if conflicts and config.conflicts == "refuse":
        raise DataError(
            f"Copies of {_count(len(conflicts), 'image')} lie under two labels: {_some(_joined(conflicts))}.",
            "Remove the wrong copies, or leave all of them out with `--conflicts drop`.",
        )
    dropped |= {path: "conflict" for paths in conflicts for path in paths}
    # A set that the conflicts already took away cannot leak any more.
    leaks = [f.paths for f in audit.findings if f.kind == "leak" and f.paths[0] not in dropped]
    if leaks and config.leaks == "refuse":
        raise DataError(
            f"Copies of {_count(len(leaks), 'image')} lie in two given splits: {_some(_joined(leaks))}.",
            "Remove the copies, or leave out those that would be trained on with `--leaks drop`.",
        )
    for paths in leaks:
        measured = max(SPLITS.index(split) for path in paths if (split := split_of[path]))
        dropped |= {path: "leak" for path in paths if split_of[path] not in (None, SPLITS[measured])}
    return _without(samples, audit, dropped)


def data_fingerprint(samples: Sequence[Sample], facts: Sequence[ImageFacts]) -> str:
    """SHA-256 (64 hex digits) over path, label, split, group and bytes of every sample, in whatever order they come."""
    rows = [
        [sample.path, sample.label, sample.split or "", sample.group or "", fact.sha256]
        for sample, fact in zip(samples, facts, strict=True)
    ]
    return fingerprint(sorted(rows))


def _without(samples: SampleSet, audit: Audit, dropped: dict[str, str]) -> Usable:
    kept = [index for index, sample in enumerate(samples.samples) if sample.path not in dropped]
    left = {samples.samples[index].label for index in kept}
    if lost := [label for label in samples.classes if label not in left]:
        reasons = sorted({dropped[sample.path] for sample in samples.samples if sample.label in lost})
        raise DataError(
            f"No usable image is left of {_some(lost)}: all were left out ({', '.join(reasons)}).",
            "Mend the files, or remove the class; `transferkit inspect` lists what is wrong with each.",
        )
    return Usable(
        tuple(samples.samples[index] for index in kept),
        tuple(audit.facts[index] for index in kept),
        tuple(audit.groups[index] for index in kept),
        dropped,
    )


# === Groups ===


def _groups(samples: Sequence[Sample], facts: Sequence[ImageFacts], alike: Clusters) -> list[str]:
    clusters = Clusters(len(samples))
    clusters.join(np.arange(len(samples)), alike.root)
    first: dict[str, int] = {}
    pairs = [(index, first.setdefault(sample.group, index)) for index, sample in enumerate(samples) if sample.group]
    if pairs:
        clusters.join(*np.array(pairs).T)
    # A given name wins over hashes ("group:" sorts after every hex digit, so it takes two passes).
    hashes: dict[int, str] = {}
    names: dict[int, str] = {}
    for root, sample, fact in zip(clusters.root.tolist(), samples, facts, strict=True):
        identity = fact.sha256 or f"path:{sample.path}"
        hashes[root] = min(hashes.get(root, identity), identity)
        if sample.group:
            names[root] = min(names.get(root, sample.group), sample.group)
    return [f"group:{names[root]}" if root in names else hashes[root] for root in clusters.root.tolist()]


# === Facts ===


def _all_facts(samples: Sequence[Sample], config: DataConfig, threads: int) -> list[ImageFacts]:
    facts: list[ImageFacts] = []
    with FactStore.opened() as store, ThreadPoolExecutor(threads) as pool, track("auditing", len(samples)) as advance:
        read = partial(_facts_of, background=config.background, store=store)
        for start in range(0, len(samples), _BATCH):  # in batches, so that Ctrl-C waits for few and keeps the rest
            batch = [sample.file for sample in samples[start : start + _BATCH]]
            for fact in pool.map(read, batch):
                facts.append(fact)
                advance(1)
            store.save()
    return facts


def _facts_of(file: Path, background: tuple[int, ...], store: "FactStore") -> ImageFacts:
    try:
        content = read_file(file)
    except ImageProblem as problem:
        return ImageFacts("", _size(file), problem=problem.kind, detail=problem.detail)
    sha256 = hashlib.sha256(content).hexdigest()
    key = f"{sha256}:{','.join(map(str, background))}"
    if (known := store.get(key)) is not None:
        return known
    try:
        decoded = read_image(content, background, at_least=128)
    except ImageProblem as problem:
        return ImageFacts(sha256, len(content), problem=problem.kind, detail=problem.detail)
    phash, colour = _appearance(decoded.image)
    facts = ImageFacts(sha256, len(content), decoded.width, decoded.height, decoded.format, decoded.mode, phash, colour)
    store.put(key, facts)
    return facts


def _appearance(image: Image.Image) -> tuple[int, tuple[float, float, float]]:
    """Perceptual hash and mean colour.

    The hash is pHash (Zauner 2010, Implementation and benchmarking of perceptual image hash functions): the 8 x 8
    lowest frequencies of the discrete cosine transform of the picture at 32 x 32 in grey; a bit says whether one is
    above their median.
    """
    small = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR, reducing_gap=3.0), np.float64)
    red, green, blue = (round(float(mean), 2) for mean in small.mean(axis=(0, 1)))
    grey = small @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
    if grey.std() < FLAT:
        return 0, (red, green, blue)
    # The sum over rows and columns by np.einsum: the same on every machine, which a threaded matrix product is not.
    low = np.einsum("ki,ij,lj->kl", _cosines(), grey, _cosines()).reshape(-1)
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes()), (red, green, blue)


@cache
def _cosines() -> np.ndarray:
    """Rows 0 to 7 of the orthonormal DCT-II of 32 points: float64 (8, 32)."""
    rows = np.cos(np.pi / 32 * (np.arange(32) + 0.5) * np.arange(8)[:, None]) * np.sqrt(2 / 32)
    rows[0] /= np.sqrt(2)
    return rows


class FactStore:
    """Facts of files seen before, by SHA-256: an SQLite file, which several processes may share.

    Only ever a help: where it cannot be used, facts are computed again; a damaged one is replaced.
    """

    def __init__(self, file: Path):
        self._lock = threading.Lock()
        self._new: list[tuple[str, str]] = []
        self._connection: sqlite3.Connection | None = None
        for attempt in (1, 2):
            try:
                self._connection = self._connect(file)
                return
            except sqlite3.OperationalError:  # locked, read-only, full
                return
            except sqlite3.DatabaseError:  # not a database, or a damaged one
                if attempt == 1:
                    file.unlink(missing_ok=True)
            except OSError:
                return

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator["FactStore"]:
        """The store in the cache folder, saved and closed afterwards."""
        name = f"facts-{FACTS_VERSION}-{DECODER_VERSION}-{PIL.__version__}.sqlite"
        store = cls(cache_folder() / "audit" / name)
        try:
            yield store
        finally:
            store.save()
            store.close()

    def get(self, key: str) -> ImageFacts | None:
        """The facts kept under a key, or None."""
        with self._lock:
            if self._connection is None:
                return None
            try:
                row = self._connection.execute("SELECT facts FROM facts WHERE key = ?", (key,)).fetchone()
            except sqlite3.Error:
                return None
        try:
            content = json.loads(row[0]) if row else None
            return ImageFacts(**{**content, "mean_colour": tuple(content["mean_colour"])}) if content else None
        except (TypeError, ValueError, KeyError):
            return None

    def put(self, key: str, facts: ImageFacts) -> None:
        """Keeps facts, from the next `save` on."""
        with self._lock:
            self._new.append((key, json.dumps(asdict(facts))))

    def save(self) -> None:
        """Writes what was put."""
        with self._lock:
            new, self._new = self._new, []
            if self._connection is None or not new:
                return
            try:
                with self._connection:
                    self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", new)
            except sqlite3.Error as error:
                say(f"The audit cache cannot be written ({error}); the images will be read again next time.")
                self._connection.close()
                self._connection = None

    def close(self) -> None:
        """Lets go of the file."""
        if self._connection is not None:
            self._connection.close()

    @staticmethod
    def _connect(file: Path) -> sqlite3.Connection:
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file, timeout=30, check_same_thread=False)  # the lock above keeps threads apart
        try:
            connection.execute("CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, facts TEXT) WITHOUT ROWID")
            connection.execute("SELECT key FROM facts LIMIT 1").fetchone()
            connection.commit()
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except (OSError, ValueError):
        return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _joined(sets: Sequence[tuple[str, ...]]) -> list[str]:
    return [" = ".join(paths) for paths in sets]
