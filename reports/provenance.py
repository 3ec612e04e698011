"""What was trained, with what, and how to do it again."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from reports import text
from reports.elements import Code, NetworkBars, Section, Table, missing_section

# Of a record that does not say: runs of before there were other backbones.
MOBILENET_V2 = ("stem", *(f"block {number}" for number in range(17)), "Conv_1")


@dataclass(frozen=True)
class PhaseFacts:
    """What one phase trained.

    Attributes:
        name: As configured.
        depth: Unfreeze depth.
        cut: The first block that is trained, as Keras names it.
        parameters: Numbers that were trained.
        share: Of all parameters.
    """

    name: str
    depth: int
    cut: str
    parameters: int
    share: float


@dataclass(frozen=True)
class ProvenanceFacts:
    """Where the numbers come from.

    Attributes:
        parameters: Of the whole network; None before it was trained.
        multiply_adds: Of one image; None where they were not counted.
        backbone: Its name, as configured.
        blocks: Of the backbone, from the pixels up; unfreeze depth counts them from the end.
        phases: What each trained.
        environment: (name, value): backend, versions, device.
        origin: (name, value): data, weights, seeds.
        stages: (name, seconds, peak memory in bytes or None, programs compiled or None).
        seconds: Of all stages.
        command: That repeats the run.
    """

    parameters: int | None
    multiply_adds: int | None
    backbone: str
    blocks: tuple[str, ...]
    phases: tuple[PhaseFacts, ...]
    environment: tuple[tuple[str, str], ...]
    origin: tuple[tuple[str, str], ...]
    stages: tuple[tuple[str, float, int | None, int | None], ...]
    seconds: float
    command: str


def provenance_facts(manifest: Mapping[str, Any], folder: str) -> ProvenanceFacts:
    """From manifest.json.

    Args:
        manifest: Of a run.
        folder: Name of the run folder, for the command.
    """
    network = manifest.get("network") or {}
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
    data, weights, seeds = (manifest.get(name) or {} for name in ("data", "weights", "seeds"))
    origin = {
        "started": manifest.get("created"),
        "backbone": network.get("backbone"),
        "data": data.get("name"),
        "data fingerprint": data.get("fingerprint"),
        "pretrained weights": weights.get("name"),
        "weights SHA-256": weights.get("sha256"),
        **{f"seed of the {name}": seed for name, seed in seeds.items()},
        "kernels": network.get("kernels"),
    }
    stages = tuple(
        (name, stage["seconds"], stage.get("peak_memory_bytes"), stage.get("programs"))
        for name, stage in manifest.get("stages", {}).items()
    )
    again = "again" if folder != "again" else "once-more"
    return ProvenanceFacts(
        parameters=total,
        multiply_adds=network.get("multiply_adds"),
        backbone=network.get("backbone", "mobilenet_v2"),
        blocks=tuple(network.get("blocks", MOBILENET_V2)),
        phases=phases,
        environment=_pairs(manifest.get("environment") or {}),
        origin=_pairs(origin),
        stages=stages,
        seconds=sum(seconds for _, seconds, *_ in stages),
        command=f"transferkit train --config {shlex.quote(str(PurePath(folder) / 'config.toml'))} --out {again}",
    )


def _pairs(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((key.replace("_", " "), str(value)) for key, value in values.items() if value not in (None, ""))


_START = {"pooled": "the head", "all": "the pixels"}


def network_section(facts: ProvenanceFacts) -> Section:
    """Which parts of the network each phase trained."""
    title = "Network"
    if facts.parameters is None:
        return missing_section("network", title, "The network is described when a run ends.")
    parts = (*facts.blocks, "head")
    deepest = max(facts.phases, key=lambda phase: phase.parameters, default=None)
    see = f"{facts.parameters:,} parameters, {text.name(facts.backbone)} and a head on its pooled features"
    if facts.multiply_adds:
        see += f", {facts.multiply_adds / 1e6:,.0f} million multiply-adds a photo"
    if deepest is not None:
        see += (
            f"; {text.name(deepest.name)} trained {text.share(deepest.share)} of them, the rest is as it was pretrained"
        )
    phases = tuple(
        (
            text.name(phase.name),
            tuple(phase.depth < 0 or place >= len(facts.blocks) - phase.depth for place in range(len(parts))),
            f"{text.count(phase.parameters, 'parameter')} trained ({text.share(phase.share)}), from "
            f"{_START.get(phase.cut) or text.name(phase.cut)} on",
        )
        for phase in facts.phases
    )
    rows = tuple(
        (text.name(phase.name), str(phase.depth), phase.cut, f"{phase.parameters:,}", text.share(phase.share))
        for phase in facts.phases
    )
    table = Table("Trained in each phase", ("phase", "unfreeze depth", "from", "parameters", "share"), rows)
    return Section("network", title, (NetworkBars("What each phase trained", see + ".", parts, phases), table))


def provenance_section(facts: ProvenanceFacts) -> Section:
    """How to do it again."""
    stages = tuple(
        (
            text.name(name),
            text.seconds(seconds),
            text.share(seconds / facts.seconds) if facts.seconds else "–",
            text.size(peak),
            "–" if programs is None else str(programs),
        )
        for name, seconds, peak, programs in facts.stages
    )
    elements: list = [Code("The command that repeats it, from the folder that holds the run folder", facts.command)]
    if stages:
        columns = ("stage", "time", "share", "peak memory so far", "programs compiled")
        total = ("all", text.seconds(facts.seconds), "", "", "")
        elements.append(Table("Time, memory and compiled programs of each stage", columns, (*stages, total)))
    for caption, pairs in (("Where it comes from", facts.origin), ("Made with", facts.environment)):
        if pairs:
            rows = tuple((name, text.name(value, 80)) for name, value in pairs)
            elements.append(Table(caption, (), rows))
    return Section("provenance", "Provenance", tuple(elements))
