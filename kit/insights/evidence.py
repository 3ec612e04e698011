"""Evidence for a class at each place of an image: class activation maps, and heat over the image.

Behind global average pooling the head is linear in the pooled features for the hidden units that are on, so the maps
are in closed form. No model is needed here, only its features and the weights of its head.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from kit.insights import HEAT, HEAT_COVERS, HEAT_STEEP

Head = Mapping[str, Sequence[np.ndarray]]  # name of a layer of the head -> kernel and bias


def activation_maps(
    features: np.ndarray, hidden: tuple[np.ndarray, np.ndarray] | None, output: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """Class activation maps of a batch, float32 (n, height, width), in units of the logit.

    Args:
        features: The backbone's output, float (n, height, width, channels).
        hidden: Kernel (channels, units) and bias (units,) of the dense ReLU layer; None where there is none.
        output: Kernel of the softmax layer: (units, classes), or (channels, classes) without a hidden layer.
        targets: Class number of each map, int (n,).
    """
    features = features.astype(np.float32)
    towards = output.T[targets]  # (n, units)
    if hidden is not None:
        kernel, bias = hidden
        on = features.mean(axis=(1, 2)) @ kernel + bias > 0
        towards = (on * towards) @ kernel.T
    return np.einsum("nyxk,nk->nyx", features, towards, dtype=np.float32)


def maps_of_classes(features: np.ndarray, head: Head, classes: np.ndarray) -> np.ndarray:
    """Activation maps of several classes of each image, float32 (n, classes, height, width); `classes` int (n, c)."""
    hidden = (head["hidden"][0], head["hidden"][1]) if "hidden" in head else None
    output = head["probabilities"][0]
    return np.stack([activation_maps(features, hidden, output, targets) for targets in classes.T], axis=1)


def shares(maps: np.ndarray) -> np.ndarray:
    """Evidence from 0 to 1 of one image's maps, float32 (c, height, width): one scale for all, so that they compare.

    Negative evidence counts as none; 1 is the strongest of any of the maps.
    """
    strongest = float(maps.max(initial=0.0))
    return np.clip(maps / strongest, 0, 1) if strongest > 0 else np.zeros_like(maps)


def heat(pixels: np.ndarray, share: np.ndarray, side: int) -> Image.Image:
    """Image in grey (`side` px) under the evidence in colours, which are seen on black and on white.

    The image is grey so that colour means evidence alone; where there is none it is plain.

    Args:
        pixels: uint8 (size, size, 3), 0-255.
        share: Evidence, float (height, width), 0 to 1.
    """
    image = Image.fromarray(pixels).convert("L").resize((side, side), Image.Resampling.BILINEAR)
    grey = np.asarray(image, np.float32)[..., None]
    smooth = Image.fromarray(share.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    lit = np.clip(np.asarray(smooth, np.float32), 0, 1)
    stops = np.linspace(0, 1, len(HEAT))
    colour = np.stack([np.interp(lit, stops, channel) for channel in zip(*HEAT, strict=True)], axis=-1)
    over = HEAT_COVERS * np.minimum(1, HEAT_STEEP * lit)[..., None]
    return Image.fromarray((grey * (1 - over) + colour * over).round().astype(np.uint8))
