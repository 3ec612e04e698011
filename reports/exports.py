"""Exports of the model, each scored against it in its own runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kit.files import read_json
from reports import text
from reports.elements import Section, Table

LEAD = (
    "Each form of the model was run in its own runtime before it was handed over: how often it says what the "
    "original says, and how far any of its probabilities lies from the original's."
)


def read_exports(run: Path) -> list[dict[str, Any]]:
    """Every exports/*/export.json of a run, by folder name; StorageError if one is damaged."""
    found = (read_json(path) for path in sorted((run / "exports").glob("*/export.json")))
    return [record for record in found if record.get("kind") == "export"]


def exports_section(exports: Sequence[Mapping[str, Any]]) -> Section:
    """Table of export.json's numbers; no elements where nothing was exported."""
    if not exports:
        return Section("exports", "Exports", ())
    batches = sorted({int(batch) for export in exports for batch in export["latency_ms"]})
    rows = tuple(_row(export, batches) for export in exports)
    latencies = (f"{text.count(batch, 'photo')} at once" for batch in batches)
    head = ("format", "runtime", "size", *latencies, "same answer", "greatest difference", "accuracy")
    gates = [export["gate"] for export in exports]
    scored = ", ".join(dict.fromkeys(f"{text.count(g['photos'], 'photo')} of {text.name(g['split'])}" for g in gates))
    original = next((gate for gate in gates if gate["original_accuracy"] is not None), None)
    note = f"Scored on {scored}"
    if original:
        share = text.share(original["original_accuracy"], original["photos"])
        note += f"; the original's accuracy there is {share}"
    return Section("exports", "Exports", (Table("Exports of the model", head, rows, f"{note}."),), LEAD)


def _row(export: Mapping[str, Any], batches: Sequence[int]) -> tuple[str, ...]:
    gate = export["gate"]
    return (
        text.name(export["format"]),
        text.name(export["runtime"]),
        text.size(export["bytes"]),
        *(text.milliseconds(export["latency_ms"].get(str(batch))) for batch in batches),
        f"{gate['agreement']:.2%}",
        f"{gate['greatest_difference']:.1e}",
        text.share(gate["accuracy"], gate["photos"]),
    )
