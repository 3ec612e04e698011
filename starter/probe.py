"""How good are frozen features? A linear classifier on them, scored on photos that nothing else has seen.

`python -m starter.probe PHOTOS --teacher FILE` prints the accuracy of the starter weights beside the teacher's.
"""

from dataclasses import dataclass

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kit.config import DataConfig
from kit.data.dataset import Dataset
from kit.data.images import decode
from kit.evaluation import wilson_interval
from kit.model.backbones import Backbone

# Strength of the penalty of the classifier (scikit-learn's C, on standardised features). Fixed before any measurement
# on held-out photos: both networks are probed with the same one.
PENALTY = 0.003
STEPS = 2000
BATCH = 32


@dataclass(frozen=True)
class Probed:
    """The score of one linear classifier.

    Attributes:
        correct: Photos told rightly.
        n: Photos asked.
    """

    correct: int
    n: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.n

    def __str__(self) -> str:
        low, high = wilson_interval(self.correct, self.n)
        return f"{self.accuracy:.4f} [{low:.4f}, {high:.4f}] on {self.n} photos"


def features(backbone: Backbone, pixels: np.ndarray) -> np.ndarray:
    """Pooled features, float32 (n, channels), of uint8 (n, size, size, 3)."""
    inputs = keras.Input(pixels.shape[1:], dtype="uint8")
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.model(backbone.preprocessing(inputs)))
    return keras.Model(inputs, pooled).predict(pixels, batch_size=BATCH, verbose=0)


def plain_pixels(dataset: Dataset, places: np.ndarray, image_size: int) -> np.ndarray:
    """The plain view of the photos at `places`, uint8 (n, image_size, image_size, 3)."""
    config = DataConfig(image_size=image_size)
    return np.stack([decode(dataset.files[place], config) for place in places])


def probe(seen: np.ndarray, labels: np.ndarray, asked: np.ndarray, truth: np.ndarray) -> Probed:
    """Fits logistic regression on the features `seen` and scores it on those `asked`."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=STEPS))
    classifier.fit(seen, labels)
    return Probed(int((classifier.predict(asked) == truth).sum()), len(truth))
