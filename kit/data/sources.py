"""List the samples of a data source without opening an image; `kit.data.audit` reports files that are none."""

import os
from dataclasses import replace
from pathlib import Path

from kit.data import Source, archives, folders, require_there, tables
from kit.data.corrections import correct
from kit.data.download import fetch
from kit.data.given import root_of
from kit.data.labels import without_images
from kit.data.listing import looks_like_image
from kit.data.synsets import with_names
from kit.errors import DataError
from kit.machine import cache_folder

# TF flowers: 3,670 images of five species, the data set named `flowers`.
FLOWERS = "https://download.tensorflow.org/example_images/flower_photos.tgz"
FLOWERS_SIZE = 228_813_984
FLOWERS_SHA256 = "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c"
_LAYOUT_HINT = "Name one folder a class (roses/, tulips/, ...), train/ and val/ holding those, a table or an archive."


def load_samples(path: str, columns: str = "", *, corrections: str = "", fewest_classes: int = 2) -> Source:
    """List the samples of a folder, split folders, a table, an archive, or `flowers`.

    Args:
        columns: Which column of a table is what: `path=img,label=breed`.
        corrections: File of corrections to apply (kit.data.corrections); empty for none.

    Raises:
        DataError: If nothing is there, it is no source, it holds fewer than `fewest_classes` classes, or the
            corrections do not fit it.
    """
    source = with_names(_list(path, columns, fewest_classes))
    if not corrections:
        return source
    return _checked(correct(source, Path(corrections).expanduser()), f"{path}, corrected,", fewest_classes)


def _list(path: str, columns: str, fewest_classes: int) -> Source:
    place = require_there(path)
    if path == "flowers" and not place.exists():
        return _checked(folders.read_folder(_download_flowers(), "flowers"), path, fewest_classes)
    try:
        return _read(place, path, columns, fewest_classes)
    except OSError as error:
        raise DataError(
            f"{place} cannot be read: {error.strerror or error}.", "Check the path and its permissions."
        ) from error


def _read(place: Path, path: str, columns: str, fewest_classes: int) -> Source:
    if place.is_dir():
        return _read_folder(place, place.name or "data", path, columns, fewest_classes)
    if not place.exists():
        raise DataError(f"There is no {place}.", "Check the path; the name `flowers` downloads an example.")
    if place.name.lower().endswith(tables.SUFFIXES):
        return _checked(tables.read_table(place, columns, root_of(place)), path, fewest_classes)
    if suffix := archives.suffix_of(place):
        inside = folders.step_in(archives.extract(place))
        unpacked = _read_folder(inside, place.name[: -len(suffix)], path, columns, fewest_classes)
        return replace(unpacked, kind="archive")
    raise DataError(
        f"{place} is a file, and neither a table ({', '.join(tables.SUFFIXES)}) nor an archive "
        f"({', '.join(archives.SUFFIXES)}).",
        "Name the folder that holds one folder a class.",
    )


def _read_folder(root: Path, name: str, path: str, columns: str, fewest_classes: int) -> Source:
    """Samples of class folders, or else of the one table that lies there, or in each split folder."""
    found, refusal = None, None
    try:
        found = _checked(folders.read_folder(root, name), path, fewest_classes)
        if len(found.classes) >= fewest_classes and not without_images(found):
            return found
    except DataError as error:
        refusal = error
    if table := tables.find_table(root, columns) or _read_split_tables(root, columns):
        return replace(_checked(table, path, fewest_classes), name=name)
    if refusal is None:
        assert found is not None
        return found
    unread = [file for file in root.iterdir() if file.name.lower().endswith(tables.SUFFIXES)]
    also = f" Or name the table: {unread[0]}." if len(unread) == 1 else ""
    raise DataError(refusal.what, refusal.hint + also)


def _read_split_tables(root: Path, columns: str) -> Source | None:
    """Samples of `train/_classes.csv`, `valid/_classes.csv`, ...; None unless each split folder has one table."""
    splits = folders.split_folders(root)
    found = [(table, split) for folder, split in splits.items() if (table := tables.find_table(folder, columns))]
    if not found or len(found) < len(splits):
        return None
    samples = [
        replace(sample, path=Path(os.path.relpath(sample.file, root)).as_posix(), split=split)
        for table, split in found
        for sample in table.samples
    ]
    tree = [f"{table.root.name}/ = {split}: {line}" for table, split in found for line in table.tree]
    warnings = [warning for table, _ in found for warning in table.warnings]
    ordered = tuple(sorted(samples, key=lambda sample: sample.path))
    return Source(root.name, "table", root, ordered, tuple(tree), tuple(warnings))


def _checked(source: Source, path: str, fewest_classes: int) -> Source:
    if not any(looks_like_image(sample.file) for sample in source.samples):
        what = f": none of its {len(source.samples):,} files is one" if source.samples else ""
        raise DataError(f"{path} holds no images{what}.", _LAYOUT_HINT)
    if len(source.classes) < fewest_classes:
        raise DataError(
            f"{path} holds one class only ({source.classes[0]!r}); a classifier needs at least two.",
            "Name the folder above it, or the folder inside it that holds one folder a class.",
        )
    return source


def _download_flowers() -> Path:
    """Download and unpack the class folders into the cache; raises DownloadError."""
    archive = cache_folder() / "downloads" / "flower_photos.tgz"
    fetched = fetch(FLOWERS, archive, size=FLOWERS_SIZE, sha256=FLOWERS_SHA256, label="TF flowers")
    return folders.step_in(archives.extract(fetched))
