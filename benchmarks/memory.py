"""Memory of a run by number of images."""

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import common
import numpy as np
import typer

from kit.backends.choice import explain_choice
from kit.config import RunConfig
from kit.errors import UserError

CLASSES = 4
EVERY = 0.01  # seconds between two samples
MIB = 2**20


def memory(
    small: Annotated[int, typer.Option(min=40, help="Images of the small run.")] = 1_000,
    large: Annotated[int, typer.Option(min=40, help="Images of the large run.")] = 10_000,
    size: Annotated[int, typer.Option(min=32, help="Side of the images, in pixels.")] = 128,
    backend: Annotated[str, typer.Option(help="`jax`, `tensorflow`, `torch` or `auto`.")] = "auto",
    sets: common.Sets = None,
    results: common.Results = common.RESULTS,
) -> None:
    """Does a run need more memory for more images?

    Trains a small network (alpha 0.35, random weights, 1 + 1 epochs) on generated images, few and many, each in a
    process of its own with an empty cache, and watches its anonymous memory (RssAnon of /proc, Linux only): what
    cannot be written back to a file. Memory-mapped stores do not count, as the system takes them back when it needs to.
    Compiling makes the peak of a small run, which could hide growth below it: the median shows that.
    """
    if not Path("/proc/self/status").exists():
        raise UserError("This benchmark reads RssAnon in /proc, which only Linux has.")
    flags = {
        "data.image_size": size,
        "backend": explain_choice(backend).name,
        "model.alpha": 0.35,
        "model.weights": "none",
        "phases.0.epochs": 1,
        "phases.1.epochs": 1,
    }
    runs = []
    for count in (small, large):
        with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as name:
            images = make_images(Path(name) / "photos", count, size)
            config = common.load_recipe(str(common.NOTEBOOK), sets, flags | {"data.path": str(images)})
            runs.append(_measure(config, Path(name) / "cache", count))
    facts = {"runs": runs, **growth(runs)}
    _show(facts)
    common.record(results, f"memory-{config.backend}", runs[0]["environment"], facts)


def growth(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Memory of the second run above the first's, in bytes, and the size of its additional pixels."""
    small, large = runs
    more = large["photos"] - small["photos"]
    return {
        "peak_growth_bytes": large["peak_bytes"] - small["peak_bytes"],
        "median_growth_bytes": large["median_bytes"] - small["median_bytes"],
        "more_images": more,
        "their_pixels_bytes": more * large["pixel_bytes_an_image"],
    }


def make_images(folder: Path, count: int, size: int) -> Path:
    """Write `count` JPEGs of soft random patches, size x size, into four class folders; returns `folder`."""
    from PIL import Image

    for label in range(CLASSES):
        (folder / f"class-{label}").mkdir(parents=True)
    for number in range(count):
        label, random = number % CLASSES, np.random.default_rng(number)
        patches = random.integers(0, 256, (9, 11, 3)) // (1, 1 + label // 2, 1 + label % 2)
        image = Image.fromarray(patches.astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
        image.save(folder / f"class-{label}" / f"{number:07d}.jpg", quality=85)
    return folder


def _measure(config: RunConfig, cache: Path, count: int) -> dict[str, Any]:
    samples: list[int] = []

    def watch(process: "subprocess.Popen[bytes]") -> None:
        while process.poll() is None:
            samples.extend(_anonymous(process.pid))
            time.sleep(EVERY)

    facts = common.train_in_child(config, environ={"TRANSFERKIT_CACHE": str(cache)}, watch=watch)
    return {
        "photos": count,
        "peak_bytes": max(samples),
        "median_bytes": int(median(samples)),
        "pixel_bytes_an_image": 3 * config.data.image_size**2,
        "seconds": facts["seconds"],
        "environment": facts["environment"],
    }


def _anonymous(pid: int) -> list[int]:
    """RssAnon of a process in bytes, in a list; empty where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    return [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")]


def _show(facts: Mapping[str, Any]) -> None:
    rows: list[list[object]] = []
    for run in facts["runs"]:
        sizes = (run["peak_bytes"], run["median_bytes"], run["photos"] * run["pixel_bytes_an_image"])
        rows.append([f"{run['photos']:,} images", *(f"{size / MIB:,.1f}" for size in sizes), f"{run['seconds']:.1f}"])
    keys = ("peak_growth_bytes", "median_growth_bytes", "their_pixels_bytes")
    rows.append(["difference", *(f"{facts[key] / MIB:+,.1f}" for key in keys), None])
    common.show(rows, ("anonymous MiB", "peak", "median", "(pixels alone)", "seconds"))
    print(
        f"\n{facts['more_images']:,} further images: {facts['peak_growth_bytes'] / MIB:+,.1f} MiB at the peak, "
        f"{facts['median_growth_bytes'] / MIB:+,.1f} MiB in the median; "
        f"their pixels alone would be {facts['their_pixels_bytes'] / MIB:,.1f} MiB."
    )


if __name__ == "__main__":
    common.start(memory)
