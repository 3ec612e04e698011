"""What the tests of training share: a small network, its configurations, and sessions without a run folder."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from kit import backend
from kit.config import DataConfig, ModelConfig, PhaseConfig, RunConfig, TrainingConfig, ViewsConfig
from kit.data.dataset import Dataset, load_dataset
from kit.model.backbones import Backbone, mobilenet_v2
from kit.model.weights import resolve
from kit.records import RunFolder
from kit.training.history import History
from kit.training.phases import arrays
from kit.training.session import Activations, Session, build_classifier

SIZE = 64
ALPHA = 0.35
HEAD_AND_TAIL = (
    PhaseConfig(name="head", epochs=2, unfreeze_depth=0, learning_rate=1e-3),
    PhaseConfig(name="tail", epochs=2, unfreeze_depth=2, learning_rate=1e-3),
)


def small_config(photos: Path, *phases: PhaseConfig, **changes) -> RunConfig:
    """A run of seconds: MobileNetV2 0.35 at 64 px with random weights, one view, float32 stores, stock layers.

    Args:
        photos: A folder of class folders.
        phases: The schedule; a head and a shallow tail if none is given.
        changes: Fields of RunConfig; of a section, as a dict of its fields: `training={"batch_size": 8}`.
    """
    config = RunConfig(
        data=DataConfig(path=str(photos), image_size=SIZE),
        views=ViewsConfig(count=1),
        model=ModelConfig(alpha=ALPHA, weights="none", head_units=16, kernels="stock"),
        training=TrainingConfig(batch_size=8, store_dtype="float32", label_smoothing=0.0),
        phases=phases or HEAD_AND_TAIL,
    )
    fields = {
        name: replace(getattr(config, name), **value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return replace(config, **fields)


def lively(backbone: Backbone, seed: int = 0) -> None:
    """Gives a random network the batch statistics of its own activations, as training it from scratch would.

    With Keras's initial statistics (mean 0, variance 1) the activations of a random MobileNetV2 fade away on their way
    up: every photo looks the same to the head, and a test of training would compare rounding errors. With gamma 1 and
    beta 0 rounding errors grow from block to block, as photos' differences do; 0.4 and 0.5 (tried, with others) keep
    the photos apart and let rounding errors fade.
    """
    model = backbone.model
    noise = np.random.default_rng(seed).uniform(-1, 1, (16, 8, 8, model.input.shape[-1])).astype(np.float32)
    # Patches of many pixels: what is left of a photo at the network's top is what it averages over, not the noise.
    patches = noise.repeat(model.input.shape[1] // 8, axis=1).repeat(model.input.shape[2] // 8, axis=2)
    normalisations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in normalisations:
        layer.gamma.assign(np.full(layer.gamma.shape, 0.4, np.float32))
        layer.beta.assign(np.full(layer.beta.shape, 0.5, np.float32))
        layer.momentum = 0.0  # one pass in training mode, and the moving statistics are the batch's
    model(patches, training=True)
    for layer in normalisations:
        layer.momentum = 0.999


def open_session(config: RunConfig, dataset: Dataset | None = None) -> tuple[Dataset, Session]:
    """Photos and a network as `kit.experiment` makes them; the small random network is made lively."""
    backend.start(config.backend, config.threads, config.seed)
    dataset = dataset or load_dataset(config)
    weights = resolve(config.model.weights, config.model.alpha, config.data.image_size)
    session = Session(config, build_classifier(config, len(dataset.classes), weights))
    if config.model.weights == "none" and config.model.alpha == ALPHA:
        lively(session.classifier.backbone)
    return dataset, session


def fit(session: Session, activations: Activations, folder: Path, on_epoch=lambda history: None) -> History:
    """Runs the schedule from its beginning, or from the checkpoints in `folder`."""
    return session.fit(activations, folder, History(), on_epoch, lambda name: nullcontext())


def weights_of(session: Session) -> list[np.ndarray]:
    """Copies of all weights of the whole classifier."""
    return list(arrays(session.classifier.full().weights))


def run_config(photos: Path, weights: Path, **changes) -> RunConfig:
    """A whole run with everything that could disturb repeating it: dropout, views, early stopping, float16, schedules.

    Args:
        photos: A folder of class folders.
        weights: Of MobileNetV2 0.35, as `save_lively_weights` writes them.
        changes: As for `small_config`.
    """
    phases = (
        PhaseConfig(name="head", epochs=3, learning_rate=1e-2, patience=2),
        PhaseConfig(name="tail", epochs=3, unfreeze_depth=2, learning_rate=1e-3, schedule="cosine", warmup_epochs=0.5),
    )
    config = RunConfig(
        seed=7,
        data=DataConfig(path=str(photos), image_size=32),
        views=ViewsConfig(count=2),
        model=ModelConfig(alpha=ALPHA, weights=str(weights), head_units=16, dropout=0.3),
        training=TrainingConfig(batch_size=16, class_weights="balanced"),
        phases=phases,
    )
    return replace(config, **changes)


def save_lively_weights(path: Path, size: int = 32) -> Path:
    """Writes the weights of a random MobileNetV2 0.35 that tells photos apart; `path` ends in .weights.h5."""
    backend.start(seed=3)
    backbone = mobilenet_v2(size, ALPHA)
    lively(backbone)
    backbone.model.save_weights(path)
    return path


@dataclass(frozen=True)
class Outcome:
    """What a finished run leaves, seconds aside."""

    history: History
    weights: list[np.ndarray]
    predictions: bytes
    metrics: dict

    @classmethod
    def of(cls, run: RunFolder) -> "Outcome":
        assert run.manifest["status"] == "finished"
        weights = arrays(keras.saving.load_model(run.model_path).weights)
        return cls(run.history, list(weights), (run.path / "predictions.csv").read_bytes(), run.metrics)

    def assert_equals(self, other: "Outcome") -> None:
        """Equal to the bit."""
        assert self.history.equal_curves(other.history)
        for mine, theirs in zip(self.weights, other.weights, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert self.predictions == other.predictions
        assert self.metrics == other.metrics
