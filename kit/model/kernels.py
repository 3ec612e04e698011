"""The network's convolutions as each backend runs them best: same weights, same results.

`accelerate` rebuilds a functional model with its slow convolutions replaced by layers that wrap them. A wrapper holds
the stock layer itself, so both share their variables: training one trains the other, and what is saved is always the
stock model.

Why: on a CPU, XLA runs a depthwise convolution as a grouped convolution, many times slower than the same thing written
as nine shifted multiply-adds; it trains a 1x1 convolution faster as a matrix product; and it fuses the reduction that
the depthwise kernel's gradient needs into the loops before it, which undoes their vectorisation: summed image by image
in a scan, it is fast. TensorFlow's own layers are faster than all of these, so there the stock layers stay.
"""

import functools

import keras
from keras import layers, ops

STOCK = "stock"
OWN = "own"
# By backend and device; anything not listed keeps Keras's own layers.
FASTEST = {("jax", "cpu"): OWN}
KERNELS_VERSION = 1  # part of every store's key: raise it when a kernel's arithmetic changes


def choose(requested: str, backend: str, device: str) -> str:
    """The kernels to use: `requested`, or for `auto` what the table says is fastest on this backend and device."""
    return FASTEST.get((backend, device), STOCK) if requested == "auto" else requested


def accelerate(model: keras.Model, kernels: str) -> keras.Model:
    """The same functional model with its convolutions replaced.

    Args:
        model: A functional model. Its layers are shared, not copied.
        kernels: `stock` returns the model itself; `own` replaces what this module has something better for.
    """
    if kernels == STOCK:
        return model
    return keras.models.clone_model(
        model, clone_function=_replacement, call_function=lambda layer, *args, **kwargs: layer(*args, **kwargs)
    )


def _replacement(layer: layers.Layer) -> layers.Layer:
    if isinstance(layer, layers.DepthwiseConv2D) and _is_shiftable(layer):
        return ShiftedDepthwise(layer)
    if type(layer) is layers.Conv2D and _is_pointwise(layer):
        return Pointwise(layer)
    return layer


def _is_shiftable(layer: layers.DepthwiseConv2D) -> bool:
    stride_one = tuple(layer.strides) == (1, 1)
    odd = all(side % 2 == 1 for side in layer.kernel_size)
    return (
        tuple(layer.dilation_rate) == (1, 1)
        and layer.depth_multiplier == 1
        and layer.data_format == "channels_last"
        and (layer.padding == "valid" or (stride_one and odd))
    )


def _is_pointwise(layer: layers.Conv2D) -> bool:
    return (
        tuple(layer.kernel_size) == (1, 1)
        and tuple(layer.strides) == (1, 1)
        and layer.groups == 1
        and layer.data_format == "channels_last"
    )


class _Wrapper(layers.Layer):
    """A layer that computes what `stock` does, with the variables of `stock`."""

    def __init__(self, stock: layers.Layer):
        super().__init__(name=f"{stock.name}_{type(self).__name__.lower()}")
        self.stock = stock
        self.built = True

    def finish(self, outputs):
        """Adds the bias and the activation of the stock layer."""
        if self.stock.use_bias:
            outputs = outputs + ops.convert_to_tensor(self.stock.bias)
        return self.stock.activation(outputs)

    def compute_output_shape(self, input_shape):
        return self.stock.compute_output_shape(input_shape)


class Pointwise(_Wrapper):
    """A 1x1 convolution as a matrix product: (batch, height, width, c) times (c, d)."""

    def call(self, inputs):
        return self.finish(ops.matmul(inputs, ops.convert_to_tensor(self.stock.kernel)[0, 0]))


class ShiftedDepthwise(_Wrapper):
    """A depthwise convolution as one shifted multiply-add for each element of its kernel."""

    def call(self, inputs):
        height, width = self.stock.kernel_size
        if self.stock.padding == "same":
            rows, columns = height // 2, width // 2
            inputs = ops.pad(inputs, [[0, 0], [rows, rows], [columns, columns], [0, 0]])
        kernel = ops.convert_to_tensor(self.stock.kernel)[..., 0]
        convolve = _jax_depthwise() if keras.backend.backend() == "jax" else shifted_depthwise
        return self.finish(convolve(inputs, kernel, tuple(self.stock.strides)))


def shifted_depthwise(inputs, kernel, strides: tuple[int, int]):
    """Depthwise convolution without padding.

    Args:
        inputs: float (batch, height, width, channels).
        kernel: float (kernel height, kernel width, channels).
        strides: Rows and columns between outputs.

    Returns:
        float (batch, (height - kernel height) // stride + 1, ..., channels).
    """
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


@functools.cache
def _jax_depthwise():
    """`shifted_depthwise` with the kernel's gradient summed image by image."""
    import jax
    import jax.numpy as jnp

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def convolve(inputs, kernel, strides):
        return shifted_depthwise(inputs, kernel, strides)

    def forward(inputs, kernel, strides):
        return shifted_depthwise(inputs, kernel, strides), (inputs, kernel)

    def backward(strides, residuals, gradient):
        inputs, kernel = residuals
        _, pull_back = jax.vjp(lambda value: shifted_depthwise(value, kernel, strides), inputs)

        def add_image(total, image):
            one_input, one_gradient = image
            windows = _windows(one_input[None], kernel.shape[:2], strides)
            return total + jnp.stack([jnp.sum(window[0] * one_gradient, axis=(0, 1)) for _, _, window in windows]), None

        zeros = jnp.zeros((kernel.shape[0] * kernel.shape[1], kernel.shape[2]), gradient.dtype)
        kernel_gradient, _ = jax.lax.scan(add_image, zeros, (inputs, gradient))
        return *pull_back(gradient), kernel_gradient.reshape(kernel.shape)

    convolve.defvjp(forward, backward)
    return convolve
