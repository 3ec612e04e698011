"""What the model was exported to, each form scored against the original in its own runtime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.files import read_json
from reports import text
from reports.elements import Section, Table


@dataclass(frozen=True)
class ExportFacts:
    """One export and what its parity gate measured.

    Attributes:
        format: Such as `onnx`.
        runtime: What it ran in, with its version.
        bytes: Size of the model.
        images: Images of `split` that it was scored on.
        split: Which ones.
        agreement: Share of them on which it and the original say the same class, 0 to 1.
        difference: Greatest difference of any probability.
        accuracy: Its own, 0 to 1.
        original_accuracy: That of the run's model on the same images.
        latency: (images in a batch, median milliseconds of the batch), smallest batch first.
    """

    format: str
    runtime: str
    bytes: int
    images: int
    split: str
    agreement: float
    difference: float
    accuracy: float | None
    original_accuracy: float | None
    latency: tuple[tuple[int, float], ...]


def read_exports(run: Path) -> list[dict[str, Any]]:
    """Every exports/*/export.json of a run folder, by name of its folder.

    Raises:
        StorageError: If one is damaged.
    """
    found = (read_json(path) for path in sorted((run / "exports").glob("*/export.json")))
    return [record for record in found if record.get("kind") == "export"]


def exports_facts(records: Sequence[Mapping[str, Any]]) -> tuple[ExportFacts, ...]:
    """From export.json of each."""
    return tuple(
        ExportFacts(
            format=record["format"],
            runtime=record["runtime"],
            bytes=record["bytes"],
            images=gate["photos"],
            split=gate["split"],
            agreement=gate["agreement"],
            difference=gate["greatest_difference"],
            accuracy=gate["accuracy"],
            original_accuracy=gate["original_accuracy"],
            latency=tuple(sorted((int(batch), float(ms)) for batch, ms in record["latency_ms"].items())),
        )
        for record in records
        for gate in [record["gate"]]
    )


def exports_section(facts: Sequence[ExportFacts]) -> Section:
    """A table; nothing where nothing was exported."""
    if not facts:
        return Section("exports", "Exports", ())
    batches = sorted({batch for one in facts for batch, _ in one.latency})
    rows = tuple(
        (
            text.name(one.format),
            text.name(one.runtime),
            text.size(one.bytes),
            *(text.milliseconds(dict(one.latency).get(batch)) for batch in batches),
            f"{one.agreement:.2%}",
            f"{one.difference:.1e}",
            text.share(one.accuracy, one.images),
        )
        for one in facts
    )
    latencies = (f"{text.count(batch, 'photo')} at once" for batch in batches)
    head = ("format", "runtime", "size", *latencies, "same answer", "greatest difference", "accuracy")
    scored = ", ".join(dict.fromkeys(f"{text.count(one.images, 'photo')} of {text.name(one.split)}" for one in facts))
    original = next((one for one in facts if one.original_accuracy is not None), None)
    note = f"Scored on {scored}" + (
        f"; the original's accuracy there is {text.share(original.original_accuracy, original.images)}."
        if original
        else "."
    )
    lead = (
        "Each form of the model was run in its own runtime before it was handed over: how often it says what the "
        "original says, and how far any of its probabilities lies from the original's."
    )
    return Section("exports", "Exports", (Table("Exports of the model", head, rows, note),), lead)
