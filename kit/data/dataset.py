"""A source of images, made ready: read, audited, settled, split."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kit.config import RunConfig
from kit.data.audit import Audit, audit, data_fingerprint, settle
from kit.data.findings import Finding, ImageFacts
from kit.data.sources import SPLITS, SampleSet, load_samples
from kit.data.split import assign_splits
from kit.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Images that can be trained on and scored.

    Attributes:
        name: Short name of the source.
        classes: Class k of the model is the k-th.
        paths: As recorded, n of them.
        files: Where they are.
        keys: SHA-256 of each file's bytes, 64 hex digits.
        facts: What the audit knows of each file.
        labels: Class numbers, int (n,).
        splits: `train`, `validation` or `test`, (n,).
        groups: Images of one group share a split.
        dropped: Images left out: path, label, given split, group, kind of finding.
        dropped_files: Where those are.
        findings: What the audit found.
        warnings: What the owner should know about the split, each a sentence.
        fingerprint: SHA-256 over all samples of the source, those left out included.
    """

    name: str
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    files: tuple[Path, ...]
    keys: tuple[str, ...]
    facts: tuple[ImageFacts, ...]
    labels: np.ndarray
    splits: np.ndarray
    groups: tuple[str, ...]
    dropped: tuple[tuple[str, str, str | None, str | None, str], ...]
    dropped_files: tuple[Path, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    fingerprint: str

    def indices(self, split: str) -> np.ndarray:
        """Which images are in a split, in order."""
        return np.flatnonzero(self.splits == split)

    def without(self, split: str) -> "Dataset":
        """The same images in the same order, those of one split left out."""
        kept = np.flatnonzero(self.splits != split)
        chosen: dict[str, Any] = {
            name: tuple(getattr(self, name)[i] for i in kept) for name in ("paths", "files", "keys", "facts", "groups")
        }
        return replace(self, labels=self.labels[kept], splits=self.splits[kept], **chosen)

    def counts(self) -> dict[str, int]:
        """Images in each split."""
        return {split: len(self.indices(split)) for split in SPLITS}


def load_dataset(config: RunConfig) -> Dataset:
    """Reads, audits, settles and splits the images a configuration names.

    Raises:
        DataError: If they cannot be trained on as they are; the message says what to do.
    """
    if not config.data.path:
        raise DataError("No images were named.", "Give a folder of class folders: `transferkit train DATA`.")
    found = load_samples(config.data.path)
    return build_dataset(found, audit(found, config.data, config.threads), config)


def build_dataset(found: SampleSet, audited: Audit, config: RunConfig) -> Dataset:
    """Settles and splits what was read and audited."""
    usable = settle(found, audited, config.data)
    labels = [sample.label for sample in usable.samples]
    splits, warnings = assign_splits(labels, usable.groups, [sample.split for sample in usable.samples], config.split)
    dropped = [sample for sample in found.samples if sample.path in usable.dropped]
    number = {label: i for i, label in enumerate(found.classes)}
    return Dataset(
        name=found.name,
        classes=found.classes,
        paths=tuple(sample.path for sample in usable.samples),
        files=tuple(sample.file for sample in usable.samples),
        keys=tuple(facts.sha256 for facts in usable.facts),
        facts=usable.facts,
        labels=np.array([number[label] for label in labels]),
        splits=np.array(splits),
        groups=usable.groups,
        dropped=tuple(
            (sample.path, sample.label, sample.split, sample.group, usable.dropped[sample.path]) for sample in dropped
        ),
        dropped_files=tuple(sample.file for sample in dropped),
        findings=audited.findings,
        warnings=tuple(warnings),
        fingerprint=data_fingerprint(found.samples, audited.facts),
    )
