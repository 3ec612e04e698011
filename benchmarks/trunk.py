"""How many photos a second pass through the network, forward: the kit, stock Keras, and ONNX Runtime?"""

from typing import Annotated

import common
import typer

from kit.backend import installed_backends
from kit.model.weights import resolve

KERNELS = ("own", "stock")


def trunk(
    weights: common.WeightsOption = "none",
    image_size: Annotated[int, typer.Option(min=32, help="Side of the photos, in pixels.")] = 224,
    alpha: Annotated[float, typer.Option(help="Width of the network.")] = 1.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos in a batch.")] = 32,
    seconds: Annotated[float, typer.Option(help="How long to measure each, a round.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often to time all, in turns.")] = 3,
    onnx: Annotated[bool, typer.Option(help="Time ONNX Runtime as well; needs onnx and onnxruntime.")] = False,
    results: common.Results = common.RESULTS,
) -> None:
    """How many photos a second pass through the network, forward: the kit, stock Keras, and ONNX Runtime?

    Pixels to pooled features, on every installed backend, each measurement in a process of its own, in turns.
    """
    found = resolve(weights, alpha, image_size)
    shared = common.throughput_arguments(found, image_size, alpha, batch_size, seconds)
    things = {
        f"{backend} {kernels}": common.throughput(backend, ["forward", "--kernels", kernels, *shared])
        for backend in installed_backends()
        for kernels in KERNELS
    }
    if onnx:
        # built from the stock layers' weights, on whichever backend is installed
        things["onnxruntime"] = lambda: common.child("onnx_forward.py", shared, quiet=True)
    sides = common.alternate(things, rounds)
    facts = {"image_size": image_size, "alpha": alpha, "batch_size": batch_size, **common.rates(sides)}
    common.show_rates(facts)
    common.record(results, "trunk", sides[next(iter(sides))][0]["environment"], facts)


if __name__ == "__main__":
    common.start(trunk)
