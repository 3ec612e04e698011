"""The benchmarks run, and write what they say: tiny settings, for their plumbing alone."""

import json
import math
from importlib.util import find_spec
from pathlib import Path

import pytest

from doubles import swap
from kit.backends.choice import BackendChoice, installed_backends

pytestmark = pytest.mark.full

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TINY = """
[data]
image_size = 32
[views]
count = 1
[model]
alpha = 0.35
weights = "none"
[training]
label_smoothing = 0.0
[[phases]]
name = "top"
epochs = 2
unfreeze_depth = 1
"""


@pytest.fixture
def recipe(tmp_path) -> Path:
    """One short phase of a small network."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def toy_recipe(tmp_path) -> Path:
    """The same of the toy backbone, where nothing is compared with Keras's own MobileNetV2."""
    path = tmp_path / "toy.toml"
    path.write_text(TINY.replace("alpha = 0.35", 'backbone = "toy"\nalpha = 1.0'))
    return path


@pytest.fixture
def benchmark(run_python, tmp_path, quick_jax):
    """Runs a benchmark; returns what it printed and what it recorded."""

    def run(script: str, *arguments: object, name: str) -> tuple[str, dict]:
        done = run_python(BENCHMARKS / script, *arguments, "--results", tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout, json.loads((tmp_path / f"{name}.json").read_text())

    return run


@pytest.fixture
def modules(monkeypatch):
    """Imports a benchmark's module by name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return __import__


@pytest.fixture(scope="session")
def backend(needs_backend) -> str:
    import keras

    return keras.backend.backend()


@pytest.mark.once(backend="tensorflow")
def test_accuracy_scores_a_split(benchmark, images, toy_recipe, backend):
    arguments = (images, "--weights", "none", "--seeds", 1, "--recipe", toy_recipe, "--set", "phases.0.epochs=1")
    printed, facts = benchmark("accuracy.py", *arguments, name=f"accuracy-toy-{backend}")
    (run,) = facts["runs"][backend]
    assert run["split_seed"] == 0
    assert run["epochs"] == 1
    assert sum(run["photos"].values()) == 72
    assert facts["means"][backend]["test"] == run["accuracy"]["test"]
    assert facts["machine"]["backend"] == backend
    assert f"{run['accuracy']['test']:.4f}" in printed


def test_accuracy_changes_the_split_alone(modules, monkeypatch, tmp_path, capsys):
    trained = []

    def train_in_child(config, out=None):
        trained.append(config)
        accuracy = 0.8 + 0.05 * config.split.seed
        return {
            "accuracy": {"train": 1.0, "validation": None, "test": accuracy},
            "accuracy_interval": [0.7, 0.95],
            "phase_accuracy": [0.75, accuracy],
            "seconds": 2.0 + config.split.seed,
            "environment": {"backend": config.backend},
        }

    accuracy = modules("accuracy")
    swap(monkeypatch, accuracy.common, "train_in_child", train_in_child)
    swap(monkeypatch, accuracy, "explain_choice", lambda name: BackendChoice(name, "tested"))
    accuracy.accuracy("photos", backend="both", results=tmp_path)
    seeds = [(config.backend, config.seed, config.split.seed) for config in trained]
    assert seeds == [(name, 0, seed) for name in ("jax", "tensorflow") for seed in (0, 1, 2)]
    facts = json.loads((tmp_path / "accuracy-notebook-both.json").read_text())
    assert facts["means"]["jax"]["test"] == pytest.approx(0.85)
    assert facts["means"]["jax"]["phase_1"] == 0.75
    assert facts["means"]["jax"]["seconds"] == 3.0
    assert facts["difference"] == 0.0
    assert "jax less tensorflow: +0.0000" in capsys.readouterr().out


@pytest.mark.once(backend="tensorflow")
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="image_dataset_from_directory reads through TensorFlow")
def test_run_times_both_sides_on_the_same_images(benchmark, images, recipe, backend):
    arguments = (images, "--weights", "none", "--epochs-timed", 1, "--recipe", recipe)
    printed, facts = benchmark("run.py", *arguments, name=f"run-{backend}")
    (kit,), (plain,) = facts["rounds"]["kit"], facts["rounds"]["straightforward"]
    assert kit["photos"] == plain["photos"]
    assert sum(kit["photos"].values()) == 72
    (phase,) = plain["phases"].values()
    (epoch,) = phase["epoch_seconds"]
    assert phase["seconds"] == pytest.approx(phase["warm_up_seconds"] + 2 * epoch)
    assert facts["ratio"] == pytest.approx(plain["seconds"] / kit["seconds"])
    assert facts["extrapolated"]
    assert "extrapolated" in printed
    assert facts["accuracy"]["straightforward"] is None
    assert 0 <= facts["accuracy"]["kit"] <= 1


@pytest.mark.once(backend="tensorflow")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads RssAnon in /proc")
def test_memory_watches_two_runs(benchmark, backend):
    arguments = ("--small", 40, "--large", 60, "--size", 32, "--set", "phases.1.unfreeze_depth=1")
    printed, facts = benchmark("memory.py", *arguments, name=f"memory-{backend}")
    small, large = facts["runs"]
    assert (small["photos"], large["photos"]) == (40, 60)
    # a Python process with a backend takes more than 50 MiB
    assert all(run["peak_bytes"] >= run["median_bytes"] > 50 * 2**20 for run in facts["runs"])
    assert facts["peak_growth_bytes"] == large["peak_bytes"] - small["peak_bytes"]
    assert facts["their_pixels_bytes"] == 20 * 3 * 32 * 32
    assert "20 further images" in printed


SMALL = ("--image-size", 32, "--alpha", 0.35, "--batch-size", 4, "--seconds", 0, "--rounds", 1)


@pytest.mark.backend
@pytest.mark.parametrize(
    ("script", "arguments", "first"),
    [
        ("trunk.py", (), "kit"),
        ("fine_tuning.py", ("--depth", 1, "--depth", 2), "kit, depth 1"),
    ],
)
@pytest.mark.once(backend="tensorflow")
def test_rates_are_measured_on_every_installed_backend(benchmark, script, arguments, first):
    printed, facts = benchmark(script, *arguments, *SMALL, name=script.removesuffix(".py"))
    measured = facts["measured"]
    assert f"{installed_backends()[0]}, {first}" == next(iter(measured))
    assert len(measured) == len(installed_backends()) * 2 * max(1, arguments.count("--depth"))
    for one in measured.values():
        assert one["images_per_second"] > 0
        assert one["floor_images_per_second"] > 0
    assert "of the floor" in printed


@pytest.mark.backend
@pytest.mark.once(backend="tensorflow")
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="image_dataset_from_directory reads through TensorFlow")
def test_data_reads_the_same_images_on_both_sides(benchmark, images):
    _, facts = benchmark("data.py", images, "--image-size", 32, "--rounds", 1, name="data")
    assert facts["photos"] == 72
    assert all(rate > 0 for side in facts["images_per_second"].values() for rate in side.values())


@pytest.mark.once(backend="tensorflow")
def test_start_up_times_each_command(benchmark, images, toy_recipe, backend, run_cli, tmp_path):
    run = tmp_path / "run"
    done = run_cli("train", images, "--config", toy_recipe, "--set", "phases.0.epochs=1", "--out", run, "--quiet")
    assert done.returncode == 0, done.stderr
    image = next(images.rglob("*.jpg"))
    _, facts = benchmark("start_up.py", run, image, "--rounds", 1, name=f"start_up-{backend}")
    seconds = facts["seconds"]
    assert len(seconds) == 5
    assert seconds["--help"]["median"] < seconds["predict, one image"]["median"]


SCRIPTS = ["accuracy.py", "run.py", "memory.py", "trunk.py", "fine_tuning.py", "data.py", "start_up.py", "pages.py"]
SCRIPTS += ["backbones.py", "suite.py", "recipes.py", "label_issues.py", "first_figure.py", "web_runtimes.py"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_says_which_question_is_answered(run_python, script):
    done = run_python(BENCHMARKS / script, "--help")
    assert done.returncode == 0
    assert "?" in done.stdout.partition("Options")[0]


def test_a_recipe_that_the_plain_way_lacks_is_refused(run_python, images, tmp_path):
    done = run_python(BENCHMARKS / "run.py", images, "--weights", "none", "--set", "views.count=3", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: views.count must be 1 to compare with the straightforward way, not 3.\n")


def test_the_interval_of_a_mean_is_students(modules):
    low, high = modules("common").mean_interval([0.90, 0.91, 0.92])
    # t(0.975; 2) = 4.3027 (tables of Student's t), s = 0.01
    assert low == pytest.approx(0.91 - 4.3027 * 0.01 / math.sqrt(3), abs=1e-6)
    assert high == pytest.approx(0.91 + 4.3027 * 0.01 / math.sqrt(3), abs=1e-6)
    assert modules("common").mean_interval([0.9]) is None


def test_timing_alternates_and_turns_the_order(modules):
    calls: list[str] = []
    things = {name: lambda name=name: calls.append(name) or len(calls) for name in ("a", "b")}
    assert modules("common").alternate(things, 3) == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert calls == ["a", "b", "b", "a", "a", "b"]


@pytest.mark.once(backend="tensorflow")
def test_study_compares_with_one_straightforward_run(benchmark, images, toy_recipe, backend, tmp_path):
    space = tmp_path / "space.toml"
    space.write_text("[model]\nhead_units = [8, 16]\n[phases.0]\nunfreeze_depth = { low = 0, high = 1 }\n")
    arguments = (images, "--weights", "none", "--recipe", toy_recipe, "--space", space, "--trials", 2)
    arguments += ("--straightforward-seconds", 1000, "--set", "phases.0.epochs=1", "--keep", tmp_path / "kept")
    printed, facts = benchmark("study.py", *arguments, name=f"study-{backend}")
    (one,) = facts["studies"]
    assert one["counts"]["complete"] + one["counts"]["pruned"] == 2
    assert one["best_validation"] >= one["own_validation"]
    searched = one["photos"]["train"] + one["photos"]["validation"]
    assert set(one["computed_first_trial"].values()) == {searched}  # every cut, every image but those of test, once
    assert one["computed_later_trials"] == 0
    assert one["trials_all_cached"] == 1
    assert len(one["trials"]) == 2
    assert (tmp_path / "kept" / f"tpe-0-{backend}" / "report.html").exists()
    assert facts["ratio"] == one["seconds"] / 1000
    assert f"{one['test_accuracy']:.4f}" in printed


# === Many sets ===

SMALLEST = ("data.image_size=32", "model.alpha=0.35", "views.count=1", "phases.0.epochs=1", "phases.1.epochs=1")


@pytest.mark.once(backend="tensorflow")
def test_suite_measures_every_set_and_goes_on_where_it_was(run_python, images, backend, tmp_path):
    (tmp_path / "root" / "data").mkdir(parents=True)
    (tmp_path / "root" / "data" / "drawn").symlink_to(images)
    command = [BENCHMARKS / "suite.py", tmp_path / "root", "--weights", "none", "--results", tmp_path]
    command += ["--frozen-epochs", 1, "--whole-epochs", 1, *(word for one in SMALLEST for word in ("--set", one))]
    done = run_python(*command)
    assert done.returncode == 0, done.stderr
    record = tmp_path / f"suite-{backend}" / "drawn.json"
    facts = json.loads(record.read_text())
    assert sum(facts["kit"]["photos"].values()) == 72
    assert 0 <= facts["probe"]["accuracy"] <= 1
    assert ("accuracy" in facts["guide"]) == (find_spec("tensorflow") is not None)
    assert f"| drawn | {facts['kit']['photos']['train']}/" in done.stdout
    del facts["probe"]  # as a kill before it leaves it
    facts["kit"]["accuracy"] = 0.123
    record.write_text(json.dumps(facts))
    again = run_python(*command)
    assert again.returncode == 0, again.stderr
    assert "0.123" in again.stdout
    assert "probe" in json.loads(record.read_text())
    other = run_python(*command, "--set", "model.dropout=0.5")
    assert other.returncode == 2
    assert "was measured with other settings" in other.stderr


def test_suite_writes_each_result_when_it_is_there(modules, tmp_path):
    suite, done, measured = modules("suite"), [], {"accuracy": 1.0, "cpu_seconds": 60.0}

    def killed():
        raise KeyboardInterrupt

    sides = {"kit": lambda: done.append("kit") or measured, "guide": killed}
    with pytest.raises(KeyboardInterrupt):
        suite.measure(tmp_path / "a.json", "a", {"backend": "jax"}, sides)
    sides["guide"] = lambda: {"skipped": "no TensorFlow"}
    for _ in range(2):
        facts = suite.measure(tmp_path / "a.json", "a", {"backend": "jax"}, sides)
    assert done == ["kit"]
    assert (facts["kit"], facts["guide"]) == (measured, {"skipped": "no TensorFlow"})


def test_suite_measures_again_what_an_old_record_has_no_cpu_time_of(modules, tmp_path):
    record, new = tmp_path / "a.json", {"accuracy": 0.9, "seconds": 20.0, "cpu_seconds": 30.0}
    old = {"set": "a", "asked": {}, "kit": {"accuracy": 1.0, "seconds": 10.0}, "probe": new}
    record.write_text(json.dumps(old))
    facts = modules("suite").measure(record, "a", {}, {"kit": lambda: new, "probe": lambda: pytest.fail("measured")})
    assert facts["kit"] == json.loads(record.read_text())["kit"] == new


def test_a_child_is_told_its_cpu_time_and_that_of_its_own_children(modules, monkeypatch, tmp_path):
    busy = "import time\nwhile time.process_time() < 0.3: pass\n"
    (tmp_path / "parent.py").write_text(
        f"import subprocess, sys, pathlib\nsubprocess.run([sys.executable, '-c', {busy!r}], check=True)\n"
        f"{busy}pathlib.Path(sys.argv[-1]).write_text('{{}}')\n"
    )
    common = modules("common")
    monkeypatch.setattr(common, "HERE", tmp_path)
    for _ in range(2):  # the second is not charged with the first
        assert 0.6 <= common.child("parent.py", [])["cpu_seconds"] < 1.1


@pytest.mark.parametrize(
    ("kit", "guide", "said"), [(0.95, 0.80, "ahead (+0.150)"), (0.80, 0.95, "behind"), (0.9, 0.88, "level (+0.020)")]
)
def test_suite_calls_a_difference_within_chance_level(modules, kit, guide, said):
    sides = {"accuracy": kit, "n_effective": 100.0, "cpu_seconds": 10.0}, {"accuracy": guide, "cpu_seconds": 30.0}
    assert modules("suite").verdict(*sides).startswith(said)
    assert modules("suite").verdict(*sides).endswith("3.0x as fast")
    assert modules("suite").verdict(sides[0], {"skipped": "no TensorFlow"}) == "–"


def test_planted_labels_are_counted(modules, tmp_path):
    from kit.csv_tables import make_table
    from kit.insights import DOUBTED_COLUMNS, Insights

    label_issues = modules("label_issues")
    labels = label_issues.plant(["a"] * 60 + ["b"] * 40 + ["c"] * 10, 0.1, 50, seed=0)
    assert len(labels) == 50 + 40 + 10
    assert sum(now != right for now, right in labels.values()) == 10
    planted = {f"{now}/{i}.jpg": now != right for i, (now, right) in labels.items()}
    wrong, right = ([path for path, one in planted.items() if one is which] for which in (True, False))
    listed = [*wrong[:6], *right[:3]]
    insights = Insights(tmp_path)
    columns = dict.fromkeys(DOUBTED_COLUMNS, ["a"] * 9) | {"path": listed}
    insights.write_table("doubted", make_table(columns | dict.fromkeys(("p_label", "p_predicted"), [0.5] * 9)))
    insights.write_summary([], {}, {"total": 9, "judged": 100})
    found = label_issues.judge(insights, planted)
    assert (found["wrong"], found["doubted"], found["precision"], found["recall"]) == (10, 9, 6 / 9, 0.6)
    assert found["false_alarms_of_1000"] == pytest.approx(1000 * 3 / 90)


def test_a_recipe_is_named_as_on_the_command_line(modules):
    from kit.settings import RECIPES, load_config

    load_recipe = modules("common").load_recipe
    assert load_recipe("best", None, {}) == load_recipe(str(RECIPES["best"]), None, {}) == load_config(recipe="best")
    assert load_recipe("default", None, {}) == load_config()


def test_recipes_differ_by_the_settings_after_their_name(modules):
    named = modules("recipes").named
    assert named("default") == ("default", ("default", []))
    assert named("fast:phases.1.epochs=2,views.count=1") == (
        "fast",
        ("default", ["phases.1.epochs=2", "views.count=1"]),
    )
    assert named("examples/notebook.toml") == ("notebook", ("examples/notebook.toml", []))


def test_recipes_are_compared_without_test_images(modules, images, tmp_path):
    from kit import settings
    from kit.data.dataset import load_dataset

    dataset = load_dataset(settings.load_config(flags={"data.path": str(images)}))
    held = {str(dataset.files[i]) for i in dataset.indices("test")}
    for limit, least in ((1000, len(dataset.keys) - len(held)), (len(dataset.classes) * 2, len(dataset.classes) * 2)):
        path = modules("recipes").development_images(images, limit, tmp_path / "images.csv")
        table = load_dataset(settings.load_config(flags={"data.path": str(path)}))
        assert not held & {str(file) for file in table.files}
        assert len(table.keys) == least
        assert table.classes == dataset.classes


def test_recipes_are_paired_image_by_image(modules):
    recipes = modules("recipes")

    def facts(right: list[bool], group: str = "") -> dict:
        images = {f"{i}.jpg": [one, 0.9] for i, one in enumerate(right)}
        return {"images": images, "groups": {path: group or path for path in images}, "seconds": 60.0}

    many = facts([True] * 60 + [False] * 40), facts([True] * 90 + [False] * 10)
    gained, p_value = recipes.compare(*many)
    assert gained.sum() == pytest.approx(0.3)
    assert p_value < 1e-6
    mean, low, high = recipes.mean_difference([gained, gained * 0])
    assert mean == pytest.approx(0.15)
    assert 0 < low < mean < high < 0.3
    copies = [facts(list(one), "one") for one in ([True] * 6 + [False] * 4, [True] * 9 + [False])]
    assert recipes.compare(*copies)[1] == 1.0  # copies are one observation
    table = recipes.markdown({"default": {"a": many[0], "b": many[0]}, "new": {"a": many[1], "b": many[0]}})
    assert "| new | 0.900 (better) | 0.600 | 0.7500 | +0.1500 [" in table[-1]
    assert "–" in table[-2]


def test_quality_finds_what_was_spoilt(modules, monkeypatch, tmp_path, capsys):
    from image_files import make_images

    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    images = make_images(tmp_path / "photos", ("cat", "dog"), 20, size=(160, 128))
    modules("quality").quality([str(images)], share=0.1, results=tmp_path)
    found = json.loads((tmp_path / "quality.json").read_text())["sets"]["photos"]
    assert {name: one["treated"] for name, one in found.items()} == dict.fromkeys(found, 4)
    for name in ("Gaussian blur, 4%", "darkened to a tenth", "veiled to 15%", "nothing but noise", "a strip, 5 to 1"):
        assert (found[name]["recall"], found[name]["precision"], found[name]["found_before"]) == (1, 1, 0), name
    assert "40 images, 4 treated" in capsys.readouterr().out
