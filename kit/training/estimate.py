"""Cost of a run, estimated beforehand.

Disk is what the stores lack. Time is measured on a few images and calls of each network, and multiplied out;
compilation counts, because on small data it is most of a run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import keras
import numpy as np

from kit import progress
from kit.cache import Store
from kit.data.batches import Order
from kit.data.pixels import decode_views, pixel_store
from kit.model.backbones import Cut
from kit.training.extraction import BATCH, Extractor
from kit.training.forward import compile_forward
from kit.training.loop import phase_steps, steps_at_once
from kit.training.schedule import Phase
from kit.training.session import Session

REPEATS = 3  # timed calls, after the one that compiles
DECODED = 32  # images decoded to see how long one takes


@dataclass(frozen=True)
class StageCost:
    """Wall time and disk of one stage, estimated.

    `work` says how much is done, in words; `seconds` include compilation; `bytes` are written and kept.
    """

    name: str
    work: str
    seconds: float
    bytes: int


@dataclass(frozen=True)
class _CallCost:
    """Seconds to compile a function, and of each later call."""

    compiling: float
    call: float

    def of(self, calls: float) -> float:
        """Seconds of `calls` calls; 0 calls compile nothing."""
        return self.compiling + calls * self.call if calls else 0.0


def estimate(session: Session) -> list[StageCost]:
    """Cost of each stage of an untrained session, less what is cached; changes only which layers are trainable."""

    def measured() -> Iterator[StageCost]:
        yield from _extraction(session)
        for phase in session.phases:
            yield _training(session, phase)
        yield _scoring(session)

    stages = []
    with progress.track("measuring", 4 + len(session.phases), "stages") as advance:
        for stage in measured():
            stages.append(stage)
            advance(1)
    return stages


def _extraction(session: Session) -> Iterator[StageCost]:
    """Decoding and both parts of the trunk, where there is work; mirrors `Extractor.extract`."""
    extractor, dataset, base = (
        Extractor(session.classifier, session.base, session.config),
        session.dataset,
        session.base,
    )
    train, augmented = dataset.take(dataset.indices("train")).keys, session.views[1:]
    groups = [(views, keys) for views, keys in (((0,), dataset.keys), (augmented, train)) if views]

    def stores(views: Sequence[int], cuts: Sequence[Cut]) -> list[Store]:
        return [extractor.store(cut, view) for view in views for cut in cuts]

    # an image is decoded, and passed through the trunk, for all augmented views if any of these lacks it
    lacking = [(views, _lacking(stores(views, (base,)), keys)) for views, keys in groups]
    count = sum(len(views) * len(keys) for views, keys in lacking)
    if count:
        yield _decoding(session, lacking)
    if count and base != extractor.pixels:
        cost = _forward(extractor, extractor.pixels, (base,))
        size = sum(_size(stores(views, (base,)), keys) for views, keys in groups)
        yield StageCost(f"trunk to {base.name}", f"{count:,} augmented views", cost.of(-(-count // BATCH)), size)
    starts = {session.start(phase) for phase in session.phases}
    above = tuple(sorted(starts - {base}, key=lambda cut: cut.depth))
    read = [
        (stores((view,), [cut for cut in above if not view or cut in session.starts(view)]), keys)
        for views, keys in groups
        for view in views
    ]
    counts = [len(_lacking(*one)) for one in read]
    if any(counts):
        cost = _forward(extractor, base, above)
        size = sum(_size(*one) for one in read)
        names, batches = ", ".join(cut.name for cut in above), sum(-(-count // BATCH) for count in counts)
        yield StageCost(f"upper trunk to {names}", f"{sum(counts):,} augmented views", cost.of(batches), size)


def _decoding(session: Session, lacking: Sequence[tuple[tuple[int, ...], list[str]]]) -> StageCost:
    seconds, decoded, size = 0.0, 0, 0
    for views, keys in lacking:
        # augmented pixels are stored only where phases start from them
        if views == (0,) or session.base == session.classifier.backbone.cut(-1):
            stores = [pixel_store(view, session.config) for view in views]
            size += _size(stores, keys)
            keys = _lacking(stores, keys)
        decoded += len(views) * len(keys)
        seconds += _decoding_seconds(session, keys, views) * len(keys)
    return StageCost("decoding", f"{decoded:,} augmented views", seconds, size)


def _decoding_seconds(session: Session, keys: Sequence[str], views: tuple[int, ...]) -> float:
    """Seconds per image."""
    if not keys:
        return 0.0
    file_of = dict(zip(session.dataset.keys, session.dataset.files, strict=True))
    chosen = keys[:: -(-len(keys) // DECODED)]  # spread over all classes
    start = perf_counter()
    for _ in decode_views([file_of[key] for key in chosen], chosen, views, session.config):
        pass
    return (perf_counter() - start) / len(chosen)


def _forward(extractor: Extractor, start: Cut, ends: tuple[Cut, ...]) -> _CallCost:
    dtype = "uint8" if start == extractor.pixels else extractor.config.training.store_dtype
    batch = _noise((BATCH, *extractor.classifier.shape(start)), dtype)
    return _timed(lambda: extractor.forward(batch, start, ends))


def _training(session: Session, phase: Phase) -> StageCost:
    settings, batch = session.config.training, session.config.training.batch_size
    trained, validated = (len(session.dataset.indices(split)) for split in ("train", "validation"))
    tail = session.tail(phase, logits=True)
    depths = session.classifier.depths(tail.trainable_variables)
    steps = phase_steps(tail, phase, settings, depths, session.config.parts)
    x = _batch(session, tail)
    epochs, epoch_steps = phase.epochs, -(-trained // batch)
    size = steps_at_once(x[0].nbytes, batch, epoch_steps)
    # the program of a run, of which one step is made; a learning rate of 0 moves nothing, and averages are not kept
    ones = np.ones((1, batch), np.float32)
    rows = np.arange(batch, dtype=np.int32)[None]
    mixed = (rows, ones) if settings.mixup else ()
    order = Order(rows, np.zeros((1, batch), np.int32), ones, ones, *mixed).part(0, size)
    held = steps.hold(np.concatenate([x] * size))
    # reading the loss waits for the step to end
    still = np.zeros(size, np.float32)
    step = _timed(lambda: np.asarray(steps.train(held, order, still, still)[0]))
    forward = _timed(lambda: steps.predict(x))
    seconds = step.of(epochs * epoch_steps) + forward.of(epochs * -(-validated // batch))
    work = f"at most {epochs} epochs of {trained:,} images, from {session.start(phase).name} on"
    return StageCost(f"phase {phase.index + 1}: {phase.name}", work, seconds, 0)


def _scoring(session: Session) -> StageCost:
    images, seconds = len(session.dataset.keys), 0.0
    for phase in session.phases:
        tail = session.tail(phase)
        calls = -(-images // session.config.training.batch_size)
        seconds += _timed(partial(compile_forward(tail), _batch(session, tail))).of(calls)
    size = sum(weight.size for weight in map(keras.ops.convert_to_numpy, session.classifier.full().weights)) * 4
    return StageCost("scores and model", f"{images:,} images, {len(session.phases)} phases", seconds, size)


def _lacking(stores: Sequence[Store], keys: Sequence[str]) -> list[str]:
    """Keys missing from any of the stores."""
    return list(dict.fromkeys(key for store in stores for key in store.missing(keys)))


def _size(stores: Sequence[Store], keys: Sequence[str]) -> int:
    """Bytes that the stores lack."""
    return sum(len(store.missing(keys)) * store.row_bytes for store in stores)


def _batch(session: Session, tail: keras.Model) -> np.ndarray:
    dtype = "uint8" if tail.input.dtype == "uint8" else session.config.training.store_dtype
    return _noise((session.config.training.batch_size, *tail.input.shape[1:]), dtype)


def _noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Random values: zeros can compute faster than real activations."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, shape, np.uint8) if dtype == "uint8" else random.random(shape).astype(dtype)


def _timed(call: Callable[[], object]) -> _CallCost:
    """Time the first, compiling call, then REPEATS more."""
    seconds = []
    for _ in range(1 + REPEATS):
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
    usual = float(np.median(seconds[1:]))
    return _CallCost(max(seconds[0] - usual, 0.0), usual)
