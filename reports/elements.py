"""Elements of a page. Text is plain; the template escapes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import plotly.graph_objects as go


FLAT, DENSE = 90, 16  # letters of all columns' names; classes


class FileName(str):
    """Printable name of a file, whose start and end stay in sight where it is cut."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """Rows of formatted cells, each with a heading in its first cell.

    `head` may be empty; `note` is a sentence below, such as how many rows were left out. `foot` are rows, such as a
    sum, that stay last whatever the others are sorted by.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    foot: tuple[tuple[str, ...], ...] = ()

    @property
    def words(self) -> tuple[bool, ...]:
        """Which columns hold words rather than numbers, and are aligned left."""
        return tuple(
            not any(cell[:1] in _NUMERIC for cell in column if cell) for column in zip(*self.rows, strict=True)
        )


_NUMERIC = frozenset("0123456789+-−<")


def limited_table(caption: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], limit: int, rest: str) -> Table:
    """Table of the first `limit` rows; its note counts the others before `rest`."""
    more = len(rows) - limit
    return Table(caption, head, tuple(rows[:limit]), f"{more:,} {rest}." if more > 0 else "")


@dataclass(frozen=True)
class Chart:
    """Figure, one sentence on what to see in it, and its numbers as a table.

    `id` is unique in a page: letters, digits, hyphens. Several figures stand side by side where there is room. `axes`
    are those of a ParallelChart.
    """

    id: str
    title: str
    see: str
    figure: "go.Figure | tuple[go.Figure, ...]"
    table: Table
    axes: "tuple[ParallelAxis, ...]" = ()

    @property
    def panels(self) -> "tuple[tuple[str, go.Figure], ...]":
        """Figures by their id in the page."""
        if not isinstance(self.figure, tuple):
            return ((self.id, self.figure),)
        return tuple((f"{self.id}-{place}", figure) for place, figure in enumerate(self.figure, start=1))


@dataclass(frozen=True)
class ParallelAxis:
    """Axis of parallel coordinates from `low` to `high`, or one of `choices`, which are texts."""

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParallelChart(Chart):
    """Parallel coordinates: a trace for each line, whose heights on `axes` are 0 to 1; `script` adds ranges."""

    script: ClassVar[str] = "parallel.js"


@dataclass(frozen=True)
class Thumbnail:
    """Image with text and a mark.

    `path` is printable, and empty where something else names the image; `jpeg` is None where the record has none.
    `caption` stands right below it, then `lines`. `mark` is `right`, `wrong` or empty, shown by a sign, a colour and a
    word. `others` are (caption, JPEG) of images beside it. `says` is for screen readers; default: the lines.
    """

    path: str
    jpeg: bytes | None
    lines: tuple[str, ...] = ()
    mark: str = ""
    others: tuple[tuple[str, bytes], ...] = ()
    caption: str = ""
    says: str = ""

    @property
    def alt(self) -> str:
        """What a screen reader says of the image: label and prediction, or its name."""
        return self.says or ", ".join(self.lines) or self.caption or self.path


@dataclass(frozen=True)
class ThumbnailGrid:
    """Thumbnails under a heading; `wide` where others stand beside each."""

    id: str
    title: str
    see: str
    images: tuple[Thumbnail, ...]
    wide: bool = False


@dataclass(frozen=True)
class MatrixClass:
    """Class of a confusion matrix: printable name, number in the model, images of it, images predicted as it."""

    name: str
    number: int
    support: int
    predicted: int


@dataclass(frozen=True)
class ConfusionMatrix:
    """Counts by label (rows) and predicted class (columns), whose cells ask the image browser for their images."""

    id: str
    title: str
    see: str
    classes: tuple[MatrixClass, ...]
    counts: tuple[tuple[int, ...], ...]
    script: ClassVar[str] = "matrix.js"

    @property
    def flat(self) -> bool:
        """Whether the names of the columns fit side by side."""
        return len(self.classes) * max(len(one.name) for one in self.classes) <= FLAT

    @property
    def dense(self) -> bool:
        """Whether cells are small, for there are many."""
        return len(self.classes) > DENSE


@dataclass(frozen=True)
class ThresholdPicker:
    """Slider over `steps` + 1 thresholds from 0 to 1, of which `script` shows what `data` says.

    Without the script the page shows `table` and `command`, which are of the threshold number `step`. `own` is that of
    the run; empty where it has none.
    """

    id: str
    title: str
    see: str
    step: int
    steps: int
    command: str
    data: dict[str, Any]
    table: Table
    own: str = ""
    script: ClassVar[str] = "threshold.js"


@dataclass(frozen=True)
class ImageBrowser:
    """Grid of thumbnails which `script` lets one filter, sort and enlarge.

    Without the script the page shows `images`, of which `title` and `see` speak. `data` is what the script reads,
    `note` says what it lacks. `runs` are the names of several runs, where the images are those they disagree on.
    """

    id: str
    title: str
    see: str
    images: tuple[Thumbnail, ...]
    data: dict[str, Any]
    note: str = ""
    runs: tuple[str, ...] = ()
    script: ClassVar[str] = "browser.js"


@dataclass(frozen=True)
class MapPoint:
    """Image on a map: its place among those of the browser, where it lies, the look of its label.

    `wrong` ones are ringed. `label` is the class's number, `says` what a figure without the browser says of it.
    """

    place: int
    x: float
    y: float
    colour: str
    shape: int
    wrong: bool
    label: int
    says: str


@dataclass(frozen=True)
class MapClass:
    """Class in the legend of a map: printable name, number in the model, look, images of it."""

    name: str
    number: int
    colour: str
    shape: int
    images: int


@dataclass(frozen=True)
class ImageMap:
    """Map of the images of an ImageBrowser on the same page, which `script` lets one look at and brush.

    `size` is width and height in the units of the points, of which `margin` on each side is empty. Without the script
    it is a drawing with its legend.
    """

    id: str
    title: str
    see: str
    size: tuple[int, int]
    points: tuple[MapPoint, ...]
    classes: tuple[MapClass, ...]
    note: str = ""
    margin: int = 0
    script: ClassVar[str] = "map.js"


@dataclass(frozen=True)
class Review:
    """Thumbnails that `script` lets one judge: keep, relabel, drop; it offers the verdicts of a page as one file.

    Without the script the page shows `images`. `data` has what the script knows of each; `command` takes the file.
    """

    id: str
    title: str
    see: str
    images: tuple[Thumbnail, ...]
    data: list[dict[str, Any]]
    command: str
    wide: bool = False
    script: ClassVar[str] = "review.js"


@dataclass(frozen=True)
class RecordRow:
    """Row of a RecordList: printable cells, and the numbers that some sort by; `href` is empty without a page."""

    name: str
    href: str
    kind: str
    state: str
    score: str
    value: float | None
    interval: str
    of: str
    data: str
    images: int | None
    created: str
    size: str
    bytes: int
    backend: str
    note: str


@dataclass(frozen=True)
class RecordList:
    """Table of records with links to their pages, which `script` lets one sort and filter."""

    id: str
    caption: str
    rows: tuple[RecordRow, ...]
    kinds: tuple[str, ...]
    script: ClassVar[str] = "records.js"


@dataclass(frozen=True)
class Note:
    """Sentence whose kind is `missing`, `warning` or empty."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Code:
    """Text to copy."""

    title: str
    text: str


@dataclass(frozen=True)
class Link:
    """Link to a file beside the page."""

    text: str
    href: str


@dataclass(frozen=True)
class NetworkBars:
    """Bars that show which parts of the network each phase trains.

    `parts` run from the input up; `phases` are (name, whether each part is trained, text).
    """

    title: str
    see: str
    parts: tuple[str, ...]
    phases: tuple[tuple[str, tuple[bool, ...], str], ...]


@dataclass(frozen=True)
class NextStep:
    """Line of advice: a number from the record, what follows from it, and a link to its place.

    Text in backticks is code; `section` is the id of the place. Where `browse` says which, a further link shows images
    in the page's image browser, as `images` names them.
    """

    number: str
    says: str
    section: str
    link: str
    browse: Mapping[str, Any] | None = None
    images: str = ""


@dataclass(frozen=True)
class NextSteps:
    """Lines of advice, the most worthwhile first."""

    steps: tuple[NextStep, ...]


@dataclass(frozen=True)
class Metric:
    """Formatted number of the summary box and what it means."""

    name: str
    value: str
    says: str = ""


@dataclass(frozen=True)
class SummaryBox:
    """Box at a page's top: a large number, a sentence, smaller numbers."""

    name: str
    value: str
    says: str
    metrics: tuple[Metric, ...] = ()


@dataclass(frozen=True)
class Section:
    """Part of a page under a heading; `id` is unique in a page, `lead` one or two sentences.

    A `folded` one shows its heading until it is opened.
    """

    id: str
    title: str
    elements: tuple[Any, ...]
    lead: str = ""
    folded: bool = False


def missing_section(id: str, title: str, why: str) -> Section:
    """Section that says why there is nothing to show."""
    return Section(id, title, (Note(why, "missing"),))


@dataclass(frozen=True)
class Page:
    """Whole page; sections without elements are left out.

    `title` also names the tab, `subtitle` is one line. `summary_box` is None for pages without one number; `notes` come
    first: an interrupted run, warnings. `review` is what all Review elements share (reports.review.page_data). A `live`
    page reloads itself, for it is drawn anew meanwhile. `links` lead to the pages of other records; `members` are the
    folders that a comparison compares, relative to it.
    """

    title: str
    subtitle: str
    summary_box: SummaryBox | None
    sections: tuple[Section, ...]
    notes: tuple[Note, ...] = ()
    review: dict[str, Any] | None = None
    live: bool = False
    links: tuple[Link, ...] = ()
    members: tuple[str, ...] = ()
