"""What the model said of single images: a sample, the worst mistakes, and where it looked when it erred."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import text
from reports.elements import Note, Section, Thumbnail, ThumbnailGrid, missing_section

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

GRID = 32
PER_PAIR = 6


@dataclass(frozen=True)
class ImagePrediction:
    """What the model said of an image.

    Attributes:
        path: As recorded.
        label: Its class.
        predicted: What the model said.
        confidence: Probability of what it said, 0 to 1.
    """

    path: str
    label: str
    predicted: str
    confidence: float

    @property
    def right(self) -> bool:
        """Whether the model was right."""
        return self.label == self.predicted


@dataclass(frozen=True)
class PredictionsFacts:
    """Verdicts on the images that were scored.

    Attributes:
        split: Which split they are of; empty where nothing was scored.
        n: Images in it.
        mistakes: Of which the model got this many wrong.
        sample: Some of them, drawn with the run's seed.
        worst: Mistakes, the most confident first.
    """

    split: str = ""
    n: int = 0
    mistakes: int = 0
    sample: tuple[ImagePrediction, ...] = ()
    worst: tuple[ImagePrediction, ...] = ()


def scored_split(predictions: "pandas.DataFrame") -> tuple[str, "pandas.DataFrame"]:
    """Name and predictions of the split that says most about new images: test, else validation, else none ("")."""
    present = set(predictions["split"])
    split = next((split for split in ("test", "validation") if split in present), "")
    return split, predictions[predictions["split"] == split]


def predictions_facts(predictions: "pandas.DataFrame", sample: list[str], size: int = GRID) -> PredictionsFacts:
    """From predictions.csv.

    Args:
        verdicts: `Run.predicted`.
        sample: Paths as the run drew them; where there are none (an older run), the first images stand in.
        size: Images in each grid.
    """
    split, rows = scored_split(predictions)
    if not split:
        return PredictionsFacts()
    scored = _image_predictions(rows)
    by_path = {prediction.path: prediction for prediction in scored}
    wrong = sorted((prediction for prediction in scored if not prediction.right), key=_surest)
    drawn = [by_path[path] for path in sample if path in by_path] or scored
    return PredictionsFacts(split, len(scored), len(wrong), tuple(drawn[:size]), tuple(wrong[:size]))


def pair_predictions(scored: "pandas.DataFrame", label: str, predicted: str) -> tuple[ImagePrediction, ...]:
    """The most confident mistakes of one kind, at most PER_PAIR.

    Args:
        scored: predictions.csv of the split that was scored.
        label: True class.
        predicted: Predicted class.
    """
    found = scored[(scored["label"] == label) & (scored["predicted"] == predicted)]
    return tuple(sorted(_image_predictions(found), key=_surest)[:PER_PAIR])


def _surest(prediction: ImagePrediction) -> tuple[float, str]:
    return (-prediction.confidence, prediction.path)


def _image_predictions(rows: "pandas.DataFrame") -> list[ImagePrediction]:
    # no pandas index and no groups of names: its text type cannot hold a path that is not UTF-8
    columns = (rows[name].tolist() for name in ("path", "label", "predicted", "confidence"))
    return [ImagePrediction(*row) for row in zip(*columns, strict=True)]


# === Sections ===


def predictions_section(facts: PredictionsFacts, album: Mapping[str, bytes]) -> Section:
    """The sample and the worst mistakes.

    Args:
        facts: What to show.
        album: Path -> thumbnail.
    """
    if not facts.split:
        return missing_section("predictions", "Predictions", "No photo was scored.")
    images = "the test photos" if facts.split == "test" else "the validation photos, for there is no test split"
    wrong = sum(not prediction.right for prediction in facts.sample)
    elements: list = [
        ThumbnailGrid(
            "sample",
            f"{text.count(len(facts.sample), 'photo')} drawn at random",
            f"{wrong} of these {len(facts.sample)} {_are(wrong)} wrong; of {images}, {facts.mistakes:,} of {facts.n:,} "
            f"{_are(facts.mistakes)}.",
            tuple(thumbnail_of(prediction, album) for prediction in facts.sample),
        )
    ]
    if facts.worst:
        elements.append(
            ThumbnailGrid(
                "worst",
                "The worst mistakes",
                "Wrong, and surest of it: look for labels that are wrong themselves, and photos that show two things.",
                tuple(thumbnail_of(prediction, album) for prediction in facts.worst),
            )
        )
    else:
        elements.append(Note("The model made no mistake on these photos."))
    return Section("predictions", "Predictions", tuple(elements))


def maps_section(
    facts: PredictionsFacts,
    album: Mapping[str, bytes],
    seen: Mapping[str, bytes],
    wanted: Mapping[str, bytes],
    missing: str,
) -> Section:
    """Class activation maps of mistakes.

    Args:
        facts: Their verdicts are among `worst`.
        album: Path -> thumbnail.
        seen: Path -> the image lit where the model saw what it said.
        wanted: Path -> the image lit where it saw the label.
        missing: Why there are none, if so.
    """
    title = "Where it looked when it erred"
    images = tuple(
        Thumbnail(
            text.name(prediction.path),
            album.get(prediction.path),
            _said(prediction),
            "wrong",
            (
                (f"evidence for {text.name(prediction.predicted)}", seen[prediction.path]),
                (f"evidence for {text.name(prediction.label)}", wanted[prediction.path]),
            ),
            caption="the photo",
        )
        for prediction in facts.worst
        if prediction.path in seen and prediction.path in wanted
    )
    if not images:
        return missing_section("maps", title, missing or "This run recorded no activation maps.")
    see = (
        "Lit is what spoke for the class: a subject lit for the wrong class is a mix-up, a lit background a habit that "
        "the photos taught. Both pictures of a photo share one scale."
    )
    return Section("maps", title, (ThumbnailGrid("maps-photos", "Class activation maps", see, images, wide=True),))


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def thumbnail_of(prediction: ImagePrediction, album: Mapping[str, bytes]) -> Thumbnail:
    """An image with what was said of it."""
    mark = "right" if prediction.right else "wrong"
    return Thumbnail(text.name(prediction.path), album.get(prediction.path), _said(prediction), mark)


def _said(prediction: ImagePrediction) -> tuple[str, ...]:
    said = f"{text.name(prediction.predicted, 32)} {prediction.confidence:.0%}"
    return (said,) if prediction.right else (said, f"is {text.name(prediction.label, 32)}")
