"""Activations of the frozen trunk, computed once and stored.

Only the deepest cut point of a run is computed from pixels, and every cut above it from what is stored there: the
activations never depend on what other runs left in the cache.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

import ml_dtypes
import numpy as np
from sklearn.utils.class_weight import compute_sample_weight

from kit import progress
from kit.backends.kernels import KERNELS_VERSION
from kit.backends.recipes import recipe
from kit.cache import CachedArray, Store, Writer, writing
from kit.config import RunConfig
from kit.data.batches import Batches, prefetch
from kit.data.dataset import Dataset
from kit.data.pixels import cached_pixels, decode_views, pixel_store
from kit.data.views import view_key
from kit.errors import DataError
from kit.model.backbones import Cut
from kit.model.classifier import Classifier
from kit.training.forward import compile_forward, compile_from_pixels, in_passes
from kit.training.schedule import Phase
from kit.training.session import Session

BATCH = 32  # images read, computed and written together


class _Overflow(Exception):
    """Raised where an activation exceeds the stored type; the message says of which image, where and how far."""


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

    def extract(self, dataset: Dataset, wanted: Mapping[int, Sequence[Cut]]) -> dict[int, dict[int, CachedArray]]:
        """Activations (n, ...) by depth of the cut and view; `wanted` has the cuts of each view.

        Computes what no store has. View 0 is the plain image.
        """
        found: dict[int, dict[int, CachedArray]] = {cut.depth: {} for cuts in wanted.values() for cut in cuts}
        for view, base in zip(wanted, self._extract_base(dataset, list(wanted)), strict=True):
            above = tuple(cut for cut in wanted[view] if cut != self.base)
            arrays = self._extract_above(dataset, view, base, above) if above else []
            for cut, array in ((self.base, base), *zip(above, arrays, strict=True)):
                if cut in wanted[view]:
                    found[cut.depth][view] = array
        return found

    def _extract_base(self, dataset: Dataset, views: Sequence[int]) -> list[CachedArray]:
        """Decode each image once for all views."""
        if self.base == self.pixels:
            return cached_pixels(dataset.files, dataset.keys, views, self.config)
        with writing([self.store(self.base, view) for view in views], dataset.keys) as writer:
            self._count(len(writer.missing) * len(views), self.base)
            batches = self._pixels(dataset, writer.missing, views)

            def trunk(keys: list[str], view: int, pixels: np.ndarray) -> np.ndarray:
                (values,) = self.forward(pixels, self.pixels, (self.base,))
                return self._stored(values, self.base, view, keys, dataset)

            computed = (
                (keys, [trunk(keys, view, one) for view, one in zip(views, pixels, strict=True)])
                for keys, pixels in batches
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

            def upper_trunk(keys: list[str]) -> list[np.ndarray]:
                outputs = self.forward(base.gather([row_of[key] for key in keys]), self.base, cuts)
                return [self._stored(one, cut, view, keys, dataset) for one, cut in zip(outputs, cuts, strict=True)]

            computed = ((keys, upper_trunk(keys)) for keys in batches)
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
        """Activations at `ends`, as computed, of a batch of pixels or activations at `start`."""
        if (start, ends) not in self._compiled:
            self._compiled[start, ends] = (
                compile_from_pixels(self.classifier, ends)
                if start == self.pixels
                else in_passes(compile_forward(self.classifier.trunk(start, ends)), BATCH)
            )
        return self._compiled[start, ends](batch)

    def _stored(self, values: np.ndarray, cut: Cut, view: int, keys: list[str], dataset: Dataset) -> np.ndarray:
        """Activations of a batch in the stored type.

        Raises _Overflow if it cannot hold them, and the store remembers that; DataError if they are not finite.
        """
        if max(values.max(), -values.min()) <= self._greatest:  # never so if one is NaN
            return values.astype(self.config.training.store_dtype)
        greatest = np.abs(values.reshape(len(values), -1)).max(axis=1)
        file_of = dict(zip(dataset.keys, dataset.files, strict=True))
        if len(broken := np.flatnonzero(~np.isfinite(greatest))):
            raise DataError(
                f"The activations of {file_of[keys[broken[0]]]} at {cut.name} are infinite or not a number, "
                f"as are those of {len(broken)} of the {len(keys)} images computed with it.",
                "If that is all of them, model.weights do not suit the network; else take the image out.",
            )
        store = self.store(cut, view)
        store.note_beyond({keys[i]: float(greatest[i]) for i in np.flatnonzero(greatest > self._greatest)})
        raise _Overflow(self._beyond(store, cut, dataset))

    def require_range(self, dataset: Dataset, cuts: set[Cut], views: Iterable[int]) -> None:
        """Raise _Overflow if a store is known not to hold activations of one of the images."""
        for cut in cuts - {self.pixels}:
            for view in views:
                if said := self._beyond(self.store(cut, view), cut, dataset):
                    raise _Overflow(said)

    def _beyond(self, store: Store, cut: Cut, dataset: Dataset) -> str:
        """Which activations the store's type cannot hold, so far as noted; empty if there are none."""
        noted = store.beyond()
        known = [(file, noted[key]) for key, file in zip(dataset.keys, dataset.files, strict=True) if key in noted]
        if not known:
            return ""
        most = max(known, key=lambda one: one[1])
        of = f"of {known[0][0]}" if len(known) == 1 else f"of {len(known)} images or more ({most[0]})"
        limit = f"{self.config.training.store_dtype} holds ({self._greatest:,.0f})"
        return f"The activations {of} at {cut.name} reach {most[1]:,.0f}, beyond what {limit}"

    @property
    def _greatest(self) -> float:
        return float(ml_dtypes.finfo(self.config.training.store_dtype).max)

    def store(self, cut: Cut, view: int) -> Store:
        if cut == self.pixels:
            return pixel_store(view, self.config)
        if cut not in self._fingerprints:
            self._fingerprints[cut] = self.classifier.fingerprint(cut)
        shape, dtype = self.classifier.shape(cut), self.config.training.store_dtype
        settings = {
            "pixels": view_key(self.config.data, self.config.views, self.config.seed, view, self.config.parts),
            "cut": cut.name,
            "from": self.base.name,
            "weights": self._fingerprints[cut],
            "kernels": [self.classifier.kernels, KERNELS_VERSION],
            **({} if cut.depth or self.classifier.pools else {"pooled": False}),
        }
        return Store("features", recipe("features", settings), shape, dtype)

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

    `plain` holds every image unaugmented, (n, ...); `training` the training images by view, (images, ...), where a
    phase reads them. `stores` names the stores behind `training`; `computed` counts the images that no store had, once
    a view, by name of the cut; `dtype` is the stored type.
    """

    plain: dict[int, CachedArray]
    training: dict[int, dict[int, CachedArray]]
    stores: dict[int, tuple[str, ...]]
    computed: dict[str, int]
    dtype: str


def extract(session: Session, *, to_train: bool = True, depths: Iterable[int] = ()) -> Activations:
    """Read activations from the cache, and compute the missing ones; the classifier must be untrained.

    `to_train=False` leaves out augmented views and every phase but the last: scoring needs neither. `depths` are
    further cut points to store for later runs, where the disk budget allows. Where one activation exceeds the range of
    `training.store_dtype`, all are of a wider type, whatever the cache holds.

    Raises:
        DataError: If an image cannot be decoded, or its activations are not finite.
        StorageError: If the cache cannot be written.
    """
    try:
        return _extract(session, session.config, to_train, depths)
    except _Overflow as overflow:
        settings = session.config.training
        cuts = {session.base, *map(session.start, session.phases)} - {session.classifier.backbone.cut(-1)}
        dtype = "float32" if session.fits(cuts, "float32") else "bfloat16"
        sizes = {name: f"{session.stored_bytes(cuts, name) / 2**20:,.0f} MiB" for name in ("float16", "float32")}
        progress.say(
            f"{overflow}: this run's are stored as float32, {sizes['float32']} instead of {sizes['float16']}."
            if dtype == "float32"
            else f"{overflow}: this run's are stored as bfloat16, which has fewer digits. As float32 they would take "
            f"{sizes['float32']}, more than training.store_limit_gib = {settings.store_limit_gib:g}."
        )
    wider = replace(session.config, training=replace(settings, store_dtype=dtype))
    return _extract(session, wider, to_train, depths)


def _extract(session: Session, config: RunConfig, to_train: bool, depths: Iterable[int]) -> Activations:
    dataset, classifier = session.dataset, session.classifier
    extractor = Extractor(classifier, session.base, config)
    starts = [session.start(phase) for phase in (session.phases if to_train else session.phases[-1:])]
    others = [classifier.backbone.cut(depth) for depth in depths]
    others = [cut for cut in others if cut.depth < session.base.depth]
    others = others if session.fits(others, config.training.store_dtype) else []
    cuts = {cut.depth: cut for cut in (*starts, *others)}
    train, last = dataset.indices("train"), session.phases[-1]
    every = {session.base, *cuts.values(), *map(session.start, session.phases)}
    extractor.require_range(dataset, every, session.views)  # scoring takes what training took
    plain = {depth: found[0] for depth, found in extractor.extract(dataset, {0: list(cuts.values())}).items()}
    training = {depth: {0: array.take(train)} for depth, array in plain.items()}
    if to_train and len(session.views) > 1:
        # later runs read of the other cuts what this one's last phase reads
        wanted = {
            view: [*dict.fromkeys((*session.starts(view), *(others if view in last.views else ())))]
            for view in session.views[1:]
        }
        for depth, found in extractor.extract(dataset.take(train), wanted).items():
            training[depth] |= found
    stores = {cut.depth: tuple(extractor.store(cut, view).name for view in training[cut.depth]) for cut in starts}
    return Activations(plain, training, stores, dict(extractor.computed), config.training.store_dtype)


def training_batches(session: Session, activations: Activations, phase: Phase) -> Batches:
    """Training batches of a phase."""
    config, by_view = session.config, activations.training[session.start(phase).depth]
    labels = session.dataset.labels[session.dataset.indices("train")]
    balance = None if config.training.class_weights == "none" else config.training.class_weights
    return Batches(
        CachedArray.concatenate([by_view[view] for view in phase.views]),
        labels,
        config.training.batch_size,
        compute_sample_weight(balance, labels).astype(np.float32),
        len(phase.views),
        config.seed,
        config.training.mixup,
    )


def validation_batches(session: Session, activations: Activations, phase: Phase) -> Batches:
    """Validation batches of a phase."""
    chosen = session.dataset.indices("validation")
    x = activations.plain[session.start(phase).depth].take(chosen)
    return Batches(x, session.dataset.labels[chosen], session.config.training.batch_size)
