"""What a run would cost, before it is run.

Disk is counted from what the stores lack. Time is measured here and now: a few images are decoded, and each network of
the run is compiled and called a few times; what is measured is then multiplied out. Compiling counts, because on small
data it is most of a run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import keras
import numpy as np

from kit import progress
from kit.data.batches import Order
from kit.data.dataset import Dataset
from kit.data.pixels import decode_views, pixel_store
from kit.model.backbones import Cut
from kit.training.extraction import BATCH, Extractor
from kit.training.forward import compile_forward
from kit.training.phases import steps_at_once
from kit.training.schedule import Phase
from kit.training.session import Session
from kit.training.steps import build_optimizer, build_steps

REPEATS = 3  # timed calls, after the one that compiles
DECODED = 32  # images decoded to see how long one takes


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: What is done.
        work: How much of it, in words.
        seconds: Estimated wall time, compiling included.
        bytes: Disk that it will write and keep.
    """

    name: str
    work: str
    seconds: float
    bytes: int


@dataclass(frozen=True)
class _Cost:
    """Of something compiled: seconds of compiling, and of each call after it."""

    compiling: float
    call: float

    def of(self, calls: float) -> float:
        """Seconds of so many calls; none at all compiles nothing."""
        return self.compiling + calls * self.call if calls else 0.0


def estimate(session: Session, dataset: Dataset) -> list[Stage]:
    """The stages of a run that has not begun; what the stores hold already is left out.

    Args:
        session: A fresh one: which layers are trainable changes, the weights do not.
        dataset: The images.
    """
    features = session.extractor(dataset)

    def measured() -> Iterator[Stage]:
        yield from _Lacking(features, dataset).stages(session)
        for phase in session.phases:
            yield _phase(session, features, dataset, phase)
        yield _scores(session, features, dataset)

    stages = []
    with progress.track("measuring", 4 + len(session.phases), "stages") as advance:
        for stage in measured():
            stages.append(stage)
            advance(1)
    return stages


class _Lacking:
    """What the stores lack of the activations that a run reads; it follows `Extractor.extract`."""

    def __init__(self, features: Extractor, dataset: Dataset):
        self.features, self.dataset = features, dataset
        self.pixels = features.classifier.backbone.cut(-1)
        train = [dataset.keys[i] for i in dataset.indices("train")]
        augmented = range(1, features.config.views.count)
        # Images are passed through the trunk for all augmented views of those that any of these views lacks.
        self.groups = [(views, keys) for views, keys in (((0,), dataset.keys), (tuple(augmented), train)) if views]

    def stages(self, session: Session) -> Iterator[Stage]:
        """Decoding and both parts of the trunk, as far as there is work."""
        base = self.features.base
        asked = [(views, self._missing(keys, views, (base,))) for views, keys in self.groups]
        rows = sum(len(views) * len(keys) for views, keys in asked)
        if rows:
            yield self._decoding(asked)
        if rows and base != self.pixels:
            cost = self._trunk_cost(self.pixels, (base,))
            size = sum(self._size(keys, views, (base,)) for views, keys in self.groups)
            yield Stage(f"trunk to {base.name}", f"{rows:,} views of images", cost.of(-(-rows // BATCH)), size)
        starts = {session.start(phase.start_depth, base) for phase in session.phases}
        above = tuple(sorted(starts - {base}, key=lambda cut: cut.depth))
        if above:
            yield from self._upper(above)

    def _decoding(self, asked: Sequence[tuple[tuple[int, ...], list[str]]]) -> Stage:
        features = self.features
        seconds, views_decoded, size = 0.0, 0, 0
        for views, keys in asked:
            kept = views if features.base == self.pixels or views == (0,) else ()
            stores = [pixel_store(view, features.config) for view in kept]
            lacking = [len(store.missing(keys)) for store in stores]
            size += sum(count * store.row_bytes for count, store in zip(lacking, stores, strict=True))
            images = keys if not stores else list(dict.fromkeys(key for one in stores for key in one.missing(keys)))
            views_decoded += len(views) * len(images)
            seconds += self._decoding_cost(images, views) * len(images)
        return Stage("decoding", f"{views_decoded:,} views of images", seconds, size)

    def _decoding_cost(self, keys: Sequence[str], views: tuple[int, ...]) -> float:
        """Seconds an image."""
        if not keys:
            return 0.0
        where: dict[str, Path] = dict(zip(self.dataset.keys, self.dataset.files, strict=True))
        chosen = keys[:: -(-len(keys) // DECODED)]  # spread over all classes
        features, files = self.features, [where[key] for key in chosen]
        start = perf_counter()
        for _ in decode_views(files, chosen, views, features.config):
            pass
        return (perf_counter() - start) / len(chosen)

    def _upper(self, above: tuple[Cut, ...]) -> Iterator[Stage]:
        rows = [len(self._missing(keys, (view,), above)) for views, keys in self.groups for view in views]
        if any(rows):
            cost = self._trunk_cost(self.features.base, above)
            size = sum(self._size(keys, views, above) for views, keys in self.groups)
            names = ", ".join(cut.name for cut in above)
            blocks = sum(-(-count // BATCH) for count in rows)
            yield Stage(f"upper trunk to {names}", f"{sum(rows):,} views of images", cost.of(blocks), size)

    def _missing(self, keys: Sequence[str], views: Sequence[int], cuts: Sequence[Cut]) -> list[str]:
        """Keys that any of these stores lacks."""
        stores = [self.features.store(cut, view) for view in views for cut in cuts]
        return list(dict.fromkeys(key for store in stores for key in store.missing(keys)))

    def _size(self, keys: Sequence[str], views: Sequence[int], cuts: Sequence[Cut]) -> int:
        stores = [self.features.store(cut, view) for view in views for cut in cuts]
        return sum(len(store.missing(keys)) * store.row_bytes for store in stores)

    def _trunk_cost(self, start: Cut, ends: tuple[Cut, ...]) -> _Cost:
        shape, dtype = (
            self.features.classifier.shape(start),
            np.uint8 if start == self.pixels else self.features.config.training.store_dtype,
        )
        batch = _noise((BATCH, *shape), dtype)
        return _timed(lambda: self.features.forward(batch, start, ends))


def _phase(session: Session, features: Extractor, dataset: Dataset, phase: Phase) -> Stage:
    settings, batch = session.config.training, session.config.training.batch_size
    trained, validated = len(dataset.indices("train")), len(dataset.indices("validation"))
    cut, tail = _tail(session, features, phase)
    steps = build_steps(
        tail, build_optimizer(settings.optimizer, phase.settings.weight_decay), settings.label_smoothing
    )
    x = _batch(session, features, tail)
    epochs, epoch_steps = phase.settings.epochs, -(-trained // batch)
    size = steps_at_once(x[0].nbytes, batch, epoch_steps)
    # the program of a run, of which one step is made; a learning rate of 0 moves nothing
    ones = np.ones((1, batch), np.float32)
    order = Order(np.arange(batch, dtype=np.int32)[None], np.zeros((1, batch), np.int32), ones, ones).part(0, size)
    held = steps.hold(np.concatenate([x] * size))
    # reading the loss waits for the step to end
    step = _timed(lambda: np.asarray(steps.train(held, order, np.zeros(size, np.float32))[0]))
    forward = _timed(lambda: steps.predict(x))
    seconds = step.of(epochs * epoch_steps) + forward.of(epochs * -(-validated // batch))
    work = f"at most {epochs} epochs of {trained:,} images, from {cut.name} on"
    return Stage(f"phase {phase.index + 1}: {phase.name}", work, seconds, 0)


def _scores(session: Session, features: Extractor, dataset: Dataset) -> Stage:
    images, seconds = len(dataset.keys), 0.0
    for phase in session.phases:
        _, tail = _tail(session, features, phase)
        calls = -(-images // session.config.training.batch_size)
        seconds += _timed(partial(compile_forward(tail), _batch(session, features, tail))).of(calls)
    size = sum(weight.size for weight in map(keras.ops.convert_to_numpy, session.classifier.full().weights)) * 4
    return Stage("scores and model", f"{images:,} images, {len(session.phases)} phases", seconds, size)


def _tail(session: Session, features: Extractor, phase: Phase) -> tuple[Cut, keras.Model]:
    session.classifier.unfreeze(session.classifier.backbone.cut(phase.depth))
    cut = session.start(phase.start_depth, features.base)
    return cut, session.classifier.tail(cut)


def _batch(session: Session, features: Extractor, tail: keras.Model) -> np.ndarray:
    dtype = np.uint8 if tail.input.dtype == "uint8" else features.config.training.store_dtype
    return _noise((session.config.training.batch_size, *tail.input.shape[1:]), dtype)


def _noise(shape: tuple[int, ...], dtype) -> np.ndarray:
    """Any values will do, but zeros can be faster than what a run computes with."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, shape, np.uint8) if dtype == np.uint8 else random.random(shape).astype(dtype)


def _timed(call: Callable[[], object]) -> _Cost:
    """Compiles by a first call, then times some more."""
    seconds = []
    for _ in range(1 + REPEATS):
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
    usual = float(np.median(seconds[1:]))
    return _Cost(max(seconds[0] - usual, 0.0), usual)
