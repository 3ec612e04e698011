"""Duplicates and near duplicates: equal bytes, or similar perceptual hashes that the pixels confirm."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kit.data import likeness
from kit.data.facts import ImageFacts

ALIKE = 0.75  # score of two copies of an image: benchmarks/duplicates.py measures it
ALIKE_ACROSS_LABELS = 0.95  # two labels are evidence against
COLOUR_DISTANCE = 0.25  # of the shares of red, green and blue in the mean colour
SMALL, LARGEST_SHARE, LARGEST_SHARE_OF_CLASS = 5, 0.05, 0.25
MOST_CROPPED, MOST_COMPARED, BLOCK = 512, 4096, 256


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


@dataclass(frozen=True)
class LookAlikes:
    """Sets of images that show the same.

    Attributes:
        clusters: Equal files and near duplicates; these must share a split.
        scenes: Sets that look nearly the same and are too large to be kept together, as numbers of images, sorted.
            In `clusters` only those of them are joined that are alike in what sets them apart from the others.
    """

    clusters: Clusters
    scenes: tuple[tuple[int, ...], ...] = ()


def look_alikes(
    facts: Sequence[ImageFacts], labels: Sequence[str], read: Callable[[list[int]], np.ndarray], bits: int
) -> LookAlikes:
    """Equal files, and images whose pixels confirm what hashes within `bits` bits suggest.

    Hashes only propose: images linked by near hashes are compared with one another on pixels (kit.data.likeness), in
    the plain and against crops, and joined where all of a set are alike (complete linkage), of the same hue, and nearly
    equal where their labels differ. A set that holds much of the data or of a class is a fixed scene, or frames of one:
    there, what all of it shares is taken away before comparing. What then is still too large is not joined.

    Args:
        labels: Of each image.
        read: Grey thumbnails uint8 (m, 64, 64) of the images with the given numbers.
        bits: 0 to 16.
    """
    clusters = same_bytes(facts)
    usable = np.array([k for k, fact in enumerate(facts) if fact.phash and clusters.root[k] == k], np.int64)
    _, numbers = np.unique(np.array(labels, dtype=str), return_inverse=True)
    large = _LargeSets(numbers.reshape(-1), clusters)
    scenes = []
    for places in _proposed(np.array([facts[k].phash for k in usable], np.uint64), bits):
        members = usable[places]
        colours = np.array([facts[k].mean_colour for k in members])
        images = _Images(members, numbers[members], colours / np.maximum(colours.sum(axis=1, keepdims=True), 1))
        thumbnails = read(members.tolist())
        details = likeness.details(thumbnails)
        few = []
        for part in _connected(images, details):
            if not large(members[part]):
                few.append(part)
                continue
            scenes.append(tuple(sorted(members[part].tolist())))
            crowd, particular = images.take(part), likeness.without_scene(details[part])
            for inner in _connected(crowd, particular):
                _join(clusters, crowd.take(inner), particular[inner], large)
        if sum(map(len, few)) <= MOST_CROPPED and few:
            few = [np.concatenate(few)]
        for part in few:
            _join(clusters, images.take(part), details[part], large, thumbnails[part])
    return LookAlikes(clusters, tuple(sorted(scenes)))


class _LargeSets:
    """Whether images, and the equal files of each, are too many to be kept in one split."""

    def __init__(self, labels: np.ndarray, exact: Clusters):
        self._labels, self._of_class = labels, Counter(labels.tolist())
        self._copies = Counter(exact.root.tolist())

    def __call__(self, members: np.ndarray) -> bool:
        count: Counter[int] = Counter()
        for index in members.tolist():
            count[int(self._labels[index])] += self._copies[index]
        if len(members) < 2 or count.total() <= SMALL:
            return False
        of_class = max(number / self._of_class[label] for label, number in count.items())
        return count.total() > LARGEST_SHARE * len(self._labels) or of_class > LARGEST_SHARE_OF_CLASS


def _proposed(hashes: np.ndarray, bits: int) -> Iterator[np.ndarray]:
    """Yield the places of hashes, uint64 (n,), that are linked by steps of at most `bits` bits, as sets."""
    distinct, member_of = np.unique(hashes, return_inverse=True)
    linked = Clusters(len(distinct))
    for first, second in near_pairs(distinct, bits):
        linked.join(first, second)
    order = np.argsort(roots := linked.root[member_of.reshape(-1)], kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(roots[order])) + 1):
        if len(members) > 1:
            yield members


@dataclass(frozen=True)
class _Images:
    """Images that are compared: their numbers, labels, both int (m,), and shares of colours, float (m, 3)."""

    members: np.ndarray
    labels: np.ndarray
    colours: np.ndarray

    def take(self, places: np.ndarray) -> "_Images":
        return _Images(self.members[places], self.labels[places], self.colours[places])

    def alike(self, scores: np.ndarray, start: int = 0) -> np.ndarray:
        """Which scores (k, m), of the images from `start` on against all, are those of copies: bool (k, m)."""
        rows = slice(start, start + len(scores))
        across = self.labels[rows, None] != self.labels
        hue = np.abs(self.colours[rows, None] - self.colours).max(axis=2)
        return (scores >= np.where(across, ALIKE_ACROSS_LABELS, ALIKE)) & (hue <= COLOUR_DISTANCE)


def _connected(images: _Images, details: np.ndarray) -> list[np.ndarray]:
    """Places of images that are alike directly or by way of others, as sets; those by themselves included."""
    linked, everything = Clusters(len(details)), np.arange(len(details))
    for start in range(0, len(details), BLOCK):
        rows, columns = np.nonzero(images.alike(details[start : start + BLOCK] @ details.T, start))
        links = coo_array((np.ones(len(rows), bool), (rows + start, columns)), shape=(len(details),) * 2)
        _, of_image = connected_components(links, directed=False)
        linked.join(everything, np.unique(of_image, return_index=True)[1][of_image])
    order = np.argsort(linked.root, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(linked.root[order])) + 1)


def _join(
    clusters: Clusters,
    images: _Images,
    details: np.ndarray,
    large: _LargeSets,
    thumbnails: np.ndarray | None = None,
) -> None:
    """Join images in sets where each is alike to each, the most alike first (complete linkage), but no large set.

    With thumbnails, and where there are few, crops count as well.
    """
    if not 1 < len(details) <= MOST_COMPARED:
        return
    scores = details @ details.T
    if thumbnails is not None and len(details) <= MOST_CROPPED:
        scores = np.maximum(scores, likeness.cropped_scores(thumbnails, details))
    distances = np.where(images.alike(scores), np.maximum(1 - scores, 0), 2)
    sets = fcluster(linkage(distances[np.triu_indices(len(distances), 1)], "complete"), 1, "distance")
    for number in range(1, sets.max() + 1):
        members = images.members[sets == number]
        if not large(members):
            clusters.join(members[:-1], members[1:])


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


def split_groups(
    groups: Sequence[str | None], named: Sequence[str | None], identities: Sequence[str], alike: Clusters
) -> list[str]:
    """Group name of each sample: look-alikes, and samples of one given group, must share a split.

    `groups` come from a table, `named` from paths; both hold. `identities` are SHA-256 digests or other unique strings.
    The name is `group:` and the smallest given group of the set, or else its smallest identity.
    """
    clusters = Clusters(len(groups))
    clusters.join(np.arange(len(groups)), alike.root)
    for given in (groups, named):
        clusters.join_equal({index: group for index, group in enumerate(given) if group})
    roots = clusters.root.tolist()
    # A given name wins over hashes ("group:" sorts after every hex digit, so it takes two passes).
    hashes: dict[int, str] = {}
    names: dict[int, str] = {}
    for root, *given_names, identity in zip(roots, groups, named, identities, strict=True):
        hashes[root] = min(hashes.get(root, identity), identity)
        for group in filter(None, given_names):
            names[root] = min(names.get(root, group), group)
    return [f"group:{names[root]}" if root in names else hashes[root] for root in roots]
