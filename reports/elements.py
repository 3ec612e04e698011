"""What a page is made of. Text is plain; the template escapes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of a row is its heading.

    Attributes:
        caption: What the table holds.
        head: Column titles; may be empty.
        rows: Cells, already formatted.
        note: A sentence below, such as how many rows were left out.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @property
    def words(self) -> tuple[bool, ...]:
        """Which columns hold words rather than numbers: those are aligned left."""
        return tuple(
            not any(cell[:1] in _NUMERIC for cell in column if cell) for column in zip(*self.rows, strict=True)
        )


_NUMERIC = frozenset("0123456789+-−<")


def limited_table(caption: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], limit: int, rest: str) -> Table:
    """A table of the first `limit` rows; its note counts the others before `rest`."""
    more = len(rows) - limit
    return Table(caption, head, tuple(rows[:limit]), f"{more:,} {rest}." if more > 0 else "")


@dataclass(frozen=True)
class Chart:
    """A figure, what to see in it, and its numbers as a table.

    Attributes:
        id: Unique in a page: letters, digits, hyphens.
        title: A heading.
        see: One sentence: what to see in it.
        figure: plotly's; several stand side by side where there is room.
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
    """An image with text and a mark.

    Attributes:
        path: As recorded, made printable; empty where something else names it.
        jpeg: None where the record has no thumbnail.
        lines: Said below it.
        mark: `right`, `wrong` or empty: shown by a sign, a colour and a word.
        others: Images that stand beside it: (caption, JPEG).
        caption: Right below the image, as those of `others`.
    """

    path: str
    jpeg: bytes | None
    lines: tuple[str, ...] = ()
    mark: str = ""
    others: tuple[tuple[str, bytes], ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class ThumbnailGrid:
    """Thumbnails under a heading; `wide` where others stand beside each."""

    id: str
    title: str
    see: str
    images: tuple[Thumbnail, ...]
    wide: bool = False


@dataclass(frozen=True)
class Note:
    """A sentence; its kind is `missing`, `warning` or empty."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Code:
    """Text to copy."""

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
        title: A heading.
        see: One sentence: what to see in it.
        parts: Names of the parts, from the input up.
        phases: (name, which parts are trained, what to say of it).
    """

    title: str
    see: str
    parts: tuple[str, ...]
    phases: tuple[tuple[str, tuple[bool, ...], str], ...]


@dataclass(frozen=True)
class Metric:
    """A formatted number of the summary box and what it means."""

    name: str
    value: str
    says: str = ""


@dataclass(frozen=True)
class SummaryBox:
    """The box at a page's top: a large number, a sentence, smaller numbers."""

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
        elements: Any of the above, in order.
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
        summary_box: None for pages without one number.
        sections: In order; those without elements are left out.
        notes: What the reader must know first: a run that was interrupted, warnings.
    """

    title: str
    subtitle: str
    summary_box: SummaryBox | None
    sections: tuple[Section, ...]
    notes: tuple[Note, ...] = ()
