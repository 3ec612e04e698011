"""Decoding, storing and reading of images: transferkit and image_dataset_from_directory."""

import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import common
import typer

from kit.backends.choice import explain_choice
from kit.data.dataset import load_dataset


def data(
    images: common.Data,
    image_size: Annotated[int, typer.Option(min=32, help="Side of the pixels, in pixels.")] = 224,
    rounds: Annotated[int, typer.Option(min=1, help="How often to time both, in turns.")] = 3,
    sets: common.Sets = None,
    results: common.Results = common.RESULTS,
) -> None:
    """How fast are images decoded, stored and read again, by transferkit and by image_dataset_from_directory?

    The first pass of transferkit decodes and stores the images, further passes read the store; every pass of the other
    decodes again. Each in a process of its own, in turns; transferkit's store is empty at first. TensorFlow must be
    installed for image_dataset_from_directory, whatever the backend. The images have been read once before.
    """
    flags = {"data.path": images, "data.image_size": image_size, "model.weights": "none"}
    config = common.load_recipe("default", sets, flags)
    dataset = load_dataset(config)
    count = len(dataset.keys)
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as name:
        folder = Path(name) / "photos"
        for label in range(len(dataset.classes)):
            (folder / f"{label:04d}").mkdir(parents=True)
        for number, (file, label) in enumerate(zip(dataset.files, dataset.labels, strict=True)):
            (folder / f"{label:04d}" / f"{number:07d}{file.suffix.lower()}").symlink_to(file.absolute())
        environ = {"KERAS_BACKEND": explain_choice(config.backend).name, "KERAS_HOME": str(Path(name) / "keras")}
        arguments = [str(folder), "--image-size", str(image_size)]

        def measure(side: str):
            return lambda: common.child("read_images.py", [side, *arguments], environ, quiet=True)

        sides = common.alternate({side: measure(side) for side in ("kit", "image_dataset_from_directory")}, rounds)
    passes = ("first", "second")
    rates = {
        side: {one: median(count / facts[f"{one}_pass_seconds"] for facts in found) for one in passes}
        for side, found in sides.items()
    }
    if any(facts["photos"] != count for found in sides.values() for facts in found):
        raise RuntimeError("the two sides did not read the same images")
    facts = {"photos": count, "image_size": image_size, "images_per_second": rates, "rounds": sides}
    kit, other = rates.values()
    rows = [[side, *(f"{rate[one]:,.0f}" for one in passes)] for side, rate in rates.items()]
    common.show([*rows, ["ratio", *(f"{kit[one] / other[one]:.1f}" for one in passes)]], ("images/s", *passes))
    common.record(results, "data", sides["kit"][0]["environment"], facts)


if __name__ == "__main__":
    common.start(data)
