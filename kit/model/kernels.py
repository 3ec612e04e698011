"""The network's convolutions as each backend runs them best: same weights, same results.

`accelerate` rebuilds a functional model with its convolutions replaced by layers that wrap them. A wrapper holds the
stock layer itself, so both share their variables: training one trains the other, and what is saved is always the stock
model.

On TensorFlow its own convolutions stay, and batch normalisation goes: it is frozen everywhere, so it is an affine map
of each channel, and is folded into the convolution before it: a (W * x) + b = (a W) * x + b. The gradient of W follows
by the chain rule; nothing else changes. TensorFlow then fuses convolution, offset and activation into one kernel.

On JAX and a CPU the convolutions are written anew. XLA runs a depthwise one as a grouped convolution, many times slower
than the same thing written as nine shifted multiply-adds; it trains a 1x1 convolution faster as a matrix product; and
it fuses a depthwise convolution's gradients with the loops around them, which repeats or undoes the vectorisation of
both: apart from each other they are fast. Batch normalisation stays: XLA fuses it into its neighbours by itself, and
folding it was measured to be slower.
"""

import functools
from dataclasses import dataclass

import keras
from keras import layers, ops

STOCK = "stock"
OWN = "own"
# By backend and device; anything not listed keeps Keras's own layers.
FASTEST = {("jax", "cpu"): OWN, ("tensorflow", "cpu"): OWN}


@dataclass(frozen=True)
class Passes:
    """How images pass from the pixels on.

    Attributes:
        rows: Images of one pass.
        side_by_side: True if passes run side by side, each on a thread.
        one_by_one: True if a pass takes its images through the network one after the other, as far as `SMALL`.
    """

    rows: int
    side_by_side: bool
    one_by_one: bool


# By backend and device. XLA runs layer after layer over a whole batch, and at 112 x 112 px the activations of 32 images
# are far larger than a processor's cache; it divides a layer among threads that then wait for each other, where two
# images, each on a thread of its own, do not. TensorFlow is as fast with 32. Two threads on two cores, a prototype,
# images/s: 167 by one image a call, 213 by eight a call, one after the other.
FASTEST_PASSES = {("jax", "cpu"): Passes(8, side_by_side=True, one_by_one=True)}
PASSES = Passes(32, side_by_side=False, one_by_one=False)
# Where an image's activations have no more positions than this, 14 x 14, its matrix products have so few rows that
# reading the weights costs more than the activations do: there the images of a pass go together again. Medians of eight
# rounds, images/s: 219 by images alone to the end, 231 from 7 x 7 on together, 238 from 14 x 14; from 28 x 28, no more.
SMALL = 196
# By backend and device: in so many parts a batch is trained on side by side. Fixed, not the number of threads: the same
# run must give the same numbers on any number of them.
SIDE_BY_SIDE = {("jax", "cpu"): 2}
NARROW = 36  # numbers, 3 x 3 x 4: a convolution that reads no more of them for an output is gathered
CONVOLUTIONS = (
    *(layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.SeparableConv1D, layers.SeparableConv2D),
    *(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose),
    *(layers.DepthwiseConv1D, layers.DepthwiseConv2D),
)
KERNELS_VERSION = 6  # part of every store's key: raise it when a kernel's arithmetic changes


def choose(requested: str, backend: str, device: str) -> str:
    """The kernels to use: `requested`, or for `auto` what the table says is fastest on this backend and device."""
    return FASTEST.get((backend, device), STOCK) if requested == "auto" else requested


def passes(kernels: str, backend: str, device: str) -> Passes:
    """How images pass from the pixels on."""
    return FASTEST_PASSES.get((backend, device), PASSES) if kernels == OWN else PASSES


def side_by_side(backend: str, device: str) -> int:
    """In how many parts a batch is trained on side by side."""
    return SIDE_BY_SIDE.get((backend, device), 1)


def trains_in_a_loop(layer: layers.Layer) -> bool:
    """False for what JAX on a CPU trains one step a call, and not several in a loop.

    Within a loop XLA computes the gradients of its own convolutions many times slower: those of 3x3 on 28x28x128 in
    1,160 ms instead of 38. What replaces them here has none of them.

    Args:
        layer: A layer or a whole model.
    """
    if isinstance(layer, _Convolution):
        return True
    inner = layer._flatten_layers(include_self=False, recursive=False)
    return not isinstance(layer, CONVOLUTIONS) and all(map(trains_in_a_loop, inner))


def accelerate(model: keras.Model, kernels: str) -> keras.Model:
    """The same functional model with its convolutions replaced.

    Args:
        model: A functional model whose batch normalisation is frozen. Its layers are shared, not copied.
        kernels: `stock` returns the model itself; `own` replaces what this module has something better for.
    """
    if kernels == STOCK:
        return model
    folded = _folded(model) if _is_native() else {}
    absorbed = set(folded.values())

    def replace(layer: layers.Layer) -> layers.Layer:
        if layer in absorbed:
            return _Absorbed(name=f"{layer.name}_absorbed")
        kind = _kind(layer)
        return layer if kind is None else kind(layer, folded.get(layer))

    return keras.models.clone_model(
        model, clone_function=replace, call_function=lambda layer, *args, **kwargs: layer(*args, **kwargs)
    )


def _folded(model: keras.Model) -> dict[layers.Layer, layers.BatchNormalization]:
    """Convolution -> the batch normalisation that alone reads it, in this model."""
    readers: dict[layers.Layer, list[layers.Layer]] = {}
    for layer in model.layers:
        if not isinstance(layer, layers.InputLayer):
            for tensor in keras.tree.flatten(layer.input):
                readers.setdefault(tensor._keras_history.operation, []).append(layer)
    return {
        layer: readers[layer][0]
        for layer in model.layers
        if _kind(layer) is not None
        and len(readers.get(layer, [])) == 1
        and isinstance(readers[layer][0], layers.BatchNormalization)
        and layer.activation is keras.activations.linear
    }


def _kind(layer: layers.Layer) -> "type[_Convolution] | None":
    """What replaces a layer; None leaves it as it is."""
    if getattr(layer, "data_format", None) != "channels_last":
        return None
    if isinstance(layer, layers.DepthwiseConv2D):
        return NativeDepthwise if _is_native() else ShiftedDepthwise if _is_shiftable(layer) else None
    if type(layer) is layers.Conv2D and layer.groups == 1:
        if _is_native():
            return Native
        return Pointwise if _is_pointwise(layer) else Gathered if _is_narrow(layer) else None
    return None


def _is_native() -> bool:
    """True where the backend's own convolutions are the fastest there are."""
    return keras.backend.backend() != "jax"


def _is_shiftable(layer: layers.DepthwiseConv2D) -> bool:
    stride_one = tuple(layer.strides) == (1, 1)
    odd = all(side % 2 == 1 for side in layer.kernel_size)
    reached = all(stride <= side for stride, side in zip(layer.strides, layer.kernel_size, strict=True))
    return (
        reached  # every input: `_input_gradient` counts on it
        and tuple(layer.dilation_rate) == (1, 1)
        and layer.depth_multiplier == 1
        and (layer.padding == "valid" or (stride_one and odd))
    )


def _is_pointwise(layer: layers.Conv2D) -> bool:
    return tuple(layer.kernel_size) == (1, 1) and tuple(layer.strides) == (1, 1)


def _is_narrow(layer: layers.Conv2D) -> bool:
    """A convolution that reads few numbers: that of the pixels."""
    read = layer.kernel_size[0] * layer.kernel_size[1] * layer.kernel.shape[-2]
    return read <= NARROW and tuple(layer.dilation_rate) == (1, 1)


class _Convolution(layers.Layer):
    """A convolution with the variables of `stock`, the frozen batch normalisation after it folded in."""

    def __init__(self, stock: layers.Layer, normalisation: layers.BatchNormalization | None):
        super().__init__(name=f"{stock.name}_{type(self).__name__.lower()}")
        self.stock = stock
        self.normalisation = normalisation
        self.built = True

    def call(self, inputs):
        kernel = ops.convert_to_tensor(self.stock.kernel)
        shift = ops.convert_to_tensor(self.stock.bias) if self.stock.use_bias else None
        if self.normalisation is not None:
            scale, offset = _affine(self.normalisation)
            # a depthwise kernel ends in (channels, multiplier), any other in (channels read, channels written)
            kernel = kernel * (ops.reshape(scale, kernel.shape[-2:]) if self.is_depthwise else scale)
            shift = offset if shift is None else offset + shift * scale
        outputs = self.convolve(inputs, kernel)
        return self.stock.activation(outputs if shift is None else outputs + shift)

    is_depthwise = False

    def convolve(self, inputs, kernel):
        """The convolution alone."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape):
        return self.stock.compute_output_shape(input_shape)


class _Absorbed(layers.Layer):
    """Stands where a batch normalisation was that a convolution has folded in."""

    def call(self, inputs, training=None, mask=None):
        return inputs


def _affine(normalisation: layers.BatchNormalization):
    """Batch normalisation in inference mode as x * scale + offset, each (channels,)."""
    scale = ops.rsqrt(ops.convert_to_tensor(normalisation.moving_variance) + normalisation.epsilon)
    if normalisation.scale:
        scale = scale * ops.convert_to_tensor(normalisation.gamma)
    offset = -ops.convert_to_tensor(normalisation.moving_mean) * scale
    return scale, offset + ops.convert_to_tensor(normalisation.beta) if normalisation.center else offset


class Native(_Convolution):
    """The backend's own convolution."""

    def convolve(self, inputs, kernel):
        stock = self.stock
        return ops.conv(inputs, kernel, stock.strides, stock.padding, stock.data_format, stock.dilation_rate)


class NativeDepthwise(_Convolution):
    """The backend's own depthwise convolution."""

    is_depthwise = True

    def convolve(self, inputs, kernel):
        stock = self.stock
        return ops.depthwise_conv(inputs, kernel, stock.strides, stock.padding, stock.data_format, stock.dilation_rate)


class Pointwise(_Convolution):
    """A 1x1 convolution as a matrix product: (batch, height, width, c) times (c, d); on JAX."""

    def convolve(self, inputs, kernel):
        return _jax_pointwise()(inputs, kernel[0, 0])


class Gathered(_Convolution):
    """A convolution as one matrix product, of all that each output reads; on JAX.

    XLA's own convolution of three channels is not vectorised: 1.2 ms an image at 224 px, where this takes 0.7.
    """

    def convolve(self, inputs, kernel):
        height, width = self.stock.kernel_size
        if self.stock.padding == "same":
            sides = zip(inputs.shape[1:3], (height, width), self.stock.strides, strict=True)
            inputs = ops.pad(inputs, [[0, 0], *(_same_padding(*side) for side in sides), [0, 0]])
        windows = [window for _, _, window in _windows(inputs, (height, width), tuple(self.stock.strides))]
        return _jax_pointwise()(ops.concatenate(windows, axis=-1), ops.reshape(kernel, (-1, kernel.shape[-1])))


def _same_padding(size: int, kernel: int, stride: int) -> list[int]:
    """What "same" adds before and behind, as TensorFlow defines it and Keras follows."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return [total // 2, total - total // 2]


class ShiftedDepthwise(_Convolution):
    """A depthwise convolution as one shifted multiply-add for each element of its kernel; on JAX."""

    is_depthwise = True

    def convolve(self, inputs, kernel):
        height, width = self.stock.kernel_size
        if self.stock.padding == "same":
            rows, columns = height // 2, width // 2
            inputs = ops.pad(inputs, [[0, 0], [rows, rows], [columns, columns], [0, 0]])
        return _jax_depthwise()(inputs, kernel[..., 0], tuple(self.stock.strides))


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


def _input_gradient(gradient, kernel, strides: tuple[int, int], size: tuple[int, int]):
    """What the inputs of `shifted_depthwise` receive from its outputs.

    Input row s·i + a was multiplied by the kernel rows a, a + s, a + 2s, ... into the output rows i, i - 1, i - 2, ...:
    so the rows of each phase a are themselves a shifted sum, without the zeros between outputs that a transposed
    convolution adds. The phases are then interleaved; columns likewise.

    Args:
        gradient: float (batch, output height, output width, channels).
        kernel: float (kernel height, kernel width, channels).
        strides: Rows and columns between outputs.
        size: Height and width of the inputs.

    Returns:
        float (batch, *size, channels).
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


@functools.cache
def _jax_pointwise():
    """A matrix product whose kernel gradient is one too: contracted over three axes at once, XLA is slower."""
    import jax

    @jax.custom_vjp
    def multiply(inputs, kernel):
        return inputs @ kernel

    def forward(inputs, kernel):
        return inputs @ kernel, (inputs, kernel)

    def backward(residuals, gradient):
        inputs, kernel = residuals
        rows, row_gradients = (value.reshape(-1, value.shape[-1]) for value in (inputs, gradient))
        return gradient @ kernel.T, rows.T @ row_gradients

    multiply.defvjp(forward, backward)
    return multiply


@functools.cache
def _jax_depthwise():
    """`shifted_depthwise` with gradients that XLA computes at the speed of memory.

    Left to itself, XLA fuses the loops before and after a depthwise convolution into the loops of its gradients, and
    repeats them there for every element of the kernel. Barriers keep them apart. The kernel's gradient is a sum over
    (batch, height, width); accumulated image by image, and over height and width only at the end, it is vectorised.
    """
    import jax
    import jax.numpy as jnp

    alone = jax.lax.optimization_barrier

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
    def convolve(inputs, kernel, strides):
        return shifted_depthwise(inputs, kernel, strides)

    def forward(inputs, kernel, strides):
        inputs = alone(inputs)
        return alone(shifted_depthwise(inputs, kernel, strides)), (inputs, kernel)

    def backward(strides, residuals, gradient):
        inputs, kernel = residuals
        gradient = alone(gradient)

        def add_image(totals, image):
            one_input, one_gradient = image
            windows = _windows(one_input[None], kernel.shape[:2], strides)
            return tuple(t + window[0] * one_gradient for t, (_, _, window) in zip(totals, windows, strict=True)), None

        zeros = (jnp.zeros(gradient.shape[1:], gradient.dtype),) * (kernel.shape[0] * kernel.shape[1])
        totals, _ = jax.lax.scan(add_image, zeros, (inputs, gradient))
        kernel_gradient = jnp.stack([jnp.sum(total, axis=(0, 1)) for total in totals])
        input_gradient = _input_gradient(gradient, kernel, strides, inputs.shape[1:3])
        return alone(input_gradient), kernel_gradient.reshape(kernel.shape)

    convolve.defvjp(forward, backward)
    return convolve
