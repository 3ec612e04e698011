"""Predictions of a finished run's model, with the preprocessing of its training.

Importing this module imports no backend; start one first.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kit import progress
from kit.config import DataConfig
from kit.data.images import ImageProblem, decode
from kit.data.in_memory import as_file, is_table, kind_of
from kit.data.listing import Tree, count_kinds, looks_like_image
from kit.data.tables import usual_column
from kit.errors import ConfigError, DataError, StorageError
from kit.progress import some
from kit.thresholds import Thresholds

if TYPE_CHECKING:
    from kit.model.classifier import Classifier
    from kit.run import Run

UNSURE = "unsure"  # the answer below a threshold of confidence
UNLIKE = "unlike"  # anything it was trained on: the answer beyond one of strangeness
BETWEEN, BETWEEN_AT_MOST = 0.9, 5  # probability that the classes in question hold together, and their number
BATCH = 32  # images decoded before they are passed through the network
_INPUTS_HINT = (
    "Give a file, its bytes or an open one, uint8 pixels (height, width, 3), an image of Pillow, a list of these, or a "
    "table with a column of paths."
)
_PATHS_HINT = "Name files, folders or globs such as 'images/*.jpg'."


@dataclass(frozen=True)
class Prediction:
    """Prediction of one image.

    Attributes:
        path: Of the file; `<image 3>` for the image of that place in a list, counted from 0.
        label: Predicted class; empty where the file could not be read.
        confidence: Its probability, 0 to 1.
        probabilities: Of every class, in the model's order.
        problem: Why the file could not be read; empty where it could.
        strangeness: How far the image is from those of training, 1 being usual; None where the run measures none.
        between: Most probable classes, two at least, that hold 90% together: those that an unsure answer is between.
        limits: Thresholds of the run; None where it has none.
    """

    path: str
    label: str
    confidence: float
    probabilities: tuple[float, ...]
    problem: str = ""
    strangeness: float | None = None
    between: tuple[str, ...] = ()
    limits: Thresholds | None = None

    def answer(self, threshold: float | None = None) -> str:
        """`label`; `unlike` where the image is stranger than the run allows; `unsure` below a confidence.

        Args:
            threshold: Of confidence, 0 to 1; None is the run's own, if it has one. Where there is a problem the answer
                is empty.
        """
        limits = self.limits
        if self.problem:
            return self.label
        if limits and limits.strangeness is not None and (self.strangeness or 0.0) > limits.strangeness:
            return UNLIKE
        least = threshold if threshold is not None else limits.confidence if limits else None
        return self.label if self.confidence >= (least or 0.0) else UNSURE


@dataclass(frozen=True)
class Output:
    """What the network says of one image: probabilities (classes,), and the strangeness or None."""

    probabilities: np.ndarray
    strangeness: float | None


@dataclass(frozen=True)
class Predictor:
    """Model of a finished run with its preprocessing.

    Attributes:
        classes: In the model's order.
        forward: uint8 (n, S, S, 3), 0-255, to probabilities (n, classes).
        measure: The same to probabilities and strangeness, (n,); None where the run measures none.
        limits: Thresholds of the run, if any.
    """

    classes: tuple[str, ...]
    data: DataConfig
    forward: Callable[[np.ndarray], np.ndarray]
    measure: "Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None" = None
    limits: Thresholds | None = None

    @classmethod
    def of(cls, run: "Run", *, tta: bool = False, classifier: "Classifier | None" = None) -> "Predictor":
        """Load the model of a finished run, unless `classifier` is it; StorageError if the run is not finished.

        `tta` (test-time augmentation) averages the probabilities of each image and its mirror image; ConfigError if the
        run was trained without mirrored views.
        """
        from kit.training.forward import compile_from_pixels

        run.require_finished()
        if tta and not run.config.views.flip:
            raise ConfigError(
                f"{run.path} was trained without mirrored views (views.flip), as where left and right mean something.",
                "Leave --tta out.",
            )
        limits = run.abstention
        strangeness = run.strangeness if limits is not None and limits.strangeness is not None else None
        measures = strangeness is not None
        forward = compile_from_pixels(classifier or load_classifier(run), pooled=measures)

        def once(batch: np.ndarray) -> list[np.ndarray]:
            outputs = forward(batch)
            return outputs if strangeness is None else [outputs[0], strangeness.of(outputs[1])]

        def outputs(batch: np.ndarray) -> list[np.ndarray]:
            if not tta:
                return once(batch)
            both = zip(once(batch), once(np.ascontiguousarray(batch[:, :, ::-1])), strict=True)
            return [(one + mirrored) / 2 for one, mirrored in both]

        def measure(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            probabilities, found = outputs(batch)
            return probabilities, found

        return cls(
            tuple(run.manifest["classes"]),
            run.config.data,
            lambda batch: outputs(batch)[0],
            measure if measures else None,
            limits,
        )

    def blocks(self, files: Sequence[Path | bytes]) -> Iterator[tuple[np.ndarray, "list[Output | ImageProblem]"]]:
        """Yield pixels, uint8 (n, S, S, 3), of BATCH files at a time, and the output of each or why it has none.

        The pixels of a file that could not be read are 0.
        """
        size = self.data.image_size
        with progress.track("predicting", len(files)) as advance:
            for start in range(0, len(files), BATCH):
                chunk = files[start : start + BATCH]
                pixels = np.zeros((len(chunk), size, size, 3), np.uint8)
                problems = {i: fault for i, file in enumerate(chunk) if (fault := self._decode(file, pixels[i]))}
                probabilities, strangeness = (
                    self.measure(pixels) if self.measure else (self.forward(pixels), [None] * len(chunk))
                )
                outputs = map(Output, probabilities, strangeness)
                yield pixels, [problems.get(i, output) for i, output in enumerate(outputs)]
                advance(len(chunk))

    def probabilities(self, files: Sequence[Path | bytes]) -> Iterator[np.ndarray | ImageProblem]:
        """Yield the probabilities (classes,) of each file, or why it could not be read; bytes are a file's."""
        for _, outputs in self.blocks(files):
            yield from (one.probabilities if isinstance(one, Output) else one for one in outputs)

    def predict(self, files: Sequence[Path | bytes]) -> Iterator[Prediction]:
        """Yield predictions in the order of `files`; that of an unreadable file says why."""
        outputs = (output for _, block in self.blocks(files) for output in block)
        for number, (file, output) in enumerate(zip(files, outputs, strict=True)):
            yield self.prediction(file, number, output)

    def prediction(self, file: Path | bytes, number: int, output: "Output | ImageProblem") -> Prediction:
        """Prediction of the file at place `number`, from its output."""
        name = str(file) if isinstance(file, Path) else f"<image {number}>"
        if isinstance(output, ImageProblem):
            return Prediction(name, "", 0.0, (), f"{output.kind}: {output.detail}")
        shares = output.probabilities
        ranked = np.argsort(-shares, kind="stable")
        count = int(np.searchsorted(np.cumsum(shares[ranked]), BETWEEN)) + 1
        return Prediction(
            name,
            self.classes[ranked[0]],
            float(shares[ranked[0]]),
            tuple(map(float, shares)),
            strangeness=None if output.strangeness is None else float(output.strangeness),
            between=tuple(self.classes[i] for i in ranked[: min(max(count, 2), BETWEEN_AT_MOST)]),
            limits=self.limits,
        )

    def _decode(self, file: Path | bytes, out: np.ndarray) -> ImageProblem | None:
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


def gather(images: Any) -> tuple[list[Path | bytes], bool]:
    """Files, or their bytes, of what `Run.predict` takes, and whether it is one image rather than a list.

    Pixels and Pillow's images become files in memory, so that they are decoded by the same rules as any file.

    Raises DataError for what is no image, saying what to give instead.
    """
    if isinstance(images, str | os.PathLike):
        return [Path(images)], True
    if _is_image(images):
        return [as_file(images)], True
    if is_table(images):
        return _listed(images), False
    if not isinstance(images, Iterable):
        raise DataError(f"Images cannot be read from a {kind_of(images)}.", _INPUTS_HINT)
    files: list[Path | bytes] = []
    named: set[Path] = set()
    for one in images:
        if isinstance(one, str | os.PathLike):
            found = [file for file in find_images([os.fspath(one)]) if file not in named]
            named.update(found)
            files += found
        elif _is_image(one):
            files.append(as_file(one))
        else:
            raise DataError(f"An image cannot be read from a {kind_of(one)}.", _INPUTS_HINT)
    return files, False


def _is_image(value: Any) -> bool:
    """Whether a value is one image: bytes, an open file, Pillow's, or pixels; four dimensions are several."""
    if isinstance(value, bytes | bytearray | memoryview | Image.Image) or hasattr(value, "read"):
        return True
    return hasattr(value, "__array__") and not is_table(value) and np.ndim(value) < 4


def _listed(table: Any) -> list[Path | bytes]:
    """Files of a table's column of paths, or of a column, one for each row; DataError if none of them is there."""
    column = table
    if table.ndim == 2:
        name = usual_column("path", list(table.columns))
        if name is None:
            raise DataError(
                f"None of the table's columns is one of paths: {some(list(table.columns))}.",
                "Call it path, or give that column alone.",
            )
        column = table[name]
    files: list[Path] = []
    for value in column.tolist():
        if not isinstance(value, str | os.PathLike):
            raise DataError(f"The column of paths holds {kind_of(value)}.", "Give a path in every row.")
        files.append(Path(value))
    if not any(os.path.isfile(file) for file in files):
        what = f"; the first is {files[0]}" if files else ""
        raise DataError(f"None of the table's {len(files):,} files is there{what}.", "Paths count from where you are.")
    return list(files)


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
