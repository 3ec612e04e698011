"""How many photos a second are trained from a cut point on, with the kit's kernels and with stock Keras?"""

from typing import Annotated

import common
import typer

from kit.backend import installed_backends
from kit.model.weights import resolve

DEPTHS = [1, 3, 5, 8, -1]
KERNELS = ("own", "stock")


def fine_tuning(
    weights: common.WeightsOption = "none",
    depth: Annotated[list[int] | None, typer.Option(help="Unfreeze depth, -1 for all; may be repeated.")] = None,
    image_size: Annotated[int, typer.Option(min=32, help="Side of the photos, in pixels.")] = 224,
    alpha: Annotated[float, typer.Option(help="Width of the network.")] = 1.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos in a batch.")] = 32,
    seconds: Annotated[float, typer.Option(help="How long to measure each, a round.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often to time all, in turns.")] = 2,
    results: common.Results = common.RESULTS,
) -> None:
    """How many photos a second are trained from a cut point on, with the kit's kernels and with stock Keras?

    Steps of Adam on stored activations (float16; at depth -1 on pixels), on every installed backend, each measurement
    in a process of its own, in turns.
    """
    found = resolve(weights, alpha, image_size)
    shared = common.throughput_arguments(found, image_size, alpha, batch_size, seconds)
    things = {
        f"{backend} {kernels}, depth {'all' if one == -1 else one}": common.throughput(
            backend, ["train", "--kernels", kernels, "--depth", str(one), *shared]
        )
        for one in depth or DEPTHS
        for backend in installed_backends()
        for kernels in KERNELS
    }
    sides = common.alternate(things, rounds)
    facts = {"image_size": image_size, "alpha": alpha, "batch_size": batch_size, **common.rates(sides)}
    common.show_rates(facts)
    common.record(results, "fine_tuning", sides[next(iter(sides))][0]["environment"], facts)


if __name__ == "__main__":
    common.start(fine_tuning)
