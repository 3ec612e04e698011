"""The range test of learning rates: what it suggests, from Python and from the command line."""

import json
import re

import numpy as np
import pytest

import kit
from in_process import command  # noqa: F401  # a fixture
from kit.errors import ConfigError
from kit.learning_rates import STEPS, suggest
from small_settings import SMALL

RATES = np.geomspace(1e-7, 10, STEPS).tolist()


def curve(fall: float, rise: float) -> list[float]:
    """A loss that falls around one rate and explodes from another on, with the noise of batches."""
    rates, noise = np.array(RATES), np.random.default_rng(0).normal(0, 0.03, STEPS)
    return (1.4 - 1 / (1 + (fall / rates) ** 1.5) + (rates / rise) ** 2 + noise).tolist()


@pytest.mark.parametrize("fall", [1e-4, 1e-3, 1e-2])
def test_the_suggestion_lies_where_the_loss_falls(fall):
    losses = [loss for loss in curve(fall, 100 * fall) if loss < 6]
    found = suggest(RATES[: len(losses)], losses)
    assert fall / 4 < found < 4 * fall


def test_nothing_is_suggested_where_the_loss_never_falls():
    noise = np.random.default_rng(0).normal(0, 0.05, STEPS)
    assert suggest(RATES, (1 + noise).tolist()) is None
    assert suggest(RATES, [1.0 + 0.01 * step for step in range(STEPS)]) is None
    assert suggest(RATES[:8], [1.0] * 8) is None


def test_too_few_steps_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="takes 20 steps or more, not 5"):
        kit.find_learning_rate(tmp_path, steps=5)


@pytest.fixture(scope="module")
def found(images, toy_weights):
    return kit.find_learning_rate(images, weights=toy_weights, **SMALL)


@pytest.mark.backend
def test_each_phase_is_tried_from_where_it_would_begin(found, images, toy_weights):
    head, tail = found.sweeps
    assert [one.key for one in found.sweeps] == ["phases.0.learning_rate", "phases.1.learning_rate"]
    assert [one.setting for one in found.sweeps] == [one.learning_rate for one in kit.configure(images, **SMALL).phases]
    for one in found.sweeps:
        assert 50 < len(one.rates) == len(one.losses) <= STEPS
        assert one.rates == pytest.approx(RATES[: len(one.rates)])
        assert one.suggestion is None or one.rates[0] < one.suggestion < one.rates[-1]
    start = np.mean(head.losses[:24])  # at rates that change nothing
    assert min(head.smoothed) < 0.95 * start, "the head learns at some rate"
    assert np.mean(tail.losses[:24]) < start, "the second phase begins with a trained head"
    again = kit.find_learning_rate(images, weights=toy_weights, **SMALL)
    assert again == found


@pytest.mark.backend
@pytest.mark.once(backend="jax")
def test_the_command_prints_settings_and_writes_a_figure(command, found, images, toy_weights, tmp_path):  # noqa: F811
    options = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    asked = ["lr-find", str(images), "--weights", str(toy_weights), *options]
    done = command(*asked, "--json", "--figure", str(tmp_path / "rates.html"))
    told = json.loads(done.out)
    assert told["settings"] == found.settings
    assert [one["phase"] for one in told["sweeps"]] == [one.phase for one in found.sweeps]
    page = (tmp_path / "rates.html").read_text(encoding="utf-8")
    assert "learning rate (line: suggestion; dotted: setting)" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page), "the file stands alone"
    shown = [trace.name for trace in found.figure.data]
    assert shown == ["batch", "smoothed"] * 2
