"""Training schedule as pure data: depth, learning rate and cut point of each phase."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kit.config import PhaseConfig


@dataclass(frozen=True)
class Phase:
    """A phase, resolved against a backbone; `index` counts from 0.

    `depth` is the number of blocks trained. `start_depth` is the cut point it starts from: the deepest depth trained so
    far, below which no weight has changed.
    """

    index: int
    settings: PhaseConfig
    depth: int
    start_depth: int

    @property
    def name(self) -> str:
        """Name in curves and tables."""
        return self.settings.name or f"phase {self.index + 1}"

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


def plan(settings: Sequence[PhaseConfig], depths: Sequence[int]) -> tuple[Phase, ...]:
    """Resolve a schedule; `depths` hold no -1, and later phases that unfreeze nothing are left out."""
    kept = [(one, depth) for i, (one, depth) in enumerate(zip(settings, depths, strict=True)) if depth or not i]
    starts = [max(depth for _, depth in kept[: index + 1]) for index in range(len(kept))]
    return tuple(
        Phase(index, one, depth, start) for index, ((one, depth), start) in enumerate(zip(kept, starts, strict=True))
    )
