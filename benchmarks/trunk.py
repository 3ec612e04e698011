"""Images a second through the network, forward: transferkit, stock Keras, ONNX Runtime and plain PyTorch."""

from typing import Annotated

import common
import typer


def trunk(
    weights: common.WeightsOption = "none",
    image_size: common.ImageSize = 224,
    alpha: common.Alpha = 1.0,
    batch_size: common.BatchSize = 32,
    seconds: common.Seconds = 5.0,
    rounds: common.Rounds = 3,
    jit: common.Jit = "auto",
    layers: common.Layers = False,
    onnx: Annotated[bool, typer.Option(help="Time ONNX Runtime as well; needs onnx and onnxruntime.")] = False,
    plain: Annotated[bool, typer.Option(help="Time plain PyTorch as well, its modules without Keras.")] = False,
    results: common.Results = common.RESULTS,
) -> None:
    """How many images a second pass through the network, forward: transferkit, stock Keras, others?

    Pixels to pooled features, on every installed backend, each measurement in a process of its own, in turns. Stock
    Keras passes them by `predict`.
    """
    shared = common.throughput_arguments(weights, image_size, alpha, batch_size, seconds)
    things = common.throughput("{}", ["forward", *shared], jit, layers)
    if onnx:
        # built from the stock layers' weights, on whichever backend is installed
        things["onnxruntime"] = lambda: common.child("onnx_forward.py", shared, quiet=True)
    if plain:
        things["plain PyTorch"] = lambda: common.child(
            "torch_forward.py", shared, {"KERAS_BACKEND": "torch"}, quiet=True
        )
    told = {"jit": jit, "image_size": image_size, "alpha": alpha, "batch_size": batch_size}
    common.compare_rates("trunk", things, rounds, results, **told)


if __name__ == "__main__":
    common.start(trunk)
