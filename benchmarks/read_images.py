"""Read a folder of class folders twice, by transferkit or by Keras; a child of `data.py`."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import common
import typer

from kit import backends
from kit.config import DataConfig, RunConfig, ViewsConfig
from kit.files import sha256_file, write_json

BATCH = 32


def read_images(
    side: Annotated[str, typer.Argument(help="`kit` or `image_dataset_from_directory`.")],
    folder: Annotated[Path, typer.Argument(help="Class folders.")],
    image_size: Annotated[int, typer.Option(min=32)] = 224,
    facts: Annotated[Path, typer.Option(help="Where to write what was measured, as JSON.")] = Path("facts.json"),
) -> None:
    """How long two passes over all pixels of a folder take.

    The facts: images (read in a pass), first_pass_seconds, second_pass_seconds, environment.
    """
    backends.start()
    passes = (_kit if side == "kit" else _keras)(folder, image_size)
    found = [(seconds, images) for images, seconds in passes]
    (first, images), (second, again) = found
    if images != again:
        raise RuntimeError("the passes did not read the same images")
    times = {"first_pass_seconds": first, "second_pass_seconds": second}
    write_json(facts, {"photos": images, **times, "environment": backends.describe()})


def _kit(folder: Path, size: int) -> list[tuple[int, float]]:
    """Decode into an empty cache, then read it; the first pass includes hashing the files."""
    from kit.data.pixels import cached_pixels

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    config = RunConfig(data=DataConfig(image_size=size), views=ViewsConfig(count=1))
    read = []

    def one_pass() -> None:
        if not read:
            read.append([sha256_file(file) for file in files])
        (pixels,) = cached_pixels(files, read[0], [0], config)
        total = sum(len(pixels[start : start + BATCH]) for start in range(0, len(files), BATCH))
        read.append(total)

    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as cache:
        os.environ["TRANSFERKIT_CACHE"] = cache
        times = [common.timed(one_pass) for _ in range(2)]
    return [(read[1], times[0]), (read[2], times[1])]


def _keras(folder: Path, size: int) -> list[tuple[int, float]]:
    """image_dataset_from_directory with prefetch, as in Keras's guides."""
    import keras
    import tensorflow as tf

    dataset: Any = keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=BATCH, shuffle=False, verbose=False
    ).prefetch(tf.data.AUTOTUNE)
    counted: list[int] = []

    def one_pass() -> None:
        counted.append(sum(int(images.shape[0]) for images, _ in dataset))

    times = [common.timed(one_pass) for _ in range(2)]
    return list(zip(counted, times, strict=True))


if __name__ == "__main__":
    common.start(read_images)
