"""`transferkit study` as a person runs it."""

import json
import shutil
import tomllib

import pytest

from kit.commands import parse_duration
from kit.run import Run
from kit.settings import from_toml
from search.records import StudyRecord

pytestmark = pytest.mark.once(backend="jax")

SPACE = """
[model.head_units]
low = 8
high = 32
log = true
[phases.1]
unfreeze_depth = { low = 0, high = 2 }
"""
SMALL = ("data.image_size=32", "model.backbone=toy", "model.head_units=16", "views.count=1", "training.batch_size=16")
EPOCHS = ("phases.0.epochs=3", "phases.1.epochs=2", "phases.1.unfreeze_depth=2")


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """Where studies/ is."""
    folder = tmp_path_factory.mktemp("studies")
    (folder / "space.toml").write_text(SPACE)
    return folder


@pytest.fixture(scope="session")
def study(run_cli, place, images, toy_weights):
    """Runs `study run`, in processes of their own; returns how it ended."""
    sets = [part for text in (*SMALL, *EPOCHS) for part in ("--set", text)]

    def run(*arguments, data=images, weights=toy_weights):
        command = ("study", "run", data, "--weights", weights, "--space", "space.toml", *sets, *arguments)
        return run_cli(*command, cwd=place)

    return run


@pytest.fixture(scope="session")
def flowers(study, place):
    """A finished study of four trials; never write into it."""
    done = study("--name", "flowers", "--trials", "4", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def here(place, flowers, monkeypatch):
    """In the folder that holds studies/."""
    monkeypatch.chdir(place)
    return place / "studies" / "flowers"


def test_the_best_is_trained_again_and_scored_once(flowers, place):
    assert flowers["counts"]["complete"] + flowers["counts"]["pruned"] == 4
    best, record = flowers["best"], StudyRecord.load(place / "studies" / "flowers")
    assert best["reproduced"] is True
    run = Run.open(place / "studies" / "flowers" / "best")
    assert run.manifest["status"] == "finished"
    assert run.manifest["study"] == {"name": "flowers", "trial": best["trial"], "refit": "train"}
    assert run.model_path.exists()
    assert best["test_accuracy"] == run.metrics["test"]["accuracy"]
    assert best["validation_minus_test"] == pytest.approx(best["validation_accuracy"] - best["test_accuracy"])
    assert best["test_interval"][0] <= best["test_accuracy"] <= best["test_interval"][1]
    own = record.trial(0)
    assert own.own
    assert own.params["model.head_units"] == 16
    assert record.trial(record.best_trial).values[0] >= own.values[0]
    assert all(8 <= trial.params["model.head_units"] <= 32 for trial in record.trials)


@pytest.mark.full
def test_the_same_command_goes_on_to_more(study, place, flowers):
    shutil.copytree(place / "studies" / "flowers", place / "studies" / "more")
    database = place / "studies" / "more" / "optuna.db"
    before = StudyRecord.load(place / "studies" / "more").trials
    done = study("--name", "flowers", "--out", "studies/more", "--trials", "5")
    assert done.returncode == 0, done.stderr
    assert database.exists()
    record = StudyRecord.load(place / "studies" / "more")
    assert record.trials[:4] == before
    assert record.counts.finished == 5
    assert "scored once" in done.stdout
    assert "Validation minus test" in done.stdout


@pytest.mark.full
def test_a_study_starts_from_a_finished_run(here, images, command, tmp_path):
    best = Run.open(here / "best")
    changed = (*SMALL, "phases.0.epochs=1", "phases.1.epochs=1", "phases.1.unfreeze_depth=2", "split.seed=6")
    sets = [part for text in changed for part in ("--set", text)]
    command_line = ("study", "run", images, "--weights", best.path, "--space", here.parents[1] / "space.toml", *sets)
    done = command(*command_line, "--trials", "1", "--out", tmp_path / "second")
    assert done.status == 0, done.err
    refit = Run.open(tmp_path / "second" / "best")
    origin = refit.manifest["weights"]
    assert StudyRecord.load(tmp_path / "second").data["weights"] == origin["sha256"]
    assert origin["run"]["path"] == str(best.path.absolute())
    before, now = (one.samples.set_index("path")["split"] for one in (best, refit))
    seen = int((before[now == "test"] != "test").sum())
    assert seen == origin["seen"]["test"] > 0
    assert f"have seen {seen} of the {(now == 'test').sum()} test images" in done.err


def test_show_prints_a_table_and_a_configuration_to_paste(here, command):
    done = command("study", "show", "flowers")
    assert done.status == 0
    text, _, toml = done.out.partition("# `transferkit train --config FILE`")
    assert "model.head_units" in text
    assert "scored once" in text
    config = from_toml(toml.partition("\n")[2])
    record = StudyRecord.load(here)
    assert config.model.head_units == record.trial(record.best_trial).params["model.head_units"]
    assert tomllib.loads(toml.partition("\n")[2])["data"]["path"]


def test_show_list_and_export_say_the_same(here, command, tmp_path):
    shown = json.loads(command("study", "show", "flowers", "--json").out)
    (listed,) = [one for one in json.loads(command("study", "list", "--json").out) if one["study"].endswith("flowers")]
    assert listed["counts"] == shown["counts"]
    assert len(shown["trials"]) == 4
    assert "flowers" in command("study", "list").out
    exported = command("study", "export", "flowers").out
    assert exported == (here / "trials.csv").read_text()
    command("study", "export", "flowers", "--out", tmp_path / "trials.csv")
    assert (tmp_path / "trials.csv").read_text() == exported


def test_show_without_the_storage_says_what_was_known(here, command, tmp_path, monkeypatch):
    shutil.copytree(here, tmp_path / "studies" / "flowers", ignore=shutil.ignore_patterns("optuna.db*"))
    study_toml = tmp_path / "studies" / "flowers" / "study.toml"
    study_toml.write_text(study_toml.read_text().replace(str(here), str(study_toml.parent)))
    monkeypatch.chdir(tmp_path)
    done = command("study", "show", "flowers")
    assert done.status == 0
    assert "is not there any more" in done.err
    assert "model.head_units" in done.out


@pytest.mark.full
def test_a_pareto_study_keeps_what_was_picked_and_measures_latency(study, place):
    done = study(
        "--name", "small", "--trials", "3", "--objectives", "accuracy,parameters", "--pick", "within:1", "--json"
    )
    assert done.returncode == 0, done.stderr
    found, record = json.loads(done.stdout), StudyRecord.load(place / "studies" / "small")
    assert found["counts"]["complete"] == 3
    assert set(found["latency_ms"]) == {str(number) for number in found["front"]}
    assert all(ms > 0 for ms in found["latency_ms"].values())
    cheapest = min(record.trials, key=lambda trial: trial.values[1])
    assert record.trial(found["best"]["trial"]).values[1] == cheapest.values[1]
    run = Run.open(place / "studies" / "small" / "best")
    assert run.manifest["network"]["parameters"] == cheapest.values[1]


@pytest.mark.full
def test_log_loss_workers_and_both_splits(study, place):
    options = ("--objectives", "log-loss", "--workers", "2", "--refit", "train+validation", "--sampler", "random")
    done = study("--name", "loss", "--trials", "3", *options, "--json")
    assert done.returncode == 0, done.stderr
    found, record = json.loads(done.stdout), StudyRecord.load(place / "studies" / "loss")
    assert found["best"]["reproduced"] is None
    best = record.trial(record.best_trial)
    assert best.values[0] == min(trial.values[0] for trial in record.trials if trial.values)
    assert best.kept("val_loss").val_loss == best.values[0]
    kept = Run.open(place / "studies" / "loss" / "best")
    phases = kept.config.phases  # the planned epochs, for the learning rates; the best one, to stop at
    assert [phase.epochs for phase in phases] == [3, 2][: len(phases)]
    assert sum(phase.stop_after for phase in phases) == best.kept("val_loss").epoch == len(kept.history)
    images = kept.manifest["data"]["photos"]
    plain = Run.open(place / "studies" / "flowers" / "best").manifest["data"]["photos"]
    assert images == {"train": plain["train"] + plain["validation"], "validation": 0, "test": plain["test"]}


PLUGIN = """
import keras

def head(pooled):
    return keras.layers.Dense(8, activation="silu")(pooled)
"""


@pytest.mark.full
def test_a_study_takes_parts_from_a_file(run_cli, images, toy_weights, tmp_path):
    file, folder = tmp_path / "parts.py", tmp_path / "study"
    sets = [part for text in (*SMALL, *EPOCHS) if "head_units" not in text for part in ("--set", text)]
    space = tmp_path / "space.toml"
    space.write_text("phases.1.unfreeze_depth = { low = 0, high = 2 }\n")

    def study(trials, *plugin):
        asked = (
            "--weights",
            toy_weights,
            "--space",
            space,
            *sets,
            "--trials",
            trials,
            "--out",
            folder,
            "--name",
            "own",
        )
        done = run_cli("study", "run", images, *asked, *plugin, cwd=tmp_path)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    file.write_text("import nothing_like_it\n" + PLUGIN)
    status, told = study(1, "--plugin", file)
    assert (status, "fails (line 1): ModuleNotFoundError" in told) == (2, True), told
    shutil.rmtree(folder)
    file.write_text(PLUGIN)
    assert study(2, "--plugin", file)[0] == 0
    record = StudyRecord.load(folder)
    assert {name for trial in record.trials for name in trial.params} <= {
        "phases.1.unfreeze_depth",
        "phases.1.learning_rate",
    }
    assert [trial.shared_head for trial in record.trials] == [False, True]
    best = Run.open(folder / "best")
    assert (best.path / "plugin.py").read_text() == (folder / "plugin.py").read_text() == PLUGIN
    assert best.manifest["parts"]["parts"] == ["head"]
    file.write_text(PLUGIN.replace("silu", "relu"))
    assert "The study own was begun with another plugin." in study(3, "--plugin", file)[1]
    assert "The study own was begun with another plugin." in study(3)[1]
    assert study(3, "--plugin", folder / "plugin.py")[0] == 0, "its own copy is the same file"


def test_other_images_are_refused(place, flowers, study, tmp_path):
    from image_files import make_images

    done = study(
        "--name", "flowers", "--trials", "6", data=make_images(tmp_path / "other", ("blue", "green", "red"), 20)
    )
    assert done.returncode == 2
    assert "was begun on other images" in done.stderr
    assert done.stderr.count("error:") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("study", "run", "nowhere"), "nowhere"),
        (("study", "run", "IMAGES", "--sampler", "grid"), "--sampler must be one of tpe, random, gp"),
        (("study", "run", "IMAGES", "--pruner", "some"), "--pruner must be one of median, none"),
        (("study", "run", "IMAGES", "--timeout", "soon"), "--timeout must be a time"),
        (("study", "run", "IMAGES", "--pick", "best"), "--pick must be accuracy, within:X or a trial's number"),
        (("study", "run", "IMAGES", "--pick", "within:a"), "--pick must be accuracy, within:X or a trial's number"),
        (("study", "run", "IMAGES", "--refit", "all"), "--refit must be one of"),
        (("study", "run", "IMAGES", "--objectives", "beauty"), "--objectives knows accuracy, log-loss"),
        (("study", "run", "IMAGES", "--objectives", "log-loss,parameters"), "--objectives cannot be"),
        (("study", "run", "IMAGES", "--storage", "mysql://x/y"), "of the kind 'mysql'"),
        (("study", "run", "IMAGES", "--space", "nowhere.toml"), "nowhere.toml cannot be read"),
        (("study", "run", "IMAGES", "--name", "a/b", "--weights", "none"), "name cannot be 'a/b'"),
        (("study", "run", "IMAGES", "--out", "space.toml/s", "--weights", "none"), "there is a file in its place"),
        (("study", "run", "IMAGES", "--out", "space.toml", "--weights", "none"), "there is a file in its place"),
        (("study", "show", "flower"), "The nearest is flowers"),
        (("study", "stop", "nothing-like-it"), "There is no study nothing-like-it"),
    ],
)
def test_bad_input_gets_one_clear_message(here, refused, images, arguments, said):
    assert said in refused(*(str(images) if part == "IMAGES" else part for part in arguments))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1d", 86400), ("0.5h", 1800)],
)
def test_times(text, seconds):
    assert parse_duration(text, "--timeout", bare="s") == seconds
