"""Inspection of a data set: facts of every file, their summary, and the record folder of its page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import DataError, StorageError
from kit.progress import printable

if TYPE_CHECKING:
    from kit.config import DataConfig
    from kit.data import Sample, Source
    from kit.data.audit import Finding
    from kit.data.facts import ImageFacts

SCHEMA_VERSION = 1
COLUMNS = tuple(
    "path label split group width height bytes format mode sha256 mean_r mean_g mean_b finding".split()  # noqa: SIM905
)
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Inspection:
    """Facts, groups, splits and findings of a data set.

    Attributes:
        facts, groups: Of each sample.
        splits: Of each sample, as training would assign them; None where it would leave the file out.
        warnings: Of what was left out, of groups and of the split, each a sentence.
        refusal: Why training would refuse the data as they are; empty where it would not.
    """

    samples: "Source"
    facts: "tuple[ImageFacts, ...]"
    groups: tuple[str, ...]
    splits: tuple[str | None, ...]
    findings: "tuple[Finding, ...]"
    warnings: tuple[str, ...]
    refusal: str

    @property
    def rows(self) -> "zip[tuple[Sample, ImageFacts, str, str | None]]":
        return zip(self.samples.samples, self.facts, self.groups, self.splits, strict=True)


def look(config: "DataConfig", split_seed: int, threads: int) -> Inspection:
    """List, audit and split the data; DataError if `config.path` is no source of images."""
    from kit.config import SplitConfig
    from kit.data.audit import audit, exclude
    from kit.data.dataset import splits_before
    from kit.data.labels import require_learnable
    from kit.data.listing import heic_advice
    from kit.data.mirroring import mirrored_classes
    from kit.data.sources import load_samples

    samples = load_samples(config.path, config.columns, corrections=config.corrections)
    found = audit(samples, config, threads)
    try:
        require_learnable(samples)
        exclude(samples, found, config)
        refusal = ""
    except DataError as error:
        refusal = str(error)
    before = splits_before(samples, found.facts, config, SplitConfig(seed=split_seed), threads)
    splits, warnings = _splits(samples.samples, found.facts, found.groups, split_seed, before)
    hashes, labels = [fact.phash for fact in found.facts], [sample.label for sample in samples.samples]
    turned = mirrored_classes(hashes, labels, found.groups)
    unread = (sample.file for sample, fact in zip(samples.samples, found.facts, strict=True) if fact.problem)
    warnings = list(
        map(
            printable,
            (*samples.warnings, *heic_advice(unread), *found.warnings, *turned, *warnings),
        )
    )
    return Inspection(samples, found.facts, found.groups, tuple(splits), found.findings, tuple(warnings), refusal)


def _splits(
    samples: "Sequence[Sample]",
    facts: "Sequence[ImageFacts]",
    groups: Sequence[str],
    seed: int,
    before: Mapping[str, str],
) -> tuple[list[str | None], list[str]]:
    from kit.config import SplitConfig
    from kit.data.split import assign_splits

    read = [index for index, fact in enumerate(facts) if not fact.problem]
    splits: list[str | None] = [None] * len(samples)
    try:
        assigned, warnings = assign_splits(
            [samples[index].label for index in read],
            [groups[index] for index in read],
            [samples[index].split for index in read],
            SplitConfig(seed=seed),
            [before.get(samples[index].path) for index in read] if before else [],
        )
    except DataError as error:
        return [sample.split for sample in samples], [error.what]
    for index, split in zip(read, assigned, strict=True):
        splits[index] = split
    return splits, warnings


def summarise(inspection: Inspection) -> dict[str, Any]:
    """Summary as JSON values: counts, shares, quantiles, findings."""
    from kit.data.audit import data_fingerprint

    read = [(sample, fact, split) for sample, fact, _, split in inspection.rows if not fact.problem]
    per_class = Counter(sample.label for sample, _, _ in read)
    per_cell = Counter((sample.label, split) for sample, _, split in read)
    counts = [per_class[label] for label in inspection.samples.classes]
    kinds = Counter((finding.kind, finding.severity) for finding in inspection.findings)
    grouped = [images for images in Counter(inspection.groups).values() if images > 1]
    return {
        "name": inspection.samples.name,
        "kind": inspection.samples.kind,
        "tree": list(map(printable, inspection.samples.tree)),
        "data_fingerprint": data_fingerprint(inspection.samples.samples, inspection.facts),
        "corrections": corrections.describe() if (corrections := inspection.samples.corrections) else None,
        "files": len(inspection.facts),
        "images": len(read),
        "classes": [
            {
                "label": label,
                "images": per_class[label],
                "share": per_class[label] / max(1, len(read)),
                **{split: per_cell[label, split] for split in _SPLITS},
            }
            for label in inspection.samples.classes
        ],
        "imbalance": max(counts) / min(counts) if min(counts) else None,
        "groups": {"count": len(grouped), "images": sum(grouped), "largest": max(grouped, default=0)},
        "splits": {split: sum(at == split for _, _, at in read) for split in _SPLITS},
        "sizes": {
            name: _quantiles([getattr(fact, name) for _, fact, _ in read]) for name in ("width", "height", "bytes")
        },
        "formats": dict(Counter(fact.format for _, fact, _ in read).most_common()),
        "modes": dict(Counter(fact.mode for _, fact, _ in read).most_common()),
        "finding_counts": [
            {"kind": kind, "severity": severity, "count": count} for (kind, severity), count in kinds.items()
        ],
        "warnings": list(inspection.warnings),
        "training_refuses": inspection.refusal or None,
    }


def _quantiles(values: list[int]) -> dict[str, float] | None:
    import numpy as np

    if not values:
        return None
    names = ("min", "p10", "median", "p90", "max")
    return dict(zip(names, np.quantile(values, (0, 0.1, 0.5, 0.9, 1)).tolist(), strict=True))


# === Record ===


def write_record(folder: Path, data: str, split_seed: int, inspection: Inspection, summary: dict[str, Any]) -> None:
    """Write the record folder; it is complete once the manifest's status is `finished`."""
    from kit.data.corrections import write_copy
    from kit.files import write_json, write_text

    refuse_other_content(folder)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "kind": "inspection",
        "status": "running",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data,
        "data_fingerprint": summary["data_fingerprint"],
        "split_seed": split_seed,
        "versions": _versions(),
        "summary": summary,
    }
    # Twice, so that after a kill in between the folder counts as unfinished and may be overwritten.
    write_json(folder / "manifest.json", manifest)
    write_copy(folder, inspection.samples.corrections)
    write_text(folder / "samples.csv", table_text(inspection))
    write_json(folder / "findings.json", [asdict(finding) for finding in inspection.findings])
    write_thumbnails(folder, inspection)
    write_json(folder / "manifest.json", {**manifest, "status": "finished"})


def write_thumbnails(folder: Path, inspection: Inspection) -> None:
    """Write thumbnails of images of each class, and of those that findings name."""
    from kit.insights import Insights, thumbnails

    read = [sample for sample, fact, _, _ in inspection.rows if not fact.problem]
    named = set(thumbnails.in_findings(inspection.findings))
    chosen = [read[place] for place in thumbnails.per_class([sample.label for sample in read])]
    chosen += [sample for sample in read if sample.path in named]
    files = {sample.path: sample.file for sample in chosen[: thumbnails.LARGEST]}
    Insights(folder).write_album("thumbnails", thumbnails.thumbnails_of_files(files))


def table_text(inspection: Inspection) -> str:
    """CSV with one row a sample; cells that a spreadsheet would run are escaped."""
    import csv
    import io

    from kit.csv_tables import escape_cell

    kinds: dict[str, list[str]] = {}
    for finding in inspection.findings:
        for path in finding.paths:
            kinds.setdefault(path, []).append(finding.kind)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for sample, fact, group, split in inspection.rows:
        found = " ".join(kinds.get(sample.path, []))
        colour = ("", "", "") if fact.problem else fact.mean_colour
        size = ("", "") if fact.problem else (fact.width, fact.height)
        cells = (sample.path, sample.label, split, group, *size, fact.bytes, fact.format, fact.mode, fact.sha256)
        writer.writerow(
            escape_cell(cell) if cell and isinstance(cell, str) else cell for cell in (*cells, *colour, found)
        )
    return text.getvalue()


def refuse_other_content(folder: Path, kind: str = "inspection", command: str = "inspect") -> None:
    """Raise StorageError if a folder holds anything but a record of that kind."""
    from kit.files import read_json

    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} cannot be a folder: a file is in its place.", "Give --out another.")
    content = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if not content:
        return
    manifest = read_json(folder / "manifest.json") if "manifest.json" in content else None
    if not (isinstance(manifest, dict) and manifest.get("kind") == kind):
        raise StorageError(
            f"{folder} is not empty and not a record of `{command}`.", "Give --out a new or empty folder."
        )


def _versions() -> dict[str, str]:
    import platform

    from kit.machine import package_version

    packages = ("transferkit", "pillow", "numpy")  # transferkit is not installed when run from a checkout
    return {"python": platform.python_version()} | {name: package_version(name) or "not installed" for name in packages}
