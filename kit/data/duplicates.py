"""Duplicates and near duplicates: equal bytes, or similar perceptual hash and mean colour."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from kit.data.facts import ImageFacts

COLOUR_DISTANCE = 32.0


class Clusters:
    """Disjoint sets of the numbers 0 to n-1 (union-find); the root of a set is its smallest member."""

    def __init__(self, size: int):
        self.root = np.arange(size)

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Join first[k] with second[k] for every k."""
        apart = self.root[first] != self.root[second]
        for a, b in zip(first[apart].tolist(), second[apart].tolist(), strict=True):
            a, b = self._find(a), self._find(b)
            self.root[max(a, b)] = min(a, b)
        while not np.array_equal(shorter := self.root[self.root], self.root):
            self.root = shorter

    def join_equal(self, keys: dict[int, str]) -> None:
        """Join the numbers that have the same key."""
        first: dict[str, int] = {}
        pairs = [(index, first.setdefault(key, index)) for index, key in keys.items()]
        if pairs:
            self.join(*np.array(pairs).T)

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
    """Join the readable images whose files are equal to the byte."""
    clusters = Clusters(len(facts))
    clusters.join_equal({index: fact.sha256 for index, fact in enumerate(facts) if not fact.problem})
    return clusters


def look_alikes(facts: Sequence[ImageFacts], bits: int) -> Clusters:
    """Join readable images: equal files, or hashes within `bits` bits and colours within 32 levels; transitive."""
    clusters = same_bytes(facts)
    usable = [index for index, fact in enumerate(facts) if fact.phash and clusters.root[index] == index]
    if not usable:
        return clusters
    chosen = np.array(usable)
    hashes = np.array([facts[index].phash for index in usable], np.uint64)
    colours = np.array([facts[index].mean_colour for index in usable], np.float32)
    # Join equal hashes of about the same colour first: thousands of them would be millions of pairs.
    coarse = np.column_stack([hashes, (colours // 16).astype(np.uint64)])
    _, kept, member_of = np.unique(coarse, axis=0, return_index=True, return_inverse=True)
    clusters.join(chosen, chosen[kept[member_of.reshape(-1)]])
    chosen, hashes, colours = chosen[kept], hashes[kept], colours[kept]
    for first, second in near_pairs(hashes, bits):
        alike = np.abs(colours[first] - colours[second]).max(axis=1) <= COLOUR_DISTANCE
        clusters.join(chosen[first[alike]], chosen[second[alike]])
    return clusters


def near_pairs(hashes: np.ndarray, bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield index arrays (m,) and (m,) of all pairs of hashes within `bits` bits; some pairs repeat.

    Hashes, uint64 (n,), that differ in at most `bits` (0 to 63) places agree in at least one of bits + 1 bands
    (pigeonhole). So they are sorted by each band, and each is compared with its neighbours while the band is equal.
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


def split_groups(groups: Sequence[str | None], identities: Sequence[str], alike: Clusters) -> list[str]:
    """Group name of each sample: look-alikes, and samples of one given group, must share a split.

    `identities` are SHA-256 digests or other unique strings. The name is `group:` and the smallest given group of the
    set, or else its smallest identity.
    """
    clusters = Clusters(len(groups))
    clusters.join(np.arange(len(groups)), alike.root)
    clusters.join_equal({index: group for index, group in enumerate(groups) if group})
    roots = clusters.root.tolist()
    # A given name wins over hashes ("group:" sorts after every hex digit, so it takes two passes).
    hashes: dict[int, str] = {}
    names: dict[int, str] = {}
    for root, group, identity in zip(roots, groups, identities, strict=True):
        hashes[root] = min(hashes.get(root, identity), identity)
        if group:
            names[root] = min(names.get(root, group), group)
    return [f"group:{names[root]}" if root in names else hashes[root] for root in roots]
