"""Dataset: listed, audited and split images, ready to train on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.config import DataConfig, RunConfig, SplitConfig
from kit.csv_tables import SAMPLE_COLUMNS, make_table
from kit.data import SPLITS, Source
from kit.data.audit import Finding, audit, data_fingerprint, exclude
from kit.data.corrections import Corrections
from kit.data.facts import ImageFacts, grey_range_of, read_facts
from kit.data.listing import heic_advice
from kit.data.mirroring import mirrored_classes
from kit.data.sources import load_samples
from kit.data.split import assign_folds, assign_splits
from kit.errors import DataError
from kit.machine import available_threads

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run


@dataclass(frozen=True)
class Dataset:
    """Images with labels and splits.

    Attributes:
        classes: Class k of the model is the k-th.
        paths: Recorded paths, n of them; `files` are absolute.
        keys: SHA-256 of each file's bytes, 64 hex digits.
        labels: Class numbers, int (n,); `splits` are `train`, `validation` or `test`, (n,).
        groups: Images of one group share a split.
        folds: Of cross-validation, from 1, int (n,); None without. All images are then in `train`.
        dropped: Images left out: path, label, given split, group, kind of finding; `dropped_files` are absolute.
        warnings: Sentences about what was left out, groups, and the split.
        fingerprint: SHA-256 over all samples of the source, those left out included.
        grey_range: Values of 16- and 32-bit grey that become black and white, of all images; empty if none is such.
        tree: How folders or columns were understood, a line a level.
        corrections: Those that were applied to the labels; None without.
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
    folds: np.ndarray | None
    dropped: tuple[tuple[str, str, str | None, str | None, str], ...]
    dropped_files: tuple[Path, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    fingerprint: str
    grey_range: tuple[int, ...] = ()
    tree: tuple[str, ...] = ()
    corrections: Corrections | None = None

    def decoding(self, config: RunConfig) -> RunConfig:
        """Configuration that says how these images become pixels where it left that to them."""
        if config.data.grey_range or not self.grey_range:
            return config
        return replace(config, data=replace(config.data, grey_range=self.grey_range))

    def indices(self, split: str) -> np.ndarray:
        """Indices of the images in a split, in order."""
        return np.flatnonzero(self.splits == split)

    def take(self, indices: np.ndarray) -> "Dataset":
        """Subset of the images, by number."""
        chosen: dict[str, Any] = {
            name: tuple(getattr(self, name)[i] for i in indices)
            for name in ("paths", "files", "keys", "facts", "groups")
        }
        folds = None if self.folds is None else self.folds[indices]
        return replace(self, labels=self.labels[indices], splits=self.splits[indices], folds=folds, **chosen)

    def without(self, split: str) -> "Dataset":
        """Dataset without one of its splits."""
        return self.take(np.flatnonzero(self.splits != split))

    def as_recorded(self, samples: "pandas.DataFrame") -> "Dataset":
        """Same images with the splits, folds and groups of a samples.csv; DataError if one of those is left out now.

        A run keeps its splits whatever the present version would draw or group.
        """
        used = samples[samples["finding"].isna() & samples["split"].notna()]
        place = {path: i for i, path in enumerate(self.paths)}
        if lost := [path for path in used["path"] if path not in place]:
            raise DataError(
                f"{len(lost)} images of the run cannot be used any more, such as {lost[0]}.",
                "`transferkit inspect` says what is wrong with each file.",
            )
        used = used.iloc[np.argsort([place[path] for path in used["path"]])]
        return replace(
            self.take(np.array([place[path] for path in used["path"]])),
            splits=np.array(used["split"].tolist()),
            groups=tuple(used["group"]),
            folds=used["fold"].to_numpy(int) if "fold" in used else None,
        )

    def counts(self) -> dict[str, int]:
        """Number of images in each split."""
        return {split: len(self.indices(split)) for split in SPLITS}

    def table(self) -> "pandas.DataFrame":
        """Every image of the source, those left out included, sorted by path: samples.csv; `fold` where there are."""
        kept = zip(self.paths, self.labels, self.splits, self.groups, self.keys, strict=True)
        rows = [(path, self.classes[label], str(split), group, None, key) for path, label, split, group, key in kept]
        left_out = [(*row, None) for row in self.dropped]
        columns = zip(*sorted([*rows, *left_out], key=lambda row: row[0]), strict=True)
        table = dict(zip((*SAMPLE_COLUMNS, "sha256"), columns, strict=True))
        if self.folds is not None:
            fold = dict(zip(self.paths, map(str, self.folds), strict=True))
            table["fold"] = tuple(fold.get(path) for path in table["path"])
        return make_table(table)


def load_dataset(config: RunConfig) -> Dataset:
    """List, audit and split the configured images; raises DataError if they cannot be trained on."""
    if not config.data.path:
        raise DataError("No images were named.", "Give a folder of class folders: `transferkit train DATA`.")
    data = config.data
    return build_dataset(load_samples(data.path, data.columns, corrections=data.corrections), config)


def build_dataset(source: Source, config: RunConfig) -> Dataset:
    """Audit a source, leave out unusable samples, and split the rest."""
    audited = audit(source, config.data, config.threads)
    excluded = exclude(source, audited, config.data)
    kept = [i for i, sample in enumerate(source.samples) if sample.path not in excluded]
    samples = [source.samples[i] for i in kept]
    facts = tuple(audited.facts[i] for i in kept)
    groups = tuple(audited.groups[i] for i in kept)
    labels = [sample.label for sample in samples]
    given, folds = [sample.split for sample in samples], None
    earlier = splits_before(source, audited.facts, config.data, config.split, config.threads)
    before = [earlier.get(sample.path) for sample in samples] if earlier else []
    if config.split.folds:
        splits = ["train"] * len(samples)
        folds, warnings = assign_folds(labels, groups, given, config.split, before)
    else:
        splits, warnings = assign_splits(labels, groups, given, config.split, before)
    turned = mirrored_classes([fact.phash for fact in facts], labels, groups) if config.views.flip else []
    dropped = [sample for sample in source.samples if sample.path in excluded]
    number = {label: i for i, label in enumerate(source.classes)}
    return Dataset(
        name=source.name,
        classes=source.classes,
        paths=tuple(sample.path for sample in samples),
        files=tuple(sample.file for sample in samples),
        keys=tuple(fact.sha256 for fact in facts),
        facts=facts,
        labels=np.array([number[label] for label in labels]),
        splits=np.array(splits),
        groups=groups,
        folds=None if folds is None else np.array(folds),
        dropped=tuple((one.path, one.label, one.split, one.group, excluded[one.path]) for one in dropped),
        dropped_files=tuple(sample.file for sample in dropped),
        findings=audited.findings,
        warnings=(
            *source.warnings,
            *heic_advice(sample.file for sample in dropped),
            *audited.warnings,
            *turned,
            *warnings,
        ),
        fingerprint=data_fingerprint(source.samples, audited.facts),
        grey_range=grey_range_of(facts),
        tree=source.tree,
        corrections=source.corrections,
    )


def splits_before(
    source: Source, facts: tuple[ImageFacts, ...], data: DataConfig, split: SplitConfig, threads: int = 0
) -> dict[str, str]:
    """Recorded path -> split, or fold as text, that the images had before the source's corrections.

    Labels decide which images are alike, how many of a class are drawn, and so into which split each comes: what was
    drawn for the labels as listed is kept, so that runs before and after corrections are compared on the same images.
    Images that could not be trained on, such as copies under two labels, had none. Empty without corrections, and where
    nothing could be trained on. `facts` are those of the source's samples.
    """
    if source.corrections is None:
        return {}
    listed = replace(source, samples=source.corrections.listed, corrections=None)
    known = {sample.path: fact for sample, fact in zip(source.samples, facts, strict=True)}
    dropped = [sample for sample in listed.samples if sample.path not in known]
    read = read_facts([sample.file for sample in dropped], data.background, threads or available_threads())
    known |= {sample.path: fact for sample, fact in zip(dropped, read, strict=True)}
    audited = audit(listed, data, threads, [known[sample.path] for sample in listed.samples])
    try:
        excluded = exclude(listed, audited, replace(data, conflicts="drop", leaks="drop", strict=False))
        kept = [i for i, sample in enumerate(listed.samples) if sample.path not in excluded]
        paths, labels, given = zip(
            *((one.path, one.label, one.split) for one in (listed.samples[i] for i in kept)), strict=True
        )
        groups = [audited.groups[i] for i in kept]
        if split.folds:
            return dict(zip(paths, map(str, assign_folds(labels, groups, given, split)[0]), strict=True))
        return dict(zip(paths, assign_splits(labels, groups, given, split)[0], strict=True))
    except DataError:
        return {}
