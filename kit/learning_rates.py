"""Learning rates of each phase by a range test [Smith 2017, arXiv:1506.01186], on the activations that training reads.

A phase is trained for some steps at rates that rise from step to step; then its weights are put back, and it is trained
by its settings, so that the next one begins where it would. Nothing is recorded; the cache keeps what `train` needs.
Importing this module imports no backend.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.config import RunConfig
from kit.errors import ConfigError
from kit.pipeline import build, load, start
from kit.progress import say
from kit.stage_clock import StageClock

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kit.data.batches import Batches
    from kit.training.loop import PhaseLoop

LOW, HIGH, STEPS = 1e-7, 10.0, 100
FEWEST = 20  # steps that tell anything
WIDTH = 0.3  # standard deviation of the smoothing, in powers of ten of the rate
FALL = 0.95  # of the loss at the lowest rates: one that never gets below it did not fall
RUINED = 4.0  # times the lowest mean of RECENT losses: beyond, no rate is tried
RECENT = 5


@dataclass(frozen=True)
class RateSweep:
    """Range test of one phase.

    Attributes:
        phase: Its name.
        key: Setting of its learning rate.
        setting: What that is now.
        rates, losses: Learning rate, and mean cross-entropy of the batch before it was trained on, of each step.
        suggestion: Where the smoothed loss falls the steepest, but at most a tenth of the rate where it is lowest; None
            where it did not fall.
    """

    phase: str
    key: str
    setting: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float | None

    @property
    def smoothed(self) -> tuple[float, ...]:
        """Losses, smoothed along the rates."""
        return tuple(smooth(self.rates, self.losses).tolist())


@dataclass(frozen=True)
class LearningRates:
    """Range tests of all phases of a configuration: `kit.train(data, **rates.settings)`."""

    sweeps: tuple[RateSweep, ...]

    @property
    def settings(self) -> dict[str, float]:
        """Suggestion by setting, those of phases without one left out."""
        return {one.key: one.suggestion for one in self.sweeps if one.suggestion is not None}

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        sweeps = [asdict(one) | {"smoothed": one.smoothed} for one in self.sweeps]
        return {"settings": self.settings, "sweeps": sweeps}

    @cached_property
    def figure(self) -> "go.Figure":
        """Loss by learning rate, a panel a phase, with the suggestion; plotly's."""
        from plotly.subplots import make_subplots

        found = ["no suggestion" if one.suggestion is None else f"{one.suggestion:.2g}" for one in self.sweeps]
        titles = [f"{one.phase}: {shown}" for one, shown in zip(self.sweeps, found, strict=True)]
        figure = make_subplots(1, len(self.sweeps), subplot_titles=titles)
        for column, one in enumerate(self.sweeps, start=1):
            place = {"row": 1, "col": column}
            batch = {"color": "rgba(128, 128, 128, 0.5)"}
            figure.add_scatter(x=one.rates, y=one.losses, name="batch", mode="markers", marker=batch, **place)
            figure.add_scatter(x=one.rates, y=one.smoothed, name="smoothed", line={"color": "#0072b2"}, **place)
            if one.suggestion is not None:
                figure.add_vline(one.suggestion, line={"color": "#d55e00"}, **place)
            figure.add_vline(one.setting, line={"dash": "dot", "color": "gray"}, **place)
        figure.update_xaxes(type="log", title_text="learning rate (line: suggestion; dotted: setting)")
        figure.update_yaxes(title_text="loss", rangemode="tozero")
        figure.update_layout(showlegend=False)
        return figure


def find_learning_rates(config: RunConfig, steps: int = STEPS) -> LearningRates:
    """Suggest a learning rate for each phase.

    Args:
        steps: Batches that each phase is tried on.

    Raises:
        UserError: As `kit.pipeline.train`.
    """
    if steps < FEWEST:
        raise ConfigError(f"A range test takes {FEWEST} steps or more, not {steps}.")
    config, found = start(config)
    dataset, weights = load(found, config, StageClock())
    dataset = dataset.without("test")
    session = build(dataset.decoding(config), dataset, weights)
    from kit.training.checkpoints import SharedHead, assign, values_of
    from kit.training.extraction import extract, training_batches, validation_batches
    from kit.training.history import History
    from kit.training.loop import PhaseLoop

    activations, history, sweeps = extract(session), History(), list[RateSweep]()
    for phase in session.phases:
        tail = session.tail(phase, logits=True)
        training = training_batches(session, activations, phase)
        validation = validation_batches(session, activations, phase)
        depths = session.classifier.depths(tail.trainable_variables)
        loop = PhaseLoop(phase, tail, training, validation, config.training, depths, parts=config.parts)
        variables = [*tail.variables, *loop.steps.updates.variables]
        before = values_of(variables)
        say(f"{phase.name}: {steps} steps at rising learning rates")
        rates, losses = _sweep(loop, training, phase.index, steps)
        assign(variables, before)
        loop.steps.reload()
        key, setting = f"phases.{phase.index}.learning_rate", phase.settings.learning_rate
        sweeps.append(RateSweep(phase.name, key, setting, tuple(rates), tuple(losses), suggest(rates, losses)))
        if phase.index + 1 == len(session.phases):
            break
        head = SharedHead.of(session, activations) if phase.index == 0 else None
        if head is not None and head.trained is not None:
            history = head.trained.give(tail)
            continue
        history = loop.run(history, len(history), lambda history: None)
        if head is not None:
            head.keep(tail, history)
    return LearningRates(tuple(sweeps))


def _sweep(loop: "PhaseLoop", training: "Batches", phase: int, steps: int) -> tuple[list[float], list[float]]:
    """Train at rates from LOW to HIGH; returns them and the losses, up to where training was ruined."""
    planned, losses = np.geomspace(LOW, HIGH, steps), list[float]()
    while len(losses) < steps:
        order = training.order(phase, len(losses) // len(training))
        count = min(len(training), steps - len(losses))
        taken = order.part(0, count)
        rates = planned[len(losses) : len(losses) + count].astype(np.float32)
        sums = loop.train_steps(taken, rates, np.zeros_like(rates), loop.phase.name)[0, :count]
        losses += (sums / taken.mask.sum(axis=1)).tolist()
        if (kept := _sound(losses)) < len(losses):
            losses = losses[:kept]
            break
    return planned[: len(losses)].tolist(), losses


def _sound(losses: list[float]) -> int:
    """Number of losses before the first that is no number, or far above the lowest."""
    lowest = math.inf
    for place in range(len(losses)):
        recent = fmean(losses[max(0, place + 1 - RECENT) : place + 1])
        if not math.isfinite(recent) or recent > RUINED * lowest:
            return place
        lowest = min(lowest, recent) if place + 1 >= RECENT else math.inf
    return len(losses)


def smooth(rates: Sequence[float], losses: Sequence[float]) -> np.ndarray:
    """Gaussian means along the logarithm of the rates: unlike a moving average they do not lag behind."""
    powers = np.log10(rates)
    weights = np.exp(-0.5 * ((powers[:, None] - powers) / WIDTH) ** 2)
    return weights @ np.asarray(losses) / weights.sum(axis=1)


def suggest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Rate of the steepest fall, at most a tenth of that of the lowest loss; None where the loss did not fall."""
    if len(rates) < FEWEST:
        return None
    smoothed = smooth(rates, losses)
    lowest = int(smoothed.argmin())
    if lowest == 0 or smoothed[lowest] > FALL * smoothed[: len(rates) // 10].mean():
        return None
    steepest = int(np.gradient(smoothed, np.log10(rates))[: lowest + 1].argmin())
    return float(min(rates[steepest], rates[lowest] / 10))
