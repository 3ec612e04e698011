"""Dry run: the stages of a run and their estimated cost. Importing this module imports no backend."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.config import RunConfig
from kit.pipeline import build, load, start_backend
from kit.stage_clock import StageClock

if TYPE_CHECKING:
    from kit.training.estimate import StageCost


@dataclass(frozen=True)
class Rehearsal:
    """Stages and cost of a run that has not begun: name of the data, images by split, seconds and bytes by stage."""

    name: str
    classes: tuple[str, ...]
    images: dict[str, int]
    stages: "tuple[StageCost, ...]"


def rehearse(config: RunConfig) -> Rehearsal:
    """Estimate the cost of a run, keeping nothing; UserError for whatever would keep the run from starting."""
    config = start_backend(config)
    from kit.training.estimate import StageCost, estimate

    clock = StageClock()
    dataset, weights = load(config, clock)
    audited = StageCost("audit", f"{len(dataset.findings):,} findings", clock.stages["audit"]["seconds"], 0)
    stages = estimate(build(config, dataset, weights))
    return Rehearsal(dataset.name, dataset.classes, dataset.counts(), (audited, *stages))
