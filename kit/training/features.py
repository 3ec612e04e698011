"""The frozen trunk's output, computed once and kept in stores.

All activations a run needs come from one place, its deepest cut point: that one is computed from pixels and stored, and
every cut nearer the top is computed from the stored rows. So what a run reads never depends on what other runs left in
the cache.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import keras
import numpy as np

from kit import backend, progress
from kit.cache import Rows, Store, ensure_all
from kit.config import DataConfig, ViewsConfig
from kit.data.pixels import decode_views, ensure_pixels, pixel_store
from kit.data.views import view_key
from kit.model.backbones import Cut
from kit.model.classifier import Classifier
from kit.model.kernels import KERNELS_VERSION
from kit.prefetch import prefetch
from kit.training.forward import compile_forward, compile_from_pixels, in_passes

BLOCK = 32  # rows read, computed and written together
Block = tuple[Sequence[str], list[np.ndarray]]  # keys, and rows for each store


@dataclass(frozen=True)
class Images:
    """Images by file and content.

    Attributes:
        files: Where they are.
        keys: SHA-256 of each file's bytes, 64 hex digits.
    """

    files: tuple
    keys: tuple[str, ...]

    def take(self, indices: np.ndarray) -> "Images":
        """Some of them."""
        return Images(tuple(self.files[i] for i in indices), tuple(self.keys[i] for i in indices))


@dataclass(frozen=True)
class Features:
    """Where activations come from.

    Attributes:
        classifier: The network, with the weights the trunk has.
        base: The cut point computed from pixels; all others lie above it. The deepest cut is the pixels themselves.
        data: How images become pixels.
        views: What augmented views look like.
        seed: Draws the views.
        dtype: Type of stored activations.
        threads: Decoding threads; 0 means all cores.
        computed: Name of a cut -> rows that no store had, and that were computed here.
    """

    classifier: Classifier
    base: Cut
    data: DataConfig
    views: ViewsConfig
    seed: int
    dtype: str
    threads: int = 0
    computed: Counter[str] = field(default_factory=Counter, init=False, compare=False, repr=False)
    # The trunk never changes while it is used, so both are worked out once, not once a store.
    _runners: dict = field(default_factory=dict, init=False, compare=False, repr=False)
    _fingerprints: dict = field(default_factory=dict, init=False, compare=False, repr=False)

    def rows(self, images: Images, views: Sequence[int], cuts: Sequence[Cut]) -> dict[int, Rows]:
        """Activations, computing what no store has yet.

        Args:
            images: n images.
            views: Numbers of the views wanted; 0 is the plain image.
            cuts: Cut points wanted.

        Returns:
            By depth of the cut: rows of all views, one view after the other, (views * n, ...).
        """
        above = tuple(cut for cut in cuts if cut != self.base)
        parts = self._from_pixels(images, tuple(views), above)
        return {cut.depth: Rows.join([rows[cut.depth] for rows in parts]) for cut in cuts}

    def store(self, cut: Cut, view: int) -> Store:
        """The store of one cut point and view."""
        if self._is_pixels(cut):
            return pixel_store(view, self.data, self.views, self.seed)
        name = keras.backend.backend()
        recipe = {
            "pixels": view_key(self.data, self.views, self.seed, view),
            "cut": cut.name,
            "from": self.base.name,
            "weights": self._fingerprint(cut),
            "kernels": [self.classifier.kernels, KERNELS_VERSION],
            "backend": [name, backend.backend_version(name), backend.device(), version("keras")],
        }
        return Store("features", recipe, self.classifier.shape(cut), self.dtype)

    def _fingerprint(self, cut: Cut) -> str:
        if cut not in self._fingerprints:
            self._fingerprints[cut] = self.classifier.fingerprint(cut)
        return self._fingerprints[cut]

    def _is_pixels(self, cut: Cut) -> bool:
        return cut == self.classifier.backbone.cut(-1)

    def _from_pixels(self, images: Images, views: tuple[int, ...], above: tuple[Cut, ...]) -> list[dict[int, Rows]]:
        """By view: rows by depth."""
        plain = tuple(view for view in views if view == 0)
        augmented = tuple(view for view in views if view != 0)
        if self._is_pixels(self.base):
            pixels = ensure_pixels(images.files, images.keys, views, self.data, self.views, self.seed, self.threads)
            return [self._above(images, view, rows, above) for view, rows in zip(views, pixels, strict=True)]
        # Plain pixels are kept: pages and evaluation read them again. Augmented ones are used once, so they stream by.
        found = [self._through_base(images, group, above) for group in (plain, augmented) if group]
        return [rows for group in found for rows in group]

    def _above(self, images: Images, view: int, base: Rows, cuts: tuple[Cut, ...]) -> dict[int, Rows]:
        """Cuts above a base whose rows are all there."""
        result = {self.base.depth: base}
        if cuts:
            stores = [self.store(cut, view) for cut in cuts]
            position = {key: i for i, key in enumerate(images.keys)}

            def produce(keys: list[str]) -> Iterator[Block]:
                run = self.runner(self.base, cuts)
                self.computed.update({cut.name: len(keys) for cut in cuts})
                starts = range(0, len(keys), BLOCK)
                blocks = (keys[start : start + BLOCK] for start in starts)
                computed = ((block, run(base.gather([position[key] for key in block]))) for block in blocks)
                return _shown(prefetch(computed), f"upper trunk, view {view}", len(keys))

            rows = ensure_all(stores, images.keys, produce)
            result |= {cut.depth: part for cut, part in zip(cuts, rows, strict=True)}
        return result

    def _through_base(self, images: Images, views: tuple[int, ...], above: tuple[Cut, ...]) -> list[dict[int, Rows]]:
        """One pass over the images serves the base and every cut above it, for all of these views."""
        bases = [self.store(self.base, view) for view in views]
        where = dict(zip(images.keys, images.files, strict=True))

        def produce(keys: list[str]) -> Iterator[Block]:
            self.computed[self.base.name] += len(keys) * len(views)
            run = self.runner(self.classifier.backbone.cut(-1), (self.base,))
            blocks = self._pixels([where[key] for key in keys], keys, views)
            computed = ((names, [run(one)[0] for one in pixels]) for names, pixels in blocks)
            return _shown(prefetch(computed), "trunk", len(keys) * len(views), each=len(views))

        rows = ensure_all(bases, images.keys, produce)
        return [self._above(images, view, base, above) for view, base in zip(views, rows, strict=True)]

    def _pixels(
        self, files: list, keys: list[str], views: tuple[int, ...]
    ) -> Iterator[tuple[list[str], list[np.ndarray]]]:
        """uint8 pixels of each view, in blocks."""
        if views != (0,):
            return decode_views(files, keys, views, self.data, self.views, self.seed, self.threads, block=BLOCK)
        (rows,) = ensure_pixels(files, keys, views, self.data, self.views, self.seed, self.threads)
        starts = range(0, len(keys), BLOCK)
        return ((keys[start : start + BLOCK], [rows[start : start + BLOCK]]) for start in starts)

    def runner(self, start: Cut, ends: tuple[Cut, ...]):
        """A function from a block of stored rows to the activations at `ends`, in the stored type."""
        key = (start, ends)
        if key not in self._runners:
            if self._is_pixels(start):
                self._runners[key] = compile_from_pixels(self.classifier, ends)
            else:
                self._runners[key] = in_passes(compile_forward(self.classifier.trunk(start, ends)), BLOCK)
        forward = self._runners[key]
        return lambda rows: [_stored(part, self.dtype) for part in forward(rows)]


def _shown(blocks: Iterator[Block], label: str, total: int, each: int = 1) -> Iterator[Block]:
    """The same blocks, with a progress bar that counts `each` for every row."""
    with progress.track(label, total) as advance:
        for block in blocks:
            yield block
            advance(len(block[0]) * each)


def _stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values in the type of the store; float16 reaches 65504, far above what ReLU6 networks give."""
    limits = np.finfo(dtype)
    return np.clip(values, limits.min, limits.max).astype(dtype)
