"""What differs between new images and those that the run measured itself on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.significance import SIGNIFICANT
from reports import text
from reports.elements import Note, Section, Table
from reports.evaluation.facts import OWN, EvaluationFacts
from reports.predictions import NEW
from reports.sizes import Sizes, colours_chart, sizes_chart

# Property as recorded -> words for a smaller and for a larger value.
WORDS = {
    "confidence": ("answered with less confidence", "answered with more confidence"),
    "brightness": ("darker", "brighter"),
    "warmth (red - blue)": ("bluer", "redder"),
    "shorter side in pixels": ("smaller", "larger"),
    "width : height": ("narrower", "wider"),
}
NOTE = (
    "Distance: Kolmogorov and Smirnov's, the greatest difference between the shares of both sets below a value, from 0 "
    f"to 1. Each p is Holm's, adjusted for the number of properties; p < {SIGNIFICANT} is more than chance."
)


@dataclass(frozen=True)
class PropertyDrift:
    """Medians of a property of images, `distance` (Kolmogorov and Smirnov's) and Holm's p of their distributions."""

    name: str
    own: float
    new: float
    distance: float
    p_value: float

    @property
    def clear(self) -> bool:
        """Whether the distributions differ by more than chance explains."""
        return self.p_value < SIGNIFICANT

    @property
    def words(self) -> str:
        """How the new images differ."""
        if self.new == self.own:
            return f"spread otherwise in {self.name}"
        return WORDS.get(self.name, (f"lower in {self.name}", f"higher in {self.name}"))[self.new > self.own]


def drift_facts(drift: Sequence[Mapping[str, Any]]) -> tuple[PropertyDrift, ...]:
    """Facts from metrics.json, the most different property first."""
    rows = (
        PropertyDrift(
            text.name(row["property"]), *(row[key] for key in ("own_median", "new_median", "distance", "p_value"))
        )
        for row in drift
    )
    return tuple(sorted(rows, key=lambda row: (not row.clear, -row.distance)))


def drift_section(drift: Sequence[PropertyDrift], facts: EvaluationFacts, sizes: Sizes | None) -> Section:
    """Properties that differ, and the sizes and colours of the images; `sizes` is None where not recorded."""
    charts = () if sizes is None else (sizes_chart(sizes), colours_chart(sizes))
    title = "What differs"
    if not drift:
        why = "None of the images is new." if facts.shown != NEW else "The run has no test images to compare with."
        return Section("drift", title, (Note(why, "missing"), *charts))
    own = OWN[facts.own]
    rows = tuple(
        (
            row.name,
            _value(row, row.own),
            _value(row, row.new),
            f"{row.distance:.2f}",
            text.p_value(row.p_value),
            row.words if row.clear else "may be chance",
        )
        for row in drift
    )
    head = ("property", f"median of {own}", f"median of {NEW}", "distance", "p", f"the {NEW} are")
    return Section(
        "drift",
        title,
        (Table(f"{NEW.capitalize()} beside {own}", head, rows, NOTE), *charts),
        _lead(drift, own, bool(facts.absent)),
    )


def _lead(drift: Sequence[PropertyDrift], own: str, absent: bool) -> str:
    clear = [row for row in drift if row.clear]
    if not clear:
        return f"The new images differ from those of the {own} in nothing that was measured, but by chance."
    parts = [f"{row.words}{_medians(row, own)}" for row in clear]
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    classes = " Some of it may lie in the classes: not all of them are here." if absent else ""
    return (
        f"The new images are {listed}, by more than chance explains; numbers are medians.{classes} What differs need "
        "not be what the model errs by: it is where to look first."
    )


def _medians(row: PropertyDrift, own: str) -> str:
    if row.new == row.own:
        return ""
    name = "" if row.name == "confidence" else f"{row.name} "
    return f" ({name}{_value(row, row.new)}, {own} {_value(row, row.own)})"


def _value(row: PropertyDrift, value: float) -> str:
    if row.name == "confidence":
        return text.share(value)
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2f}".replace("-", "−")
