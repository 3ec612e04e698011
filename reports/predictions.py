"""Sample of predictions, most confident mistakes, class activation maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from reports import text
from reports.elements import Note, Section, Thumbnail, ThumbnailGrid, missing_section

GRID = 32
NEW, GIVEN = "new images", "scored images"  # of an evaluation: new to the run; whichever were scored
SCORED = (NEW, GIVEN, "out-of-fold", "test", "validation")
PER_PAIR = 6


@dataclass(frozen=True)
class ImagePrediction:
    """Label, predicted class and its probability, 0 to 1."""

    path: str
    label: str
    predicted: str
    confidence: float

    @property
    def right(self) -> bool:
        """Whether the predicted class is the label."""
        return self.label == self.predicted


@dataclass(frozen=True)
class PredictionsFacts:
    """Predictions of one split.

    `split` is empty where nothing was scored. `sample` is drawn with the run's seed; `worst` are mistakes,
    the most confident first.
    """

    split: str = ""
    n: int = 0
    mistakes: int = 0
    sample: tuple[ImagePrediction, ...] = ()
    worst: tuple[ImagePrediction, ...] = ()


def scored_split(predictions: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Name and predictions of the first of SCORED that there is, else ("", none)."""
    present = set(predictions["split"])
    split = next((split for split in SCORED if split in present), "")
    return split, predictions[predictions["split"] == split]


def predictions_facts(predictions: pd.DataFrame, sample: list[str], size: int = GRID) -> PredictionsFacts:
    """Facts from predictions.csv, with `size` images in each grid.

    `sample` are the recorded paths; where there are none (an older run), the first images stand in.
    """
    split, rows = scored_split(predictions)
    if not split:
        return PredictionsFacts()
    scored = _image_predictions(rows)
    by_path = {one.path: one for one in scored}
    wrong = sorted((one for one in scored if not one.right), key=_surest)
    drawn = [by_path[path] for path in sample if path in by_path] or scored
    return PredictionsFacts(split, len(scored), len(wrong), tuple(drawn[:size]), tuple(wrong[:size]))


def pair_predictions(scored: pd.DataFrame, label: str, predicted: str) -> tuple[ImagePrediction, ...]:
    """Most confident mistakes of a label predicted as another class, at most PER_PAIR."""
    found = scored[(scored["label"] == label) & (scored["predicted"] == predicted)]
    return tuple(sorted(_image_predictions(found), key=_surest)[:PER_PAIR])


def _surest(prediction: ImagePrediction) -> tuple[float, str]:
    return (-prediction.confidence, prediction.path)


def _image_predictions(rows: pd.DataFrame) -> list[ImagePrediction]:
    # no pandas index or groupby on names: its string type rejects paths that are not UTF-8
    columns = (rows[name].tolist() for name in ("path", "label", "predicted", "confidence"))
    return [ImagePrediction(*row) for row in zip(*columns, strict=True)]


# === Sections ===


def predictions_section(facts: PredictionsFacts, album: Mapping[str, bytes]) -> Section:
    """Sample and most confident mistakes."""
    if not facts.split:
        return missing_section("predictions", "Predictions", "No photo was scored.")
    which = {
        NEW: "all new photos",
        GIVEN: "all that were scored",
        "test": "the test photos",
        "out-of-fold": "all photos, each predicted by the model of a fold that held it out",
    }.get(facts.split, "the validation photos, for there is no test split")
    drawn, wrong = len(facts.sample), sum(not one.right for one in facts.sample)
    see = (
        f"{wrong} of these {drawn} {_are(wrong)} wrong; of {which}, {facts.mistakes:,} of {facts.n:,} "
        f"{_are(facts.mistakes)}."
    )
    sample = _grid("sample", f"{text.count(drawn, 'photo')} drawn at random", see, facts.sample, album)
    if not facts.worst:
        none = Note("The model made no mistake on these photos.")
        return Section("predictions", "Predictions", (sample, none))
    see = "Wrong, and surest of it: look for labels that are wrong themselves, and photos that show two things."
    worst = _grid("worst", "The worst mistakes", see, facts.worst, album)
    return Section("predictions", "Predictions", (sample, worst))


def _grid(id: str, title: str, see: str, shown: Sequence[ImagePrediction], album: Mapping[str, bytes]) -> ThumbnailGrid:
    return ThumbnailGrid(id, title, see, tuple(thumbnail_of(one, album) for one in shown))


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def maps_section(
    facts: PredictionsFacts,
    album: Mapping[str, bytes],
    for_predicted: Mapping[str, bytes],
    for_label: Mapping[str, bytes],
    missing: str,
) -> Section:
    """Class activation maps of the mistakes in `worst`; `missing` says why there are none.

    `for_predicted` and `for_label` map a path to the evidence for the predicted class and for the label.
    """
    title = "Where it looked when it erred"
    images = tuple(
        Thumbnail(
            text.name(one.path),
            album.get(one.path),
            _lines(one),
            "wrong",
            (
                (f"evidence for {text.name(one.predicted)}", for_predicted[one.path]),
                (f"evidence for {text.name(one.label)}", for_label[one.path]),
            ),
            caption="the photo",
        )
        for one in facts.worst
        if one.path in for_predicted and one.path in for_label
    )
    if not images:
        return missing_section("maps", title, missing or "This run recorded no activation maps.")
    see = (
        "Lit is what spoke for the class: a subject lit for the wrong class is a mix-up, a lit background a habit that "
        "the photos taught. Both pictures of a photo share one scale."
    )
    return Section("maps", title, (ThumbnailGrid("maps-photos", "Class activation maps", see, images, wide=True),))


def thumbnail_of(prediction: ImagePrediction, album: Mapping[str, bytes]) -> Thumbnail:
    """Image with its predicted class and, if wrong, its label."""
    mark = "right" if prediction.right else "wrong"
    return Thumbnail(text.name(prediction.path), album.get(prediction.path), _lines(prediction), mark)


def _lines(prediction: ImagePrediction) -> tuple[str, ...]:
    predicted = f"{text.name(prediction.predicted, 32)} {prediction.confidence:.0%}"
    return (predicted,) if prediction.right else (predicted, f"is {text.name(prediction.label, 32)}")
