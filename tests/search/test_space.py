"""What a study may draw, and what it may not."""

import optuna
import pytest

from kit.config import RunConfig
from kit.errors import ConfigError
from kit.settings import override, value_of
from search.space import Choice, Range, Space, load_space

OWN = RunConfig()


@pytest.fixture
def space_of(tmp_path):
    def load(text, own=OWN):
        file = tmp_path / "space.toml"
        file.write_text(text)
        return load_space(own, file)

    return load


def draw(space, count=30):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [(trial, space.suggest(trial)) for trial in (study.ask() for _ in range(count))]


def test_the_default_space_is_head_depth_and_rate():
    space = load_space(OWN)
    assert space.parameters == {
        "model.head_units": Range(32, 1024, log=True),
        "phases.1.unfreeze_depth": Range(0, 8),
        "phases.1.learning_rate": Range(1e-6, 1e-3, log=True),
    }
    assert space.depths() == tuple(range(9))
    assert space.own_params() == {
        "model.head_units": 128,
        "phases.1.unfreeze_depth": 5,
        "phases.1.learning_rate": 3e-4,
    }


def test_units_of_the_kits_head_are_not_searched_where_a_file_defines_a_head(tmp_path, space_of):
    file = tmp_path / "parts.py"
    own = override(OWN, {"plugin": str(file)}, "the test")
    file.write_text("def loss(y_true, y_pred):\n    head = y_pred\n    return head\n")
    assert "model.head_units" in load_space(own).parameters
    file.write_text("try:\n    from there import some_head as head\nexcept ImportError:\n    head = None\n")
    assert set(load_space(own).parameters) == {"phases.1.unfreeze_depth", "phases.1.learning_rate"}
    with pytest.raises(
        ConfigError, match=r"model.dropout in .* is of transferkit's head, and .*parts.py defines a head"
    ):
        space_of("model.dropout = [0.0, 0.5]", own)
    file.write_text("def head(:")
    with pytest.raises(ConfigError, match=r"The plugin .*parts.py is not Python: invalid syntax"):
        load_space(own)
    file.unlink()
    with pytest.raises(ConfigError, match=r"The plugin .*parts.py cannot be read: No such file"):
        load_space(own)


def test_a_drawn_configuration_is_the_own_one_with_the_drawn_values():
    for trial, config in draw(load_space(OWN)):
        assert config == override(OWN, trial.params, "the test")


def test_whether_views_are_mirrored_can_be_left_to_validation(space_of):
    """docs/how-it-works.md names it as the way to judge views.flip."""
    drawn = draw(space_of("[views]\nflip = [true, false]"))
    assert {config.views.flip for _, config in drawn} == {True, False}


def test_the_rate_of_a_phase_that_trains_nothing_is_not_drawn():
    drawn = draw(load_space(OWN))
    without = [trial for trial, config in drawn if config.phases[1].unfreeze_depth == 0]
    assert 0 < len(without) < len(drawn)
    for trial, config in drawn:
        assert ("phases.1.learning_rate" in trial.params) == (config.phases[1].unfreeze_depth != 0)


def test_settings_of_training_can_be_searched_those_of_a_tail_only_where_there_is_one(space_of):
    space = space_of("[training]\nlayer_decay = { low = 0.5, high = 1.0 }\nema = [0.0, 0.99]")
    drawn = draw(space)
    assert {config.training.ema for _, config in drawn} == {0.0, 0.99}
    for trial, config in drawn:
        assert ("training.layer_decay" in trial.params) == (config.phases[1].unfreeze_depth != 0)
        assert config.training.layer_decay == trial.params.get("training.layer_decay", 1.0)
    assert {config.phases[1].unfreeze_depth == 0 for _, config in drawn} == {True, False}
    assert space.own_params() == load_space(OWN).own_params() | {"training.layer_decay": 1.0, "training.ema": 0.0}


def test_a_file_adds_narrows_and_fixes(space_of):
    space = space_of("""
        [model]
        dropout = { low = 0, high = 0.5, step = 0.1 }
        alpha = [0.5, 1.0]
        [model.head_units]
        low = 64
        high = 128
        [phases.1]
        unfreeze_depth = 3
        schedule = ["constant", "cosine"]
    """)
    assert space.parameters["model.head_units"] == Range(64, 128)
    assert space.parameters["model.dropout"] == Range(0.0, 0.5, step=0.1)
    assert space.parameters["phases.1.schedule"] == Choice(("constant", "cosine"))
    assert space.fixed == {"phases.1.unfreeze_depth": 3}
    assert space.depths() == (0, 3, 5)
    for _, config in draw(space):
        assert config.phases[1].unfreeze_depth == 3
        assert 64 <= config.model.head_units <= 128
        assert config.model.alpha in (0.5, 1.0)
    assert Space.of_record(OWN, space.describe()) == space


def test_all_of_the_network_is_the_deepest_there_is(space_of):
    assert space_of("[phases.1]\nunfreeze_depth = [2, -1]").depths() == (0, 2, 5, -1)


def test_the_first_trial_is_the_own_configuration_even_outside_the_space(space_of):
    space = space_of("[model]\nhead_units = { low = 200, high = 300 }\n[phases.1]\nunfreeze_depth = 1")
    assert space.own_params() == {"phases.1.learning_rate": 3e-4}
    study = optuna.create_study()
    study.enqueue_trial(space.own_params(), user_attrs={"own": True})
    assert space.suggest(study.ask()) == OWN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[model]\nhead_unit = 3", "nearest is model.head_units"),
        ("[modle]\nhead_units = 3", "nearest is model.head_units"),
        ("[model.head_units]\nlow = 64", "model.head_units in .* needs high"),
        ("[model.head_units]\nlow = 64.5\nhigh = 70", "must be a whole number, not 64.5"),
        ("[model.head_units]\nlow = 64\nhigh = inf", "high must be a whole number, as the setting is, not inf"),
        ("[views]\ncount = { low = 1, high = 3, step = 0.5 }", "step must be a whole number, .* not 0.5"),
        ("[data]\nbackground = [[0, 0, 0], [255, 255, 255]]", "cannot be searched"),
        ("[model.head_units]\nlow = -1\nhigh = 70", "must be from 0 to 65536, not -1"),
        ("[model.head_units]\nlow = 'a'\nhigh = 70", "low must be a number, not 'a'"),
        ("[model.head_units]\nlow = 70\nhigh = 60", "low must be at most high"),
        ("[model.head_units]\nlow = 0\nhigh = 60\nlog = true", "needs low more than 0"),
        ("[model.head_units]\nlow = 1\nhigh = 60\nlogarithmic = true", "not logarithmic"),
        ("[model.head_units]\nlow = 1\nhigh = 60\nlog = 1", "log must be true or false, not 1"),
        ("[model.head_units]\nlow = 1\nhigh = 60\nstep = 0", "step must be more than 0"),
        ("[model]\nalpha = [0.5, 0.6]", "model.alpha must be one of .* not 0.6"),
        ("[model]\nalpha = [0.5]", "two or more different values"),
        ("[training]\noptimizer = ['adam', 'adman']", "must be one of adam, .* not 'adman'"),
        ("[phases.7]\nepochs = 3", "has 2 phases"),
        ("[split]\nseed = [1, 2]", "cannot be searched"),
        ("seed = [1, 2]", "cannot be searched"),
        ("backend = ['jax', 'tensorflow']", "cannot be searched"),
        ("[data]\nleaks = ['refuse', 'drop']", "cannot be searched"),
        ("[model]\nhead_units = 3\n[phases.1]\nunfreeze_depth = 1\nlearning_rate = 1e-3", "nothing to search"),
        ("[phases.1]\nunfreeze_depth = { low = 0, high = 99 }", r"up to 19 \(all\) in mobilenet_v2, .* try 99"),
        ("[model]\nbackbone = ['densenet121', 'resnet50']\n[phases.1]\nunfreeze_depth = [1, 18]", "in resnet50, .* 18"),
        ("[model", "is not TOML"),
    ],
)
def test_a_bad_space_gets_one_clear_message(space_of, text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        space_of(text)
    assert str(caught.value).count("\n") <= 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read"):
        load_space(OWN, tmp_path / "nowhere.toml")


def test_value_of_finds_what_override_sets():
    changed = override(OWN, {"phases.1.epochs": 3, "data.image_size": 96}, "the test")
    assert (value_of(changed, "phases.1.epochs"), value_of(changed, "data.image_size")) == (3, 96)
    assert changed.phases[0] == OWN.phases[0]
    for key in ("phases.2.epochs", "model.nothing"):
        with pytest.raises(KeyError):
            value_of(OWN, key)
