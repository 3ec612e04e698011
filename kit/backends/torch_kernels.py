"""Convolutions of PyTorch in its memory format channels_last, which is that of Keras's channels-last activations.

Keras's own copies activations before each convolution, and normalises in passes of their own.
"""

from keras import layers
from torch.nn import functional

from kit.backends.kernels import Convolution, Native, NativeDepthwise, find_native


def find_replacement(layer: layers.Layer) -> type[Convolution] | None:
    """Replacement of a channels-last Conv2D or DepthwiseConv2D; None for any other layer."""
    native = find_native(layer)
    if native is Native and tuple(layer.kernel_size) == tuple(layer.strides) == (1, 1):
        return PointwiseProduct
    return {Native: InPlace, NativeDepthwise: InPlaceDepthwise, None: None}[native]


class PointwiseProduct(Convolution):
    """1x1 convolution as a matrix product; PyTorch's own does without its fast kernels on one thread."""

    def shifted(self, inputs, kernel, shift):
        return functional.linear(inputs, kernel[0, 0].t(), shift)


class InPlace(Convolution):
    """Convolution of a view of the activations, its shift added by the same kernel."""

    def shifted(self, inputs, kernel, shift):
        stock = self.stock
        # (height, width, c, d) to (d, c, height, width); depthwise (height, width, c, m) to (c * m, 1, height, width)
        sides, channels = kernel.shape[:2], inputs.shape[-1]
        groups = channels if self.is_depthwise else 1
        kernel = kernel.reshape(*sides, channels // groups, -1).permute(3, 2, 0, 1)
        images = inputs.permute(0, 3, 1, 2)
        padding = map(self._padding, images.shape[2:], sides, stock.strides, stock.dilation_rate)
        below, above = zip(*padding, strict=True)
        if below != above:
            images = functional.pad(images, (below[1], above[1], below[0], above[0]))
            below = (0, 0)
        outputs = functional.conv2d(images, kernel, shift, stock.strides, below, stock.dilation_rate, groups)
        return outputs.permute(0, 2, 3, 1)

    def _padding(self, length, side, stride, dilation):
        """Zeros before and after one axis: those of TensorFlow, which `same` means."""
        if self.stock.padding != "same":
            return 0, 0
        total = max((-(-length // stride) - 1) * stride + (side - 1) * dilation + 1 - length, 0)
        return total // 2, total - total // 2


class InPlaceDepthwise(InPlace):
    """The same of a depthwise kernel."""

    is_depthwise = True
