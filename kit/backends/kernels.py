"""Keras's convolutions replaced by faster ones of the backend: same weights, same results.

`accelerate` rebuilds a functional model with wrappers around its convolutions. Both share their variables, so training
one trains the other, and what is saved is always the stock model. Where the backend asks for it, frozen batch
normalisation, an affine map of each channel, is folded into the convolution before it: a (W * x) + b = (a W) * x + b;
the gradient of W follows by the chain rule.
"""

from collections.abc import Iterable

import keras
from keras import layers, ops

from kit import backends

STOCK = "stock"
OWN = "own"
CONVOLUTIONS = (
    *(layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.SeparableConv1D, layers.SeparableConv2D),
    *(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose),
    *(layers.DepthwiseConv1D, layers.DepthwiseConv2D),
)
KERNELS_VERSION = 7  # part of every store's key: raise it when a kernel's arithmetic changes


def choose(requested: str) -> str:
    """Resolve `auto` to `own` or `stock`, the faster kernels on this backend and device."""
    return backends.current().fastest_kernels() if requested == "auto" else requested


def accelerate(model: keras.Model, kernels: str, *, trains_normalisation: bool = False) -> keras.Model:
    """The same functional model with its convolutions replaced; layers are shared, not copied.

    `stock` replaces none, `own` what the backend speeds up. Batch normalisation must be frozen, unless
    `trains_normalisation`: it then keeps to its moving statistics whatever is trained.
    """
    if kernels == STOCK and not trains_normalisation:
        return model
    candidates = model.layers if kernels == OWN else []
    replacements = {layer: kind for layer in candidates if (kind := _replacement(layer)) is not None}
    folded = _folded(model, replacements) if backends.current().FOLDS_NORMALISATION else {}
    absorbed = set(folded.values())

    def replace(layer: layers.Layer) -> layers.Layer:
        if layer in absorbed:
            return _Absorbed(name=f"{layer.name}_absorbed")
        if trains_normalisation and isinstance(layer, layers.BatchNormalization):
            return _FrozenStatistics(layer)
        kind = replacements.get(layer)
        return layer if kind is None else kind(layer, folded.get(layer))

    return keras.models.clone_model(
        model, clone_function=replace, call_function=lambda layer, *args, **kwargs: layer(*args, **kwargs)
    )


def keeps_keras_convolutions(layer: layers.Layer) -> bool:
    """Whether a layer or model computes any convolution of Keras's own."""
    if isinstance(layer, Convolution):
        return False
    inner = layer._flatten_layers(include_self=False, recursive=False)
    return isinstance(layer, CONVOLUTIONS) or any(map(keeps_keras_convolutions, inner))


def _replacement(layer: layers.Layer):
    if getattr(layer, "data_format", None) != "channels_last":
        return None
    return backends.current().replacement(layer)


def _folded(model: keras.Model, replaced: Iterable[layers.Layer]) -> dict[layers.Layer, layers.BatchNormalization]:
    """Replaced convolution -> the batch normalisation that alone reads it, in this model."""
    readers: dict[layers.Layer, list[layers.Layer]] = {}
    for layer in model.layers:
        if not isinstance(layer, layers.InputLayer):
            for tensor in keras.tree.flatten(layer.input):
                readers.setdefault(tensor._keras_history.operation, []).append(layer)
    return {
        layer: readers[layer][0]
        for layer in replaced
        if len(readers.get(layer, [])) == 1
        and isinstance(readers[layer][0], layers.BatchNormalization)
        and layer.activation is keras.activations.linear
    }


class Convolution(layers.Layer):
    """Convolution with the variables of `stock`, the frozen batch normalisation after it folded in."""

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
        return self.stock.activation(self.shifted(inputs, kernel, shift))

    is_depthwise = False

    def shifted(self, inputs, kernel, shift):
        """The convolution, and `shift` (channels written,) added to it unless None."""
        outputs = self.convolve(inputs, kernel)
        return outputs if shift is None else outputs + shift

    def convolve(self, inputs, kernel):
        """The convolution alone, without bias or activation."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape):
        return self.stock.compute_output_shape(input_shape)


class _FrozenStatistics(layers.Layer):
    """Batch normalisation by its moving statistics, also while its scale and offset are trained."""

    def __init__(self, stock: layers.BatchNormalization):
        super().__init__(name=f"{stock.name}_frozen_statistics")
        self.stock = stock
        self.built = True

    def call(self, inputs, training=None, mask=None):
        return self.stock(inputs, training=False)

    def compute_output_shape(self, input_shape):
        return input_shape


class _Absorbed(layers.Layer):
    """Placeholder of a batch normalisation that is folded into a convolution."""

    def call(self, inputs, training=None, mask=None):
        return inputs


def _affine(normalisation: layers.BatchNormalization):
    """Batch normalisation in inference mode as x * scale + offset, each (channels,)."""
    scale = ops.rsqrt(ops.convert_to_tensor(normalisation.moving_variance) + normalisation.epsilon)
    if normalisation.scale:
        scale = scale * ops.convert_to_tensor(normalisation.gamma)
    offset = -ops.convert_to_tensor(normalisation.moving_mean) * scale
    return scale, offset + ops.convert_to_tensor(normalisation.beta) if normalisation.center else offset


class Native(Convolution):
    """The backend's own convolution."""

    def convolve(self, inputs, kernel):
        stock = self.stock
        return ops.conv(inputs, kernel, stock.strides, stock.padding, stock.data_format, stock.dilation_rate)


class NativeDepthwise(Convolution):
    """The backend's own depthwise convolution."""

    is_depthwise = True

    def convolve(self, inputs, kernel):
        stock = self.stock
        return ops.depthwise_conv(inputs, kernel, stock.strides, stock.padding, stock.data_format, stock.dilation_rate)


def find_native(layer: layers.Layer) -> type[Convolution] | None:
    """The backend's own convolution for a channels-last Conv2D or DepthwiseConv2D; None for any other layer."""
    if isinstance(layer, layers.DepthwiseConv2D):
        return NativeDepthwise
    return Native if type(layer) is layers.Conv2D and layer.groups == 1 else None
