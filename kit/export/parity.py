"""The parity gate: the run's own test images through the original and through what was exported.

An export is handed over only if no probability of any image differs by more than the tolerance.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.data.sources import load_samples
from kit.errors import DataError
from kit.evaluation.significance import wilson_interval
from kit.run import Run

TOLERANCE = 1e-4
SPLITS = ("test", "validation", "train")  # the first that has images


@dataclass(frozen=True)
class GateImages:
    """The images that both models are shown.

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
        split: Where the images are from.
        images: How many.
        tolerance: How far a probability may be off.
        greatest_difference: Between two probabilities of the same image and class; None if one is not a number.
        agreement: Share of images that both give the same class.
        accuracy: Of the exported model.
        accuracy_interval: Its 95% Wilson interval.
        original_accuracy: Of the original.
    """

    split: str
    images: int
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
        fields = asdict(self) | {"accuracy_interval": list(self.accuracy_interval)}
        return {"photos" if name == "images" else name: value for name, value in fields.items()}


def gate_images(run: Run) -> GateImages:
    """The images of the run's test split, or of the next one that has any, where they lie now.

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
        raise DataError(f"The {split} images of {run.path} cannot be read: {error.what}", hint) from None
    gone = [path for path in rows["path"] if path not in files]
    if gone:
        raise DataError(
            f"{len(gone)} of the {len(rows)} {split} images of {run.path} are no longer in {source}: "
            f"{', '.join(gone[:3])}{', ...' if len(gone) > 3 else ''}.",
            hint,
        )
    classes = {name: i for i, name in enumerate(run.manifest["classes"])}
    labels = np.array([classes[label] for label in rows["label"]])
    return GateImages(split, tuple(files[path] for path in rows["path"]), labels)


def compare(images: GateImages, original: np.ndarray, exported: np.ndarray, tolerance: float = TOLERANCE) -> Verdict:
    """Compares what two models say of the same images.

    Args:
        images: n images.
        original: Probabilities (n, classes) of the run's model.
        exported: Those of the exported one.
        tolerance: How far a probability may be off.
    """
    n = len(images.labels)
    right = {name: int((p.argmax(1) == images.labels).sum()) for name, p in (("old", original), ("new", exported))}
    difference = np.abs(original.astype(np.float64) - exported).max() if original.shape == exported.shape else np.nan
    return Verdict(
        split=images.split,
        images=n,
        tolerance=tolerance,
        greatest_difference=float(difference) if np.isfinite(difference) else None,
        agreement=float((original.argmax(1) == exported.argmax(1)).mean()),
        accuracy=right["new"] / n,
        accuracy_interval=wilson_interval(right["new"], n),
        original_accuracy=right["old"] / n,
    )
