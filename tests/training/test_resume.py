"""A run that is killed or interrupted at any moment, and resumed, ends as one that nothing disturbed: to the bit.

Each victim is a process of its own. A patch makes it announce a chosen moment and wait there, so that the signal
arrives at that moment and no other.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import toy
from small import Outcome, toy_config

from image_files import make_images
from kit import settings
from kit.errors import ConfigError, DataError, StorageError
from kit.pipeline import resume, train
from kit.run import Run
from kit.training.checkpoints import Checkpoint, PhaseEnd, Progress
from networks import save_lively_weights

pytestmark = pytest.mark.backend

# Where each victim stops: what is patched, and at which of its calls. The run has 3 + 3 epochs and 72 images, those
# that train in 2 views.
MOMENTS = {
    "while decoding": "pixels.load_image = stop_in(pixels.load_image, 40)",
    "while extracting": "chunks.Appender.add = stop_in(chunks.Appender.add, 5)",
    "before a chunk is renamed": "chunks.Appender._finish = stop_in(chunks.Appender._finish, 2)",
    "in phase 1": "batches.Batches.order = stop_in(batches.Batches.order, 2)",
    "in the first epoch of phase 2": "batches.Order.part = stop_in(batches.Order.part, 1)",
    "in phase 2": "batches.Order.part = stop_in(batches.Order.part, 2)",
    "in the middle of a checkpoint": "np.savez = stop_in_the_middle(2)",
    "in the middle of a phase's end": "checkpoints.PhaseEnd.save = stop_in(checkpoints.PhaseEnd.save, 1)",
    "while scoring": "fit.predict_phases = stop_in(fit.predict_phases, 1)",
    "in the middle of the model": "keras.Model.save = stop_in_the_middle(1)",
}

# In decoding, in the cache and between two files no backend has a part.
OF_FILES = (
    "while decoding",
    "before a chunk is renamed",
    "in the middle of a phase's end",
    "in the middle of the model",
)


def marks_of(moment: str) -> list[pytest.MarkDecorator]:
    """Marks of a moment that the thinner suite leaves out."""
    return [pytest.mark.full, *([pytest.mark.once(backend="jax")] if moment in OF_FILES else [])]


VICTIM = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what was started in the background
from kit import backends, settings
config = settings.load_config(file=Path(sys.argv[1]))
backends.start(config.backend, config.threads, config.seed)
import keras
import numpy as np
from kit import pipeline
from kit.data import batches, pixels
from kit.cache import chunks
from kit.training import checkpoints, fit

def hang():
    print("now", flush=True)
    time.sleep(300)

def stop_in(function, call):
    calls = []
    def stopping(*args, **options):
        calls.append(1)
        if len(calls) == call:
            hang()
        return function(*args, **options)
    return stopping

def stop_in_the_middle(call, true_savez=np.savez):
    calls = []
    def stopping(*args, **options):
        calls.append(1)
        if len(calls) < call:
            return true_savez(*args, **options)
        path = next(arg for arg in args if isinstance(arg, Path))
        path.write_bytes(b"PK\\x03\\x04 the first half of a file")
        hang()
    return stopping

{patch}
pipeline.train(config, Path(sys.argv[2]))
"""


class Victim:
    """A process that trains until a moment and waits there.

    Args:
        folder: Holds config.toml; `run` and `cache` will be in it.
        moment: One of MOMENTS.
    """

    def __init__(self, folder: Path, moment: str):
        environment = {
            **os.environ,
            "TRANSFERKIT_CACHE": str(folder / "cache"),
        }
        code = VICTIM.replace("{patch}", MOMENTS[moment])
        command = [sys.executable, "-c", code, str(folder / "config.toml"), str(folder / "run")]
        with open(folder / "stderr", "w") as errors:
            self.process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.errors = folder / "stderr"

    def end(self, number: signal.Signals) -> None:
        """Waits for the moment, then sends the signal."""
        try:
            assert self.process.stdout is not None
            announced = self.process.stdout.readline()
            assert announced == "now\n", f"it never came to the moment: {self.errors.read_text()}"
            self.process.send_signal(number)
            self.process.wait(timeout=60)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@pytest.fixture(scope="module")
def ended(request, images, tmp_path_factory) -> Iterator[dict[str, Path]]:
    """By moment that a test asks for: the folder of a victim ended there; "interrupted" got SIGINT in phase 2."""
    content = settings.to_toml(toy_config(images))

    def victim(name: str) -> Path:
        folder = tmp_path_factory.mktemp("victim")
        (folder / "config.toml").write_text(content)
        moment, number = ("in phase 2", signal.SIGINT) if name == "interrupted" else (name, signal.SIGKILL)
        Victim(folder, moment).end(number)
        return folder

    asked = " ".join(item.name for item in request.session.items)
    names = [name for name in MOMENTS if f"[{name}]" in asked] + ["interrupted"] * ("ctrl_c_is_recorded" in asked)
    with ThreadPoolExecutor(2) as pool:
        yield dict(zip(names, pool.map(victim, names), strict=True))


def resume_in(folder: Path, monkeypatch) -> Run:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(folder / "cache"))
    return resume(folder / "run")


@pytest.mark.parametrize(
    "moment",
    ["in phase 2", *(pytest.param(moment, marks=marks_of(moment)) for moment in MOMENTS if moment != "in phase 2")],
)
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(ended, moment, uninterrupted, monkeypatch):
    folder = ended[moment]
    assert Run.open(folder / "run").manifest["status"] == "running"
    Outcome.of(resume_in(folder, monkeypatch)).assert_equals(uninterrupted)


@pytest.mark.full
def test_ctrl_c_is_recorded_and_goes_on(ended, uninterrupted, monkeypatch):
    folder = ended["interrupted"]
    manifest = Run.open(folder / "run").manifest
    assert manifest["status"] == "interrupted"
    assert "KeyboardInterrupt" in manifest["error"]
    assert len(Run.open(folder / "run").history) == 4
    Outcome.of(resume_in(folder, monkeypatch)).assert_equals(uninterrupted)


@pytest.mark.full
def test_a_finished_run_is_left_as_it_is(images, tmp_path):
    run = train(toy_config(images), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.name != ".lock"}
    assert resume(run.path).path == run.path
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.name != ".lock"} == before


# === What may not have changed meanwhile ===


class Stop(Exception):
    """Ends a run in this process."""


@pytest.fixture
def stopped(toy_weights, tmp_path) -> Run:
    """A run on images and weights of its own, that failed after its first epoch."""
    shutil.copy(toy_weights, tmp_path / "own.weights.h5")
    make_images(tmp_path / "photos", ("blue", "green", "red"), 12, seed=5)

    def stop(history):
        raise Stop

    with pytest.raises(Stop):
        train(toy_config(tmp_path / "photos", tmp_path / "own.weights.h5"), tmp_path / "run", on_epoch=stop)
    run = Run.open(tmp_path / "run")
    assert run.manifest["status"] == "failed"
    return run


@pytest.mark.full
def test_other_images_are_refused(stopped, tmp_path):
    (tmp_path / "photos" / "red" / "0003.jpg").unlink()
    with pytest.raises(DataError, match=r"no longer those that .*run was started on"):
        resume(stopped.path)


@pytest.mark.full
def test_other_weights_are_refused(stopped, tmp_path):
    save_lively_weights(tmp_path / "own.weights.h5", 64, toy.use(), 1.0)
    with pytest.raises(ConfigError, match=r"own\.weights\.h5 are no longer those of"):
        resume(stopped.path)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(StorageError, match="is not a folder"):
        resume(tmp_path / "nothing")


# === Torn files ===

STATE = Checkpoint(
    Progress(phase=1, epochs_total=4, epochs_done=1, best_epoch=1, best_score=(0.5, -1.0)),
    weights=(np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, 2], np.uint32)),
    optimizer=(np.array(7, np.int32), np.ones(3, np.float32)),
    best=(np.zeros((2, 3), np.float32), np.array([1, 2], np.uint32)),
)


def test_a_checkpoint_reads_back_to_the_bit(tmp_path):
    STATE.save(tmp_path)
    loaded = Checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded.progress == STATE.progress
    for name in ("weights", "optimizer", "best"):
        for saved, read in zip(getattr(STATE, name), getattr(loaded, name), strict=True):
            assert saved.dtype == read.dtype
            np.testing.assert_array_equal(saved, read)


def test_where_nothing_was_saved_nothing_is_loaded(tmp_path):
    assert Checkpoint.load(tmp_path) is None
    assert PhaseEnd.load(tmp_path, 0) is None


def test_a_torn_checkpoint_is_refused_wherever_it_is_torn(tmp_path):
    STATE.save(tmp_path)
    whole = (tmp_path / "state.npz").read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / "state.npz").write_bytes(whole[:length])
        with pytest.raises(StorageError, match=r"state\.npz cannot be read"):
            Checkpoint.load(tmp_path)


def test_a_flipped_byte_in_a_checkpoint_is_never_read_as_whole(tmp_path):
    STATE.save(tmp_path)
    whole = bytearray((tmp_path / "state.npz").read_bytes())
    start = whole.index(STATE.weights[0].tobytes())
    whole[start + 5] ^= 1
    (tmp_path / "state.npz").write_bytes(whole)
    with pytest.raises(StorageError, match=r"state\.npz cannot be read"):
        Checkpoint.load(tmp_path)


def test_a_checkpoint_that_could_not_be_finished_leaves_the_one_before(tmp_path, monkeypatch):
    STATE.save(tmp_path)

    def half_a_file(path, **arrays):
        path.write_bytes(b"PK\x03\x04 half")
        raise Stop

    monkeypatch.setattr(np, "savez", half_a_file)
    with pytest.raises(Stop):
        STATE.save(tmp_path)
    assert Checkpoint.load(tmp_path) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]
