"""Features of the teacher for every view, in shards on disk that a resumed run reuses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kit import progress
from kit.backends.kernels import OWN, accelerate
from kit.data.dataset import Dataset
from kit.files import atomic_path
from kit.model.backbones import Backbone, mobilenet_v2
from kit.model.weights import load_into, resolve
from starter import images

STRIDE = 32  # pixels for each place of the last map
SHARD = 32  # images
BATCH = 32  # views in a forward pass of the teacher
FIT_ON = 768  # images that the projections are fitted on
MAP_COMPONENTS, POOLED_COMPONENTS = 256, 128


@dataclass(frozen=True)
class Projection:
    """Principal components of the teacher's features, half whitened: z = (f - mean) @ matrix.

    A component of variance v is divided by v^(1/4), and all by one number, so that their mean variance is 1. Without
    whitening only the first few components would be learned; with full whitening noise would weigh as much as signal.
    float32: `mean` (channels,), `matrix` (channels, components).
    """

    mean: np.ndarray
    matrix: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (features - self.mean) @ self.matrix


@dataclass(frozen=True)
class Targets:
    """All views of n images, and the teacher's projected features of them.

    `pixels` is uint8 (n, views, size, size, 3), 0-255; `map` float16 (n, views, size / STRIDE, size / STRIDE,
    MAP_COMPONENTS), of the last map; `pooled` float16 (n, views, POOLED_COMPONENTS).
    """

    pixels: np.ndarray
    map: np.ndarray
    pooled: np.ndarray

    @classmethod
    def join(cls, parts: "Sequence[Targets]") -> "Targets":
        """Concatenate targets."""
        return cls(*(np.concatenate(part) for part in zip(*(vars(one).values() for one in parts), strict=True)))


def load_plain(weights: str, image_size: int) -> Backbone:
    """MobileNetV2 1.0 without top, frozen."""
    backbone = mobilenet_v2(image_size, 1.0)
    load_into(backbone.model, resolve(weights, 1.0, image_size))
    backbone.model.trainable = False
    return backbone


def load_teacher(weights: str, image_size: int) -> keras.Model:
    """Teacher from uint8 pixels to float32 (batch, rows, columns, 1280), on transferkit's fast kernels."""
    backbone = load_plain(weights, image_size)
    inputs = keras.Input((image_size, image_size, 3), dtype="uint8")
    return keras.Model(inputs, accelerate(backbone.model, OWN)(backbone.preprocessing(inputs)))


def fit_projection(features: np.ndarray, components: int) -> Projection:
    """Projection of float features (n, channels)."""
    mean = features.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov(features - mean, rowvar=False))
    variances, axes = variances[::-1][:components], axes[:, ::-1][:, :components]
    matrix = axes * np.maximum(variances, 1e-12) ** -0.25
    return Projection(mean.astype(np.float32), (matrix / np.sqrt(np.sqrt(variances).mean())).astype(np.float32))


def regrid(maps: np.ndarray, side: int) -> np.ndarray:
    """Resample (n, rows, rows, c) to (n, side, side, c) by area, which keeps the mean."""
    rows = maps.shape[1]
    edges = np.arange(side + 1) * rows / side
    overlap = np.minimum(edges[1:, None], np.arange(1, rows + 1)) - np.maximum(edges[:-1, None], np.arange(rows))
    share = np.maximum(overlap, 0).astype(maps.dtype) * side / rows
    return np.einsum("ir,js,nrsc->nijc", share, share, maps, optimize=True)


def fit_projections(teacher: keras.Model, dataset: Dataset, places: Sequence[int]) -> tuple[Projection, Projection]:
    """Fit the projections of map and pooled features on a strong view of each of FIT_ON images."""
    chosen = np.random.default_rng(images.SEED).permutation(places)[:FIT_ON]
    views = np.concatenate([rendered.large for rendered in images.render(dataset, chosen, [1])])
    maps = regrid(_predicted(teacher, views), images.STUDENT_SIZE // STRIDE)
    pooled = maps.mean(axis=(1, 2))
    return (
        fit_projection(maps.reshape(-1, maps.shape[-1]), MAP_COMPONENTS),
        fit_projection(pooled, POOLED_COMPONENTS),
    )


def ensure(
    folder: Path, teacher: keras.Model, projections: tuple[Projection, Projection], dataset: Dataset, places: np.ndarray
) -> Targets:
    """Compute the targets of the images at `places`, except for shards already in `folder`."""
    views = range(images.VIEWS.count)
    shards = [places[start : start + SHARD] for start in range(0, len(places), SHARD)]
    with progress.track("teacher", len(places)) as advance:
        for number, shard in enumerate(shards):
            path = folder / f"{number:04}.npz"
            if not path.exists():
                _write(path, teacher, projections, list(images.render(dataset, shard, views)))
            advance(len(shard))
    parts = []
    for number in range(len(shards)):
        with np.load(folder / f"{number:04}.npz", allow_pickle=False) as shard:
            parts.append(Targets(shard["pixels"], shard["map"], shard["pooled"]))
    return Targets.join(parts)


def _write(
    path: Path, teacher: keras.Model, projections: tuple[Projection, Projection], rendered: list[images.Rendered]
) -> None:
    n, count = len(rendered), len(rendered[0].large)
    maps = regrid(_predicted(teacher, np.concatenate([one.large for one in rendered])), images.STUDENT_SIZE // STRIDE)
    of_map, of_pooled = projections
    arrays = {
        "pixels": np.stack([one.small for one in rendered]),
        "map": of_map(maps).astype(np.float16).reshape(n, count, *maps.shape[1:3], -1),
        "pooled": of_pooled(maps.mean(axis=(1, 2))).astype(np.float16).reshape(n, count, -1),
    }
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def _predicted(teacher: keras.Model, pixels: np.ndarray) -> np.ndarray:
    return teacher.predict(pixels, batch_size=BATCH, verbose=0)
