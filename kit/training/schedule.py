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


def averaging_momentum(ema: float, step: int) -> float:
    """Momentum of the moving average of weights at a step t, counted from 0: min(ema, (1 + t) / (10 + t)).

    At first the average spans a ninth of the steps done, so that early epochs are not the weights that it began with
    [`tf.train.ExponentialMovingAverage`, `num_updates`].
    """
    return min(ema, (1 + step) / (10 + step))


def layer_scale(decay: float, depth: int) -> float:
    """Factor of the learning rate of a block, by its unfreeze depth; 0 is the head: decay to the power of depth.

    The head learns at the whole rate and the top block at `decay` times that, as in timm (`param_groups_layer_decay`)
    and AutoGluon (`optim.lr_decay`). A last convolution such as MobileNetV2's Conv_1 counts as a block here; timm
    counts it with the block below.
    """
    return decay**depth


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
