"""Thresholds below and beyond which a model gives no answer, chosen on validation images, and their record.

    abstention.json   Thresholds as a dict: both thresholds, what they were chosen for and what they give
    strangeness.npz   kit.model.strangeness.Strangeness

Importing this module imports no backend.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from kit.config import AbstentionConfig
from kit.errors import StorageError
from kit.files import read_json
from kit.significance import effective_n, wilson_interval

SCHEMA_VERSION = 1
FILE, ARRAYS = "abstention.json", "strangeness.npz"


@dataclass(frozen=True)
class Thresholds:
    """When a model gives no answer, and what that promises.

    Attributes:
        confidence: Below it the answer is "unsure", 0 to 1; None: never.
        strangeness: Beyond it the answer is "unlike"; None: never.
        accuracy: Wanted of the answers; 0 where `coverage` was wanted.
        coverage: Share of the images wanted to be answered; 0 where `accuracy` was.
        known: Share of the images wanted to pass `strangeness`.
        split: `validation`, or `out-of-fold` of a cross-validated run; n images of it.
        n_effective: `kit.significance.effective_n` of them.
        answered: Images of it that are answered.
        right: Those of them answered rightly.
        accuracy_interval: 95% Wilson interval of that share; None where none is answered.
        unlike: Images of it that are beyond `strangeness`.
        notes: Sentences on a threshold that could not be set.
    """

    confidence: float | None
    strangeness: float | None
    accuracy: float
    coverage: float
    known: float
    split: str
    n: int
    n_effective: float
    answered: int
    right: int
    accuracy_interval: tuple[float, float] | None
    unlike: int
    notes: tuple[str, ...] = ()

    @property
    def wanted(self) -> AbstentionConfig:
        """What those that are set were chosen for."""
        sure = self.confidence is not None
        return AbstentionConfig(
            accuracy=self.accuracy if sure else 0.0,
            coverage=self.coverage if sure else 0.0,
            known=0.0 if self.strangeness is None else self.known,
        )

    def to_dict(self) -> dict[str, Any]:
        """Content of abstention.json."""
        fields = asdict(self) | {"notes": list(self.notes)}
        fields["accuracy_interval"] = None if self.accuracy_interval is None else list(self.accuracy_interval)
        return {"schema_version": SCHEMA_VERSION, "kind": "abstention", **fields}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read abstention.json; StorageError if it is no such record, or that of a newer transferkit."""
        content = read_json(path)
        try:
            version, kind = content.pop("schema_version"), content.pop("kind")
            if kind != "abstention" or version > SCHEMA_VERSION:
                raise TypeError(f"it is {kind!r} of version {version}")
            interval, notes = content.pop("accuracy_interval"), tuple(content.pop("notes"))
            return cls(**content, accuracy_interval=None if interval is None else tuple(interval), notes=notes)
        except (AttributeError, KeyError, TypeError) as error:
            hint = "Delete it, and the model always answers; or install a newer transferkit."
            raise StorageError(f"{path} is no record of thresholds: {error}.", hint) from None

    def describe(self) -> list[str]:
        """Sentences on the thresholds and what they give."""
        lines = []
        if self.strangeness is not None:
            passed = 1 - self.unlike / self.n
            lines.append(
                f"Beyond a strangeness of {self.strangeness:.2f} it answers that the image is unlike anything it was "
                f"trained on: {passed:.1%} of {self.n:,} {self.split} images are within."
            )
        if self.confidence is not None:
            assert self.accuracy_interval is not None
            low, high = self.accuracy_interval
            wanted = f"accuracy {self.accuracy:g}" if self.accuracy else f"coverage {self.coverage:g}"
            below = f"Below a confidence of {self.confidence:.3f} it is" if self.confidence else "It is never"
            lines.append(
                f"{below} unsure ({wanted} wanted): it answers {self.answered:,} of {self.n:,} {self.split} images, "
                f"{self.right / self.answered:.3f} [{low:.3f}, {high:.3f}] of them rightly."
            )
        return [*lines, *self.notes]


def choose_thresholds(
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    strangeness: np.ndarray | None,
    wanted: AbstentionConfig,
    split: str = "validation",
) -> Thresholds:
    """Choose both thresholds on images that no weight was fitted to.

    The strangeness of n images is exchangeable with that of the next of their kind, so the next passes the
    ceil((n + 1) · known)-th smallest with a probability of `known` at least (split conformal prediction; V. Vovk et
    al., Algorithmic learning in a random world, 2005). The confidence is the lowest at which (errors + 1) / (answered +
    1) is at most 1 - accuracy, the correction of conformal risk control (A. Angelopoulos et al., ICLR 2024): a hundred
    answers without an error promise 0.99, fewer promise less. Copies (`groups`, (n,)) count once.

    Args:
        probabilities: Calibrated, float (n, classes); labels are int (n,).
        strangeness: Float (n,); None where there is none.
        wanted: Accuracy or coverage, and known.
    """
    n, independent = len(labels), effective_n(groups)
    notes: list[str] = []
    beyond = _strangeness_threshold(strangeness, n, independent, wanted.known, split, notes)
    known = np.ones(n, bool) if beyond is None or strangeness is None else strangeness <= beyond
    confidence = np.asarray(probabilities, np.float64).max(axis=1, initial=0.0)
    right = np.asarray(probabilities).argmax(axis=1) == labels if n else np.zeros(0, bool)
    below = _confidence_threshold(confidence[known], right[known], n, independent, wanted, split, notes)
    answered = known & (confidence >= (below or 0.0))
    count, correct = int(answered.sum()), int((right & answered).sum())
    weight = independent / n if n else 0.0
    interval = wilson_interval(weight * correct, weight * count) if count else None
    return Thresholds(
        confidence=below,
        strangeness=beyond,
        accuracy=0.0 if wanted.coverage else wanted.accuracy,
        coverage=wanted.coverage,
        known=wanted.known,
        split=split,
        n=n,
        n_effective=independent,
        answered=count,
        right=correct,
        accuracy_interval=interval,
        unlike=int((~known).sum()),
        notes=tuple(notes),
    )


def _strangeness_threshold(
    strangeness: np.ndarray | None, n: int, independent: float, known: float, split: str, notes: list[str]
) -> float | None:
    if strangeness is None or not known:
        return None
    fewest = math.ceil(known / (1 - known) - 1e-9)
    if independent < fewest:
        notes.append(
            f"No threshold of strangeness is set: that {known:g} of such images pass takes {fewest:,} "
            f"{split} images, and there are {independent:.0f}."
        )
        return None
    ordered = np.sort(strangeness)
    # of copies each stands for itself, and the correction for the next image is that of as many as are independent
    place = math.ceil(n * (independent + 1) * known / independent - 1e-9)
    return math.ceil(1e4 * float(ordered[min(place, n) - 1])) / 1e4


def _confidence_threshold(
    confidence: np.ndarray,
    right: np.ndarray,
    n: int,
    independent: float,
    wanted: AbstentionConfig,
    split: str,
    notes: list[str],
) -> float | None:
    """Threshold of the known ones of n images; None, with a note, where none gives what is wanted."""
    if not wanted.coverage and not wanted.accuracy:
        return None
    if not len(confidence):
        notes.append(f"No threshold of confidence is set: there are no {split} images to choose it on.")
        return None
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.append(ranked[1:] < ranked[:-1], True)  # images of one confidence are answered together
    counts = np.arange(1, len(ranked) + 1)
    if wanted.coverage:
        fitting = np.flatnonzero(ends & (counts >= min(wanted.coverage * n - 1e-9, len(ranked))))
        last = int(fitting[0])
    else:
        weight = independent / n
        errors = np.cumsum(~right[order])
        promised = 1 - (weight * errors + 1) / (weight * counts + 1)
        fitting = np.flatnonzero(ends & (promised >= wanted.accuracy - 1e-9))
        if not len(fitting):
            notes.append(_cannot_promise(wanted.accuracy, promised, ends, independent, split))
            return None
        last = int(fitting[-1])
    if last == len(ranked) - 1:
        return 0.0
    return round(float((ranked[last] + ranked[last + 1]) / 2), 6)


def _cannot_promise(accuracy: float, promised: np.ndarray, ends: np.ndarray, independent: float, split: str) -> str:
    best = int(np.flatnonzero(ends)[promised[ends].argmax()])
    if accuracy == 1:
        why = "No number of images can promise that no answer is wrong"
    elif independent < (fewest := math.ceil(accuracy / (1 - accuracy) - 1e-9)):
        why = f"To promise an accuracy of {accuracy:g} takes {fewest:,} {split} images, and there are {independent:.0f}"
    else:
        why = f"No confidence promises an accuracy of {accuracy:g} on the {split} images"
    return f"{why}: at most {max(promised[best], 0):.3f}, where {best + 1:,} of {len(promised):,} are answered."
