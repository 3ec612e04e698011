"""Records of a run that need the model or the images, for its page.

    thumbnails.py    images a page may show, as small JPEGs
    evidence.py      class activation maps, and heat over an image
    linear_probe.py  linear discriminant analysis of pooled features: out-of-fold predictions, learning curve
    label_issues.py  labels that the probe and the trained model doubt
    image_map.py     two-dimensional map of the scored images
    collect.py       runs them at the end of a run

Here the files, written and read without keras; a missing one reads as empty. `reports` imports nothing else of this:

    insights.json       schema version, the paths of the sampled grid, why something is missing, how many are doubted,
                        how the map was made
    thumbnails.zip      small JPEGs of the images that a page may show
    evidence.json       activation maps of images with a thumbnail: Evidence
    images.csv          path, width, height, bytes, mean_r, mean_g, mean_b
    doubted.csv         path, split, label, predicted, p_label, p_predicted: least plausible label first
    learning_curve.csv  photos (number of images), draw, accuracy
    map.csv             path, x, y: places from 0 to 1
    findings.json       of the audit (kit.data.audit.Finding as a dict)
"""

import base64
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.csv_tables import make_table, read_table, write_table
from kit.errors import StorageError
from kit.files import read_json, storage_errors, write_bytes, write_json

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run


SCHEMA_VERSION = 1
IMAGE_COLUMNS = ("path", "width", "height", "bytes", "mean_r", "mean_g", "mean_b")
DOUBTED_COLUMNS = ("path", "split", "label", "predicted", "p_label", "p_predicted")
CURVE_COLUMNS = ("photos", "draw", "accuracy")
MAP_COLUMNS = ("path", "x", "y")
# Evidence as colours: plasma (https://bids.github.io/colormap/), whose lightness rises evenly; red, green, blue
HEAT = ((13, 8, 135), (126, 3, 168), (204, 71, 120), (248, 149, 64), (240, 249, 33))
HEAT_COVERS = 0.75  # of the image, where evidence is from 1 / HEAT_STEEP of the strongest on
HEAT_STEEP = 2.5
_INDEX = "index.json"


@dataclass(frozen=True)
class Evidence:
    """Activation maps of images, of two classes each: the predicted one, and the label or, of right ones, the next.

    Attributes:
        grid: Height and width of a map.
        images: Path -> class numbers and their maps, a byte a place from the top left on: 0 no evidence, 255 the
            strongest in any of the image's maps.
    """

    grid: tuple[int, int] = (0, 0)
    images: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Insights:
    """Folder `insights` of a run, or the folder of an inspection."""

    folder: Path

    @property
    def summary(self) -> dict[str, Any]:
        """`sample` (paths of the grid, in the order drawn), `missing` (name -> why it is missing), `doubted`, `map`.

        `map` holds the `method` of map.csv; it is empty without one, as in older records. `doubted` holds `total`, the
        number of doubted labels (doubted.csv has a cap), and `judged`, that of all images; it is empty in the records
        of 0.1.
        """
        path = self.folder / "insights.json"
        content = read_json(path) if path.exists() else {}
        return {"sample": [], "missing": {}, "doubted": {}, "map": {}, **content}

    def write_summary(
        self,
        sample: list[str],
        missing: Mapping[str, str],
        doubted: Mapping[str, int] | None = None,
        image_map: Mapping[str, str] | None = None,
    ) -> None:
        content = {"schema_version": SCHEMA_VERSION, "sample": sample, "missing": dict(missing)}
        content["doubted"] = dict(doubted or {})
        content["map"] = dict(image_map or {})
        write_json(self.folder / "insights.json", content)

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Findings of the audit: kind, severity, paths, message."""
        path = self.folder / "findings.json"
        return read_json(path) if path.exists() else []

    def album(self, name: str) -> dict[str, bytes]:
        """JPEGs by image path; raises StorageError if the file is damaged.

        `name`: `thumbnails`; in older runs, of mistakes, `activation-predicted` and `activation-label`.
        """
        return read_album(self.folder / f"{name}.zip")

    def write_album(self, name: str, images: Mapping[str, bytes]) -> None:
        write_album(self.folder / f"{name}.zip", images)

    @property
    def evidence(self) -> Evidence:
        """Activation maps; none in older runs. StorageError if the file is damaged."""
        path = self.folder / "evidence.json"
        if not path.exists():
            return Evidence()
        content = read_json(path)
        try:
            height, width = content["grid"]
            read = {
                image: [(int(number), base64.b64decode(one, validate=True)) for number, one in maps]
                for image, maps in content["images"]
            }
            if any(len(one) != height * width for maps in read.values() for _, one in maps):
                raise ValueError(f"a map is not {height} x {width}")
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{path} is damaged: {error}.", "Delete it: the page is drawn without it.") from None
        return Evidence((height, width), read)

    def write_evidence(self, evidence: Evidence) -> None:
        images = [
            [path, [[number, base64.b64encode(one).decode()] for number, one in maps]]
            for path, maps in evidence.images.items()
        ]
        content = {"schema_version": SCHEMA_VERSION, "grid": list(evidence.grid), "images": images}
        write_json(self.folder / "evidence.json", content)

    @property
    def images(self) -> "pandas.DataFrame":
        """Size in pixels, bytes and mean colour (0-255) of the images used."""
        return self._table("images.csv", IMAGE_COLUMNS)

    @property
    def doubted(self) -> "pandas.DataFrame":
        """Images whose label both models find unlikely, the least plausible first; the probe's probabilities."""
        return self._table("doubted.csv", DOUBTED_COLUMNS)

    @property
    def learning_curve(self) -> "pandas.DataFrame":
        """Validation accuracy of a linear model by number of training images, several draws of each."""
        return self._table("learning_curve.csv", CURVE_COLUMNS)

    @property
    def map(self) -> "pandas.DataFrame":
        """Places of scored images in the map, from 0 to 1; empty in older records."""
        return self._table("map.csv", MAP_COLUMNS)

    def write_table(self, name: str, frame: "pandas.DataFrame") -> None:
        """Write `images`, `doubted`, `learning_curve` or `map`."""
        tables = {"images": IMAGE_COLUMNS, "doubted": DOUBTED_COLUMNS, "learning_curve": CURVE_COLUMNS}
        columns = {**tables, "map": MAP_COLUMNS}[name]
        write_table(self.folder / f"{name}.csv", frame, columns)

    def _table(self, name: str, columns: tuple[str, ...]) -> "pandas.DataFrame":
        path = self.folder / name
        return read_table(path, columns) if path.exists() else make_table({column: [] for column in columns})


def write_album(path: Path, images: Mapping[str, bytes]) -> None:
    """Write JPEGs as one zip, whole or not at all; its bytes depend on the images alone."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:  # stored, not deflated: JPEGs do not shrink
        # JSON keeps any path: bytes that are not UTF-8 (PEP 383), line ends, 255 characters
        archive.writestr(zipfile.ZipInfo(_INDEX), json.dumps(list(images)))
        for number, image in enumerate(images.values()):
            archive.writestr(zipfile.ZipInfo(f"{number:06d}.jpg"), image)
    write_bytes(path, content.getvalue())


def read_album(path: Path) -> dict[str, bytes]:
    """JPEGs by image path; empty where there is no file."""
    if not path.exists():
        return {}
    try:
        with storage_errors(path), zipfile.ZipFile(path) as archive:
            paths = json.loads(archive.read(_INDEX))
            return {image: archive.read(f"{number:06d}.jpg") for number, image in enumerate(paths)}
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise StorageError(f"{path} is damaged: {error}.", "Delete it: the page is drawn without images.") from None
