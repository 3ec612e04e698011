"""The parity gate: the run's own test photos through the original and through what was exported.

An export is handed over only if no probability of any photo differs by more than the tolerance.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.data.sources import load_samples
from kit.errors import DataError
from kit.evaluation import wilson_interval
from kit.records import RunFolder

TOLERANCE = 1e-4
SPLITS = ("test", "validation", "train")  # the first that has photos


@dataclass(frozen=True)
class GatePhotos:
    """The photos that both models are shown.

    Attributes:
        split: Where they are from.
        files: n of them.
        labels: Class numbers, int (n,).
    """

    split: str
    files: tuple[Path, ...]
    labels: np.ndarray


@dataclass(frozen=True)
class Verdict:
    """How far an exported model agrees with the original.

    Attributes:
        split: Where the photos are from.
        photos: How many.
        tolerance: How far a probability may be off.
        greatest_difference: Between two probabilities of the same photo and class; None if one is not a number.
        agreement: Share of photos that both give the same class.
        accuracy: Of the exported model.
        accuracy_interval: Its 95% Wilson interval.
        original_accuracy: Of the original.
    """

    split: str
    photos: int
    tolerance: float
    greatest_difference: float | None
    agreement: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    original_accuracy: float

    @property
    def passed(self) -> bool:
        """True if the export may be handed over."""
        return self.greatest_difference is not None and self.greatest_difference <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """The entry `gate` of export.json."""
        return asdict(self) | {"accuracy_interval": list(self.accuracy_interval)}


def gate_photos(run: RunFolder) -> GatePhotos:
    """The photos of the run's test split, or of the next one that has any, where they lie now.

    Raises:
        DataError: If some are gone.
    """
    samples = run.samples
    kept = samples[samples["finding"].isna()]
    split = next(name for name in SPLITS if (kept["split"] == name).any())
    rows = kept[kept["split"] == split]
    source, hint = run.config.data.path, "An export is compared on them: put them back where they were."
    try:
        files = {sample.path: sample.file for sample in load_samples(source).samples}
    except DataError as error:
        raise DataError(f"The {split} photos of {run.path} cannot be read: {error.what}", hint) from None
    gone = [path for path in rows["path"] if path not in files]
    if gone:
        raise DataError(
            f"{len(gone)} of the {len(rows)} {split} photos of {run.path} are no longer in {source}: "
            f"{', '.join(gone[:3])}{', ...' if len(gone) > 3 else ''}.",
            hint,
        )
    classes = {name: i for i, name in enumerate(run.manifest["classes"])}
    labels = np.array([classes[label] for label in rows["label"]])
    return GatePhotos(split, tuple(files[path] for path in rows["path"]), labels)


def compare(photos: GatePhotos, original: np.ndarray, exported: np.ndarray, tolerance: float = TOLERANCE) -> Verdict:
    """Compares what two models say of the same photos.

    Args:
        photos: n photos.
        original: Probabilities (n, classes) of the run's model.
        exported: Those of the exported one.
        tolerance: How far a probability may be off.
    """
    n = len(photos.labels)
    right = {name: int((p.argmax(1) == photos.labels).sum()) for name, p in (("old", original), ("new", exported))}
    difference = np.abs(original.astype(np.float64) - exported).max() if original.shape == exported.shape else np.nan
    return Verdict(
        split=photos.split,
        photos=n,
        tolerance=tolerance,
        greatest_difference=float(difference) if np.isfinite(difference) else None,
        agreement=float((original.argmax(1) == exported.argmax(1)).mean()),
        accuracy=right["new"] / n,
        accuracy_interval=wilson_interval(right["new"], n),
        original_accuracy=right["old"] / n,
    )
