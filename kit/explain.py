"""Explanations of predictions: the evidence for a class, as heat over any image.

Importing this module imports no backend; start one first.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kit.data.images import ImageProblem
from kit.errors import ConfigError
from kit.files import make_folder, write_bytes
from kit.insights.evidence import Head, heat, maps_of_classes, shares
from kit.predict import Prediction, Predictor, load_classifier
from kit.progress import some

if TYPE_CHECKING:
    from kit.run import Run
    from kit.training.forward import Runner

ENDING = ".evidence.png"  # no camera writes such names: an image is never overwritten
SMALLEST = 224  # of a picture's sides, in pixels
PASS = 8  # images in a pass for their feature maps
_KEPT = 80  # letters of an image's name


@dataclass(frozen=True)
class Explanation:
    """Evidence for one class in one image.

    Attributes:
        prediction: Of the image.
        label: Class that the evidence is for; empty where the file could not be read.
        evidence: Class activation map, float32 (height, width), in units of the logit.
        pixels: As the network sees the image: uint8 (S, S, 3), 0-255.
        picture: The image and, beside it, the evidence as heat over it; None where the file could not be read.
    """

    prediction: Prediction
    label: str
    evidence: np.ndarray
    pixels: np.ndarray
    picture: Image.Image | None

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows."""
        return None if self.picture is None else _png(self.picture)


@dataclass(frozen=True)
class Explainer:
    """Model of a finished run that says where the evidence is.

    `features` maps uint8 (n, S, S, 3) to the backbone's output (n, height, width, channels); `head` are the weights of
    the layers behind it.
    """

    predictor: Predictor
    features: "Runner"
    head: Head

    @classmethod
    def of(cls, run: "Run", *, tta: bool = False) -> "Explainer":
        """Load the model of a finished run; raises what `Predictor.of` does. The evidence is never of mirror images."""
        from kit.training.forward import compile_forward, in_passes

        run.require_finished()
        classifier = load_classifier(run)
        if classifier.has_own_head:
            raise ConfigError(f"The head of {run.path} is one of your own, whose evidence has no closed form.",
                              "Leave the explanation out.")  # fmt: skip
        predictor = Predictor.of(run, tta=tta, classifier=classifier)
        forward = compile_forward(classifier.feature_maps(classifier.backbone.cut(-1)))
        head = {layer.name: layer.get_weights() for layer in classifier.head.layers}
        return cls(predictor, in_passes(forward, PASS), head)

    def explain(self, files: Sequence[Path | bytes], label: str | None = None) -> Iterator[Explanation]:
        """Yield explanations in the order of `files`.

        `label` is the class to explain; None is the one predicted, of each image.

        Raises:
            ConfigError: If the model has no class of that name.
        """
        classes = self.predictor.classes
        if label is not None and label not in classes:
            raise ConfigError(f"The model has no class {label!r}.", f"It has {some(classes)}.")
        return self._explain(files, label)

    def _explain(self, files: Sequence[Path | bytes], label: str | None) -> Iterator[Explanation]:
        classes, number = self.predictor.classes, 0
        for pixels, outputs in self.predictor.blocks(files):
            (features,) = self.features(pixels)
            for place, output in enumerate(outputs):
                one = self.predictor.prediction(files[number], number, output)
                number += 1
                if isinstance(output, ImageProblem):
                    yield Explanation(one, "", np.zeros((0, 0), np.float32), np.zeros((0, 0, 3), np.uint8), None)
                    continue
                # of the predicted class too: both on one scale, so that weak evidence looks weak
                asked = [classes.index(one.label if label is None else label), classes.index(one.label)]
                maps = maps_of_classes(features[place : place + 1], self.head, np.array([asked]))[0]
                picture = _beside(pixels[place], shares(maps)[0])
                yield Explanation(one, classes[asked[0]], maps[0], pixels[place].copy(), picture)


def write_explanations(folder: Path, explanations: Iterable[Explanation]) -> Iterator[tuple[Prediction, Path | None]]:
    """Write the picture of each explanation, `NAME.evidence.png`, and yield the prediction and the picture's path.

    Images of one name are numbered, those that could not be read have no picture. Raises StorageError if `folder`
    cannot be written.
    """
    make_folder(folder)
    taken: dict[str, int] = {}
    for one in explanations:
        if one.picture is None:
            yield one.prediction, None
            continue
        stem = Path(one.prediction.path).stem
        safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in stem)
        safe = safe.strip(".-")[:_KEPT] or "image"
        taken[safe.lower()] = times = taken.get(safe.lower(), 0) + 1  # many file systems ignore case
        path = folder / f"{safe if times == 1 else f'{safe}-{times}'}{ENDING}"
        write_bytes(path, _png(one.picture))
        yield one.prediction, path


def _beside(pixels: np.ndarray, share: np.ndarray) -> Image.Image:
    """Image, and beside it the heat."""
    side = max(SMALLEST, len(pixels))
    both = Image.new("RGB", (2 * side, side))
    both.paste(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))
    both.paste(heat(pixels, share, side), (side, 0))
    return both


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
