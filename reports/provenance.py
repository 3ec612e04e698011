"""Origin of the numbers, and the command that repeats the run."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from reports import text
from reports.elements import Code, Section, Table


@dataclass(frozen=True)
class ProvenanceFacts:
    """Origin of the numbers, and the command that repeats the run.

    `environment` is backend, versions, device; `origin` data, weights, seeds; `stages` are (name, seconds, peak memory
    in bytes or None, programs compiled or None).
    """

    environment: tuple[tuple[str, str], ...]
    origin: tuple[tuple[str, str], ...]
    stages: tuple[tuple[str, float, int | None, int | None], ...]
    command: str


def provenance_facts(manifest: Mapping[str, Any], folder: str) -> ProvenanceFacts:
    """Facts from manifest.json; the command names the run folder `folder`."""
    data, weights, seeds, network = (manifest.get(name) or {} for name in ("data", "weights", "seeds", "network"))
    origin = {
        "started": manifest.get("created"),
        "backbone": network.get("backbone"),
        "data": data.get("name"),
        "data fingerprint": data.get("fingerprint"),
        **corrections_origin(data.get("corrections")),
        "pretrained weights": weights.get("name"),
        "weights trained on": (weights.get("run") or {}).get("data"),
        "weights SHA-256": weights.get("sha256"),
        **{f"seed of the {name}": seed for name, seed in seeds.items()},
        "kernels": network.get("kernels"),
    }
    stages = tuple(
        (name, stage["seconds"], stage.get("peak_memory_bytes"), stage.get("programs"))
        for name, stage in manifest.get("stages", {}).items()
    )
    again = "again" if folder != "again" else "once-more"
    command = f"transferkit train --config {shlex.quote(str(PurePath(folder) / 'config.toml'))} --out {again}"
    return ProvenanceFacts(pairs_of(manifest.get("environment") or {}), pairs_of(origin), stages, command)


def corrections_origin(applied: Mapping[str, Any] | None) -> dict[str, str]:
    """Rows on corrections of labels from what a manifest says of them; none without."""
    if not applied:
        return {}
    counts = ", ".join(f"{applied[action]:,} {action}" for action in ("relabelled", "dropped", "kept"))
    return {"corrections": f"{applied['file']}: {counts}", "corrections SHA-256": applied["sha256"]}


def pairs_of(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names and values as text, without those that are missing."""
    return tuple((key.replace("_", " "), str(value)) for key, value in values.items() if value not in (None, ""))


def provenance_section(facts: ProvenanceFacts, place: str = "the folder that holds the run folder") -> Section:
    """Command, environment, origin and stages; `place` is where the command works."""
    elements: list = [Code(f"The command that repeats it, from {place}", facts.command)]
    if facts.stages:
        elements.append(_stages_table(facts))
    for caption, pairs in (("Where it comes from", facts.origin), ("Made with", facts.environment)):
        if pairs:
            elements.append(Table(caption, (), tuple((name, text.name(value, 80)) for name, value in pairs)))
    return Section("provenance", "Provenance", tuple(elements))


def _stages_table(facts: ProvenanceFacts) -> Table:
    whole = sum(seconds for _, seconds, *_ in facts.stages)
    *times, sum_of_times = text.durations([*(seconds for _, seconds, *_ in facts.stages), whole])
    rows = tuple(
        (
            text.name(name),
            time,
            text.share(seconds / whole) if whole else "–",
            text.size(peak),
            "–" if programs is None else str(programs),
        )
        for (name, seconds, peak, programs), time in zip(facts.stages, times, strict=True)
    )
    head = ("stage", "time", "share", "peak memory so far", "programs compiled")
    caption = "Time, memory and compiled programs of each stage"
    return Table(caption, head, rows, foot=(("all", sum_of_times, "", "", ""),))
