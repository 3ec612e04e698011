"""Learning rates and the plan of phases: pure arithmetic, case by case."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.config import PhaseConfig
from kit.errors import ConfigError
from kit.training.schedule import Phase, averaging_momentum, plan

STEPS = 10  # an epoch


def phase(**settings) -> Phase:
    return Phase(0, PhaseConfig(**{"epochs": 4, "learning_rate": 1.0, **settings}), 0, 0)


# settings, step, learning rate as a share of the phase's own
CASES = [
    ({}, 0, 1.0),  # constant from the first step to the last
    ({}, 39, 1.0),
    # warm-up over one epoch of ten steps: 1/11, 2/11, ... so that no step stands still and the eleventh is whole
    ({"warmup_epochs": 1.0}, 0, 1 / 11),
    ({"warmup_epochs": 1.0}, 4, 5 / 11),
    ({"warmup_epochs": 1.0}, 9, 10 / 11),
    ({"warmup_epochs": 1.0}, 10, 1.0),
    ({"warmup_epochs": 0.25}, 1, 2 / 3),  # two and a half steps: two of them are below the full rate ...
    ({"warmup_epochs": 0.25}, 2, 1.0),  # ... and so is not the third
    ({"schedule": "cosine"}, 0, 1.0),  # cosine over 40 steps
    ({"schedule": "cosine"}, 10, 0.5 * (1 + math.sqrt(0.5))),  # a quarter of the way
    ({"schedule": "cosine"}, 20, 0.5),  # half of the way
    ({"schedule": "cosine"}, 39, 0.5 * (1 + math.cos(math.pi * 39 / 40))),  # not quite 0 at the last step
    ({"schedule": "cosine", "warmup_epochs": 1.0}, 5, 6 / 11),  # warm-up comes first
    ({"schedule": "cosine", "warmup_epochs": 1.0}, 10, 1.0),  # then the cosine over the 30 steps that are left
    ({"schedule": "cosine", "warmup_epochs": 1.0}, 25, 0.5),
    ({"schedule": "cosine", "warmup_epochs": 4.0}, 39, 40 / 41),  # all of it warm-up
]


@pytest.mark.parametrize(("settings", "step", "share"), CASES)
def test_the_learning_rate_of_a_step(settings, step, share):
    assert phase(**settings).learning_rate(step, STEPS) == pytest.approx(share)
    scaled = phase(**settings | {"learning_rate": 3e-4})
    assert scaled.learning_rate(step, STEPS) == pytest.approx(3e-4 * share)


@given(
    st.integers(1, 30),
    st.integers(1, 50),
    st.floats(0, 1),
    st.sampled_from(["constant", "cosine"]),
    st.floats(1e-6, 10),
)
def test_a_rate_is_positive_never_above_its_highest_and_rises_before_it_falls(epochs, steps, warm, kind, highest):
    one = phase(epochs=epochs, warmup_epochs=warm * epochs, schedule=kind, learning_rate=highest)
    rates = [one.learning_rate(step, steps) for step in range(epochs * steps)]
    assert all(0 < rate <= highest * (1 + 1e-12) for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    # past a fractional warm-up the cosine may begin up to a step late
    assert rates[top + 1 :] == sorted(rates[top + 1 :], reverse=True)


def test_averages_forget_the_initial_weights_at_once_and_then_span_what_was_asked():
    momenta = [averaging_momentum(0.99, step) for step in range(2000)]
    assert momenta[:2] == pytest.approx([0.1, 2 / 11])
    assert momenta == sorted(momenta)
    assert momenta[-1] == 0.99
    assert math.prod(momenta[:10]) < 1e-4  # the share of the initial weights after ten steps; 0.9 by 0.99 each
    assert averaging_momentum(0.05, 0) == 0.05


# depths asked for -> depths of the phases that run, and the cut each starts from: the deepest so far, for below it
# nothing has changed
PLANS = [
    ([0], [0], [0]),
    ([0, 5], [0, 5], [0, 5]),
    ([0, 2, 5], [0, 2, 5], [0, 2, 5]),  # gradual unfreezing
    ([0, 5, 2], [0, 5, 2], [0, 5, 5]),  # the last is shallower, but what lies above cut 5 is no longer as it was
    ([19, 1], [19, 1], [19, 19]),
    ([0, 0], [0], [0]),  # depth 0 has no phase 2
]


@pytest.mark.parametrize(("asked", "depths", "starts"), PLANS)
def test_a_phase_starts_at_the_deepest_cut_trained_so_far(asked, depths, starts):
    phases = plan([PhaseConfig(unfreeze_depth=depth) for depth in asked], asked)
    assert [one.depth for one in phases] == depths
    assert [one.start_depth for one in phases] == starts
    assert [one.index for one in phases] == list(range(len(depths)))


def test_phases_without_a_name_are_numbered_from_one():
    phases = plan([PhaseConfig(), PhaseConfig(name="top"), PhaseConfig()], [0, 1, 2])
    assert [one.name for one in phases] == ["phase 1", "top", "phase 3"]


# epochs of the phases, views -> views that each phase reads, in turn
VIEWS = [
    ((10, 10), 5, [(0, 1, 2, 3, 4), (0, 1, 2, 3, 4)]),
    ((3, 3), 5, [(0, 1, 2), (3, 4, 0)]),
    ((2, 2), 5, [(0, 1), (2, 3)]),  # view 4 is read by nobody
    ((7, 7), 5, [(0, 1, 2, 3, 4), (2, 3, 4, 0, 1)]),  # the first ends with the second of a new turn
    ((1, 1, 1), 2, [(0,), (1,), (0,)]),
    ((4, 4), 1, [(0,), (0,)]),
]


@pytest.mark.parametrize(("epochs", "views", "read"), VIEWS)
def test_phases_go_on_with_the_views_and_read_no_more_than_they_have_epochs(epochs, views, read):
    depths = list(range(len(epochs)))
    phases = plan([PhaseConfig(epochs=count, unfreeze_depth=k) for k, count in enumerate(epochs)], depths, views)
    assert [one.views for one in phases] == read


def test_a_phase_that_stops_early_keeps_its_schedule_and_reads_fewer_views():
    settings = {"epochs": 8, "schedule": "cosine", "warmup_epochs": 1.0, "learning_rate": 1.0}
    (whole,), (stopped,) = (plan([PhaseConfig(**settings, stop_after=after)], [0], 5) for after in (0, 3))
    assert (whole.epochs, stopped.epochs) == (8, 3)
    assert (whole.views, stopped.views) == ((0, 1, 2, 3, 4), (0, 1, 2))
    for step in range(3 * STEPS):
        assert stopped.learning_rate(step, STEPS) == whole.learning_rate(step, STEPS)
    assert stopped.learning_rate(3 * STEPS - 1, STEPS) > 0.8  # far from the end of its fall


def test_a_phase_cannot_stop_after_its_end():
    with pytest.raises(ConfigError, match=r"stop_after must be from 0 to 4"):
        PhaseConfig(epochs=4, stop_after=5)
