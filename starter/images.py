"""Real and drawn images of the recipe, and strong views of them at both sizes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kit.config import DataConfig, RunConfig, SplitConfig, ViewsConfig
from kit.data.dataset import Dataset, load_dataset
from kit.data.images import load_image, read_file
from kit.data.views import render_views
from kit.machine import available_threads
from kit.synthetic import DemoData, write_data_set
from kit.synthetic.catalogue import REAL

TEACHER_SIZE = 160
STUDENT_SIZE = 128
SEED = 0
# `test` is held out from all but the final score; settings are chosen on `validation`.
SPLIT = SplitConfig(method="hash", seed=SEED, train=0.7, validation=0.1, test=0.2)
VIEWS = ViewsConfig(count=4, flip=True, crop=0.2, rotation=20.0, brightness=0.4, contrast=0.4, colour=0.5)
# Only the made-up species are used: the demo's five species stay unseen, as its images do.
DRAWN = DemoData(per_class=8, classes=len(REAL) + 40, seed=1)
AHEAD = 64  # images to prefetch


@dataclass(frozen=True)
class Rendered:
    """Views of one image, uint8 (views, size, size, 3), 0-255.

    `large` is of the teacher's size, `small` the same views at the student's.
    """

    large: np.ndarray
    small: np.ndarray


def read(path: str, threads: int = 0) -> Dataset:
    """Load the images of a folder of class folders, split by content."""
    return load_dataset(RunConfig(seed=SEED, threads=threads, data=DataConfig(path=path), split=SPLIT))


def draw(folder: Path) -> tuple[Dataset, np.ndarray]:
    """Draw images; returns them and the indices of those used, of made-up species."""
    write_data_set(folder, DRAWN)
    dataset = read(str(folder))
    real = [species.name for species in REAL]
    return dataset, np.flatnonzero(~np.isin(np.array(dataset.classes)[dataset.labels], real))


def render(dataset: Dataset, places: Sequence[int], views: Sequence[int], threads: int = 0) -> Iterator[Rendered]:
    """Render views of the images at `places`, in that order; view 0 is the plain image."""
    small = DataConfig(image_size=STUDENT_SIZE)
    large = replace(small, image_size=TEACHER_SIZE)

    def both(place: int) -> Rendered:
        image, key = load_image(read_file(dataset.files[place]), large), dataset.keys[place]
        return Rendered(*(render_views(image, key, tuple(views), size, VIEWS, SEED) for size in (large, small)))

    with ThreadPoolExecutor(threads or available_threads()) as pool:
        for start in range(0, len(places), AHEAD):
            yield from pool.map(both, places[start : start + AHEAD])
