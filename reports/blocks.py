"""What a section of a page is made of. Text is plain; the template escapes it."""

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
class Photo:
    """A photo with what is to be said of it.

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
class Photos:
    """A grid of photos.

    Attributes:
        id: Unique in a page.
        title: A heading.
        see: One sentence: what to see in it.
        photos: In order.
        wide: Each with its further pictures beside it.
    """

    id: str
    title: str
    see: str
    photos: tuple[Photo, ...]
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
class Block:
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
class Figure:
    """A number of the headline.

    Attributes:
        name: What it is.
        value: Formatted.
        says: What it means, one sentence.
    """

    name: str
    value: str
    says: str = ""


@dataclass(frozen=True)
class Headline:
    """The box at a page's top.

    Attributes:
        name: What the large number is.
        value: The large number; a dash where there is none.
        says: The sentence beside it.
        figures: Smaller ones.
    """

    name: str
    value: str
    says: str
    figures: tuple[Figure, ...] = ()


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
    blocks: tuple[Any, ...]
    lead: str = ""


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: Of the page and its tab.
        subtitle: One line: what it is about.
        headline: The box; None for pages without one number.
        sections: In order; those without blocks are left out.
        notes: What the reader must know first: a run that was interrupted, warnings.
    """

    title: str
    subtitle: str
    headline: Headline | None
    sections: tuple[Section, ...]
    notes: tuple[Note, ...] = field(default=())
