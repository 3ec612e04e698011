"""Samples of class folders, alone or inside split folders, and the tree that was understood, in words."""

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from kit.data import SPLITS, Sample, Source
from kit.data.listing import Tree, identify, looks_like_image
from kit.errors import DataError
from kit.progress import printable

# Words of folder names -> split; `eval` is test where another folder is validation already.
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trainset", "traindata"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "valset", "dev", "devel", "eval"), "validation"),
    **dict.fromkeys(("evaluation", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "testset", "testdata", "holdout"), "test"),
}
_UNLABELLED_WORDS = frozenset(
    {"pred", "predict", "prediction", "predictions", "inference", "submission", "unlabeled", "unlabelled"}
)
# Words of folders in a split that say nothing of a class.
_NO_CLASS = frozenset(
    {"all", "data", "image", "images", "img", "imgs", "jpeg", "jpg", "photos", "pictures", "pics", "png", "unknown"}
)
_NAMED = 6  # classes named in a line of the tree


def read_folder(root: Path, name: str) -> Source:
    """List the samples of class folders: `roses/`, `tulips/`, or split folders (`train/`, `Testing/`) holding those."""
    root = Path(os.path.abspath(root))
    reader = _Reader(root, name, Tree())
    if kind := reader.tree.look(root).record:
        raise DataError(f"{root} is what transferkit recorded of a {kind}, no images.", "Name the folder of images.")
    top = reader.step_in(root)
    splits = _find_splits(reader.tree, top)
    if splits is None:
        return reader.source("folder", reader.read_classes(top, None))
    return reader.source("splits", reader.read_splits(top, splits))


def step_in(folder: Path) -> Path:
    """Step into the single folder that wraps all others, as in most archives."""
    return _Reader(folder, folder.name, Tree()).step_in(folder)


def meaning(name: str) -> str | None:
    """Split that a folder's name means (`Training`, `seg_train`, `02-valid`), or None."""
    found = {_SPLIT_WORDS[word] for word in _words(name) if word in _SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _is_exact(name: str) -> bool:
    """Whether a name is a word for a split and nothing else; `train_station` is not."""
    return name.strip().lower() in _SPLIT_WORDS


def split_folders(root: Path) -> dict[Path, str]:
    """Split folders in a folder, or in the one that it wraps, and their splits; empty if its folders are none."""
    return _find_splits(Tree(), step_in(root)) or {}


def _find_splits(tree: Tree, top: Path) -> dict[Path, str] | None:
    """Split folders and their splits, or None where the folders are classes.

    They are splits if all of them are named so (those for predictions aside), or if two named exactly so hold folders:
    beside `bus` and `tram`, a `train` of images is a class.
    """
    folders = tree.folders(top)
    means = {folder: split for folder in folders if (split := meaning(folder.name))}
    others = [folder for folder in folders if folder not in means and not _UNLABELLED_WORDS & {*_words(folder.name)}]
    if others:
        means = {folder: split for folder, split in means.items() if _is_exact(folder.name)}
        if not any(tree.folders(folder) for folder in means):
            return None
    if "train" not in means.values() or len(set(means.values())) == 1:
        return None
    named = {folder for folder in means if not {"eval", "evaluation"} & {*_words(folder.name)}}
    if "validation" in {means[folder] for folder in named}:
        means |= dict.fromkeys(means.keys() - named, "test")
    return means


@dataclass
class _Reader:
    """What is found below a root, and what is said about it."""

    root: Path
    name: str
    tree: Tree
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    empty: set[str] = field(default_factory=set)

    def source(self, kind: str, samples: list[Sample]) -> Source:
        if (empty := self.empty - {sample.label for sample in samples}) and samples:
            raise DataError(
                f"{self.root} has class folders without a single file: {', '.join(sorted(empty)[:5])}.",
                "Put images into them, or remove them.",
            )
        ordered = tuple(sorted(samples, key=lambda sample: sample.path))
        return Source(self.name, kind, self.root, ordered, tuple(self.lines), tuple(self.warnings))

    def step_in(self, folder: Path, known: frozenset[str] = frozenset()) -> Path:
        """The folder itself, or the only one in it that has folders; not one named like a `known` class."""
        while True:
            folders = self.tree.folders(folder)
            if len(folders) != 1 or _label(folders[0]) in known or not self.tree.folders(folders[0]):
                return folder
            self._report_loose(folder)
            folder = folders[0]

    def read_splits(self, top: Path, splits: dict[Path, str]) -> list[Sample]:
        self.lines.append(f"{self._shown(top)}: split folders")
        for folder in self.tree.folders(top):
            if folder not in splits:
                self._leave_out(folder)
        samples: list[Sample] = []
        known: frozenset[str] = frozenset()  # classes that train has: it is read first
        for folder, split in sorted(splits.items(), key=lambda item: SPLITS.index(item[1])):
            inside = self.step_in(folder, known)
            if split != "train" and self._is_unlabelled(inside, known):
                self._leave_unlabelled(folder, split)
                continue
            samples += self.read_classes(inside, split)
            if split == "train":
                known = frozenset(sample.label for sample in samples)
        return samples

    def read_classes(self, parent: Path, split: str | None) -> list[Sample]:
        """Samples of the class folders in `parent`; adds a level to the tree."""
        self._report_loose(parent)
        counts: Counter[str] = Counter()
        nested: list[str] = []
        samples: list[Sample] = []
        given = split is None and self._holds_splits(parent)
        below = len(os.path.join(self.root, ""))  # slicing, for pathlib takes seconds for 100,000 files
        for folder in self.tree.look(parent).folders:
            if self.tree.is_own(folder):
                self.warnings.append(f"{self._shown(folder)} is transferkit's own record and left out.")
                continue
            label = _label(folder)
            # A link back to a parent would give every image of every class this label.
            files = list(self.tree.files(folder, {identify(self.root), identify(parent)}))
            if not files:
                self.empty.add(label)
            counts[label] += len(files)
            depth = len(folder.parts)
            for file in files:
                part = meaning(file.parts[depth]) if given else split
                samples.append(Sample(str(file)[below:].replace(os.sep, "/"), file, label, part))
            if inner := self.tree.folders(folder):
                more = ", ..." if len(inner) > 3 else ""
                nested.append(f"{folder.name}/ ({', '.join(one.name for one in inner[:3])}{more})")
        self._describe(parent, split, counts)
        if given:
            self.lines.append("    folders inside are splits")
        elif nested:
            self._doubt_nested(parent, nested)
        return samples

    def _holds_splits(self, parent: Path) -> bool:
        """Whether every class folder holds split folders, train among them, and nothing else."""
        folders = self.tree.folders(parent)
        for folder in folders:
            inner = [one.name for one in self.tree.folders(folder)]
            splits = {meaning(name) for name in inner}
            if self.tree.look(folder).files or not all(map(_is_exact, inner)) or not {"train"} < splits:
                return False
        return bool(folders)

    def _doubt_nested(self, parent: Path, nested: list[str]) -> None:
        """Say where the folders inside belong, and warn where they rather look like the classes."""
        more = f", and {len(nested) - 3} more" if len(nested) > 3 else ""
        self.lines.append(printable(f"    folders inside belong to their class: {', '.join(nested[:3])}{more}"))
        folders = self.tree.folders(parent)
        inner = {tuple(_label(one) for one in self.tree.folders(folder)) for folder in folders}
        if len(folders) > 1 and len(inner) == 1 and not any(self.tree.look(folder).files for folder in folders):
            names = inner.pop()
            self.warnings.append(
                f"All class folders of {parent} hold the same folders ({', '.join(names[:5])}). If those are the "
                "classes, name the upper folders train, val and test, or name one of them instead."
            )

    def _describe(self, parent: Path, split: str | None, counts: Counter[str]) -> None:
        place = self._shown(parent) if split is None else f"  {self._shown(parent)} = {split}"
        named = ", ".join(f"{label} {count:,}" for label, count in list(counts.items())[:_NAMED])
        more = f", and {len(counts) - _NAMED} more" if len(counts) > _NAMED else ""
        sizes = f"{_count(len(counts), 'class folder')}, {_count(counts.total(), 'file')}: {named}{more}"
        self.lines.append(printable(f"{place}: {sizes if counts else 'nothing'}"))

    def _report_loose(self, parent: Path) -> None:
        listing = self.tree.look(parent)
        loose = [file for file in listing.files if looks_like_image(file)]
        if loose and not self.tree.folders(parent):
            raise DataError(
                f"{parent} holds images ({loose[0].name}, ...) but no class folders.",
                "Sort the images into one folder a class, or list them in a table with the columns path,label.",
            )
        if loose:
            self.warnings.append(
                f"Left out for want of a label: {_count(len(loose), 'image')} beside the class folders of {parent}."
            )

    def _is_unlabelled(self, folder: Path, known: frozenset[str]) -> bool:
        """Whether a split folder holds files, or one folder of files that is named like no class."""
        folders = self.tree.folders(folder)
        if not folders:
            return bool(self.tree.look(folder).files)
        if len(folders) > 1 or _label(folders[0]) in known:
            return False
        same = folders[0].name.lower() == folder.name.lower()
        return same or set(_words(folders[0].name)) <= _NO_CLASS

    def _leave_unlabelled(self, folder: Path, split: str) -> None:
        count = self._count_images(folder)
        if split == "validation":
            raise DataError(
                f"{folder} holds {_count(count, 'image')} in no class folders: nothing can be validated on them.",
                "Sort them into class folders as in train, list all images in a table with the columns "
                "path,label,split, or move the folder away: a part of train is used then.",
            )
        self._say_predict_later(folder, count)

    def _leave_out(self, folder: Path) -> None:
        """Leave out what is no split: folders without images and unlabelled ones; DataError for any other."""
        count = self._count_images(folder)
        if count and not _UNLABELLED_WORDS & {*_words(folder.name)}:
            raise DataError(
                f"{folder.parent} holds split folders and also {folder.name}, with images.",
                "Move what is no split elsewhere, so that it is clear what is a class.",
            )
        if count:
            self._say_predict_later(folder, count)
        else:
            self.warnings.append(f"{self._shown(folder)} holds no images and is left out.")

    def _say_predict_later(self, folder: Path, count: int) -> None:
        self.lines.append(f"  {self._shown(folder)}: {_count(count, 'image')} without labels, left out")
        self.warnings.append(
            f"{folder} holds {_count(count, 'image')} without labels, left out; predict them later: "
            f"`transferkit predict RUN {folder}`."
        )

    def _count_images(self, folder: Path) -> int:
        return sum(looks_like_image(file) for file in self.tree.files(folder, {identify(self.root)}))

    def _shown(self, folder: Path) -> str:
        """A folder's path from the data's name on, with `/` at its end."""
        return printable("/".join([self.name, *folder.relative_to(self.root).parts, ""]))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _label(folder: Path) -> str:
    return unicodedata.normalize("NFC", folder.name)  # macOS may list `é` as two codepoints, Linux as one
