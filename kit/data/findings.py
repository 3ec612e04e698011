"""Facts about images -> findings: what is odd, doubled or leaking. Reads no files."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kit.data.sources import Sample

SMALLEST_SIDE = 32
LARGEST_PIXELS = 50_000_000
LARGEST_ASPECT = 4.0
COLOUR_DISTANCE = 32.0


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the audit knows of one file.

    Attributes:
        sha256: Of its bytes, 64 hex digits; empty where they cannot be read.
        bytes: Their number.
        width: As displayed (EXIF orientation applied), in pixels; 0 where it is no image.
        height: Likewise.
        format: Pillow's name of the file format, such as `JPEG`.
        mode: Pillow's mode of the file, such as `RGB`.
        phash: Perceptual hash, 64 bits; 0 where the picture is too flat to have a meaningful one.
        mean_colour: Red, green, blue, 0-255.
        problem: Kind of the ImageProblem, or empty.
        detail: One line about it.
    """

    sha256: str
    bytes: int
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    phash: int = 0
    mean_colour: tuple[float, float, float] = (0.0, 0.0, 0.0)
    problem: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """Something about one or several files that their owner should know.

    Attributes:
        kind: `unreadable`, `not-an-image`, `truncated`, `empty`, `bomb`, `extreme-size`, `duplicate`, `near-duplicate`,
            `conflict`, `near-conflict`, `leak` or `near-leak`.
        severity: `error` (training refuses or leaves the file out), `warning` or `note`.
        paths: As recorded, sorted.
        message: One sentence.
    """

    kind: str
    severity: str
    paths: tuple[str, ...]
    message: str


class Clusters:
    """Disjoint sets of the numbers 0 to n-1, joined pair by pair; the root of a set is its smallest member."""

    def __init__(self, size: int):
        self.root = np.arange(size)

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Joins first[k] with second[k] for every k."""
        apart = self.root[first] != self.root[second]
        for a, b in zip(first[apart].tolist(), second[apart].tolist(), strict=True):
            a, b = self._find(a), self._find(b)
            self.root[max(a, b)] = min(a, b)
        while not np.array_equal(shorter := self.root[self.root], self.root):
            self.root = shorter

    def members(self) -> list[list[int]]:
        """The sets of at least two, each sorted, in order of their smallest member."""
        sets = defaultdict(list)
        for index, root in enumerate(self.root.tolist()):
            sets[root].append(index)
        return [members for members in sets.values() if len(members) > 1]

    def _find(self, index: int) -> int:
        while (above := int(self.root[index])) != index:
            index = above
        return index


def same_bytes(facts: Sequence[ImageFacts]) -> Clusters:
    """Readable images joined where their files are equal to the byte."""
    clusters = Clusters(len(facts))
    first: dict[str, int] = {}
    pairs = [(index, first.setdefault(fact.sha256, index)) for index, fact in enumerate(facts) if not fact.problem]
    if pairs:
        clusters.join(*np.array(pairs).T)
    return clusters


def look_alikes(facts: Sequence[ImageFacts], bits: int) -> Clusters:
    """Readable images joined where they look the same: hashes within `bits` bits, mean colours within 32 levels.

    Joining carries on: a chain of near duplicates is one set. Equal files are joined as well.
    """
    clusters = same_bytes(facts)
    usable = [index for index, fact in enumerate(facts) if fact.phash and clusters.root[index] == index]
    if not usable:
        return clusters
    chosen = np.array(usable)
    hashes = np.array([facts[index].phash for index in usable], np.uint64)
    colours = np.array([facts[index].mean_colour for index in usable], np.float32)
    # Equal hashes with about the same colour are one, at once: thousands of them would be millions of pairs.
    coarse = np.column_stack([hashes, (colours // 16).astype(np.uint64)])
    _, kept, member_of = np.unique(coarse, axis=0, return_index=True, return_inverse=True)
    clusters.join(chosen, chosen[kept[member_of.reshape(-1)]])
    chosen, hashes, colours = chosen[kept], hashes[kept], colours[kept]
    for first, second in near_pairs(hashes, bits):
        alike = np.abs(colours[first] - colours[second]).max(axis=1) <= COLOUR_DISTANCE
        clusters.join(chosen[first[alike]], chosen[second[alike]])
    return clusters


def near_pairs(hashes: np.ndarray, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of 64-bit hashes that differ in at most `bits` bits, batch by batch; some come more than once.

    Hashes cut into bits + 1 bands and differing in at most `bits` places agree in at least one band (pigeonhole). So
    hashes are sorted by a band, and each compared with its neighbours for as long as the band is equal.

    Args:
        hashes: uint64 (n,).
        bits: 0 to 63.

    Yields:
        Indices (m,) and (m,) of the pairs.
    """
    edges = np.linspace(0, 64, bits + 2).astype(int)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(band, kind="stable")
        band, ordered = band[order], hashes[order]
        places, step = np.arange(len(hashes)), 1
        while len(places := places[: np.searchsorted(places, len(hashes) - step)]):
            places = places[band[places] == band[places + step]]
            close = places[np.bitwise_count(ordered[places] ^ ordered[places + step]) <= bits]
            if len(close):
                yield order[close], order[close + step]
            step += 1


def find(samples: Sequence[Sample], facts: Sequence[ImageFacts], exact: Clusters, alike: Clusters) -> list[Finding]:
    """All findings: files one by one, then sets of equal files, then sets of look-alikes."""
    single = [
        finding
        for sample, fact in zip(samples, facts, strict=True)
        if (finding := _file_finding(sample.path, fact)) is not None
    ]
    # A set of look-alikes that are all equal files is told once, as equal files.
    distinct = (members for members in alike.members() if len({facts[index].sha256 for index in members}) > 1)
    return [*single, *_set_findings(samples, exact.members(), near=False), *_set_findings(samples, distinct, near=True)]


def _file_finding(path: str, fact: ImageFacts) -> Finding | None:
    if fact.problem:
        return Finding(fact.problem, "error", (path,), f"{path} is left out: {fact.problem} ({fact.detail}).")
    short, long = sorted((fact.width, fact.height))
    if short < SMALLEST_SIDE:
        rule, severity = f"its shorter side has fewer than {SMALLEST_SIDE} pixels", "warning"
    elif short * long > LARGEST_PIXELS:
        rule, severity = f"more than {LARGEST_PIXELS // 10**6} million pixels", "note"
    elif long > LARGEST_ASPECT * short:
        rule, severity = f"its longer side is more than {LARGEST_ASPECT:g} times its shorter", "note"
    else:
        return None
    return Finding("extreme-size", severity, (path,), f"{path} is {fact.width} x {fact.height}: {rule}.")


def _set_findings(samples: Sequence[Sample], sets: Iterable[list[int]], near: bool) -> Iterator[Finding]:
    grave, prefix = ("warning", "near-") if near else ("error", "")
    what = "look nearly the same" if near else "are the same file"
    for members in sets:
        paths = tuple(sorted(samples[index].path for index in members))
        labels = sorted({samples[index].label for index in members})
        splits = sorted({split for index in members if (split := samples[index].split)})
        begin = f"{len(paths)} images {what}"
        if len(labels) > 1:
            yield Finding(f"{prefix}conflict", grave, paths, f"{begin}, and are labelled {', '.join(labels)}.")
        if len(splits) > 1:
            yield Finding(f"{prefix}leak", grave, paths, f"{begin}, and are in {', '.join(splits)}.")
        if len(labels) == 1 and len(splits) < 2:
            yield Finding(f"{prefix}duplicate", "warning", paths, f"{begin}; they stay in one split.")
