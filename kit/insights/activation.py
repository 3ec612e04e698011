"""Class activation maps in closed form, without gradients or a backend.

B. Zhou et al., Learning deep features for discriminative localization, CVPR 2016. The head is a dense ReLU layer and a
softmax on averaged features, so on one image it is linear in them: with the active hidden units,

    logit_c = sum_k pooled_k · v_k + constant,    v_k = sum_(j on) W1[k, j] · W2[j, c],

and pooled_k is the mean of feature map k. So M_c(y, x) = sum_k F_k(y, x) · v_k is the evidence at (y, x): its mean and
the constant add up to the logit. For this head it equals Grad-CAM.
"""

import io

import numpy as np
from PIL import Image

DARKEST = 0.22  # of the image's brightness, where there is no evidence


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


def spotlight(pixels: np.ndarray, evidence: np.ndarray, strongest: float, side: int) -> Image.Image:
    """Image (`side` px) bright where the evidence is and dark elsewhere, without colour codes.

    Args:
        pixels: uint8 (size, size, 3), 0-255.
        evidence: Float (height, width); negative counts as none.
        strongest: Evidence of full brightness; nothing is lit unless it is more than 0.
    """
    share = np.clip(evidence / strongest, 0, 1) if strongest > 0 else np.zeros_like(evidence)
    mask = Image.fromarray((share * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    image = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR), np.float32)
    light = DARKEST + (1 - DARKEST) * np.asarray(mask, np.float32)[..., None] / 255
    return Image.fromarray((image * light).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()
