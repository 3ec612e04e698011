"""What the model said of single photos: a sample, the worst mistakes, and where it looked when it erred."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import text
from reports.blocks import Note, Photo, Photos, Section

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

GRID = 32
PER_PAIR = 6


@dataclass(frozen=True)
class Verdict:
    """What the model said of a photo.

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
    """Verdicts on the photos that were scored.

    Attributes:
        split: Which split they are of; empty where nothing was scored.
        n: Photos in it.
        mistakes: Of which the model got this many wrong.
        sample: Some of them, drawn with the run's seed.
        worst: Mistakes, the most confident first.
    """

    split: str = ""
    n: int = 0
    mistakes: int = 0
    sample: tuple[Verdict, ...] = ()
    worst: tuple[Verdict, ...] = ()


def scored_split(verdicts: "pandas.DataFrame") -> str:
    """`test`, else `validation`, else empty: the photos that say most about new ones."""
    present = set(verdicts["split"])
    return next((split for split in ("test", "validation") if split in present), "")


def of_split(verdicts: "pandas.DataFrame", split: str) -> "pandas.DataFrame":
    """The rows of one split."""
    return verdicts[verdicts["split"] == split]


def predictions_facts(verdicts: "pandas.DataFrame", sample: list[str], size: int = GRID) -> PredictionsFacts:
    """From predictions.csv.

    Args:
        verdicts: `RunFolder.verdicts`.
        sample: Paths as the run drew them; where there are none (an older run), the first photos stand in.
        size: Photos in each grid.
    """
    split = scored_split(verdicts)
    if not split:
        return PredictionsFacts()
    scored = _verdicts(of_split(verdicts, split))
    by_path = {verdict.path: verdict for verdict in scored}
    wrong = sorted((verdict for verdict in scored if not verdict.right), key=_surest)
    drawn = [by_path[path] for path in sample if path in by_path] or scored
    return PredictionsFacts(split, len(scored), len(wrong), tuple(drawn[:size]), tuple(wrong[:size]))


def pair_verdicts(verdicts: "pandas.DataFrame", split: str, label: str, predicted: str) -> tuple[Verdict, ...]:
    """The most confident mistakes of one kind."""
    scored = of_split(verdicts, split)
    found = scored[(scored["label"] == label) & (scored["predicted"] == predicted)]
    return tuple(sorted(_verdicts(found), key=_surest)[:PER_PAIR])


def _surest(verdict: Verdict) -> tuple[float, str]:
    return (-verdict.confidence, verdict.path)


def _verdicts(rows: "pandas.DataFrame") -> list[Verdict]:
    # no pandas index and no groups of names: its text type cannot hold a path that is not UTF-8
    columns = (rows[name].tolist() for name in ("path", "label", "predicted", "confidence"))
    return [Verdict(*row) for row in zip(*columns, strict=True)]


# === Sections ===


def predictions_section(facts: PredictionsFacts, album: Mapping[str, bytes]) -> Section:
    """The sample and the worst mistakes.

    Args:
        facts: What to show.
        album: Path -> thumbnail.
    """
    if not facts.split:
        return Section("predictions", "Predictions", (Note("No photo was scored.", "missing"),))
    photos = "the test photos" if facts.split == "test" else "the validation photos, for there is no test split"
    wrong = sum(not verdict.right for verdict in facts.sample)
    blocks: list = [
        Photos(
            "sample",
            f"{text.count(len(facts.sample), 'photo')} drawn at random",
            f"{wrong} of these {len(facts.sample)} {_are(wrong)} wrong; of {photos}, {facts.mistakes:,} of {facts.n:,} "
            f"{_are(facts.mistakes)}.",
            tuple(verdict_photo(verdict, album) for verdict in facts.sample),
        )
    ]
    if facts.worst:
        blocks.append(
            Photos(
                "worst",
                "The worst mistakes",
                "Wrong, and surest of it: look for labels that are wrong themselves, and photos that show two things.",
                tuple(verdict_photo(verdict, album) for verdict in facts.worst),
            )
        )
    else:
        blocks.append(Note("The model made no mistake on these photos."))
    return Section("predictions", "Predictions", tuple(blocks))


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
        seen: Path -> the photo lit where the model saw what it said.
        wanted: Path -> the photo lit where it saw the label.
        missing: Why there are none, if so.
    """
    title = "Where it looked when it erred"
    photos = tuple(
        Photo(
            text.name(verdict.path),
            album.get(verdict.path),
            _said(verdict),
            "wrong",
            (
                (f"evidence for {text.name(verdict.predicted)}", seen[verdict.path]),
                (f"evidence for {text.name(verdict.label)}", wanted[verdict.path]),
            ),
            caption="the photo",
        )
        for verdict in facts.worst
        if verdict.path in seen and verdict.path in wanted
    )
    if not photos:
        return Section("maps", title, (Note(missing or "This run recorded no activation maps.", "missing"),))
    see = (
        "Lit is what spoke for the class: a subject lit for the wrong class is a mix-up, a lit background a habit that "
        "the photos taught. Both pictures of a photo share one scale."
    )
    return Section("maps", title, (Photos("maps-photos", "Class activation maps", see, photos, wide=True),))


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def verdict_photo(verdict: Verdict, album: Mapping[str, bytes]) -> Photo:
    """A photo with what was said of it."""
    mark = "right" if verdict.right else "wrong"
    return Photo(text.name(verdict.path), album.get(verdict.path), _said(verdict), mark)


def _said(verdict: Verdict) -> tuple[str, ...]:
    said = f"{text.name(verdict.predicted, 32)} {verdict.confidence:.0%}"
    return (said,) if verdict.right else (said, f"is {text.name(verdict.label, 32)}")
