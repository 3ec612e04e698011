"""What the tests of training share: a small network, its configurations, and sessions without a run folder."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import toy

from kit import backends
from kit.config import DataConfig, ModelConfig, PhaseConfig, RunConfig, TrainingConfig, ViewsConfig
from kit.data.dataset import load_dataset
from kit.model.weights import resolve
from kit.run import Run
from kit.training.checkpoints import values_of
from kit.training.extraction import Activations
from kit.training.fit import fit as fit_session
from kit.training.history import History
from kit.training.session import Session, build_classifier
from networks import ALPHA, lively

SIZE = 64
HEAD_AND_TAIL = (
    PhaseConfig(name="head", epochs=2, unfreeze_depth=0, learning_rate=1e-3),
    PhaseConfig(name="tail", epochs=2, unfreeze_depth=2, learning_rate=1e-3),
)


def small_config(images: Path, *phases: PhaseConfig, **changes) -> RunConfig:
    """A run of seconds: MobileNetV2 0.35 at 64 px with random weights, one view, float32 stores, stock layers.

    Args:
        images: A folder of class folders.
        phases: The schedule; a head and a shallow tail if none is given.
        changes: Fields of RunConfig; of a section, as a dict of its fields: `training={"batch_size": 8}`.
    """
    config = RunConfig(
        data=DataConfig(path=str(images), image_size=SIZE),
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


def small_toy(images: Path, *phases: PhaseConfig, **changes) -> RunConfig:
    """The same of the toy backbone at 32 px, which compiles in a moment."""
    model = {"backbone": toy.use(), "alpha": 1.0}
    return small_config(images, *phases, **{"data": {"image_size": 32}, "model": model, **changes})


def open_session(config: RunConfig) -> Session:
    """Images and a network as `kit.pipeline` makes them; the small random network is made lively."""
    backends.start(config.backend, config.threads, config.seed)
    dataset = load_dataset(config)
    weights = resolve(config.model.weights, config.model.alpha, config.data.image_size, config.model.backbone)
    session = Session(config, build_classifier(config, len(dataset.classes), weights), dataset)
    if config.model.weights == "none" and (config.model.alpha, config.model.backbone) != (1.0, "mobilenet_v2"):
        lively(session.classifier.backbone, compiled=config.model.backbone != "mobilenet_v2")
    return session


def reach_beyond_float16(session: Session, times: float = 1e6) -> None:
    """Makes the toy's activations at block_3 larger, and what reads them more deaf: the same function of an image."""
    layers = {layer.name: layer for layer in session.classifier.backbone.model.layers}
    for name, factor in (("block_2_project_bn", times), ("block_3_depthwise", 1 / times)):
        for variable in layers[name].weights[:2]:  # gamma and beta, or the kernel
            variable.assign(variable * factor)


def fit(session: Session, activations: Activations, folder: Path, on_epoch=lambda history: None) -> History:
    """Runs the schedule from its beginning, or from the checkpoints in `folder`."""
    return fit_session(session, activations, folder, History(), on_epoch, lambda name: nullcontext())


def weights_of(session: Session) -> list[np.ndarray]:
    """Copies of all weights of the whole classifier."""
    return list(values_of(session.classifier.full().weights))


def run_config(images: Path, weights: Path, **changes) -> RunConfig:
    """A whole run with everything that could disturb repeating it: dropout, views, early stopping, float16, schedules.

    Args:
        images: A folder of class folders.
        weights: Of MobileNetV2 0.35, as `save_lively_weights` writes them.
        changes: As for `small_config`.
    """
    phases = (
        PhaseConfig(name="head", epochs=3, learning_rate=1e-2, patience=2),
        PhaseConfig(name="tail", epochs=3, unfreeze_depth=2, learning_rate=1e-3, schedule="cosine", warmup_epochs=0.5),
    )
    config = RunConfig(
        seed=7,
        data=DataConfig(path=str(images), image_size=32),
        views=ViewsConfig(count=2),
        model=ModelConfig(alpha=ALPHA, weights=str(weights), head_units=16, dropout=0.3),
        training=TrainingConfig(batch_size=16, class_weights="balanced"),
        phases=phases,
    )
    return replace(config, **changes)


def toy_config(images: Path, weights: Path | str = "none") -> RunConfig:
    """The same of a network that compiles in a moment, by default with random weights."""
    config = run_config(images, Path(weights))
    training = replace(config.training, layer_decay=0.7, ema=0.9, train_normalisation=True, mixup=0.3, interpolate=0.8)
    return replace(config, model=replace(config.model, backbone=toy.use(), alpha=1.0), training=training)


@dataclass(frozen=True)
class Outcome:
    """What a finished run leaves, seconds aside."""

    history: History
    weights: list[np.ndarray]
    predictions: bytes
    metrics: dict

    @classmethod
    def of(cls, run: Run) -> "Outcome":
        assert run.manifest["status"] == "finished"
        weights = values_of(keras.saving.load_model(run.model_path).weights)
        return cls(run.history, list(weights), (run.path / "predictions.csv").read_bytes(), run.metrics)

    def assert_equals(self, other: "Outcome") -> None:
        """Equal to the bit."""
        assert self.history.equal_curves(other.history)
        for mine, theirs in zip(self.weights, other.weights, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert self.predictions == other.predictions
        assert self.metrics == other.metrics
