"""Images trained a second from a cut point on: transferkit and stock Keras."""

from typing import Annotated, Any

import common
import typer

DEPTHS = [1, 3, 5, 8, -1]


def fine_tuning(
    weights: common.WeightsOption = "none",
    depth: Annotated[list[int] | None, typer.Option(help="Unfreeze depth, -1 for all; may be repeated.")] = None,
    image_size: common.ImageSize = 224,
    alpha: common.Alpha = 1.0,
    batch_size: common.BatchSize = 32,
    seconds: common.Seconds = 5.0,
    rounds: common.Rounds = 2,
    jit: common.Jit = "auto",
    layers: common.Layers = False,
    results: common.Results = common.RESULTS,
) -> None:
    """How many images a second are trained from a cut point on, by transferkit and by stock Keras?

    Steps of Adam on stored activations (at depth -1 on pixels), on every installed backend, each measurement in a
    process of its own, in turns. The kit makes them as a phase does; stock Keras by `fit`, with its own layers, on
    the same activations.
    """
    shared = common.throughput_arguments(weights, image_size, alpha, batch_size, seconds)
    things: dict[str, Any] = {}
    for one in depth or DEPTHS:
        arguments = ["train", "--depth", str(one), *shared]
        things |= common.throughput(f"{{}}, depth {'all' if one == -1 else one}", arguments, jit, layers)
    told = {"jit": jit, "image_size": image_size, "alpha": alpha, "batch_size": batch_size}
    common.compare_rates("fine_tuning", things, rounds, results, **told)


if __name__ == "__main__":
    common.start(fine_tuning)
