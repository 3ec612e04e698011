"""Linear probe: logistic regression on frozen features, scored on held-out images.

`python -m starter.probe IMAGES --teacher FILE` prints the accuracy of the starter weights beside the teacher's.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kit import backends
from kit.cli import run_script
from kit.config import STARTER, STARTER_SETTINGS, DataConfig
from kit.data.dataset import Dataset
from kit.data.images import decode
from kit.significance import wilson_interval
from starter import images
from starter.command import Images, Teacher

if TYPE_CHECKING:
    from kit.model.backbones import Backbone

# scikit-learn's C, on standardised features; the same for every network.
PENALTY = 0.003
STEPS = 2000
BATCH = 32


@dataclass(frozen=True)
class Probed:
    """Score of one linear classifier: `correct` of `n` held-out images."""

    correct: int
    n: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.n

    def __str__(self) -> str:
        low, high = wilson_interval(self.correct, self.n)
        return f"{self.accuracy:.4f} [{low:.4f}, {high:.4f}] on {self.n} images"


def features(backbone: "Backbone", pixels: np.ndarray) -> np.ndarray:
    """Pooled features, float32 (n, channels), of uint8 (n, size, size, 3)."""
    import keras

    from kit.backends.kernels import OWN, accelerate

    inputs = keras.Input(pixels.shape[1:], dtype="uint8")
    maps = accelerate(backbone.model, OWN)(backbone.preprocessing(inputs))
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    return keras.Model(inputs, pooled).predict(pixels, batch_size=BATCH, verbose=0)


def plain_pixels(dataset: Dataset, places: np.ndarray, image_size: int) -> np.ndarray:
    """Plain view of the images at `places`, uint8 (n, image_size, image_size, 3)."""
    config = DataConfig(image_size=image_size)
    return np.stack([decode(dataset.files[place], config) for place in places])


def probe(seen: np.ndarray, labels: np.ndarray, asked: np.ndarray, truth: np.ndarray) -> Probed:
    """Fit logistic regression on the features `seen`, and score it on `asked`."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=STEPS))
    classifier.fit(seen, labels)
    return Probed(int((classifier.predict(asked) == truth).sum()), len(truth))


def held_out(dataset: Dataset, weights: str, alpha: float, image_size: int) -> Probed:
    """Probe a frozen MobileNetV2: fitted on four fifths, scored on the fifth held out.

    `dataset` is split by `images.read`; `weights` as for `--weights`, of width `alpha`; `image_size` in pixels.
    """
    from kit.model.backbones import mobilenet_v2
    from kit.model.weights import load_into, resolve

    backbone = mobilenet_v2(image_size, alpha)
    load_into(backbone.model, resolve(weights, alpha, image_size))
    is_asked = dataset.splits == "test"
    seen, asked = (
        features(backbone, plain_pixels(dataset, places, image_size))
        for places in (np.flatnonzero(~is_asked), np.flatnonzero(is_asked))
    )
    return probe(seen, dataset.labels[~is_asked], asked, dataset.labels[is_asked])


def compare(
    path: Images,
    teacher: Teacher,
    weights: Annotated[str, typer.Option(help="Weights of alpha 0.35 to compare, or `starter`.")] = STARTER,
) -> None:
    """Probe the starter weights and the teacher on the images that distillation never saw."""
    backends.start(seed=images.SEED)
    dataset = images.read(path)
    small, size = STARTER_SETTINGS["model.alpha"], int(STARTER_SETTINGS["data.image_size"])
    for name, file, alpha, side in ((weights, weights, small, size), ("teacher", teacher, 1.0, 224)):
        print(f"{name}, {side} px: {held_out(dataset, file, alpha, side)}", flush=True)


if __name__ == "__main__":
    run_script(compare)
