"""Precision and recall of the audit's findings of quality, on images that were blurred, darkened and so on."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import common
import numpy as np
import typer
from PIL import Image, ImageEnhance, ImageFilter

from kit.data import Source
from kit.data.facts import ImageFacts, read_facts
from kit.data.images import read_file, read_image
from kit.data.quality import odd_images
from kit.data.sources import load_samples
from kit.machine import available_threads, package_version

Treatment = Callable[[Image.Image, np.random.Generator], Image.Image]
WHITE = (255, 255, 255)
QUALITY = 88
NOISE = 2.0


def _blurred(share: float) -> Treatment:
    return lambda image, _: image.filter(ImageFilter.GaussianBlur(share * min(image.size)))


def _shaken(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Moved sideways by 5% of the shorter side while it was taken."""
    length = max(2, round(0.05 * min(image.size)))
    pixels = np.asarray(image, np.float32)
    rows = np.pad(pixels, ((0, 0), (length // 2 + 1, length - length // 2), (0, 0)), mode="edge").cumsum(axis=1)
    return _image(((rows[:, length:] - rows[:, :-length]) / length)[:, : image.width])


def _exposed(stops: float) -> Treatment:
    def treat(image: Image.Image, _: np.random.Generator) -> Image.Image:
        light = (np.asarray(image, np.float32) / 255) ** 2.2 * 2.0**stops
        return _image(255 * light.clip(0, 1) ** (1 / 2.2))

    return treat


def _flattened(contrast: float) -> Treatment:
    """Contrast taken away, sensor noise left."""

    def treat(image: Image.Image, random: np.random.Generator) -> Image.Image:
        pixels = np.asarray(image, np.float32)
        mean = pixels.mean(axis=(0, 1))
        return _image(mean + contrast * (pixels - mean) + random.normal(0, NOISE, pixels.shape))

    return treat


def _strip(image: Image.Image, _: np.random.Generator) -> Image.Image:
    width, height = max(image.size), max(1, max(image.size) // 5)
    return image.resize((width, width)).crop((0, 0, width, height))


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


# name -> kind of finding, treatment
TREATMENTS: Mapping[str, tuple[str, Treatment]] = {
    "Gaussian blur, 1% of the shorter side": ("blurred", _blurred(0.01)),
    "Gaussian blur, 2%": ("blurred", _blurred(0.02)),
    "Gaussian blur, 4%": ("blurred", _blurred(0.04)),
    "moved by 5%": ("blurred", _shaken),
    "darkened to a tenth": ("dark", lambda image, _: ImageEnhance.Brightness(image).enhance(0.1)),
    "darkened to a fifth": ("dark", lambda image, _: ImageEnhance.Brightness(image).enhance(0.2)),
    "four stops under": ("dark", _exposed(-4)),
    "veiled to 15%": ("bright", lambda image, _: _image(255 - 0.15 * (255 - np.asarray(image, np.float32)))),
    "four stops over": ("bright", _exposed(4)),
    "nothing but noise": ("low-information", _flattened(0)),
    "4% of the contrast": ("low-information", _flattened(0.04)),
    "grey": ("grey", lambda image, _: image.convert("L").convert("RGB")),
    "a strip, 5 to 1": ("odd-aspect", _strip),
    "a sixth as large": ("odd-size", lambda image, _: image.resize([max(8, side // 6) for side in image.size])),
}


def quality(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Sets of images: whatever train takes.")],
    share: Annotated[float, typer.Option(min=0.001, max=0.5, help="Of each set's images, treated.")] = 0.05,
    results: common.Results = common.RESULTS,
) -> None:
    """How many images of poor quality does the audit find, and how many others does it take for such?

    A share of each set's images is treated, in one way at a time, among all its others. An image counts as found if it
    has the finding that its treatment deserves. What is found in the set as it came counts against precision, though
    some of it deserves to be found.
    """
    facts = {}
    for name in data:
        source = load_samples(name)
        facts[source.name] = _measured(source, share)
    versions = {name: package_version(name) for name in ("transferkit", "pillow", "numpy")}
    common.record(results, "quality", {"versions": versions}, {"share": share, "sets": facts})


def _measured(source: Source, share: float) -> dict[str, dict[str, float | int | None]]:
    random = np.random.default_rng(0)
    found: dict[str, dict[str, float | int | None]] = {}
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
        os.environ["TRANSFERKIT_CACHE"] = str(Path(folder) / "cache")
        plain = _facts([sample.file for sample in source.samples])
        usable = [index for index, fact in enumerate(plain) if not fact.problem]
        before = _by_kind(plain)
        for number, (name, (kind, treat)) in enumerate(TREATMENTS.items()):
            chosen = [usable[k] for k in random.permutation(len(usable))[: max(1, round(share * len(usable)))]]
            files = []
            for index in chosen:
                files.append(Path(folder) / f"{number}-{index}.jpg")
                image = read_image(read_file(source.samples[index].file)).image
                treat(image, random).save(files[-1], quality=QUALITY)
            mixed = list(plain)
            for index, fact in zip(chosen, _facts(files), strict=True):
                mixed[index] = fact
            after, planted = _by_kind(mixed).get(kind, set()), set(chosen)
            found[name] = {
                "treated": len(planted),
                "recall": len(after & planted) / len(planted),
                "precision": len(after & planted) / len(after) if after else None,
                "found_before": len(before.get(kind, ())),
            }
            for file in files:
                file.unlink()
    rows = []
    for name, one in found.items():
        precision = "–" if one["precision"] is None else f"{one['precision']:.2f}"
        rows.append([name, f"{one['recall']:.2f}", precision, one["found_before"]])
    print(f"{len(plain):,} images, {next(iter(found.values()))['treated']} treated")
    common.show(rows, (source.name, "recall", "precision", "found before"))
    print()
    return found


def _facts(files: list[Path]) -> list[ImageFacts]:
    return read_facts(files, WHITE, available_threads())


def _by_kind(facts: list[ImageFacts]) -> dict[str, set[int]]:
    kinds: dict[str, set[int]] = {}
    for kind, index, _ in odd_images(facts):
        kinds.setdefault(kind, set()).add(index)
    return kinds


if __name__ == "__main__":
    common.start(quality)
