"""Strangeness of an image: how unlike its pooled features are those of the training images.

The cosine distance to the nearest of at most a thousand training images, whose features are kept (the nearest
neighbour of Y. Sun et al., Out-of-distribution detection with deep nearest neighbors, ICML 2022, of a sample). Against
Mahalanobis distances, energy and probability it measured best (docs/abstention.md), and it is one product of matrices
and a maximum, which any format has. Importing this module imports no backend.
"""

import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from kit.errors import StorageError
from kit.files import storage_errors, write_bytes

KEPT = 1_000  # training images; of more classes one each


@dataclass(frozen=True)
class Strangeness:
    """Features that others are compared with.

    The strangeness of features f is (1 - max(bank · f / |f|)) / scale.

    Attributes:
        bank: Of the kept training images, each of length 1; float16 (images, channels).
        scale: float32 (1,), by which 1 is the median of `held_out`.
        held_out: float32 (n,), strangeness of images that were not trained on, in their order.
    """

    bank: np.ndarray
    scale: np.ndarray
    held_out: np.ndarray

    @classmethod
    def fit(cls, kept: np.ndarray, held_out: np.ndarray) -> Self:
        """Keep the pooled features of training images (`choose_kept`), float (n, channels).

        `held_out` are `distances` of images not trained on, float (n,), one at least.
        """
        scale = np.array([max(float(np.median(held_out)), 1e-6)], np.float32)
        return cls(_bank(kept), scale, np.asarray(held_out, np.float32) / scale)

    def of(self, pooled: np.ndarray) -> np.ndarray:
        """Strangeness of images, float32 (n,), from their pooled features, float (n, channels)."""
        return _distances(self.bank, pooled) / self.scale

    def save(self, path: Path) -> None:
        """Write a file of NumPy arrays (.npz) atomically."""
        content = io.BytesIO()
        np.savez(content, **{one.name: getattr(self, one.name) for one in fields(self)})
        write_bytes(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; StorageError if it is damaged."""
        try:
            with storage_errors(path), np.load(path, allow_pickle=False) as arrays:
                return cls(**{one.name: arrays[one.name] for one in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            hint = "Delete it and abstention.json, and run `transferkit threshold RUN`."
            raise StorageError(f"{path} is damaged: {error}.", hint) from None


def choose_kept(labels: np.ndarray, seed: int) -> np.ndarray:
    """Places of the training images to keep, in order: drawn by `seed`, each class in turn. `labels` are int (n,)."""
    drawn = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), int)  # how many of its class were drawn before
    for label in np.unique(labels):
        of_class = drawn[labels[drawn] == label]
        turn[of_class] = np.arange(len(of_class))
    most = max(KEPT, len(np.unique(labels)))
    return np.sort(drawn[np.argsort(turn[drawn], kind="stable")][:most])


def distances(kept: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """Cosine distance of images to the nearest of those kept, float32 (n,), from the pooled features of both."""
    return _distances(_bank(kept), pooled)


def _distances(bank: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    return 1 - (_unit(pooled) @ bank.astype(np.float32).T).max(axis=1)


def _bank(kept: np.ndarray) -> np.ndarray:
    return _unit(kept).astype(np.float16)


def _unit(features: np.ndarray) -> np.ndarray:
    """Features of length 1, float32; none where all are 0."""
    features = np.asarray(features, np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
