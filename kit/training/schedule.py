"""Training schedule as pure data: depth, learning rate and cut point of each phase."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kit.config import PhaseConfig


@dataclass(frozen=True)
class Phase:
    """A phase, resolved against a backbone; `index` counts from 0.

    `depth` is the number of blocks trained. `start_depth` is the cut point it starts from: the deepest depth trained so
    far, below which no weight has changed. `views` are the views of the images that it reads, in turn.
    """

    index: int
    settings: PhaseConfig
    depth: int
    start_depth: int
    views: tuple[int, ...] = (0,)

    @property
    def name(self) -> str:
        """Name in curves and tables."""
        return self.settings.name or f"phase {self.index + 1}"

    @property
    def epochs(self) -> int:
        """Epochs trained, at most."""
        return self.settings.stop_after or self.settings.epochs

    def learning_rate(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a step, counted from 0 within the phase.

        Linear warm-up to the phase's rate η over w steps, then η, or for `cosine` η (1 + cos(π (s - w) / (n - w))) / 2
        [Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts].
        """
        highest = self.settings.learning_rate
        warmup = self.settings.warmup_epochs * steps_per_epoch
        if step < warmup:
            return highest * (step + 1) / (math.floor(warmup) + 1)
        if self.settings.schedule == "constant":
            return highest
        total = self.settings.epochs * steps_per_epoch
        return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))


def plan(settings: Sequence[PhaseConfig], depths: Sequence[int], views: int = 1) -> tuple[Phase, ...]:
    """Resolve a schedule; `depths` hold no -1, and later phases that unfreeze nothing are left out.

    Each phase goes on with the `views` where the one before ends, and reads no more of them than it has epochs.
    """
    phases: list[Phase] = []
    for one, depth in zip(settings, depths, strict=True):
        if depth or not phases:
            phase = Phase(len(phases), one, depth, max(depth, *(before.depth for before in phases), 0))
            first = sum(before.epochs for before in phases)
            read = tuple((first + number) % views for number in range(min(phase.epochs, views)))
            phases.append(replace(phase, views=read))
    return tuple(phases)
