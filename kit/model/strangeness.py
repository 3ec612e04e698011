"""Strangeness of an image: how far its pooled features lie from those of the training images.

The squared Mahalanobis distance to the nearest class mean, of one covariance for all classes (K. Lee et al., A simple
unified framework for detecting out-of-distribution samples and adversarial attacks, NeurIPS 2018). The covariance is
that of a probabilistic principal component analysis (M. Tipping, C. Bishop, JRSS B 61 (1999) 611-622): of its
directions the strongest are kept, and all others share one variance. So an image costs a few products of
matrices. Importing this module imports no backend.
"""

import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from kit.errors import StorageError
from kit.files import storage_errors, write_bytes

COMPONENTS = 128
IMAGES_PER_COMPONENT = 8  # fewer, and a direction is mostly noise


@dataclass(frozen=True)
class Strangeness:
    """Arrays by which pooled features (n, channels) become a strangeness; all float32.

    With f the features it is (|f|² - |f · inner|² - max(f · towards + offsets)) / scale.

    Attributes:
        inner: (channels, components).
        towards: (channels, classes).
        offsets: (classes,).
        scale: (1,), by which 1 is the median of `held_out`.
        held_out: (n,), strangeness of images that it was not fitted to, in their order.
    """

    inner: np.ndarray
    towards: np.ndarray
    offsets: np.ndarray
    scale: np.ndarray
    held_out: np.ndarray

    @classmethod
    def fit(cls, pooled: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> Self:
        """Fit to training images: pooled features, float (n, channels), and labels, int (n,).

        `held_out` are pooled features of images not trained on, one at least.
        """
        from sklearn.covariance import ledoit_wolf

        pooled = np.asarray(pooled, np.float64)
        means = np.stack([pooled[labels == one].mean(axis=0) for one in np.unique(labels)])
        spread = pooled - means[np.unique(labels, return_inverse=True)[1]]
        covariance, _ = ledoit_wolf(spread, assume_centered=True)
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = values[::-1], vectors[:, ::-1]
        count = max(0, min(COMPONENTS, len(values) - 1, (len(pooled) - len(means)) // IMAGES_PER_COMPONENT))
        rest = max(float(values[count:].mean()), 1e-12)  # all images alike have none
        inner = vectors[:, :count] * np.sqrt(np.maximum(1 - rest / np.maximum(values[:count], rest), 0))
        within = means @ inner
        towards = 2 * (means - within @ inner.T).T
        offsets = (within**2).sum(axis=1) - (means**2).sum(axis=1)
        inner, towards, offsets, scale = (one.astype(np.float32) for one in (inner, towards, offsets, np.ones(1)))
        distances = cls(inner, towards, offsets, scale, scale).of(held_out)
        scale *= max(float(np.median(distances)), 1e-12)
        return cls(inner, towards, offsets, scale, distances / scale)

    def of(self, pooled: np.ndarray) -> np.ndarray:
        """Strangeness of images, float32 (n,), from their pooled features, float (n, channels)."""
        pooled = np.asarray(pooled, np.float32)
        nearest = (pooled @ self.towards + self.offsets).max(axis=1)
        return ((pooled**2).sum(axis=1) - ((pooled @ self.inner) ** 2).sum(axis=1) - nearest) / self.scale

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
