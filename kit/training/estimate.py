"""What a run would cost, before it is run: disk from the stores, time from a few steps measured here and now."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from kit.data.dataset import Dataset
from kit.training.features import BLOCK
from kit.training.session import Session
from kit.training.steps import build_optimizer, build_steps

REPEATS = 2  # timed steps, after one that compiles


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: What is done.
        work: How much of it, in words.
        seconds: Estimated wall time.
        bytes: Disk that it will write.
    """

    name: str
    work: str
    seconds: float
    bytes: int


def estimate(session: Session, dataset: Dataset) -> list[Stage]:
    """The stages of a run that has not begun, with what the stores already hold taken off.

    Args:
        session: A fresh one: its weights are changed by the steps that are timed.
        dataset: The photos.
    """
    return [_extraction(session, dataset), *_phases(session, dataset)]


def _extraction(session: Session, dataset: Dataset) -> Stage:
    features, config = session.features(dataset), session.config
    train = [dataset.keys[i] for i in dataset.indices("train")]
    rows = size = 0
    for view in range(config.views.count):
        store = features.store(features.base, view)
        missing = len(store.missing(train if view else dataset.keys))
        rows += missing
        size += missing * store.row_bytes
    seconds = 0.0
    if rows and features.base != session.classifier.backbone.cut(-1):
        pixels = np.zeros((BLOCK, config.data.image_size, config.data.image_size, 3), np.uint8)
        run = features.runner(session.classifier.backbone.cut(-1), (features.base,))
        seconds = _seconds(lambda: run(pixels)) * rows / BLOCK
    return Stage(f"trunk to {features.base.name}", f"{rows:,} views of photos not stored yet", seconds, size)


def _phases(session: Session, dataset: Dataset) -> list[Stage]:
    batch, trained = session.config.training.batch_size, len(dataset.indices("train"))
    base = session.features(dataset).base
    stages = []
    for phase in session.phases:
        session.classifier.unfreeze(session.classifier.backbone.cut(phase.depth))
        cut = session.start(phase.start_depth, base)
        tail = session.classifier.tail(cut)
        optimizer = build_optimizer(session.config.training.optimizer, phase.settings.weight_decay)
        steps = build_steps(tail, optimizer, session.config.training.label_smoothing)
        x = np.zeros((batch, *tail.input.shape[1:]), tail.input.dtype)
        ones, labels = np.ones(batch, np.float32), np.zeros(batch, np.int32)

        def step(steps=steps, x=x, labels=labels, ones=ones):
            float(steps.train(x, labels, ones, ones, 0.0)[0])

        seconds = _seconds(step) * -(-trained // batch) + _seconds(lambda steps=steps, x=x: steps.predict(x)) * (
            len(dataset.indices("validation")) / batch
        )
        epochs = phase.settings.epochs
        work = f"{epochs} epochs of {trained:,} photos at most, from {cut.name} on"
        stages.append(Stage(f"phase {phase.index + 1}: {phase.name}", work, seconds * epochs, 0))
    return stages


def _seconds(step) -> float:
    """Seconds one call takes, once compiled."""
    step()
    start = perf_counter()
    for _ in range(REPEATS):
        step()
    return (perf_counter() - start) / REPEATS
