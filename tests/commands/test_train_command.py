"""`transferkit train`: what it prints, what it leaves, how it is stopped and goes on, what it refuses."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from doubles import swap
from image_files import make_images
from kit import pipeline
from kit.commands.training import seed_lines
from kit.run_writer import RunWriter
from kit.setting_table import SHORTHANDS, keys

pytestmark = pytest.mark.once(backend="tensorflow")

HEAD_ONLY = ("--head-epochs", "2", "--unfreeze-depth", "0")


@pytest.fixture
def few(tmp_path) -> Path:
    return make_images(tmp_path / "few", ("blue", "red"), 8, size=48)


def stored_bytes() -> int:
    cache = Path(os.environ["TRANSFERKIT_CACHE"]) / "stores"
    return sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())


# === What it leaves and prints ===


@pytest.mark.full
def test_config_of_a_run_repeats_it_exactly_from_another_folder(run, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("train", "--config", run.path / "config.toml", "--out", "again", "--json")
    assert (done.status, done.err) == (0, "")
    said = json.loads(done.out)
    assert set(said) == {"run", "status", "metrics"}
    assert (said["run"], said["status"]) == ("again", "finished")
    assert said["metrics"] == run.metrics
    again = RunWriter.open(tmp_path / "again")
    assert again.config == run.config
    assert again.predictions.equals(run.predictions)
    assert [(one.loss, one.val_loss) for one in again.history.records] == [
        (one.loss, one.val_loss) for one in run.history.records
    ]


def test_the_shared_run_tells_images_apart(run):
    """Else no test here could tell right figures from wrong ones."""
    assert run.predictions["confidence"].std() > 0.03
    assert run.predictions["predicted"].nunique() == 3


def test_paths_are_recorded_so_that_they_hold_from_anywhere(command, few, settings, tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    done = command("train", "../few", *settings, *HEAD_ONLY)
    assert done.status == 0
    (made,) = (tmp_path / "inner/runs").iterdir()
    assert made.name.startswith("few-")
    assert f"Run folder: runs/{made.name}\n" in done.out
    assert RunWriter.open(made).config.data.path == str(few)
    assert f"\nRecording into runs/{made.name}\n" in done.err
    assert "warning: Fewer than 10 test images of blue (1), red (1): with 1, 90% right would mean" in done.err


@pytest.mark.full
def test_sources_of_settings_by_strength(command, few, settings, tmp_path, monkeypatch):
    (tmp_path / "run.toml").write_text("seed = 1\n[split]\nseed = 1\n[training]\nbatch_size = 2\n")
    monkeypatch.setenv("TRANSFERKIT_SPLIT__SEED", "2")
    monkeypatch.setenv("TRANSFERKIT_TRAINING__BATCH_SIZE", "4")
    out = tmp_path / "out"
    done = command(
        *("train", few, "--config", tmp_path / "run.toml", "--set", "data.resize=pad", "--quiet", "--out", out),
        *(*settings, *HEAD_ONLY),
    )
    assert (done.status, done.err) == (0, "")
    config = RunWriter.open(out).config
    assert (config.seed, config.split.seed, config.training.batch_size, config.data.resize) == (1, 2, 16, "pad")


def test_every_shorthand_is_a_setting():
    known = {setting.key.replace(".N.", f".{n}.") for setting in keys() for n in (0, 1)}
    assert set(SHORTHANDS.values()) <= known


def test_every_shorthand_is_an_option_that_says_what_its_setting_is(command):
    shown = " ".join(command("train", "--help").out.split())
    for name, key in SHORTHANDS.items():
        assert re.search(rf" --{name.replace('_', '-')} (<(int|float|str)> )?[^\[]+ \[{re.escape(key)}[;\]]", shown)
    side = (
        "--image-size <int> Side of the square the model sees, in pixels; 32 to 1024. [data.image_size; default: 224]"
    )
    epochs = "--head-epochs <int> First phase: Passes over the training images, at most. [phases.0.epochs; default: 10]"
    assert side in shown
    assert epochs in shown


@pytest.mark.full
def test_a_dry_run_says_what_a_run_then_takes(command, few, mobilenet_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    arguments = ("train", few, *mobilenet_settings, *HEAD_ONLY, "--out", tmp_path / "out")
    done = command(*arguments, "--dry-run", "--json")
    assert (done.status, done.err) == (0, "")
    plan = json.loads(done.out)
    assert not (tmp_path / "out").exists()
    assert stored_bytes() == 0
    assert sum(plan["photos"].values()) == 16
    assert plan["classes"] == ["blue", "red"]
    stages = {stage["name"]: stage for stage in plan["stages"]}
    assert list(stages) == ["audit", "decoding", "trunk to pooled", "phase 1: head", "scores and model"]
    assert all(stage["seconds"] > 0 for stage in stages.values())
    assert plan["seconds"] == pytest.approx(sum(stage["seconds"] for stage in stages.values()))
    assert command(*arguments, "--quiet").status == 0
    # checksums, keys and recipes come on top of the rows
    stored = stages["decoding"]["bytes"] + stages["trunk to pooled"]["bytes"]
    assert stored <= stored_bytes() <= stored * 1.2
    model = (tmp_path / "out/model.keras").stat().st_size
    assert model / 1.5 <= stages["scores and model"]["bytes"] <= model
    shutil.rmtree(tmp_path / "out")
    told = command(*arguments, "--dry-run", "--seeds", "3")
    assert told.status == 0
    assert "decoding" not in told.out
    assert "trunk" not in told.out
    assert "each of the 3 seeds" in told.out
    assert told.out.endswith("Nothing was trained or recorded.\n")


# === Seeds ===


@pytest.mark.full
def test_seeds_go_on_where_they_were_stopped(command, few, settings, tmp_path, monkeypatch):
    out = tmp_path / "seeds"
    arguments = ("train", few, *settings, *HEAD_ONLY, "--seeds", "2", "--out", out)
    stop_at_epoch(monkeypatch, 3)  # the first of the second run
    stopped = command(*arguments)
    assert (stopped.status, stopped.out) == (130, "")
    assert f"the same command with --out {out} goes on" in stopped.err
    assert RunWriter.open(out / "seed-1").manifest["status"] == "interrupted"
    monkeypatch.undo()
    before = (out / "seed-0/metrics.json").stat().st_mtime_ns
    done = command(*arguments, "--json")
    assert (done.status, done.err) == (0, "")
    assert (out / "seed-0/metrics.json").stat().st_mtime_ns == before
    said = json.loads(done.out)
    runs = [RunWriter.open(out / f"seed-{i}") for i in (0, 1)]
    assert [(one.config.seed, one.config.split.seed) for one in runs] == [(0, 0), (1, 1)]
    both = [one.metrics["train"]["accuracy"] for one in runs]
    assert said["scores"]["train"]["accuracy"]["mean"] == pytest.approx(sum(both) / 2)
    assert said.pop("folder") == str(out)
    assert said == json.loads((out / "seeds.json").read_text())
    # other settings must not be averaged with these
    other = command(*arguments, "--label-smoothing", "0.2")
    assert other.status == 2
    assert "seed-0 holds a run of other settings" in other.err


def test_seed_lines_show_mean_and_spread():
    score = {"mean": 0.9, "standard_deviation": 0.05, "low": 0.85, "high": 0.95, "runs": 2}
    one = {"mean": 0.5, "standard_deviation": None, "low": 0.5, "high": 0.5, "runs": 1}
    scores = {"train": {"accuracy": score, "log_loss": one}, "validation": {"n": one}, "test": {"accuracy": score}}
    assert seed_lines(scores) == [
        "train       accuracy 0.900 ± 0.050 (0.850 to 0.950)  log loss 0.500 (0.500 to 0.500)",
        "test        accuracy 0.900 ± 0.050 (0.850 to 0.950)",
    ]


# === Stopping and going on ===


def stop_at_epoch(monkeypatch, number: int) -> None:
    """Ctrl-C while the `number`-th epoch from now on is recorded."""
    write, epochs = RunWriter.write_history, []

    def write_or_stop(self, history):
        epochs.append(len(history))
        if len(epochs) == number:
            raise KeyboardInterrupt
        write(self, history)

    swap(monkeypatch, RunWriter, "write_history", write_or_stop)


def test_ctrl_c_and_resume_end_as_if_nothing_had_happened(command, few, settings, tmp_path, monkeypatch):
    arguments = ("train", few, *settings, "--head-epochs", "3", "--unfreeze-depth", "0")
    assert command(*arguments, "--out", tmp_path / "whole").status == 0
    stop_at_epoch(monkeypatch, 2)
    stopped = command(*arguments, "--out", tmp_path / "part")
    monkeypatch.undo()
    assert (stopped.status, stopped.out) == (130, "")
    assert f"`transferkit train --resume {tmp_path / 'part'}`" in stopped.err
    assert stopped.err.endswith("interrupted\n")
    assert RunWriter.open(tmp_path / "part").manifest["status"] == "interrupted"
    done = command("train", "--resume", tmp_path / "part", "--json")
    assert (done.status, done.err) == (0, "")
    whole, part = RunWriter.open(tmp_path / "whole"), RunWriter.open(tmp_path / "part")
    assert json.loads(done.out)["metrics"] == part.metrics == whole.metrics
    assert part.predictions.equals(whole.predictions)
    assert part.manifest["status"] == "finished"
    # finished runs are shown again, and left as they are
    shown = command("train", "--resume", tmp_path / "part")
    assert (shown.status, shown.err) == (0, f"{tmp_path / 'part'} is finished already: nothing was left to do.\n")
    assert "Run folder" in shown.out


@pytest.mark.full
def test_a_run_killed_before_its_manifest_was_complete_goes_on(command, few, settings, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        swap(patch, pipeline, "_origin", lambda *args: {})

        def kill(*args):
            raise SystemExit(9)

        swap(patch, pipeline, "_finish", kill)
        assert command("train", few, *settings, *HEAD_ONLY, "--out", out).status == 9
    assert set(RunWriter.open(out).manifest) == {"schema_version", "kind", "status", "created"}
    assert command("train", "--resume", out).status == 0
    manifest = RunWriter.open(out).manifest
    assert (manifest["status"], manifest["classes"]) == ("finished", ["blue", "red"])


# A shell's background job ignores SIGINT, and so does whatever tests that run in one start.
HEED_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from kit.cli import main
main()
"""


@pytest.mark.full
@pytest.mark.backend
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_a_real_ctrl_c_on_a_terminal(few, tmp_path):
    import pty

    out = tmp_path / "out"
    small = ("--weights", "none", "--image-size", "32", "--alpha", "0.35", "--views", "1", "--head-epochs", "100000")
    arguments = [sys.executable, "-c", HEED_CTRL_C, "train", few, *small, "--unfreeze-depth", "0", "--out", out]
    screen, terminal = pty.openpty()
    where_kit_is = str(Path(pipeline.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": where_kit_is, "COLUMNS": "120", "TERM": "xterm"}
    with subprocess.Popen(
        list(map(str, arguments)),
        env=environment,
        stderr=terminal,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    ) as process:
        os.close(terminal)
        seen = b""
        deadline = time.monotonic() + 120
        while b"head 2/100000" not in seen and time.monotonic() < deadline:
            seen += os.read(screen, 65536)
        process.send_signal(signal.SIGINT)
        while chunk := read_or_end(screen):
            seen += chunk
        assert process.communicate(timeout=60)[0] == b""
    assert process.returncode == 130
    shown = seen.decode()
    assert "decoding" in shown
    assert "val_accuracy" in shown
    assert f"`transferkit train --resume {out}`" in shown
    assert shown.rstrip().endswith("interrupted")
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")  # the cursor is there again
    assert "Traceback" not in shown
    run = RunWriter.open(out)
    assert run.manifest["status"] == "interrupted"
    assert len(run.history) >= 1
    assert (out / "checkpoints/state.npz").exists()


def read_or_end(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # Linux's end of a terminal
        return b""


# === What it refuses ===


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "No data was named"),
        (("nowhere",), "There is no "),
        (("{few}", "--alpha", "0.4"), "model.alpha must be one of"),
        (("{few}", "--alpha", "0.5"), "alpha"),  # the weights are of 0.35
        (("{few}", "--weights", "missing.h5"), "missing.h5"),
        (("{few}", "--weights", "{few}/red/0000.jpg"), "0000.jpg"),
        (("{few}", "--unfreeze-depth", "30"), "unfreeze_depth must be from 0"),
        (("{few}", "--backend", "openvino"), "backend must be one of auto, jax, tensorflow, torch, not 'openvino'"),
        (("{few}", "--set", "phases.1.lr=1"), "There is no setting phases.1.lr"),
        (("{few}", "--set", "seed"), "--set needs key=value"),
        (("{few}", "--seed", "1", "--set", "seed=2"), "seed is given twice"),
        (("{few}", "--config", "missing.toml"), "missing.toml"),
        (("{few}/red",), "no class folders"),
    ],
)
def test_bad_settings_are_one_message_and_leave_nothing(refused, few, settings, tmp_path, arguments, complaint):
    given = [argument.format(few=few) for argument in arguments]
    flags = dict(zip(settings[::2], settings[1::2], strict=True))
    rest = [text for flag, value in flags.items() if flag not in given for text in (flag, value)]
    out = tmp_path / "out"
    assert complaint in refused("train", *given, *rest, "--out", out)
    assert not out.exists()


@pytest.mark.backend
def test_no_weights_are_fetched_for_images_that_are_not_there(refused, monkeypatch):
    swap(monkeypatch, pipeline, "resolve_weights", lambda config: pytest.fail("weights were looked for"))
    assert "There is no" in refused("train", "nowhere")


@pytest.mark.backend
def test_no_weights_are_fetched_for_class_folders_without_images(refused, tmp_path, monkeypatch):
    """It ended in a message about the download of ImageNet weights."""
    for name in ("one", "two"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "notes.txt").write_text(f"no image {name}")
    swap(monkeypatch, pipeline, "resolve_weights", lambda config: pytest.fail("weights were looked for"))
    told = refused("train", tmp_path / "data", "--out", tmp_path / "out")
    assert "holds no images: none of its 2 files is one" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [("train",), ("train", "--dry-run"), ("train", "--seeds", "2"), ("study", "run")])
def test_a_folder_that_is_not_there_is_told_before_anything_slow_is_imported(run_python, words):
    code = f"""
import sys
from kit import cli
sys.argv = ["transferkit", *{words!r}, "nowhere"]
try:
    cli.main()
finally:
    print(sorted({{"numpy", "pandas", "PIL", "optuna", "keras", "jax", "tensorflow"}} & set(sys.modules)))
"""
    done = run_python("-c", code)
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert done.stderr.startswith("error: There is no ")


@pytest.mark.parametrize("words", [("train",), ("train", "--dry-run"), ("study", "run")])
def test_a_cache_that_cannot_be_written_is_told_first(refused, few, settings, tmp_path, monkeypatch, words):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "file" / "cache"))
    asked = settings if words[0] == "train" else settings[:4]
    told = refused(*words, few, *asked, "--out", tmp_path / "out")
    assert f"The cache folder {tmp_path / 'file' / 'cache'} cannot be written" in told
    assert "Set TRANSFERKIT_CACHE in the environment" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("also", [("--seeds", "0"), ("--seeds", "two"), ("--image-size", "big"), ("--nonsense",)])
def test_misspelt_options_are_usage_errors(command, few, also):
    done = command("train", few, *also)
    assert (done.status, done.out) == (2, "")
    assert also[0] in done.err


def test_an_out_folder_in_use_is_refused_before_any_work(refused, few, run, settings, tmp_path, monkeypatch):
    swap(monkeypatch, pipeline, "load_samples", lambda path, columns="", **more: pytest.fail("the images were read"))
    assert "holds the record of a run already" in refused("train", few, *settings, "--out", run.path)
    assert "not empty and not a run folder" in refused("train", few, *settings, "--out", few)
    assert "a file is in its place" in refused("train", few, *settings, "--out", few / "red/0000.jpg")
    assert "record of a run already" in refused("train", few, *settings, "--out", run.path, "--dry-run")


def test_resume_takes_no_settings(refused, run, few):
    assert "no setting can be given with it" in refused("train", "--resume", run.path, few)
    assert "no setting can be given with it" in refused("train", "--resume", run.path, "--seeds", "2")
    assert "nowhere is not a folder" in refused("train", "--resume", "nowhere")
    assert "is not a run folder" in refused("train", "--resume", few)


@pytest.mark.full
def test_the_same_image_under_two_labels_is_refused_unless_settled(refused, command, few, settings, tmp_path):
    shutil.copy(few / "red/0000.jpg", few / "blue/copy.jpg")
    out = tmp_path / "out"
    message = refused("train", few, *settings, *HEAD_ONLY, "--out", out)
    assert "blue/copy.jpg" in message
    assert "conflicts" in message
    assert not out.exists()
    done = command("train", few, *settings, *HEAD_ONLY, "--conflicts", "drop", "--out", out)
    assert done.status == 0
    assert "2 files are left out" in done.err
    samples = RunWriter.open(out).samples.set_index("path")
    assert samples.loc["blue/copy.jpg", "finding"] == samples.loc["red/0000.jpg", "finding"] is not None


@pytest.mark.full
def test_unreadable_images_are_left_out_unless_strict(refused, command, few, settings, tmp_path):
    (few / "red/torn.jpg").write_bytes((few / "red/0000.jpg").read_bytes()[:400])
    assert "red/torn.jpg" in refused("train", few, *settings, "--strict", "--out", tmp_path / "strict")
    assert not (tmp_path / "strict").exists()
    done = command("train", few, *settings, *HEAD_ONLY, "--dry-run", "--json")
    assert sum(json.loads(done.out)["photos"].values()) == 16


@pytest.mark.full
def test_a_full_disk_is_one_message(refused, command, few, settings, tmp_path, monkeypatch):
    import errno

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "is full" in refused("train", few, *settings, *HEAD_ONLY, "--out", tmp_path / "out")
    monkeypatch.undo()
    assert command("train", few, *settings, *HEAD_ONLY, "--out", tmp_path / "out").status == 0


@pytest.mark.full
def test_images_that_changed_are_no_longer_those_of_the_run(refused, command, few, settings, tmp_path, monkeypatch):
    stop_at_epoch(monkeypatch, 1)
    assert command("train", few, *settings, *HEAD_ONLY, "--out", tmp_path / "out").status == 130
    monkeypatch.undo()
    (few / "red/0000.jpg").unlink()
    assert "no longer those" in refused("train", "--resume", tmp_path / "out")


# === Lines of a run without a terminal ===


def test_each_epoch_is_a_line_in_a_pipe_and_quiet_is_none(command, few, toy_weights, tmp_path):
    """Logs, notebooks and batch systems: no bar is drawn there, and a run of an hour must not be silent."""
    options = ("--weights", toy_weights, "--backbone", "toy", "--image-size", "32", "--views", "1", *HEAD_ONLY)
    done = command("train", few, *options, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    lines = [line for line in done.err.splitlines() if re.match(r"head \d/2  [\d.]+ s  loss [\d.]+  accuracy", line)]
    assert [line[:8] for line in lines] == ["head 1/2", "head 2/2"]
    done = command("train", few, *options, "--out", tmp_path / "other", "--quiet")
    assert (done.status, done.err) == (0, "")


def test_messages_reach_a_handler_that_a_program_adds(few, toy_weights, tmp_path):
    import logging

    import kit

    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("transferkit")
    logger.addHandler(handler)
    try:
        settings = {"weights": toy_weights, "backbone": "toy", "image_size": 32, "views": 1, "unfreeze_depth": 0}
        kit.train(few, tmp_path / "run", head_epochs=2, **settings)
    finally:
        logger.removeHandler(handler)
    epochs = [record for record in records if record.getMessage().startswith("head ")]
    assert [record.levelno for record in epochs] == [logging.INFO] * 2
    # 16 images leave too few to measure with, which is a warning
    assert any(record.levelno == logging.WARNING for record in records)
