"""Convolutions that XLA computes fast on a CPU, forward and backward.

XLA runs a depthwise convolution as a grouped one, many times slower than as nine shifted multiply-adds; it trains a 1x1
convolution faster as a matrix product; and it fuses a depthwise convolution's gradients with the loops around them,
which repeats or undoes the vectorisation of both.
"""

import functools

import jax
import jax.numpy as jnp
from jax.lax import optimization_barrier
from keras import layers, ops

from kit.backends.kernels import Convolution

NARROW = 36  # inputs per output, 3 x 3 x 4: a convolution with at most this many is gathered


def find_replacement(layer: layers.Layer) -> type[Convolution] | None:
    """Replacement of a channels-last layer; None leaves it as it is."""
    if isinstance(layer, layers.DepthwiseConv2D):
        return ShiftedDepthwise if _is_shiftable(layer) else None
    if type(layer) is layers.Conv2D and layer.groups == 1:
        return Pointwise if _is_pointwise(layer) else Gathered if _is_narrow(layer) else None
    return None


def _is_shiftable(layer: layers.DepthwiseConv2D) -> bool:
    reached = all(stride <= side for stride, side in zip(layer.strides, layer.kernel_size, strict=True))
    return (
        reached  # every input, as `_input_gradient` requires
        and tuple(layer.dilation_rate) == (1, 1)
        and layer.depth_multiplier == 1
    )


def _is_pointwise(layer: layers.Conv2D) -> bool:
    return tuple(layer.kernel_size) == (1, 1) and tuple(layer.strides) == (1, 1)


def _is_narrow(layer: layers.Conv2D) -> bool:
    """A convolution that reads few numbers per output, such as the first, on pixels."""
    read = layer.kernel_size[0] * layer.kernel_size[1] * layer.kernel.shape[-2]
    return read <= NARROW and tuple(layer.dilation_rate) == (1, 1)


class Pointwise(Convolution):
    """1x1 convolution as a matrix product: (batch, height, width, c) times (c, d)."""

    def convolve(self, inputs, kernel):
        return pointwise(inputs, kernel[0, 0])


class Gathered(Convolution):
    """Convolution as one matrix product of all that each output reads (im2col).

    XLA's own convolution of three channels is not vectorised: 1.2 ms an image at 224 px, where this takes 0.7.
    """

    def convolve(self, inputs, kernel):
        windows = _windows(_padded(inputs, self.stock), tuple(self.stock.kernel_size), tuple(self.stock.strides))
        windows = [window for _, _, window in windows]
        return pointwise(ops.concatenate(windows, axis=-1), ops.reshape(kernel, (-1, kernel.shape[-1])))


def _padded(inputs, stock: layers.Layer):
    """Inputs with the zeros around them that a layer's padding asks for."""
    if stock.padding == "valid":
        return inputs
    sides = zip(inputs.shape[1:3], stock.kernel_size, stock.strides, strict=True)
    return ops.pad(inputs, [[0, 0], *(_same_padding(*side) for side in sides), [0, 0]])


def _same_padding(size: int, kernel: int, stride: int) -> list[int]:
    """Padding "same" before and behind, as TensorFlow defines it and Keras follows."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return [total // 2, total - total // 2]


class ShiftedDepthwise(Convolution):
    """Depthwise convolution as one shifted multiply-add for each kernel element."""

    is_depthwise = True

    def convolve(self, inputs, kernel):
        return depthwise(_padded(inputs, self.stock), kernel[..., 0], tuple(self.stock.strides))


def shifted_depthwise(inputs, kernel, strides: tuple[int, int]):
    """Unpadded depthwise convolution: float (b, h, w, c) by (kh, kw, c), giving (b, (h - kh) // stride + 1, ..., c)."""
    total = None
    for row, column, window in _windows(inputs, kernel.shape[:2], strides):
        product = window * kernel[row, column]
        total = product if total is None else total + product
    return total


def _windows(inputs, kernel_size: tuple[int, int], strides: tuple[int, int]):
    """For each kernel element, the part of the inputs that it multiplies."""
    rows = (inputs.shape[1] - kernel_size[0]) // strides[0] + 1
    columns = (inputs.shape[2] - kernel_size[1]) // strides[1] + 1
    for row in range(kernel_size[0]):
        for column in range(kernel_size[1]):
            last_row = row + (rows - 1) * strides[0] + 1
            last_column = column + (columns - 1) * strides[1] + 1
            yield row, column, inputs[:, row : last_row : strides[0], column : last_column : strides[1], :]


def _input_gradient(gradient, kernel, strides: tuple[int, int], size: tuple[int, int]):
    """Gradient of the inputs of `shifted_depthwise`, (batch, *size, channels), from that of its outputs.

    Input row s·i + a was multiplied by the kernel rows a, a + s, a + 2s, ... into the output rows i, i - 1, i - 2, ...:
    so the rows of each phase a are a shifted sum, without the zeros that a transposed convolution puts between outputs.
    The phases are then interleaved; columns likewise.
    """
    counts = [-(-side // stride) for side, stride in zip(size, strides, strict=True)]
    before = [(side - 1) // stride for side, stride in zip(kernel.shape[:2], strides, strict=True)]
    after = [max(0, count - side) for count, side in zip(counts, gradient.shape[1:3], strict=True)]
    padded = ops.pad(gradient, [[0, 0], *([b, a] for b, a in zip(before, after, strict=True)), [0, 0]])

    def phase(row: int, column: int):
        total = None
        for i in range(row, kernel.shape[0], strides[0]):
            for j in range(column, kernel.shape[1], strides[1]):
                top, left = before[0] - i // strides[0], before[1] - j // strides[1]
                product = padded[:, top : top + counts[0], left : left + counts[1], :] * kernel[i, j]
                total = product if total is None else total + product
        return total

    rows = [ops.stack([phase(a, b) for b in range(strides[1])], axis=3) for a in range(strides[0])]
    whole = ops.reshape(
        ops.stack(rows, axis=2), (-1, *(c * s for c, s in zip(counts, strides, strict=True)), gradient.shape[-1])
    )
    return whole[:, : size[0], : size[1], :]


@jax.custom_vjp
def pointwise(inputs, kernel):
    """Matrix product whose kernel gradient is one too: contracted over three axes at once, XLA is slower."""
    return inputs @ kernel


def _pointwise_forward(inputs, kernel):
    return inputs @ kernel, (inputs, kernel)


def _pointwise_backward(residuals, gradient):
    inputs, kernel = residuals
    rows, row_gradients = (value.reshape(-1, value.shape[-1]) for value in (inputs, gradient))
    return gradient @ kernel.T, rows.T @ row_gradients


pointwise.defvjp(_pointwise_forward, _pointwise_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(inputs, kernel, strides):
    """`shifted_depthwise` with gradients that XLA computes at the speed of memory.

    Without barriers XLA fuses the loops before and after a depthwise convolution into those of its gradients, and
    repeats them there for every kernel element. The kernel's gradient, a sum over (batch, height, width), is vectorised
    because it is accumulated image by image, and over height and width only at the end.
    """
    return shifted_depthwise(inputs, kernel, strides)


def _depthwise_forward(inputs, kernel, strides):
    inputs = optimization_barrier(inputs)
    return optimization_barrier(shifted_depthwise(inputs, kernel, strides)), (inputs, kernel)


def _depthwise_backward(strides, residuals, gradient):
    inputs, kernel = residuals
    gradient = optimization_barrier(gradient)

    def add_image(totals, image):
        one_input, one_gradient = image
        windows = _windows(one_input[None], kernel.shape[:2], strides)
        return tuple(t + window[0] * one_gradient for t, (_, _, window) in zip(totals, windows, strict=True)), None

    zeros = (jnp.zeros(gradient.shape[1:], gradient.dtype),) * (kernel.shape[0] * kernel.shape[1])
    totals, _ = jax.lax.scan(add_image, zeros, (inputs, gradient))
    kernel_gradient = jnp.stack([jnp.sum(total, axis=(0, 1)) for total in totals])
    input_gradient = _input_gradient(gradient, kernel, strides, inputs.shape[1:3])
    return optimization_barrier(input_gradient), kernel_gradient.reshape(kernel.shape)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)
