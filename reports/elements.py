"""What a section of a page is made of. Text is plain; the template escapes it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Table:
    """Rows of text; a cell that begins a row is its heading.

    Attributes:
        caption: What the table holds.
        head: Column titles.
        rows: Cells, already formatted.
        note: A sentence below, such as how many rows were left out.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @property
    def words(self) -> tuple[bool, ...]:
        """Which columns hold words rather than numbers: those are read from the left."""
        return tuple(
            not any(cell[:1] in _NUMERIC for cell in column if cell) for column in zip(*self.rows, strict=True)
        )


_NUMERIC = frozenset("0123456789+-−<")


def limited_table(caption: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], limit: int, rest: str) -> Table:
    """A table of the first rows, with a note that counts the others.

    Args:
        caption: As of `Table`.
        head: As of `Table`.
        rows: All of them.
        limit: Rows shown.
        rest: What to say after the number of the others, such as `more are in trials.csv`.
    """
    more = len(rows) - limit
    return Table(caption, head, tuple(rows[:limit]), f"{more:,} {rest}." if more > 0 else "")


@dataclass(frozen=True)
class Chart:
    """A figure, the sentence that says what to see in it, and the numbers behind it.

    Attributes:
        id: Unique in a page: letters, digits, hyphens.
        title: A heading.
        see: One sentence: what to see in it.
        figure: plotly's; several stand side by side where there is room, one below the other where there is not.
        table: The same numbers for who cannot see the figure, or wants them.
    """

    id: str
    title: str
    see: str
    figure: "go.Figure | tuple[go.Figure, ...]"
    table: Table

    @property
    def panels(self) -> "tuple[tuple[str, go.Figure], ...]":
        """(id in the page, figure)."""
        if not isinstance(self.figure, tuple):
            return ((self.id, self.figure),)
        return tuple((f"{self.id}-{place}", figure) for place, figure in enumerate(self.figure, start=1))


@dataclass(frozen=True)
class Thumbnail:
    """An image with what is to be said of it.

    Attributes:
        path: As recorded, made printable; empty where something else names it.
        jpeg: The thumbnail; None where the record has none.
        lines: Said below it.
        mark: `right`, `wrong` or empty: shown by a sign, a colour and a word.
        others: Further pictures that stand beside it: (what it shows, JPEG).
        caption: Said right below the picture, as is what `others` show.
    """

    path: str
    jpeg: bytes | None
    lines: tuple[str, ...] = ()
    mark: str = ""
    others: tuple[tuple[str, bytes], ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class ThumbnailGrid:
    """A grid of images.

    Attributes:
        id: Unique in a page.
        title: A heading.
        see: One sentence: what to see in it.
        images: In order.
        wide: Each with its further pictures beside it.
    """

    id: str
    title: str
    see: str
    images: tuple[Thumbnail, ...]
    wide: bool = False


@dataclass(frozen=True)
class Note:
    """A sentence, such as what is missing and why.

    Attributes:
        text: The sentence.
        kind: `missing`, `warning` or empty.
    """

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Code:
    """Text to copy.

    Attributes:
        title: What it is.
        text: The text.
    """

    title: str
    text: str


@dataclass(frozen=True)
class Link:
    """A link to a file beside the page."""

    text: str
    href: str


@dataclass(frozen=True)
class NetworkBars:
    """Bars that show which parts of the network each phase trains.

    Attributes:
        parts: Names of the parts, from the pixels up.
        phases: (name, which parts are trained, what to say of it).
    """

    title: str
    see: str
    parts: tuple[str, ...]
    phases: tuple[tuple[str, tuple[bool, ...], str], ...]


@dataclass(frozen=True)
class Metric:
    """A number of the summary box.

    Attributes:
        name: What it is.
        value: Formatted.
        says: What it means, one sentence.
    """

    name: str
    value: str
    says: str = ""


@dataclass(frozen=True)
class SummaryBox:
    """The box at a page's top.

    Attributes:
        name: What the large number is.
        value: The large number; a dash where there is none.
        says: The sentence beside it.
        metrics: Smaller ones.
    """

    name: str
    value: str
    says: str
    metrics: tuple[Metric, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading of its own.

    Attributes:
        id: Unique in a page.
        title: The heading.
        blocks: In order.
        lead: One or two sentences below the heading.
    """

    id: str
    title: str
    elements: tuple[Any, ...]
    lead: str = ""


def missing_section(id: str, title: str, why: str) -> Section:
    """A section that says why there is nothing to show."""
    return Section(id, title, (Note(why, "missing"),))


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: Of the page and its tab.
        subtitle: One line: what it is about.
        summary_box: The box; None for pages without one number.
        sections: In order; those without blocks are left out.
        notes: What the reader must know first: a run that was interrupted, warnings.
    """

    title: str
    subtitle: str
    summary_box: SummaryBox | None
    sections: tuple[Section, ...]
    notes: tuple[Note, ...] = field(default=())
