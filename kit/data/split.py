"""Train, validation and test splits by a hash; groups stay whole."""

import hashlib
from collections.abc import Sequence

from kit.config import SplitConfig
from kit.data import SPLITS
from kit.errors import DataError


def assign_splits(
    labels: Sequence[str], groups: Sequence[str], given: Sequence[str | None], config: SplitConfig
) -> tuple[list[str], list[str]]:
    """Split of each sample, and warnings, each a sentence.

    A sample without a given split gets u = SHA-256(seed, group) as a number in [0, 1): train below `config.train`,
    validation below `train + validation`, else test. So every class has about the same proportions, an image keeps its
    split when others are added, and a group stays whole even across classes.

    Given splits are kept. A sample without one takes the given split of its group if there is one: test before
    validation before train, so that no evaluated image is trained on. If all samples have a given split but one split
    is missing, it is taken from train by the same hash, with a warning. A sample without a group needs a unique string
    in `groups`. Raises DataError if nothing is left to train on.
    """
    if not len(labels) == len(groups) == len(given):
        raise ValueError(f"labels, groups and given have {len(labels)}, {len(groups)} and {len(given)} entries.")
    shares = {"train": config.train, "validation": config.validation, "test": config.test}
    warnings: list[str] = []
    if given and None not in given:
        splits, warnings = _with_missing_splits([str(split) for split in given], groups, shares, config.seed)
    else:
        of_group = _given_of_groups(groups, given)
        splits = [
            split or of_group.get(group) or _drawn(config.seed, group, shares)
            for group, split in zip(groups, given, strict=True)
        ]
    if "train" not in splits:
        raise DataError(
            f"None of the {len(splits)} images is in the train split.",
            "Give some of them to train, or raise split.train.",
        )
    return splits, warnings + _lacking(labels, splits, shares)


def _with_missing_splits(
    given: list[str], groups: Sequence[str], shares: dict[str, float], seed: int
) -> tuple[list[str], list[str]]:
    missing = [split for split in SPLITS if split not in given and shares[split] > 0]
    if not missing or "train" in missing:  # without train there is nothing to take from
        return given, []
    kept = {split: share for split, share in shares.items() if split == "train" or split in missing}
    splits = [
        _drawn(seed, group, kept) if split == "train" else split for group, split in zip(groups, given, strict=True)
    ]
    share = 1 - kept["train"] / sum(kept.values())
    note = f"The data gives no {' and no '.join(missing)} split: {share:.0%} of its train split is used instead."
    return splits, [note]


def _given_of_groups(groups: Sequence[str], given: Sequence[str | None]) -> dict[str, str]:
    found: dict[str, str] = {}
    for group, split in zip(groups, given, strict=True):
        if split is not None and (group not in found or SPLITS.index(split) > SPLITS.index(found[group])):
            found[group] = split
    return found


def _drawn(seed: int, group: str, shares: dict[str, float]) -> str:
    """Split drawn by the shares from the hash of seed and group."""
    key = f"{seed}:{group}".encode(errors="surrogateescape")
    place = int.from_bytes(hashlib.sha256(key).digest()[:8]) / 2**64 * sum(shares.values())
    for split, share in shares.items():
        if place < share:
            return split
        place -= share
    return [split for split, share in shares.items() if share > 0][-1]  # only rounding leads here


def _lacking(labels: Sequence[str], splits: Sequence[str], shares: dict[str, float]) -> list[str]:
    present = set(zip(labels, splits, strict=True))
    warnings = []
    for split in SPLITS:
        lacking = [label for label in sorted(set(labels)) if (label, split) not in present]
        if lacking and (split in splits or shares[split] > 0):
            named = ", ".join(lacking[:10]) + (f" and {len(lacking) - 10} more" if len(lacking) > 10 else "")
            images = "image" if len(lacking) == 1 else "images"
            warnings.append(f"The {split} split has no {images} of {named}.")
    return warnings
