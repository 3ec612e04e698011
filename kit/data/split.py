"""Train, validation and test splits, and folds: stratified by class, ranked by a hash; groups stay whole."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from kit.config import SplitConfig
from kit.data import OUT_OF_FOLD, SPLITS
from kit.errors import DataError
from kit.progress import some
from kit.significance import wilson_interval

FEW = 10  # with fewer images of a class its recall says little
RIGHT = 0.9  # the recall for which a warning shows the interval
NAMED = 10


def assign_splits(
    labels: Sequence[str],
    groups: Sequence[str],
    given: Sequence[str | None],
    config: SplitConfig,
    before: Sequence[str | None] = (),
) -> tuple[list[str], list[str]]:
    """Split of each sample, and warnings, each a sentence.

    Samples without a given split are shared out by `share_out`, or drawn by `_drawn` where `config.method` is `hash`.
    Given splits are kept. A sample without one takes the given split of its group if there is one: test before
    validation before train, so that no evaluated image is trained on. If all samples have a given split but one split
    is missing, it is taken from train, with a warning. A sample without a group needs a unique string in `groups`.
    `before` are the splits drawn before labels were corrected (None: the sample had none), which samples keep; groups
    stay whole as with given splits. Raises DataError if nothing is left to train on.
    """
    if not len(labels) == len(groups) == len(given):
        raise ValueError(f"labels, groups and given have {len(labels)}, {len(groups)} and {len(given)} entries.")
    shares = {"train": config.train, "validation": config.validation, "test": config.test}
    splits: list[str | None] = list(given)
    warnings: list[str] = []
    if None in splits:
        of_group = _given_of_groups(groups, given)
        splits = [split or of_group.get(group) for group, split in zip(groups, given, strict=True)]
    else:
        missing = [split for split in SPLITS if split not in splits and shares[split] > 0]
        if missing and "train" not in missing:  # without train there is nothing to take from
            shares = {split: share for split, share in shares.items() if split == "train" or split in missing}
            splits = [None if split == "train" else split for split in splits]
            taken = 1 - shares["train"] / sum(shares.values())
            said = f"The data gives no {' and no '.join(missing)} split"
            warnings = [f"{said}: {taken:.0%} of its train split is used instead."]
    if before:
        splits = _as_before(groups, splits, before)
    assigned = _filled(labels, groups, splits, shares, config, alone=bool(before))
    if "train" not in assigned:
        raise DataError(
            f"None of the {len(assigned)} images is in the train split.",
            "Give some of them to train, or raise split.train.",
        )
    thin = thin_splits(labels, assigned)
    if thin and not any(given):
        thin.append("`transferkit train DATA --folds 5` measures on every image instead.")
    return assigned, warnings + _lacking(labels, assigned, config) + thin


def _filled(
    labels: Sequence[str],
    groups: Sequence[str],
    splits: Sequence[str | None],
    shares: Mapping[str, float],
    config: SplitConfig,
    *,
    alone: bool = False,
) -> list[str]:
    """The splits, those that are None shared out; `alone` as if there were no others."""
    if config.method == "hash":
        return [split or _drawn(config.seed, group, shares) for group, split in zip(groups, splits, strict=True)]
    free = [index for index, split in enumerate(splits) if split is None]
    others = {(label, split) for label, split in zip(labels, splits, strict=True) if split is not None}
    present = set() if alone else others
    shared = share_out([labels[i] for i in free], [groups[i] for i in free], shares, config.seed, present)
    drawn = dict(zip(free, shared, strict=True))
    return [split or drawn[index] for index, split in enumerate(splits)]


def _as_before(
    groups: Sequence[str], splits: Sequence[str | None], before: Sequence[str | None], parts: Sequence[str] = SPLITS
) -> list[str | None]:
    """The splits, those that are None as before; where a group would be divided, all of it in the last of `parts`."""
    free = [old if split is None else None for split, old in zip(splits, before, strict=True)]
    of_group = _given_of_groups(groups, free, parts)
    return [split or of_group.get(group) for group, split in zip(groups, splits, strict=True)]


def _given_of_groups(
    groups: Sequence[str], given: Sequence[str | None], parts: Sequence[str] = SPLITS
) -> dict[str, str]:
    found: dict[str, str] = {}
    for group, split in zip(groups, given, strict=True):
        if split is not None and (group not in found or parts.index(split) > parts.index(found[group])):
            found[group] = split
    return found


def _place(seed: int, group: str) -> float:
    """SHA-256 of seed and group as a number in [0, 1)."""
    key = f"{seed}:{group}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.sha256(key).digest()[:8]) / 2**64


def _drawn(seed: int, group: str, shares: Mapping[str, float]) -> str:
    """Split drawn by the shares from the hash of seed and group."""
    place = _place(seed, group) * sum(shares.values())
    for split, share in shares.items():
        if place < share:
            return split
        place -= share
    return [split for split, share in shares.items() if share > 0][-1]  # only rounding leads here


# === Stratified ===


def share_out(
    labels: Sequence[str],
    groups: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    present: set[tuple[str, str]] | frozenset[tuple[str, str]] = frozenset(),
    *,
    trained: bool = True,
) -> list[str]:
    """Part of each sample, stratified by class: groups ranked by the hash of seed and group, cut at the shares.

    The parts are filled from the last to the first, from the highest hash down, with whole groups, each as long as it
    brings the images of its classes nearer to their shares; where both roundings are as good, that of the total
    decides. A class gets its share within one group, and at least one image in each part of some share if it has as
    many groups as there are such parts (always, unless groups span classes). The order of the samples does not matter.
    `present` are (label, part) that have images already. `trained`: the first part is trained on, and has a group of
    every class before any other has. With shares a, b, c, the last part is the same as with a + b, 0, c.
    """
    parts = list(shares)
    contents: dict[str, Counter[str]] = defaultdict(Counter)
    for label, group in zip(labels, groups, strict=True):
        contents[group][label] += 1
    ranked = sorted(contents, key=lambda group: (_place(seed, group), group), reverse=True)
    left = {group: contents[group] for group in ranked}
    # Parts of no share count here too: the last part is then the same whether or not the others are joined.
    lacking = {label: [part for part in parts if (label, part) not in present] for label in set(labels)}
    number_of_groups = Counter(label for content in left.values() for label in content)
    whole = Counter(labels)
    owed = {label: part_names for label, part_names in lacking.items() if number_of_groups[label] >= len(part_names)}
    found: dict[str, str] = {}
    for number in range(len(parts) - 1, 0, -1):
        part, earlier = parts[number], parts[:number]
        if shares[part] > 0:
            own, others = (
                shares[part] / sum(shares.values()),
                sum(shares[one] for one in earlier) / sum(shares.values()),
            )
            counts = _images(left.values())
            targets = {label: _target(n, own * whole[label], others * whole[label]) for label, n in counts.items()}
            total = own / (own + others) * counts.total()
            reserve = {
                label: sum(other in owed.get(label, parts[:trained]) and other in names for other in earlier)
                for label, names in lacking.items()
            }
            filling = _Part(left, targets, total, {label for label, names in owed.items() if part in names}, reserve)
            for group in filling.fill():
                found[group] = part
            left = {group: content for group, content in left.items() if group not in found}
    rest = next(part for part in parts if shares[part] > 0)
    return [found.get(group, rest) for group in groups]


def _images(contents: Iterable[Counter[str]]) -> Counter[str]:
    """Images of each class in groups."""
    images: Counter[str] = Counter()
    for content in contents:
        for label, count in content.items():  # `update` takes ten times as long for so few
            images[label] += count
    return images


def _target(left: int, own: float, others: float) -> float:
    """Images that a part should take of those `left` of a class.

    `own` is its exact number, `others` that of all parts that come later. As many as leave each of the two with its
    number rounded up or down; in between, in proportion.
    """
    low = max(math.floor(own + 1e-9), left - math.ceil(others - 1e-9))
    high = min(math.ceil(own - 1e-9), left - math.floor(others + 1e-9))
    target = left * own / (own + others)
    return min(max(target, low), high) if low <= high else target


class _Part:
    """One part being filled from ranked groups, group -> images by class.

    `gap` (by class) and `total` are the images that it should get; `lacking` are classes that it owes one at least;
    `reserve` is the number of groups of a class to leave to other parts.
    """

    def __init__(
        self,
        contents: Mapping[str, Counter[str]],
        gap: dict[str, float],
        total: float,
        lacking: set[str],
        reserve: Mapping[str, int],
    ):
        self.contents, self.gap, self.total, self.lacking, self.reserve = contents, gap, total, lacking, reserve
        self.groups = Counter(label for content in contents.values() for label in content)

    def fill(self) -> Iterator[str]:
        """Take groups: those that fit, those that round best, and one for each class that would have none.

        Where groups are large, none may do so for its class, but some for the total.
        """
        taken: set[str] = set()
        steps: list[tuple[Callable[[Counter[str]], bool], Callable[[], object]]] = [
            (self._fits, lambda: True),
            (partial(self._rounds, most=1 - 1e-9), lambda: self.total > 0),  # no image is gained beyond that
            (self._rounds, lambda: self.total > 0),
            (self._lacks, lambda: self.lacking),
        ]
        for accept, useful in steps:
            for group, content in self.contents.items():
                if not useful():
                    break
                if group not in taken and self._spare(content) and accept(content):
                    taken.add(group)
                    self._take(content)
                    yield group

    def _spare(self, content: Counter[str]) -> bool:
        """Whether enough groups of its classes are left for the parts that come later."""
        return all(self.groups[label] > self.reserve.get(label, 0) for label in content)

    def _fits(self, content: Counter[str]) -> bool:
        return all(self.gap[label] >= count - 1e-9 for label, count in content.items())

    def _rounds(self, content: Counter[str], most: float = math.inf) -> bool:
        gaps = ((self.gap[label], count) for label, count in content.items())
        nearer = sum(abs(gap - count) - abs(gap) for gap, count in gaps)
        return nearer < most and nearer + abs(self.total - content.total()) - abs(self.total) < -1e-9

    def _lacks(self, content: Counter[str]) -> bool:
        return not self.lacking.isdisjoint(content)

    def _take(self, content: Counter[str]) -> None:
        self.lacking.difference_update(content)
        self.total -= content.total()
        for label, count in content.items():
            self.gap[label] -= count
            self.groups[label] -= 1


def assign_folds(
    labels: Sequence[str],
    groups: Sequence[str],
    given: Sequence[str | None],
    config: SplitConfig,
    before: Sequence[str | None] = (),
) -> tuple[list[int], list[str]]:
    """Fold of each sample, from 1 to `config.folds`, stratified by class, and warnings.

    `before` are the folds, as text, before labels were corrected, as in `assign_splits`. Raises
    DataError if the data give splits, or a fold would hold no image.
    """
    if any(given):
        raise DataError(
            "The data come with splits of their own, which cross-validation would mix.",
            "Leave --folds out, or name a folder without splits, such as the one to train on.",
        )
    shares = {str(fold): 1 / config.folds for fold in range(1, config.folds + 1)}
    kept = _as_before(groups, [None] * len(groups), before, list(shares)) if before else [None] * len(groups)
    free = [i for i, fold in enumerate(kept) if fold is None]
    shared = share_out([labels[i] for i in free], [groups[i] for i in free], shares, config.seed, trained=False)
    drawn = dict(zip(free, shared, strict=True))
    folds = [int(fold or drawn[i]) for i, fold in enumerate(kept)]
    if len(set(folds)) < config.folds:
        raise DataError(
            f"{len(set(groups))} images that are no copies of each other do not make {config.folds} folds.",
            "Give --folds a smaller number.",
        )
    present = Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    lone = [label for label in sorted(present) if present[label] == 1]
    warnings = (
        [f"All images of {some(lone, NAMED)} are in one fold: no model is trained on them and measured."]
        if lone
        else []
    )
    return folds, warnings + thin_splits(labels, [OUT_OF_FOLD] * len(labels))


# === Warnings ===


def _lacking(labels: Sequence[str], splits: Sequence[str], config: SplitConfig) -> list[str]:
    present = set(zip(labels, splits, strict=True))
    warnings = []
    for split in SPLITS:
        lacking = [label for label in sorted(set(labels)) if (label, split) not in present]
        if lacking and (split in splits or getattr(config, split) > 0):
            images = "image" if len(lacking) == 1 else "images"
            warnings.append(f"The {split} split has no {images} of {some(lacking, NAMED)}.")
    return warnings


def thin_splits(labels: Sequence[str], splits: Sequence[str]) -> list[str]:
    """Warnings of classes with fewer than FEW validation or test images, with what such a number can tell."""
    counts = Counter(zip(labels, splits, strict=True))
    warnings = []
    for split in (*SPLITS[1:], OUT_OF_FOLD):
        few = {label: n for label in sorted(set(labels)) if 0 < (n := counts[label, split]) < FEW}
        if few:
            least = min(few.values())
            low, high = wilson_interval(RIGHT * least, least)
            named = some([f"{label} ({n})" for label, n in few.items()], NAMED)
            warnings.append(
                f"Fewer than {FEW} {split} images of {named}: with {least}, {RIGHT:.0%} right would mean between "
                f"{low:.0%} and {high:.0%} (95% interval)."
            )
    return warnings
