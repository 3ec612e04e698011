"""Run: the record of a run together with its model at work. What `kit.train` and `kit.load_run` give.

Importing this module imports no backend; the first prediction starts one.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

from kit import backend
from kit.errors import DataError
from kit.predict import Prediction, Predictor, find_images, require_finished
from kit.records import RunFolder

Name = str | os.PathLike[str]


@dataclass(frozen=True)
class Run(RunFolder):
    """A run folder whose model can be asked.

    All that the run recorded is here as well: `config`, `manifest`, `samples`, `history`, `predictions`, `metrics`.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the model's probabilities."""
        return tuple(self.manifest["classes"])

    @cached_property
    def predictor(self) -> Predictor:
        """The model in memory, loaded at the first use.

        Raises:
            StorageError: If the run is not finished.
            BackendError: If no backend is installed.
        """
        require_finished(self)  # before the seconds that a backend takes to start
        backend.start(threads=self.config.threads)
        return Predictor.of(self)

    @overload
    def predict(self, images: Name) -> Prediction: ...  # type: ignore[overload-overlap]  # a str is no list of images

    @overload
    def predict(self, images: Iterable[Name]) -> list[Prediction]: ...

    def predict(self, images: Name | Iterable[Name]) -> Prediction | list[Prediction]:
        """Says what the model sees.

        Args:
            images: One file, or a list of files, folders (searched through) and globs.

        Returns:
            One Prediction for one file. For a list, one for each image found, in order; one that cannot be read says
            why in `problem`.

        Raises:
            DataError: If a name leads nowhere, or the one file given cannot be read.
            StorageError: If the run is not finished.
        """
        if not isinstance(images, str | os.PathLike):
            files = find_images([os.fspath(name) for name in images])
            return list(self.predictor.predict(files))
        if not Path(images).is_file():
            what = "is a folder" if Path(images).is_dir() else "is not a file"
            raise DataError(f"{images} {what}.", f"Folders and globs go in a list: predict([{os.fspath(images)!r}]).")
        (one,) = self.predictor.predict([Path(images)])
        if one.problem:
            raise DataError(f"{one.path} cannot be read: {one.problem}.", "Give a readable image.")
        return one
