"""Precision and recall of near-duplicate detection, on treated copies and on images of one fixed scene."""

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated

import common
import numpy as np
import typer
from PIL import Image, ImageEnhance

from kit.config import DataConfig
from kit.data import Sample, Source
from kit.data.audit import audit
from kit.data.images import read_file, read_image
from kit.data.sources import load_samples
from kit.machine import package_version

Treatment = Callable[[Image.Image, np.random.Generator], tuple[Image.Image, int]]
SCENE_SIDE = 256
DEFECT = 16
NOISE = 4.0
CLASSES = 3
Found = dict[str, float | int]


def _resized(share: float, quality: int) -> Treatment:
    def treat(image: Image.Image, _: np.random.Generator) -> tuple[Image.Image, int]:
        size = (max(8, round(image.width * share)), max(8, round(image.height * share)))
        return image.resize(size, Image.Resampling.LANCZOS), quality

    return treat


def _cropped(image: Image.Image, random: np.random.Generator) -> tuple[Image.Image, int]:
    across, down = max(1, round(image.width * 0.05)), max(1, round(image.height * 0.05))
    left, top = int(random.integers(across + 1)), int(random.integers(down + 1))
    return image.crop((left, top, image.width - across + left, image.height - down + top)), 90


def _cropped_in_the_middle(image: Image.Image, _: np.random.Generator) -> tuple[Image.Image, int]:
    box = (image.width * 0.025, image.height * 0.025, image.width * 0.975, image.height * 0.975)
    return image.crop(tuple(map(round, box))), 90  # type: ignore[arg-type]


TREATMENTS: Mapping[str, Treatment] = {
    "half as large": _resized(0.5, 75),
    "three quarters, quality 60": _resized(0.75, 60),
    "quality 30": lambda image, _: (image, 30),
    "brighter by a fifth": lambda image, _: (ImageEnhance.Brightness(image).enhance(1.2), 90),
    "darker by a fifth": lambda image, _: (ImageEnhance.Brightness(image).enhance(0.8), 90),
    "5% of each side cropped, in the middle": _cropped_in_the_middle,
    "5% of each side cropped, anywhere": _cropped,
}


def duplicates(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Sets of images: whatever train takes.")],
    images: Annotated[int, typer.Option(min=10, help="Images of each set that get copies.")] = 100,
    scenes: Annotated[int, typer.Option(min=1, help="Fixed scenes of each set.")] = 3,
    frames: Annotated[int, typer.Option(min=12, help="Different images of each scene.")] = 120,
    bits: Annotated[int, typer.Option(min=0, max=16, help="data.near_duplicate_bits.")] = 8,
    results: common.Results = common.RESULTS,
) -> None:
    """How many copies of an image does the audit find, and what does it take for a copy that is none?

    Copies are made of real images, one at a time of each kind, among all other images of their set. Pairs that the set
    itself holds are left aside. The scenes are real images as a fixed camera would take them again and again: new
    sensor noise, light that changes by a tenth, and in each image something small (a sixteenth of the side, cut out of
    another image) at another place, which is its class; a tenth of them have copies of each kind as well.
    """
    facts: dict[str, dict[str, Found]] = {}
    for name in data:
        source = load_samples(name)
        facts[source.name] = _measured(source, images, scenes, frames, bits)
    versions = {name: package_version(name) for name in ("transferkit", "pillow", "numpy")}
    common.record(results, "duplicates", {"versions": versions}, {"sets": facts})


def _measured(source: Source, images: int, scenes: int, frames: int, bits: int) -> dict[str, Found]:
    random = np.random.default_rng(0)
    found: dict[str, Found] = {}
    config = DataConfig(near_duplicate_bits=bits)
    known = _pairs(source.samples, config)
    readable = [sample for sample in source.samples if sample.file.stat().st_size]
    chosen = [readable[k] for k in random.permutation(len(readable))[:images]]
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
        os.environ["TRANSFERKIT_CACHE"] = str(Path(folder) / "cache")
        for number, (name, treat) in enumerate(TREATMENTS.items()):
            home = Path(folder) / f"copies{number}"
            copies = [_copy(sample, treat, home, random) for sample in chosen]
            true = {frozenset((sample.path, copy.path)) for sample, copy in zip(chosen, copies, strict=True)}
            joined = _pairs((*source.samples, *copies), config)
            of = {copy.path: sample.path for sample, copy in zip(chosen, copies, strict=True)}
            # a copy may be joined with what its original is a copy of
            fair = {pair for pair in joined if frozenset(of.get(path, path) for path in pair) in known}
            found[name] = _figures(true, joined - fair - known)
        every: set[frozenset[str]] = set()
        joined, splits = set(), 0
        for number in range(scenes):
            home = Path(folder) / f"scene{number}"
            samples, true = _scene(readable, frames, home, random)
            every |= true
            joined |= (pairs := _pairs(samples, config))
            splits = max(splits, _largest(pairs))
            shutil.rmtree(home)
        found["copies within a fixed scene"] = _figures(every, joined) | {"largest_group": splits}
    rows = [[name, f"{one['recall']:.2f}", f"{one['precision']:.2f}", one["wrong"]] for name, one in found.items()]
    common.show(rows, (source.name, "recall", "precision", "wrong pairs"))
    print(f"largest group of a scene's {frames} images and their copies: {splits}\n")
    return found


def _load(file: Path) -> Image.Image:
    return read_image(read_file(file)).image


def _copy(sample: Sample, treat: Treatment, home: Path, random: np.random.Generator) -> Sample:
    image, quality = treat(_load(sample.file), random)
    path = f"{home.name}/{sample.path}.jpg"
    file = home / f"{sample.path}.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, quality=quality)
    return Sample(path, file, sample.label)


def _scene(
    samples: list[Sample], frames: int, home: Path, random: np.random.Generator
) -> tuple[tuple[Sample, ...], set[frozenset[str]]]:
    """Images of one fixed scene with the pairs that are copies."""
    place, *others = (samples[k] for k in random.permutation(len(samples))[: 1 + min(20, len(samples) - 1)])
    scene = np.asarray(_load(place.file).resize((SCENE_SIDE, SCENE_SIDE)), np.float64)
    things = [np.asarray(_load(other.file).resize((DEFECT, DEFECT)), np.float64) for other in others]
    taken, true = [], set()
    for number in range(frames):
        label = f"class{number % CLASSES}"
        pixels = scene * random.uniform(0.9, 1.1)
        for _ in range(number % CLASSES):
            left, top = random.integers(0, SCENE_SIDE - DEFECT, 2)
            pixels[top : top + DEFECT, left : left + DEFECT] = things[random.integers(len(things))]
        pixels += random.normal(0, NOISE, pixels.shape)
        file = home / label / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
        frame = Sample(f"{home.name}/{label}/{file.name}", file, label)
        same = [frame]
        if number % 10 == 0:
            for kind, treat in enumerate(TREATMENTS.values()):
                if "crop" not in list(TREATMENTS)[kind]:
                    same.append(_copy(frame, treat, home / f"copies{kind}", random))
        taken += same
        true |= {frozenset((one.path, other.path)) for one, other in combinations(same, 2)}
    return tuple(taken), true


def _pairs(samples: tuple[Sample, ...], config: DataConfig) -> set[frozenset[str]]:
    groups = defaultdict(list)
    for sample, group in zip(samples, audit(Source("set", "folder", Path(), samples), config).groups, strict=True):
        groups[group].append(sample.path)
    return {frozenset(pair) for members in groups.values() for pair in combinations(members, 2)}


def _largest(pairs: set[frozenset[str]]) -> int:
    partners: dict[str, int] = defaultdict(int)
    for pair in pairs:
        for path in pair:
            partners[path] += 1
    return 1 + max(partners.values(), default=0)


def _figures(true: set[frozenset[str]], joined: set[frozenset[str]]) -> Found:
    right = len(true & joined)
    return {
        "pairs": len(true),
        "recall": right / len(true),
        "precision": right / len(joined) if joined else 1.0,
        "wrong": len(joined) - right,
    }


if __name__ == "__main__":
    common.start(duplicates)
