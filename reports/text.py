"""Names and numbers as text.

Names of files, classes and phases are untrusted: `name` makes them printable, `label` safe in a figure; the template
escapes HTML.
"""

import html
import math
import re
import unicodedata
from collections.abc import Sequence

_KEPT = 60
_FOLDERS = re.compile(r"(?<![\w.~/:…])(?:[A-Za-z]:)?(?:[/\\][^\s/\\'\"`]+)+[/\\]")
_ISOLATE, _END = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"


def name(text: str | None, limit: int = _KEPT) -> str:
    """Name as one printable line of at most `limit` (at least 3) characters.

    Control characters, direction overrides and bytes that are no text (PEP 383) become U+FFFD, line ends a space; the
    middle of a long name is left out. Right-to-left names are isolated from the text around them; None and "" become a
    dash.
    """
    if not text:
        return "–"
    safe = "".join(map(_letter, text))
    safe = shortened(safe, limit)
    return (
        f"{_ISOLATE}{safe}{_END}" if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in safe) else safe
    )


def shortened(safe: str, limit: int) -> str:
    """Printable text of at most `limit` characters, its middle left out where it is longer."""
    if len(safe) <= limit:
        return safe
    front = (limit - 1) * 2 // 3
    return f"{safe[:front]}…{safe[len(safe) - (limit - 1 - front) :]}"


def without_folders(sentence: str) -> str:
    """Sentence whose absolute paths keep their last name alone: a page may be handed on."""
    return _FOLDERS.sub("…/", sentence)


def label(text: str | None, limit: int = 24) -> str:
    """Name for a figure, escaped: plotly reads HTML in every text."""
    return html.escape(name(text, limit), quote=False).replace("$", "&#36;")  # plotly reads a pair of $ as LaTeX


def labels(texts: list[str], limit: int = 24) -> list[str]:
    """`label` of each, numbered where two would look alike."""
    seen: dict[str, int] = {}
    shown = []
    for text in texts:
        one = label(text, limit)
        seen[one] = seen.get(one, 0) + 1
        shown.append(one if seen[one] == 1 else f"{one} ({seen[one]})")
    return shown


def _letter(letter: str) -> str:
    if letter in "\n\r\t":
        return " "
    # Cc control, Cf direction overrides and other invisible ones, Cs lone surrogates, Co, Cn
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(letter)[0] == "C" else letter


# === Numbers ===


def share(value: float | None, n: int | None = None) -> str:
    """0.9266 -> 92.7%; no decimal for fewer than 100 images; None is a dash."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.0%}" if n is not None and n < 100 else f"{value:.1%}"


def interval(bounds: tuple[float, float] | list[float] | None, n: int | None = None) -> str:
    """(0.899, 0.949) -> 89.9% to 94.9%."""
    return "–" if bounds is None else f"{share(bounds[0], n)} to {share(bounds[1], n)}"


def points(difference: float | None, n: int | None = None) -> str:
    """Percentage points: 0.012 -> +1.2 points; digits as of `share`."""
    if difference is None:
        return "–"
    digits = 0 if n is not None and n < 100 else 1
    rounded = round(100 * difference, digits)
    return f"{rounded if rounded else 0.0:{'+' if rounded else ''}.{digits}f} points".replace("-", "−")


def number(value: float | None, digits: int = 3) -> str:
    """Number to `digits` significant digits; whole ones with thousands separated."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 1):
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def count(n: int, thing: str, plural: str = "") -> str:
    """1 -> 1 image, 2 -> 2 images."""
    return f"{n:,} {thing if n == 1 else plural or thing + 's'}"


def seconds(value: float | None) -> str:
    """0.32 s, 3.0 s, 12 s, 4 min 10 s, 2 h 5 min."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value:.2g} s"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def milliseconds(value: float | None) -> str:
    """12.3 ms."""
    return "–" if value is None else f"{value:,.3g} ms" if value < 1000 else f"{value:,.0f} ms"


def size(value: float | None) -> str:
    """Bytes, in binary units."""
    if value is None:
        return "–"
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} GiB"


def p_value(value: float) -> str:
    """P value such as 0.03, never 0.000."""
    return "less than 0.001" if value < 0.001 else f"{value:.2g}"


def p_equals(value: float) -> str:
    """Text after `p`: = 0.03, or < 0.001."""
    return f"= {p_value(value)}" if value >= 0.001 else "< 0.001"


# === Columns: one format for all cells ===


def shares(values: Sequence[float | None], counts: Sequence[int]) -> list[str]:
    """`share` of each, with the digits that the smallest of its numbers of images allows."""
    fewest = min(filter(None, counts), default=0)
    return [share(value, fewest) for value in values]


def numbers(values: Sequence[float | None], digits: int = 3) -> list[str]:
    """Numbers with as many decimals as any of them has to `digits` significant digits; None is a dash.

    All are in scientific notation where one is below 0.0001 or a million and more.
    """
    known = [float(value) for value in values if value is not None]
    if any(value and not 1e-4 <= abs(value) < 1e6 for value in known):
        shown = f".{digits - 1}e"
    else:
        shown = f",.{max((_decimals(value, digits) for value in known), default=0)}f"
    return ["–" if value is None else format(value, shown) for value in values]


def _decimals(value: float, digits: int) -> int:
    most = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return len(f"{value:.{most}f}".partition(".")[2].rstrip("0"))


def durations(values: Sequence[float | None]) -> list[str]:
    """Seconds in one unit with one decimal: that which suits the longest."""
    longest = max((value for value in values if value is not None), default=0.0)
    size, unit = next(pair for pair in ((3600, "h"), (60, "min"), (1, "s")) if longest >= 2 * pair[0] or pair[0] == 1)
    return ["–" if value is None else f"{value / size:,.1f} {unit}" for value in values]


def joined(names: list[str], limit: int = 6) -> str:
    """a, b and 3 more."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more:,} more" if more > 0 else "")
