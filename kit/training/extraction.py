"""Activations of the frozen trunk, computed once and stored.

Only the deepest cut point of a run is computed from pixels, and every cut above it from what is stored there: the
activations never depend on what other runs left in the cache.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight

from kit import backends, progress
from kit.backends.kernels import KERNELS_VERSION
from kit.cache import CachedArray, Store, Writer, writing
from kit.config import RunConfig
from kit.data.batches import Batches, prefetch
from kit.data.dataset import Dataset
from kit.data.pixels import cached_pixels, decode_views, pixel_store
from kit.data.views import view_key
from kit.model.backbones import Cut
from kit.model.classifier import Classifier
from kit.training.forward import compile_forward, compile_from_pixels, in_passes
from kit.training.schedule import Phase
from kit.training.session import Session

BATCH = 32  # images read, computed and written together


@dataclass(frozen=True)
class Extractor:
    """Computes and stores activations; the classifier's trunk must not change meanwhile.

    `base` is the cut point computed from pixels, below all others; the deepest cut is the pixels themselves. `computed`
    is name of a cut -> images that no store had, counted once a view.
    """

    classifier: Classifier
    base: Cut
    config: RunConfig
    computed: Counter[str] = field(default_factory=Counter, init=False, compare=False, repr=False)
    _compiled: dict[tuple, Callable] = field(default_factory=dict, init=False, compare=False, repr=False)
    _fingerprints: dict[Cut, str] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def pixels(self) -> Cut:
        """The deepest cut point."""
        return self.classifier.backbone.cut(-1)

    def extract(self, dataset: Dataset, views: Sequence[int], cuts: Sequence[Cut]) -> dict[int, CachedArray]:
        """Activations by depth of the cut, (views * n, ...), one view after the other.

        Computes what no store has. View 0 is the plain image.
        """
        above = tuple(cut for cut in cuts if cut != self.base)
        found: dict[int, list[CachedArray]] = {cut.depth: [] for cut in (self.base, *cuts)}
        for view, base in zip(views, self._extract_base(dataset, views), strict=True):
            found[self.base.depth].append(base)
            if above:
                for cut, array in zip(above, self._extract_above(dataset, view, base, above), strict=True):
                    found[cut.depth].append(array)
        return {cut.depth: CachedArray.concatenate(found[cut.depth]) for cut in cuts}

    def _extract_base(self, dataset: Dataset, views: Sequence[int]) -> list[CachedArray]:
        """Decode each image once for all views."""
        if self.base == self.pixels:
            return cached_pixels(dataset.files, dataset.keys, views, self.config)
        with writing([self.store(self.base, view) for view in views], dataset.keys) as writer:
            self._count(len(writer.missing) * len(views), self.base)
            batches = self._pixels(dataset, writer.missing, views)
            computed = (
                (keys, [self.forward(one, self.pixels, (self.base,))[0] for one in pixels]) for keys, pixels in batches
            )
            with closing(batches):
                _write(writer, computed, "trunk", len(views))
        return writer.arrays

    def _extract_above(
        self, dataset: Dataset, view: int, base: CachedArray, cuts: tuple[Cut, ...]
    ) -> list[CachedArray]:
        row_of = {key: row for row, key in enumerate(dataset.keys)}
        with writing([self.store(cut, view) for cut in cuts], dataset.keys) as writer:
            self._count(len(writer.missing), *cuts)
            starts = range(0, len(writer.missing), BATCH)
            batches = (writer.missing[start : start + BATCH] for start in starts)
            computed = (
                (keys, self.forward(base.gather([row_of[key] for key in keys]), self.base, cuts)) for keys in batches
            )
            _write(writer, computed, f"upper trunk, view {view}")
        return writer.arrays

    def _pixels(
        self, dataset: Dataset, keys: list[str], views: Sequence[int]
    ) -> Generator[tuple[list[str], list[np.ndarray]], None, None]:
        """Batches of keys, and uint8 pixels of each view."""
        file_of = dict(zip(dataset.keys, dataset.files, strict=True))
        files = [file_of[key] for key in keys]
        if any(views):  # augmented views are used once, and so not stored
            return decode_views(files, keys, views, self.config, BATCH)
        (stored,) = cached_pixels(files, keys, views, self.config)
        starts = range(0, len(keys), BATCH)
        return ((keys[start : start + BATCH], [stored[start : start + BATCH]]) for start in starts)

    def forward(self, batch: np.ndarray, start: Cut, ends: tuple[Cut, ...]) -> list[np.ndarray]:
        """Activations at `ends`, in the stored dtype, of a batch of pixels or activations at `start`."""
        if (start, ends) not in self._compiled:
            self._compiled[start, ends] = (
                compile_from_pixels(self.classifier, ends)
                if start == self.pixels
                else in_passes(compile_forward(self.classifier.trunk(start, ends)), BATCH)
            )
        limits = np.finfo(self.config.training.store_dtype)  # float16 reaches 65504, far above what ReLU6 gives
        return [
            np.clip(values, limits.min, limits.max).astype(limits.dtype)
            for values in self._compiled[start, ends](batch)
        ]

    def store(self, cut: Cut, view: int) -> Store:
        if cut == self.pixels:
            return pixel_store(view, self.config)
        if cut not in self._fingerprints:
            self._fingerprints[cut] = self.classifier.fingerprint(cut)
        name, backend = backends.current_name(), backends.current()
        recipe = {
            "pixels": view_key(self.config.data, self.config.views, self.config.seed, view),
            "cut": cut.name,
            "from": self.base.name,
            "weights": self._fingerprints[cut],
            "kernels": [self.classifier.kernels, KERNELS_VERSION],
            "backend": [
                name,
                backends.backend_version(name),
                backend.device(),
                version("keras"),
                *backend.arithmetic(),
            ],
        }
        return Store("features", recipe, self.classifier.shape(cut), self.config.training.store_dtype)

    def _count(self, images: int, *cuts: Cut) -> None:
        if images:
            self.computed.update({cut.name: images for cut in cuts})


def _write(
    writer: Writer, computed: Generator[tuple[list[str], list[np.ndarray]], None, None], label: str, views: int = 1
) -> None:
    """Write each batch of keys and activations while the next is computed."""
    total = len(writer.missing) * views
    with progress.track(label, total) as advance, closing(prefetch(computed)) as batches:
        for keys, activations in batches:
            writer.write(keys, activations)
            advance(len(keys) * views)


@dataclass(frozen=True)
class Activations:
    """Activations by depth of the cut point, for training and scoring.

    `plain` holds every image unaugmented, (n, ...); `training` the training images, (views * images, ...), one view
    after the other. `stores` names the stores behind `training`, by view; `computed` counts the images that no store
    had, once a view, by name of the cut.
    """

    plain: dict[int, CachedArray]
    training: dict[int, CachedArray]
    stores: dict[int, tuple[str, ...]]
    computed: dict[str, int]


def extract(session: Session, *, to_train: bool = True, depths: Iterable[int] = ()) -> Activations:
    """Read activations from the cache, and compute the missing ones; the classifier must be untrained.

    `to_train=False` leaves out augmented views and every phase but the last: scoring needs neither. `depths` are
    further cut points to store for later runs, where the disk budget allows.
    """
    dataset, classifier = session.dataset, session.classifier
    extractor = Extractor(classifier, session.base, session.config)
    starts = [session.start(phase) for phase in (session.phases if to_train else session.phases[-1:])]
    others = [classifier.backbone.cut(depth) for depth in depths]
    others = [cut for cut in others if cut.depth < session.base.depth] if session.fits(others) else []
    cuts = {cut.depth: cut for cut in (*starts, *others)}
    views = range(session.config.views.count if to_train else 1)
    train = dataset.indices("train")
    plain = extractor.extract(dataset, [0], list(cuts.values()))
    training = {depth: array.take(train) for depth, array in plain.items()}
    if len(views) > 1:
        augmented = extractor.extract(dataset.take(train), views[1:], list(cuts.values()))
        training = {depth: CachedArray.concatenate([training[depth], augmented[depth]]) for depth in cuts}
    stores = {cut.depth: tuple(extractor.store(cut, view).name for view in views) for cut in starts}
    return Activations(plain, training, stores, dict(extractor.computed))


def training_batches(session: Session, activations: Activations, phase: Phase) -> Batches:
    """Training batches of a phase."""
    config = session.config
    labels = session.dataset.labels[session.dataset.indices("train")]
    balance = None if config.training.class_weights == "none" else config.training.class_weights
    return Batches(
        activations.training[session.start(phase).depth],
        labels,
        config.training.batch_size,
        compute_sample_weight(balance, labels).astype(np.float32),
        config.views.count,
        config.seed,
    )


def validation_batches(session: Session, activations: Activations, phase: Phase) -> Batches:
    """Validation batches of a phase."""
    chosen = session.dataset.indices("validation")
    x = activations.plain[session.start(phase).depth].take(chosen)
    return Batches(x, session.dataset.labels[chosen], session.config.training.batch_size)
