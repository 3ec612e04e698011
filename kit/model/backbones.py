"""MobileNetV2 as a backbone: weights in, legal cut points out.

A cut point is a place where one tensor carries everything: the input of a block, after the residual addition. Cut
points are numbered by unfreeze depth, counted from the top: depth 1 cuts before Conv_1, depth 2 before block 16, and so
on down to the stem.
"""

from dataclasses import dataclass

import keras

from kit.errors import ConfigError

BLOCKS = 17  # expanded_conv is block 0, then block_1 to block_16
STEM_DEPTH = BLOCKS + 2  # everything from the pixels on


@dataclass(frozen=True)
class Cut:
    """A cut point.

    Attributes:
        depth: Unfreeze depth: how many blocks, from the top, lie above the cut.
        name: The first block above the cut, as Keras names it: `Conv_1`, `block_16`, ...; `pooled` at depth 0.
        layer: The layer whose output the cut is; empty at the stem, where it is the pixels, and at depth 0, where it is
            the backbone's output after pooling.
    """

    depth: int
    name: str
    layer: str


@dataclass(frozen=True)
class Backbone:
    """A convolutional network without its head.

    Attributes:
        model: float32 (batch, size, size, 3), preprocessed, to float32 (batch, height, width, channels).
        preprocessing: Layer from uint8 pixels, 0-255, to what `model` expects.
        cuts: Every legal cut point, by depth: `cuts[depth]`.
    """

    model: keras.Model
    preprocessing: keras.layers.Layer
    cuts: tuple[Cut, ...]

    def cut(self, depth: int) -> Cut:
        """The cut point of an unfreeze depth; -1 means all.

        Raises:
            ConfigError: If the network has no such depth.
        """
        if not -1 <= depth < len(self.cuts):
            deepest = len(self.cuts) - 1
            raise ConfigError(
                f"unfreeze_depth must be from 0 (the head alone) to {deepest} (all), or -1 for all, not {depth}."
            )
        return self.cuts[depth]


def mobilenet_v2(image_size: int, alpha: float) -> Backbone:
    """MobileNetV2 [Sandler et al. 2018, arXiv:1801.04381] with random weights.

    Args:
        image_size: Side of the square input, in pixels, at least 32.
        alpha: Width multiplier.
    """
    model = keras.applications.MobileNetV2(
        input_shape=(image_size, image_size, 3), alpha=alpha, include_top=False, weights=None
    )
    # The range that keras.applications.mobilenet_v2.preprocess_input gives: -1 to 1.
    preprocessing = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocessing")
    return Backbone(model, preprocessing, mobilenet_v2_cuts({layer.name for layer in model.layers}))


def mobilenet_v2_cuts(layer_names: set[str]) -> tuple[Cut, ...]:
    """Depth 0 (pooled), 1 (Conv_1), 2 (block_16), ... 18 (expanded_conv), 19 (the pixels)."""

    def output_of(block: int) -> str:
        prefix = f"block_{block}" if block else "expanded_conv"
        return f"{prefix}_add" if f"{prefix}_add" in layer_names else f"{prefix}_project_BN"

    cuts = [Cut(0, "pooled", ""), Cut(1, "Conv_1", output_of(BLOCKS - 1))]
    for block in range(BLOCKS - 1, 0, -1):
        cuts.append(Cut(BLOCKS + 1 - block, f"block_{block}", output_of(block - 1)))
    return (*cuts, Cut(STEM_DEPTH - 1, "expanded_conv", "Conv1_relu"), Cut(STEM_DEPTH, "all", ""))
