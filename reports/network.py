"""The network: its size, which blocks each phase trained, and its exports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.files import read_json
from reports import text
from reports.elements import NetworkBars, Section, Table, missing_section
from reports.formats import named

# Backbone of records older than the choice of backbones.
MOBILENET_V2 = ("stem", *(f"block {number}" for number in range(17)), "Conv_1")
_START = {"pooled": "the head", "all": "the pixels"}
LEAD = (
    "Each form of the model was run in its own runtime before it was handed over: how often it says what the "
    "original says, and how far any of its probabilities lies from the original's."
)


@dataclass(frozen=True)
class PhaseFacts:
    """Blocks and parameters that one phase trained.

    `depth` is the unfreeze depth, `cut` the first trained block as Keras names it, `share` of all parameters, 0 to 1.
    """

    name: str
    depth: int
    cut: str
    parameters: int
    share: float


@dataclass(frozen=True)
class NetworkFacts:
    """Size of the network, and what each phase trained.

    `parameters` is None before training; `multiply_adds` are of one image, None where not counted. `blocks` run from
    the input up; unfreeze depth counts them from the end.
    """

    parameters: int | None
    multiply_adds: int | None
    backbone: str
    blocks: tuple[str, ...]
    phases: tuple[PhaseFacts, ...]


def network_facts(network: Mapping[str, Any]) -> NetworkFacts:
    """Facts from `network` of manifest.json, which may be empty."""
    total = network.get("parameters")
    phases = tuple(
        PhaseFacts(
            phase["name"],
            phase["unfreeze_depth"],
            phase["cut"],
            phase["trained_parameters"],
            phase["trained_parameters"] / total,
        )
        for phase in network.get("phases", [])
    )
    return NetworkFacts(
        total,
        network.get("multiply_adds"),
        network.get("backbone", "mobilenet_v2"),
        tuple(network.get("blocks", MOBILENET_V2)),
        phases,
    )


def network_section(facts: NetworkFacts) -> Section:
    """Bars and table of what each phase trained."""
    title = "Network"
    if facts.parameters is None:
        return missing_section("network", title, "The network is described when a run ends.")
    bars = NetworkBars(
        "What each phase trained",
        _see(facts),
        (*facts.blocks, "head"),
        tuple(
            (
                text.name(phase.name),
                _trained(phase, len(facts.blocks)),
                f"{text.count(phase.parameters, 'parameter')} trained ({text.share(phase.share)}), from "
                f"{_START.get(phase.cut) or text.name(phase.cut)} on",
            )
            for phase in facts.phases
        ),
    )
    rows = tuple(
        (text.name(phase.name), str(phase.depth), phase.cut, f"{phase.parameters:,}", text.share(phase.share))
        for phase in facts.phases
    )
    table = Table("Trained in each phase", ("phase", "unfreeze depth", "from", "parameters", "share"), rows)
    return Section("network", title, (bars, table))


def _see(facts: NetworkFacts) -> str:
    see = f"{facts.parameters:,} parameters, {text.name(facts.backbone)} and a head on its pooled features"
    if facts.multiply_adds:
        see += f", {facts.multiply_adds / 1e6:,.0f} million multiply-adds an image"
    if not facts.phases:
        return f"{see}."
    deepest = max(facts.phases, key=lambda phase: phase.parameters)
    share = text.share(deepest.share)
    return f"{see}; {text.name(deepest.name)} trained {share} of them, the rest is as it was pretrained."


def _trained(phase: PhaseFacts, blocks: int) -> tuple[bool, ...]:
    """Whether each block and the head are trained; depth -1 is all."""
    return tuple(phase.depth < 0 or place >= blocks - phase.depth for place in range(blocks + 1))


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
    latencies = (f"{text.count(batch, 'image')} at once" for batch in batches)
    head = ("format", "runtime", "size", *latencies, "same prediction", "greatest difference", "accuracy")
    gates = [export["gate"] for export in exports]
    scored = ", ".join(dict.fromkeys(f"{text.count(g['photos'], 'image')} of {text.name(g['split'])}" for g in gates))
    original = next((gate for gate in gates if gate["original_accuracy"] is not None), None)
    note = f"Scored on {scored}"
    if original:
        share = text.share(original["original_accuracy"], original["photos"])
        note += f"; the original's accuracy there is {share}"
    return Section("exports", "Exports", (Table("Exports of the model", head, rows, f"{note}."),), LEAD)


def _row(export: Mapping[str, Any], batches: Sequence[int]) -> tuple[str, ...]:
    gate = export["gate"]
    return (
        text.name(named({"precision": "float32", **export})),  # early exports tell none
        text.name(export["runtime"]),
        text.size(export["bytes"]),
        *(text.milliseconds(export["latency_ms"].get(str(batch))) for batch in batches),
        f"{gate['agreement']:.2%}",
        f"{gate['greatest_difference']:.1e}",
        text.share(gate["accuracy"], gate["photos"]),
    )
