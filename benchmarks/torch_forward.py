"""Plain PyTorch on the network of the other measurements; a child of `trunk.py`."""

from pathlib import Path
from typing import Annotated, Any

import common
import numpy as np
import typer

from kit import backends
from kit.files import write_json


def torch_forward(
    weights: Annotated[str, typer.Option(help="A weights file, or `none`.")] = "none",
    image_size: Annotated[int, typer.Option(min=32)] = 224,
    alpha: Annotated[float, typer.Option()] = 1.0,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    seconds: Annotated[float, typer.Option(help="How long to measure.")] = 5.0,
    facts: Annotated[Path, typer.Option(help="Where to write what was measured, as JSON.")] = Path("facts.json"),
) -> None:
    """How many images a second plain PyTorch takes through MobileNetV2, from scaled pixels to pooled features.

    As torchvision has it: modules in their order, normalisation in inference mode, ReLU6 in place, memory format
    channels_last, `torch.inference_mode`. The facts: those of common.rate_facts, and difference: the greatest between
    its features and Keras's; environment.
    """
    backends.start("torch")
    import torch

    from kit.model.backbones import mobilenet_v2
    from kit.model.graph import multiply_adds
    from kit.model.weights import load_into, resolve

    backbone = mobilenet_v2(image_size, alpha)
    load_into(backbone.model, resolve(weights, alpha, image_size))
    forward = _network(backbone.model)
    images = np.random.default_rng(0).uniform(-1, 1, (batch_size, image_size, image_size, 3)).astype(np.float32)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)  # channels_last
    with torch.inference_mode():
        found = common.measure(lambda: forward(pixels), seconds)
        expected = backbone.model(images[:4], training=False).mean(dim=(1, 2))
        difference = float((forward(pixels)[:4] - expected).abs().max())
        sides = [torch.from_numpy(np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32))] * 2
        product = min(common.timed(lambda: sides[0] @ sides[1]) for _ in range(20))
    if difference > 1e-3:
        raise RuntimeError(f"the network was built wrongly: its features differ by {difference}")
    rate = common.rate_facts(found, batch_size, multiply_adds(backbone.model), 2 * 1024**3 / product, passes=1)
    write_json(facts, {**rate, "difference": difference, "environment": backends.describe()})


def _network(model: Any) -> Any:
    """Keras MobileNetV2 as modules of PyTorch: (n, 3, S, S) to (n, features)."""
    import keras
    import torch
    from torch import nn

    def value(weight: Any) -> Any:
        return keras.ops.convert_to_tensor(weight).detach().clone()

    def module(layer: Any) -> Any:
        if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.Conv2D):
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            # Keras (h, w, in, out), depthwise (h, w, out, 1); PyTorch (out, in, h, w), depthwise (out, 1, h, w)
            kernel = value(layer.kernel).permute((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
            groups = kernel.shape[0] if depthwise else 1
            padding = layer.kernel_size[0] // 2 if layer.padding == "same" and layer.strides == (1, 1) else 0
            one = nn.Conv2d(
                kernel.shape[1] * groups, kernel.shape[0], layer.kernel_size, layer.strides, padding, groups=groups,
                bias=False,
            )  # fmt: skip
            one.weight = nn.Parameter(kernel)
            if layer.padding == "same" and layer.strides != (1, 1):  # Keras pads the end alone
                one = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), one)
            return one
        if isinstance(layer, keras.layers.BatchNormalization):
            one = nn.BatchNorm2d(layer.gamma.shape[0], layer.epsilon)
            one.weight, one.bias = nn.Parameter(value(layer.gamma)), nn.Parameter(value(layer.beta))
            one.running_mean, one.running_var = value(layer.moving_mean), value(layer.moving_variance)
            return one
        if isinstance(layer, keras.layers.ReLU):
            return nn.ReLU6(inplace=True)
        if isinstance(layer, keras.layers.ZeroPadding2D):
            (top, bottom), (left, right) = layer.padding
            return nn.ZeroPad2d((left, right, top, bottom))
        raise NotImplementedError(type(layer).__name__)

    steps = []
    for layer in model.layers[1:]:
        reads = [tensor._keras_history.operation.name for tensor in keras.tree.flatten(layer.input)]
        run = torch.add if isinstance(layer, keras.layers.Add) else module(layer)
        if isinstance(run, nn.Module):
            run = run.eval().to(memory_format=torch.channels_last)
        steps.append((layer.name, run, reads))

    def forward(pixels: Any) -> Any:
        outputs = {model.layers[0].name: pixels}
        for name, run, reads in steps:
            outputs[name] = run(*(outputs[one] for one in reads))
        return outputs[name].mean(dim=(2, 3))

    return forward


if __name__ == "__main__":
    common.start(torch_forward)
