"""Backbones: networks without a head, and the cut points between trunk and tail.

At a cut point one tensor carries everything: the input of a block, after the residual addition. Cut points are numbered
by unfreeze depth from the top: in MobileNetV2 depth 1 cuts before Conv_1, depth 2 before block 16, down to the stem.
"""

from dataclasses import dataclass
from importlib import import_module

import keras

from kit.errors import ConfigError
from kit.model.catalog import Pixels, block_names, find, is_hub
from kit.model.graph import block_starts
from kit.model.hub import hub_network


@dataclass(frozen=True)
class Cut:
    """A cut point; `depth` is its unfreeze depth, the number of blocks above it.

    Attributes:
        name: The first block above the cut, as Keras names it: `Conv_1`, `block_16`, ...; `pooled` at depth 0.
        layer: The operation whose output the cut is; empty at the stem, where it is the pixels, and at depth 0, where
            it is the backbone's output after pooling.
    """

    depth: int
    name: str
    layer: str


@dataclass(frozen=True)
class Backbone:
    """A network without its head.

    Attributes:
        model: float32 (batch, size, size, 3), preprocessed, to float32 (batch, height, width, channels).
        preprocessing: Layer from uint8 pixels, 0-255, to what `model` expects.
        cuts: Every legal cut point, by depth: `cuts[depth]`.
    """

    model: keras.Model
    preprocessing: keras.layers.Layer
    cuts: tuple[Cut, ...]

    def cut(self, depth: int) -> Cut:
        """Cut point of an unfreeze depth, -1 for all; raises ConfigError if the network has no such depth."""
        if not -1 <= depth < len(self.cuts):
            deepest = len(self.cuts) - 1
            raise ConfigError(
                f"unfreeze_depth must be from 0 (the head alone) to {deepest} (all), or -1 for all, not {depth}."
            )
        return self.cuts[depth]


def build_backbone(name: str, image_size: int, alpha: float = 1.0) -> Backbone:
    """Build a backbone with random weights; `name` is of the catalog, or `hub:PRESET`.

    `image_size` is the side of the square input, at least 32 px; `alpha`, the width multiplier, 1 where the network has
    none. Raises ConfigError if there is no such backbone or width.
    """
    model, pixels = (hub_network if is_hub(name) else _keras_network)(name, image_size, alpha)
    cuts = find_cuts(model, block_names(name))
    if len(cuts) == 2:
        raise ConfigError(f"{name} has no blocks that transferkit knows how to cut between.")
    return Backbone(model, preprocessing_layer(pixels), cuts)


def mobilenet_v2(image_size: int, alpha: float) -> Backbone:
    """MobileNetV2 with random weights; see `build_backbone`."""
    return build_backbone("mobilenet_v2", image_size, alpha)


def find_cuts(model: keras.Model, blocks: str) -> tuple[Cut, ...]:
    """Cut points of a functional model: depth 0 (pooled), one per block from the top, the pixels.

    `blocks` is a regular expression of block names; see `kit.model.graph.block_starts`.
    """
    starts = block_starts(model, blocks)[::-1]
    cuts = (Cut(depth, name, layer) for depth, (name, layer) in enumerate(starts, start=1))
    return (Cut(0, "pooled", ""), *cuts, Cut(len(starts) + 1, "all", ""))


def preprocessing_layer(pixels: Pixels) -> keras.layers.Layer:
    """Layer from uint8 (batch, size, size, 3), 0-255, to the pixels a network expects."""
    scale, offset = (list(one) if isinstance(one, tuple) else one for one in (pixels.scale, pixels.offset))
    if not pixels.bgr:
        return keras.layers.Rescaling(scale, offset, name="preprocessing")
    rgb = keras.Input((None, None, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(scale, offset)(keras.ops.flip(rgb, axis=-1))
    return keras.Model(rgb, scaled, name="preprocessing")


def _keras_network(name: str, image_size: int, alpha: float) -> tuple[keras.Model, Pixels]:
    recipe = find(name)
    recipe.require_alpha(alpha)
    options: dict = {"alpha": alpha} if len(recipe.alphas) > 1 else {}
    if recipe.inner_preprocessing:
        options["include_preprocessing"] = False
    module, _, builder = recipe.builder.rpartition(":")
    model = getattr(import_module(module or "keras.applications"), builder)(
        input_shape=(image_size, image_size, 3), include_top=False, weights=None, **options
    )
    return model, recipe.pixels
