import dataclasses
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kit
from in_process import command, refused  # noqa: F401  # fixtures
from kit.config import (
    DEFAULT_PHASES,
    DataConfig,
    ModelConfig,
    PhaseConfig,
    RunConfig,
    SplitConfig,
    TrainingConfig,
    ViewsConfig,
)
from kit.errors import ConfigError
from kit.setting_table import keys
from kit.settings import RECIPES, from_toml, load_config, override, to_toml

# every text a path can be: file names that are not UTF-8 reach Python with surrogates (PEP 383)
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.binary().map(
    lambda raw: raw.decode(errors="surrogateescape")
)


@st.composite
def phases(draw):
    epochs = draw(st.integers(1, 100_000))
    return PhaseConfig(
        name=draw(TEXT),
        epochs=epochs,
        unfreeze_depth=draw(st.integers(-1, 1000)),
        learning_rate=draw(st.floats(1e-300, 100)),
        schedule=draw(st.sampled_from(["constant", "cosine"])),
        warmup_epochs=draw(st.floats(0, epochs)),
        weight_decay=draw(st.floats(0, 1)),
        patience=draw(st.integers(0, 100_000)),
    )


@st.composite
def configurations(draw):
    train = draw(st.floats(0.01, 1))
    validation = draw(st.floats(0, 1)) * (1 - train)
    return RunConfig(
        seed=draw(st.integers(0, 2**32 - 1)),
        backend=draw(st.sampled_from(["auto", "jax", "tensorflow"])),
        threads=draw(st.integers(0, 4096)),
        data=DataConfig(
            path=draw(TEXT),
            image_size=draw(st.integers(32, 1024)),
            background=draw(st.tuples(*[st.integers(0, 255)] * 3)),
            leaks=draw(st.sampled_from(["refuse", "drop"])),
            strict=draw(st.booleans()),
        ),
        split=SplitConfig(train=train, validation=validation, test=1 - train - validation),
        views=ViewsConfig(count=draw(st.integers(1, 100)), flip=draw(st.booleans()), crop=draw(st.floats(0.05, 1))),
        model=ModelConfig(weights=draw(TEXT.filter(bool)), alpha=draw(st.sampled_from([0.35, 1.0, 1.4]))),
        training=TrainingConfig(store_limit_gib=draw(st.floats(0, 1e6))),
        phases=tuple(draw(st.lists(phases(), min_size=1, max_size=3))),
    )


def refusal(**sources) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(**sources)
    return caught.value


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return path

    return write


# === TOML and back ===


@given(configurations())
def test_toml_gives_the_equal_configuration_back(config):
    assert from_toml(to_toml(config)) == config


@given(configurations())
def test_a_file_gives_the_equal_configuration_back(tmp_path_factory, config):
    from kit.files import write_text

    path = tmp_path_factory.getbasetemp() / "config.toml"
    write_text(path, to_toml(config))
    assert load_config(file=path) == config


def test_toml_is_grouped_in_tables():
    text = to_toml(RunConfig())
    assert text.startswith('seed = 0\nbackend = "auto"\n')
    assert [text.count(f"\n[{name}]\n") for name in ("data", "split", "views", "model", "training")] == [1] * 5
    assert text.count("\n[[phases]]\n") == len(DEFAULT_PHASES)


def test_nothing_given_is_the_default():
    assert load_config() == load_config(environ=os.environ | {"TRANSFERKIT_CACHE": "x"}) == from_toml("") == RunConfig()


# === Precedence ===


def test_flag_over_environment_over_file_over_default(toml):
    file = toml("[data]\nimage_size = 160\nresize = 'pad'\nnear_duplicate_bits = 1")
    environ = {"TRANSFERKIT_DATA__IMAGE_SIZE": "128", "TRANSFERKIT_DATA__RESIZE": "stretch"}
    data = load_config(flags={"data.image_size": 96, "data.strict": None}, environ=environ, file=file).data
    assert (data.image_size, data.resize, data.near_duplicate_bits, data.strict) == (96, "stretch", 1, False)
    assert load_config(sets=["data.image_size=64"], environ=environ, file=file).data.image_size == 64


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_goes_over_the_defaults_and_under_all_else(toml, name):
    recipe = load_config(recipe=name)
    assert recipe == load_config(file=RECIPES[name]) != RunConfig() == load_config(recipe="default")
    assert load_config(recipe=name, flags={"views.count": 7}).views.count == 7
    assert load_config(recipe=name, file=toml("[views]\ncount = 8")).phases == recipe.phases
    assert kit.configure("photos", recipe=name, views=7).phases == recipe.phases
    starter = load_config(recipe=name, flags={"model.weights": "starter"})
    assert (starter.model.alpha, starter.data.image_size) == (0.35, 128), "what weights bring is not a recipe's"


@pytest.mark.parametrize("words", [("train",), ("lr-find",), ("study", "run")], ids=" ".join)
def test_an_unknown_recipe_is_told(words, refused, tmp_path):  # noqa: F811
    told = refused(*words, tmp_path, "--recipe", "fast")
    assert "There is no recipe 'fast'.\nThere are default, best, quick." in told


def test_a_recipe_is_a_name_and_none_goes_with_resuming(refused, tmp_path):  # noqa: F811
    with pytest.raises(ConfigError, match="There is no recipe"):
        kit.configure("photos", recipe=["best"])
    told = refused("train", "--resume", tmp_path, "--recipe", "quick")
    assert "--resume goes on with a run as it was started" in told


def test_flag_and_set_agree_or_are_refused():
    assert load_config(flags={"model.alpha": 1.4}, sets=["model.alpha=1.4"]).model.alpha == 1.4
    error = refusal(flags={"model.alpha": 1.4}, sets=["model.alpha=1"])
    assert error.what == "model.alpha is given twice: 1.4 (its flag) and 1.0 (--set model.alpha)."
    assert "seed is given twice" in refusal(sets=["seed=1", "seed=2"]).what


def test_the_cache_and_the_real_data_are_no_settings():
    environ = {"TRANSFERKIT_CACHE": "/somewhere", "TRANSFERKIT_REAL_DATA": "/elsewhere", "OTHER": "1"}
    assert load_config(environ=environ) == RunConfig()


# === Values ===


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("model.weights=none", "model.weights", "none"),  # bare text
        ('model.weights="none"', "model.weights", "none"),  # TOML text
        ("data.path=2024", "data.path", "2024"),  # TOML would read a number; the setting is text
        ("data.path=a=b", "data.path", "a=b"),  # only the first = divides
        ('data.path=""', "data.path", ""),
        ("data.path=", "data.path", ""),
        (" seed = 7 ", "seed", 7),
        ("model.alpha=1", "model.alpha", 1.0),  # a whole number where a number is wanted
        ("split.seed=0xff", "split.seed", 255),
        ("data.strict=true", "data.strict", True),
        ("data.background=[0, 127, 255]", "data.background", (0, 127, 255)),
    ],
)
def test_values_of_set(text, key, value):
    section, _, name = key.rpartition(".")
    config = load_config(sets=[text])
    found = getattr(getattr(config, section) if section else config, name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("value", ["1e-4", "0.0001"])
def test_the_environment_is_read_as_toml(value):
    assert load_config(environ={"TRANSFERKIT_PHASES__1__LEARNING_RATE": value}).phases[1].learning_rate == 1e-4


def test_a_path_may_stand_for_text(tmp_path):
    assert load_config(flags={"data.path": tmp_path}).data.path == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("seed=1.0", "seed must be a whole number, not 1.0"),
        ("seed=true", "seed must be a whole number, not True"),  # a bool is not an int
        ("seed=1979-05-27", "seed must be a whole number"),  # a TOML date
        ("seed=1\nbackend=jax", "seed must be a whole number"),  # no second key may ride along
        ("model.alpha=true", "model.alpha must be a number, not True"),
        ("model.alpha=wide", "model.alpha must be a number, not 'wide'"),
        ("data.strict=1", "data.strict must be true or false, not 1"),
        ("data.strict=yes", "data.strict must be true or false, not 'yes'"),
        ("data.background=[0, 1.5, 2]", "data.background must be a list of whole numbers"),
        ("data.background=[0, true, 2]", "data.background must be a list of whole numbers"),
        ("phases=3", "phases from --set phases must be a list of tables"),
        ("views.crop=" + "9" * 400, "views.crop must be a number, not 999"),  # no float is that large
        ("seed=" + "9" * 5000, "seed must be a whole number"),  # Python converts no such number
        ("seed=" + "[" * 5000, "seed must be a whole number"),  # TOML nested too deep
    ],
)
def test_wrong_types_are_named(text, wanted):
    error = refusal(sets=[text])
    assert error.what.startswith(wanted)
    assert len(error.what) < 200
    assert "--set" in str(error)


def test_values_out_of_range_name_their_source(toml):
    assert refusal(environ={"TRANSFERKIT_MODEL__ALPHA": "0.4"}).hint == (
        "model.alpha comes from the environment variable TRANSFERKIT_MODEL__ALPHA."
    )
    error = refusal(file=toml("[split]\ntest = 0.5"), sets=["split.train=0.1"])
    assert error.what == "split.train + split.validation + split.test must be 1, not 0.75."
    assert "split.train comes from --set split.train." in error.hint
    assert "run.toml" in error.hint
    assert "validation" not in error.hint  # a default: nobody's doing


# === Keys ===


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("data.imagesize", "data.image_size"),
        ("training.batchsize", "training.batch_size"),
        ("phases.1.learnin_rate", "phases.1.learning_rate"),
        ("learning_rate", "phases.0.learning_rate"),  # the same name elsewhere
        ("image_size", "data.image_size"),
        ("phases.-1.epochs", "phases.0.epochs"),
        ("phases.01.epochs", "phases.0.epochs"),
        ("phases." + "9" * 5000 + ".epochs", "phases.0.epochs"),  # Python converts no such number
        ("seeds", "seed"),
        ("seed.x", "seed"),
    ],
)
def test_unknown_keys_name_the_nearest(wrong, nearest):
    error = refusal(sets=[f"{wrong}=1"])
    assert error.what == f"There is no setting {wrong} (--set {wrong})."
    assert error.hint == f"The nearest is {nearest}."


@pytest.mark.parametrize("wrong", ["callbacks", "workers", "phases.0.lr", "data.zzz", "x", "metrics"])
def test_a_key_that_resembles_none_is_not_likened_to_any(wrong):
    assert refusal(sets=[f"{wrong}=1"]).hint == "docs/configuration.md lists all settings."


def test_a_slip_in_a_short_name_is_recognised():
    assert refusal(sets=["fine_tune_epoch=1"]).hint == "The nearest is phases.1.epochs."


def test_an_unknown_variable_names_the_nearest_variable():
    error = refusal(environ={"TRANSFERKIT_MODEL_WEIGHTS": "none"})
    assert "TRANSFERKIT_MODEL_WEIGHTS" in error.what
    assert error.hint == "The nearest is TRANSFERKIT_MODEL__WEIGHTS."


def test_unknown_keys_in_a_file_name_the_file(toml):
    for text, key in [
        ("[data]\nsize = 1", "data.size"),
        ("[dat]\npath = ''", "dat"),
        ("[[phases]]\nlr = 1", "phases.0.lr"),
    ]:
        error = refusal(file=toml(text))
        assert error.what.startswith(f"There is no setting {key} (")
        assert "run.toml" in error.what


def test_a_section_is_no_setting(toml):
    assert "data from --set data is a table" in refusal(sets=["data=1"]).what
    assert "must be a table ([data])" in refusal(file=toml("data = 1")).what


@pytest.mark.parametrize("text", ["seed", "=1", ""])
def test_set_needs_key_and_value(text):
    assert "--set needs key=value" in refusal(sets=[text]).what


def test_every_setting_is_listed_with_its_help():
    listed = {setting.key: setting for setting in keys()}
    config = dataclasses.asdict(RunConfig())
    assert config.pop("parts") is None  # objects, which no text can give
    for section, value in config.items():
        names = [f"phases.N.{name}" for name in value[0]] if section == "phases" else [section]
        names = [f"{section}.{name}" for name in value] if isinstance(value, dict) else names
        assert all(listed.pop(name).help.endswith(".") for name in names)
    assert not listed
    size = next(setting for setting in keys() if setting.key == "data.image_size")
    assert size[:3] == ("data.image_size", "int", 224)
    assert size.help.startswith(
        "Side of the square the model sees, in pixels; 32 to 1024. Where none is given, that which"
    )


def test_every_listed_setting_can_be_set():
    for setting in keys():
        key = setting.key.replace("phases.N.", "phases.2.")
        value = list(setting.default) if isinstance(setting.default, tuple) else setting.default
        config = load_config(flags={key: value})
        assert config == (RunConfig(phases=(*DEFAULT_PHASES, PhaseConfig())) if "phases" in key else RunConfig())


# === Phases ===


def test_phases_of_a_file_replace_the_default_ones(toml):
    file = toml('[[phases]]\nname = "all"\nunfreeze_depth = -1')
    assert load_config(file=file).phases == (PhaseConfig(name="all", unfreeze_depth=-1),)


def test_set_changes_or_appends_a_phase():
    changed = load_config(sets=["phases.1.epochs=3"]).phases
    assert changed == (DEFAULT_PHASES[0], dataclasses.replace(DEFAULT_PHASES[1], epochs=3))
    # in any order, a phase at a time
    appended = load_config(sets=["phases.3.epochs=3", "phases.2.name=third", "phases.2.epochs=2"]).phases
    assert appended == (*DEFAULT_PHASES, PhaseConfig(name="third", epochs=2), PhaseConfig(epochs=3))
    assert load_config(sets=["phases=[{epochs = 4}]", "phases.1.epochs=5"]).phases == (
        PhaseConfig(epochs=4),
        PhaseConfig(epochs=5),
    )


def test_a_skipped_phase_is_refused():
    error = refusal(sets=["phases.3.epochs=1"])
    assert error.what == "phases.3.epochs from --set phases.3.epochs skips a phase: there are 2, counted from 0."
    assert error.hint == "The next new phase is phases.2."


def test_errors_of_a_phase_carry_its_index(toml):
    error = refusal(sets=["phases.1.epochs=0"])
    assert error.what == "phases.1.epochs must be from 1 to 100000, not 0."
    assert error.hint == "phases.1.epochs comes from --set phases.1.epochs."
    error = refusal(file=toml("[[phases]]\n[[phases]]\n[[phases]]\nlearning_rate = -1"))
    assert error.what.startswith("phases.2.learning_rate must be more than 0")
    assert "run.toml" in error.hint


def test_no_phases_at_all_are_refused(toml):
    assert "at least one phase" in refusal(file=toml("phases = []")).what
    assert "list of tables ([[phases]])" in refusal(file=toml("[phases]\nepochs = 1")).what


# === Files ===


def test_broken_toml_names_file_and_line(toml):
    error = refusal(file=toml("seed = 1\nbackend = jax\n"))
    assert "run.toml is not TOML" in error.what
    assert "line 2" in error.what


def test_unreadable_files_are_named(tmp_path):
    assert "nothing.toml cannot be read: No such file" in refusal(file=tmp_path / "nothing.toml").what
    assert str(tmp_path) in refusal(file=tmp_path).what


# === What weights bring with them ===


@pytest.mark.parametrize(
    "sources",
    [
        {"flags": {"model.weights": "starter"}},
        {"sets": ["model.weights=starter"]},
        {"environ": {"TRANSFERKIT_MODEL__WEIGHTS": "starter"}},
    ],
    ids=["flag", "set", "environment"],
)
def test_the_starter_weights_bring_their_alpha_and_image_size(sources, tmp_path):
    config = load_config(**sources)
    assert (config.model.alpha, config.data.image_size) == (0.35, 128)
    assert from_toml(to_toml(config)) == config
    file = tmp_path / "run.toml"
    file.write_text('[model]\nweights = "starter"\n[data]\nresize = "pad"\n')
    assert load_config(file=file).data == dataclasses.replace(config.data, resize="pad")
    assert override(RunConfig(), {"model.weights": "starter"}, "the test") == config


def test_an_image_size_goes_over_that_of_the_starter_weights(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("[data]\nimage_size = 96\n")
    config = load_config(file=file, flags={"model.weights": "starter"})
    assert (config.model.alpha, config.data.image_size) == (0.35, 96)
    assert load_config(flags={"model.weights": "starter", "data.image_size": 224}).data.image_size == 224
    small = RunConfig(data=DataConfig(image_size=64))
    assert override(small, {"model.weights": "starter"}, "the test").data.image_size == 64


@pytest.mark.parametrize(
    ("name", "size"), [("efficientnet_lite1", 240), ("EfficientNet-Lite2", 260), ("ResNet50", 224)]
)
def test_a_backbone_brings_the_image_size_it_was_trained_at(name, size, tmp_path):
    """Unless one is given; with any weights but a run's, and when a trial of a study changes it."""
    config = load_config(flags={"model.backbone": name})
    assert config.data.image_size == size
    assert from_toml(to_toml(config)) == config
    assert load_config(flags={"model.backbone": name, "model.weights": "none"}).data.image_size == size
    assert load_config(flags={"model.backbone": name, "data.image_size": 224}).data.image_size == 224
    assert override(RunConfig(), {"model.backbone": name}, "the test") == config
    recorded = to_toml(load_config(flags={"model.backbone": name, "data.image_size": 96}))
    assert from_toml(recorded).data.image_size == 96
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text(recorded)
    (run / "manifest.json").write_text("{}")
    for flags in ({}, {"model.backbone": name}):
        assert load_config(flags={"model.weights": str(run), **flags}).data.image_size == 96


def test_other_weights_bring_nothing():
    starter = load_config(flags={"model.weights": "starter"})
    assert override(starter, {"model.weights": "imagenet"}, "the test").model.alpha == 0.35
    assert load_config(flags={"model.weights": "none"}).model.alpha == 1.0


@pytest.mark.parametrize("build", [
    lambda: load_config(flags={"model.weights": "starter"}, environ={"TRANSFERKIT_MODEL__ALPHA": "1.0"}),
    lambda: load_config(sets=["model.weights=starter", "model.alpha=1"]),
    lambda: ModelConfig(weights="starter"),
])  # fmt: skip
def test_another_alpha_than_that_of_the_starter_weights_is_refused(build):
    with pytest.raises(ConfigError, match=r"starter weights are of alpha 0.35; model.alpha is 1.0"):
        build()


def test_the_source_of_an_alpha_that_the_starter_weights_do_not_have_is_told():
    with pytest.raises(ConfigError, match=r"model\.alpha comes from the environment variable TRANSFERKIT_MODEL__ALPHA"):
        load_config(flags={"model.weights": "starter"}, environ={"TRANSFERKIT_MODEL__ALPHA": "1.0"})
