"""Time of each backbone's images, forward and in fine-tuning, beside the default's."""

from typing import Annotated

import common
import typer

from kit.backends.choice import explain_choice
from kit.model.catalog import MOBILENET_V2, RECIPES, image_size


def backbones(
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="This one; may be repeated.")] = None,
    backend: Annotated[str, typer.Option(help="`jax`, `tensorflow`, `torch` or `auto`.")] = "auto",
    batch_size: common.BatchSize = 32,
    seconds: common.Seconds = 3.0,
    rounds: common.Rounds = 1,
    results: common.Results = common.RESULTS,
) -> None:
    """How long does an image take in each backbone: forward, and in fine-tuning by the default depth?

    At the size of image that a backbone was pretrained with, its weights random, each measurement in a process of its
    own, in turns.
    """
    name = explain_choice(backend).name
    for what in ("forward", "train"):
        things = {}
        for one in dict.fromkeys([MOBILENET_V2.name, *(only or RECIPES)]):
            shared = common.throughput_arguments("none", image_size(one), 1.0, batch_size, seconds)
            words = [what, *shared, "--backbone", one]
            things[f"{what}, {one}, {image_size(one)} px"] = lambda words=words: common.child(
                "throughput.py", words, {"KERAS_BACKEND": name}, quiet=True
            )
        common.compare_rates(f"backbones-{what}-{name}", things, rounds, results, batch_size=batch_size)


if __name__ == "__main__":
    common.start(backbones)
