"""Predictions of a finished run's model, with the preprocessing of its training.

Importing this module imports no backend; start one first.
"""

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit import progress
from kit.config import DataConfig
from kit.data.images import ImageProblem, decode
from kit.data.listing import Tree, count_kinds, looks_like_image
from kit.errors import DataError, StorageError

if TYPE_CHECKING:
    from kit.model.classifier import Classifier
    from kit.run import Run

BATCH = 32  # images decoded before they are passed through the network
_PATHS_HINT = "Name files, folders or globs such as 'images/*.jpg'."


@dataclass(frozen=True)
class Prediction:
    """Prediction of one image.

    Attributes:
        label: Predicted class; empty where the file could not be read.
        confidence: Its probability, 0 to 1.
        probabilities: Of every class, in the model's order.
        problem: Why the file could not be read; empty where it could.
    """

    path: str
    label: str
    confidence: float
    probabilities: tuple[float, ...]
    problem: str = ""


@dataclass(frozen=True)
class Predictor:
    """Model of a finished run with its preprocessing.

    Attributes:
        classes: In the model's order.
        forward: uint8 (n, S, S, 3), 0-255, to probabilities (n, classes).
    """

    classes: tuple[str, ...]
    data: DataConfig
    forward: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of(cls, run: "Run") -> "Predictor":
        """Load the model of a finished run; StorageError if it is not finished."""
        from kit.training.forward import compile_from_pixels

        run.require_finished()
        classifier = load_classifier(run)
        forward = compile_from_pixels(classifier)
        return cls(tuple(run.manifest["classes"]), run.config.data, lambda batch: forward(batch)[0])

    def probabilities(self, files: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray | ImageProblem]]:
        """Yield each file and its probabilities (classes,), or why it could not be read."""
        size = self.data.image_size
        with progress.track("predicting", len(files)) as advance:
            for start in range(0, len(files), BATCH):
                chunk = files[start : start + BATCH]
                pixels = np.zeros((len(chunk), size, size, 3), np.uint8)
                problems = {i: fault for i, file in enumerate(chunk) if (fault := self._decode(file, pixels[i]))}
                probabilities = self.forward(pixels)
                for i, file in enumerate(chunk):
                    yield file, problems.get(i, probabilities[i])
                advance(len(chunk))

    def predict(self, files: Sequence[Path]) -> Iterator[Prediction]:
        """Yield predictions in the order of `files`; that of an unreadable file says why."""
        for file, output in self.probabilities(files):
            if isinstance(output, ImageProblem):
                yield Prediction(str(file), "", 0.0, (), f"{output.kind}: {output.detail}")
                continue
            best = int(output.argmax())
            yield Prediction(str(file), self.classes[best], float(output[best]), tuple(map(float, output)))

    def _decode(self, file: Path, out: np.ndarray) -> ImageProblem | None:
        try:
            out[:] = decode(file, self.data)
        except ImageProblem as problem:
            return problem
        return None


def load_classifier(run: "Run") -> "Classifier":
    """Load the network of `model.keras`, calibrated; StorageError if it is damaged, foreign, or of another run."""
    from kit.backends.kernels import choose
    from kit.model.catalog import block_names, is_hub
    from kit.model.classifier import Classifier
    from kit.model.loading import load_model

    config, classes = run.config, len(run.manifest["classes"])
    saved = load_model(run.model_path, hub=is_hub(config.model.backbone))
    size = config.data.image_size
    kernels = choose(config.model.kernels)
    try:
        if (saved.input.shape, saved.output.shape) != ((None, size, size, 3), (None, classes)):
            raise ValueError(f"from {saved.input.shape} to {saved.output.shape}")
        classifier = Classifier.of(saved, block_names(config.model.backbone), kernels)
        classifier.scale(run.unapplied_temperature)
        return classifier
    except (ValueError, AttributeError) as error:
        raise StorageError(
            f"{run.model_path} is not the network of this run ({error}).", "Train the run again."
        ) from error


def find_images(paths: Sequence[str]) -> list[Path]:
    """Find images by files, folders (searched recursively) and globs, in order, each once; DataError for no match.

    Of a folder, files that are no images are passed over, with a word.
    """
    return search_images(paths)[0]


def search_images(paths: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Images as `find_images` finds them, and the files that it passes over."""
    found: dict[Path, None] = {}
    passed_over: dict[Path, None] = {}
    for text in paths:
        try:
            matches = _files_at(text)
            if Path(text).is_dir():
                passed_over |= {file: None for file in matches if not looks_like_image(file)}
                matches = [file for file in matches if file not in passed_over]
        except OSError as error:  # name too long, folder not accessible
            raise DataError(f"{text!r} cannot be looked at: {error.strerror}.", _PATHS_HINT) from None
        if not matches:
            raise DataError(f"There is no image at {text!r}.", _PATHS_HINT)
        found |= dict.fromkeys(matches)
    if passed_over:
        progress.say(f"Passed over, being no images: {count_kinds(passed_over)}.")
    return list(found), list(passed_over)


def _files_at(text: str) -> list[Path]:
    path = Path(text)
    if not text:  # an unset shell variable must not mean the current folder
        return []
    if path.is_dir():
        return sorted(Tree().files(path, set()))
    if path.exists():  # before globbing: names may hold brackets
        return [path]
    return sorted(match for match in map(Path, glob.glob(text, recursive=True)) if match.is_file())
