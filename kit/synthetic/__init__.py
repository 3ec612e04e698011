"""Drawn images of flowers, deterministic and free to ship; `write_data_set` draws a folder of them, resumably.

Each module imports only modules above it:
    species        parameters of a species; polygons, and flat parts: stems, leaves, blades
    catalogue      daisy, dandelion, roses, sunflowers, tulips, and made-up species
    blossoms       petals, discs and seed heads in space, seen from any angle
    light          lens, light and sensor; `Conditions` sets how hard the images are
    surroundings   what is behind, before and beside a flower
    scene          one image

Each image has a random stream of its own, seeded by (seed, species, index), whatever others are drawn. The same
versions of Pillow and NumPy give the same bytes.
"""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kit.errors import ConfigError, StorageError
from kit.files import make_folder, read_json, storage_errors, write_json
from kit.progress import track
from kit.synthetic.catalogue import REAL, species_name, species_names
from kit.synthetic.light import USUAL
from kit.synthetic.scene import draw_image

__all__ = ["DemoData", "draw_flower", "species_names", "write_data_set"]


DRAWING_VERSION = 1  # raise it whenever the same seed would give another image
RECORD = "demo-data.json"
LOCK = ".demo-data.lock"  # its holder alone draws; other processes wait
SMALLEST, LARGEST = 16, 1024
MOST_CLASSES, MOST_PER_CLASS = 10_000, 1_000_000


@dataclass(frozen=True)
class DemoData:
    """Settings of a drawn data set, recorded in its folder; ConfigError if one is out of range.

    Attributes:
        per_class: Images of each class, from 1.
        classes: The first five are daisy, dandelion, roses, sunflowers and tulips; more are made up. From 2.
        size: Side of the square images in pixels, 16 to 1024.
        seed: Another seed gives other images of the same species; 0 to 2^32 - 1.
        drawing: Version of the drawing.
    """

    per_class: int = 120
    classes: int = len(REAL)
    size: int = 160
    seed: int = 0
    drawing: int = DRAWING_VERSION

    def __post_init__(self) -> None:
        _check("images per class", self.per_class, 1, MOST_PER_CLASS)
        _check("classes", self.classes, 2, MOST_CLASSES)
        _check("size", self.size, SMALLEST, LARGEST)
        _check("seed", self.seed, 0, 2**32 - 1)

    @property
    def images(self) -> int:
        return self.per_class * self.classes

    def extends(self, other: "DemoData") -> bool:
        """Whether all images of `other` belong to this data set."""
        same = (self.size, self.seed, self.drawing) == (other.size, other.seed, other.drawing)
        return same and self.per_class >= other.per_class and self.classes >= other.classes

    def __str__(self) -> str:
        return (
            f"{self.per_class} images of each of {self.classes} classes, "
            f"size {self.size}, seed {self.seed}, drawing {self.drawing}"
        )


def draw_flower(species: str | int, index: int, seed: int = 0, size: int = 160) -> Image.Image:
    """Draw image `index` (from 0) of a species: RGB, size x size, 16 to 1024 pixels.

    `species` is a number or a name (`daisy`, `dandelion`, `roses`, `sunflowers`, `tulips`, `species-0005`, ...).
    Another `seed` gives other images of the same species. Raises ConfigError if there is no such species, or a number
    is out of its range.
    """
    number = _number(species) if isinstance(species, str) else species
    _check("species", number, 0, MOST_CLASSES - 1)
    _check("index", index, 0, MOST_PER_CLASS - 1)
    _check("size", size, SMALLEST, LARGEST)
    _check("seed", seed, 0, 2**32 - 1)
    return draw_image(number, index, seed, size)


def write_data_set(folder: Path, data: DemoData) -> int:
    """Draw `folder/CLASS/00000.jpg` and so on, record the settings; return the number of images drawn.

    A folder that holds the same data set, or a smaller one of the same seed, size and drawing, is completed, also after
    a kill; existing images stay. All files are on the disk once the record says `finished`. Raises StorageError if the
    folder holds anything else or cannot be written.
    """
    from filelock import FileLock

    folder = Path(folder)
    with storage_errors(folder):
        _refuse_other_content(folder, data)
        make_folder(folder)
        with FileLock(folder / LOCK):
            _refuse_other_content(folder, data)  # again: another process may have drawn meanwhile
            _write_record(folder, data, "running")
            drawn = _draw_missing(folder, data)
            if drawn and hasattr(os, "sync"):  # one call instead of two fsyncs for each of thousands of files
                os.sync()
            _write_record(folder, data, "finished")
    return drawn


def _draw_missing(folder: Path, data: DemoData) -> int:
    drawn = 0
    with track("drawing", data.images) as advance:
        for number, name in enumerate(species_names(data.classes)):
            for index, file in _missing(folder / name, data.per_class, advance):
                _write_image(file, image_bytes(number, index, data))
                drawn += 1
                advance(1)
    return drawn


def image_bytes(number: int, index: int, data: DemoData) -> bytes:
    """Draw one image as JPEG bytes."""
    quality = np.random.default_rng([data.seed, number, index, 1]).integers(*USUAL.quality)
    content = io.BytesIO()
    draw_image(number, index, data.seed, data.size).save(content, "JPEG", quality=int(quality))
    return content.getvalue()


def _missing(folder: Path, count: int, advance: Callable[[int], None]) -> Iterator[tuple[int, Path]]:
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".tmp-*"):  # left by a killed process
        left.unlink(missing_ok=True)
    for index in range(count):
        file = folder / f"{index:05d}.jpg"
        if _is_whole(file):
            advance(1)
        else:
            yield index, file


def _is_whole(file: Path) -> bool:
    """Whether a JPEG is complete; after a loss of power a file may exist without its bytes."""
    try:
        with open(file, "rb") as opened:
            opened.seek(-2, os.SEEK_END)
            return opened.read() == b"\xff\xd9"
    except OSError:
        return False


def _write_image(file: Path, content: bytes) -> None:
    temporary = file.with_name(f".tmp-{os.getpid()}.{file.name}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _write_record(folder: Path, data: DemoData, status: str) -> None:
    write_json(folder / RECORD, {"schema_version": 1, "kind": "demo-data", "status": status, **asdict(data)})


def _refuse_other_content(folder: Path, data: DemoData) -> None:
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} cannot be a folder: a file is in its place.", "Name another folder.")
    if not folder.is_dir() or all(entry.name.startswith(".") for entry in folder.iterdir()):
        return
    if not (folder / RECORD).is_file():
        raise StorageError(f"{folder} is not empty and holds no demo data.", "Name a new or an empty folder.")
    record = read_json(folder / RECORD)
    try:
        there = DemoData(**{name: record[name] for name in asdict(data)})
    except (KeyError, TypeError, ConfigError):
        raise StorageError(f"{folder / RECORD} is no record of demo data.", "Name a new or an empty folder.") from None
    if not data.extends(there):
        raise StorageError(
            f"{folder} holds other demo data ({there}) than asked for ({data}).",
            "Name a new folder, or ask for the same data, or for more of it.",
        )


def _number(name: str) -> int:
    """Number of a species by its name."""
    for number, real in enumerate(REAL):
        if real.name == name:
            return number
    digits = name.removeprefix("species-")
    if digits.isdecimal() and len(REAL) <= int(digits) < MOST_CLASSES and species_name(int(digits)) == name:
        return int(digits)
    known = ", ".join(real.name for real in REAL)
    raise ConfigError(f"There is no species {name!r}.", f"Choose {known}, or species-{len(REAL):04d} and so on.")


def _check(name: str, value: int, least: int, most: int) -> None:
    if not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name} must be a whole number from {least} to {most:,}, not {value!r}.")
