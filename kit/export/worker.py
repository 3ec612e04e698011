"""Child processes that write and run models: a process has one Keras backend, and a format may need another.

    python -m kit.export.worker write FORMAT RUN FOLDER WORK
    python -m kit.export.worker run RUNTIME[,RUNTIME] RUN FOLDER WORK
    python -m kit.export.worker time FORMAT RUN FOLDER WORK

WORK holds `images.json`, the images' files in order, and of an export `written.json`: the precision, the files of the
images that calibrate it, whether the model has a strangeness, and the files of further images, whose outputs choose the
thresholds of smaller numbers. The answers go to `answer.json`, arrays beside it.
All is computed on the CPU, wherever the run was trained, so that differences come from the export alone.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from kit.config import DataConfig
from kit.data.images import ImageProblem, decode
from kit.errors import DataError, ExportError, UserError
from kit.export.browser import BrowserModel
from kit.export.parity import ORIGINAL, Forward, load_runtime
from kit.files import read_json, write_json
from kit.run import Run
from kit.stage_clock import peak_memory

BLOCK = 32
BATCHES = (1, 32)
REPEATS = 20  # passes timed, as many as fit into SECONDS
BENCHMARK_BATCHES, BENCHMARK_REPEATS = (1, 8, 32), 200
SECONDS = 3.0
_ON_CPU = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}


def ask(task: str, names: Sequence[str], run: Run, folder: Path, work: Path, backend: str) -> dict[str, Any]:
    """Do a task in a child process, one name after the other; returns the answer of each.

    Args:
        task: `write`, `run` or `time`.
        names: Formats or runtimes.
        folder: The export's folder.
        work: A temporary folder that holds `images.json`, and `written.json` for `write` and `run`.
        backend: Keras backend of the child.

    Raises:
        UserError: Raised by that process; ExportError if it failed otherwise.
    """
    import kit

    search_path = [str(Path(kit.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, **_ON_CPU, "KERAS_BACKEND": backend}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, search_path))
    arguments = [task, ",".join(names), *(str(path.absolute()) for path in (run.path, folder, work))]
    answer = work / "answer.json"
    answer.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "kit.export.worker", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    found = read_json(answer) if answer.exists() else _failed(task, " and ".join(names), _last_words(done))
    if "error" in found:
        kind = {one.__name__: one for one in UserError.__subclasses__()}[found["kind"]]
        raise kind(found["error"], found["hint"])
    return found["answers"]


def _failed(task: str, what: str, why: str) -> dict[str, Any]:
    """Answer for a failure that no user caused: a converter's unknown operation, lack of memory."""
    doing = "writing" if task == "write" else "running"
    error = f"The model could not be exported: {doing} it as {what} failed ({why[:300]})."
    return {"kind": ExportError.__name__, "error": error, "hint": "Take another format."}


def _last_words(done: subprocess.CompletedProcess) -> str:
    last = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "no word")
    return f"its process ended with status {done.returncode}: {last}"


# === In the process of its own ===


def main(task: str, names: str, run_path: str, folder: str, work_path: str) -> None:
    from kit import backends

    backends.own_process()
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # no word of our users to anyone
    run, work = Run.open(Path(run_path)), Path(work_path)
    answers: dict[str, Any] = {}
    told: dict[str, Any] = {"answers": answers}
    for name in names.split(","):
        try:
            answers[name] = {"write": _write, "run": _run, "time": _time}[task](name, run, Path(folder), work)
        except UserError as error:
            told = {"kind": type(error).__name__, "error": error.what, "hint": error.hint}
            break
        except Exception as error:  # converters and runtimes raise anything
            told = _failed(task, name, f"{type(error).__name__}: {' '.join(str(error).split())}")
            break
    write_json(work / "answer.json", told)


def _write(format_name: str, run: Run, folder: Path, work: Path) -> dict[str, Any]:
    """Write the model; answers with its preprocessing layers."""
    from kit import backends
    from kit.backends.choice import choose_backend

    # Not backends.start(): that may block TensorFlow, which KerasHub needs for preprocessing.
    with backends.importing_keras(choose_backend()):
        import keras  # noqa: F401
    from kit.export.writers import write_model
    from kit.predict import load_classifier

    classifier, asked = load_classifier(run), read_json(work / "written.json")
    side = run.config.data.image_size
    images = np.zeros((0, side, side, 3), np.uint8)
    if files := [Path(file) for file in asked["calibration"]]:
        images = np.concatenate(list(_blocks(files, run.config.data)))
    strangeness = run.strangeness if asked["strangeness"] else None
    write_model(format_name, run, classifier, folder, asked["precision"], images, strangeness)
    return {"preprocessing": _steps(classifier.backbone.preprocessing)}


def _steps(layer: Any) -> list[dict[str, Any]]:
    """Class and numbers of each step of a layer, or of a model of several, in order."""
    steps = [step for step in getattr(layer, "operations", [layer]) if type(step).__name__ != "InputLayer"]
    numbers = ("scale", "offset", "axis")
    return [
        {"layer": type(step).__name__} | {name: value for name, value in step.get_config().items() if name in numbers}
        for step in steps
    ]


def _run(runtime: str, run: Run, folder: Path, work: Path) -> dict[str, Any]:
    """Write `<runtime>.npy`, the outputs for all images; answers with the runtime's name and an export's latency.

    An export's are followed by those for the further images.

    A strangeness is the last column. The last block of images is smaller than the others, so a model with a fixed batch
    size fails here.
    """
    asked = read_json(work / "written.json")
    forward, name = load_runtime(runtime, run, folder, strangeness=asked["strangeness"])
    files = [Path(file) for file in read_json(work / "images.json")]
    further = [] if runtime == ORIGINAL else [Path(file) for file in asked["choosing"]]
    parts = []
    for block in _blocks([*files, *further], run.config.data):
        parts.append(forward(block))
    np.save(work / f"{runtime}.npy", np.concatenate(parts))
    if runtime == ORIGINAL:  # its batches are padded to one size, which would distort latency
        return {"runtime": name}
    timed = {n: np.resize(block, (n, *block.shape[1:])) for n in BATCHES}
    if isinstance(forward, BrowserModel):
        _decode_in(forward, files, run, work / f"{runtime}-files.npz")
    latency = {str(n): latency_ms(forward, pixels) for n, pixels in timed.items()}
    return {"runtime": name, "latency_ms": latency}


def _time(runtime: str, run: Run, folder: Path, work: Path) -> dict[str, Any]:
    """Milliseconds of a batch by its size, and the greatest memory of this process; None for that of a browser."""
    forward, _ = load_runtime(runtime, run, folder)
    files = [Path(file) for file in read_json(work / "images.json")]
    (block,) = _blocks(files[:BLOCK], run.config.data)
    latency = {}
    for n in BENCHMARK_BATCHES:
        times = times_ms(forward, np.resize(block, (n, *block.shape[1:])), BENCHMARK_REPEATS)
        latency[str(n)] = {"median": median(times), "p95": float(np.percentile(times, 95)), "passes": len(times)}
    return {"latency_ms": latency, "peak_memory": None if isinstance(forward, BrowserModel) else peak_memory()}


def _blocks(files: list[Path], data: DataConfig) -> Iterator[np.ndarray]:
    """Images as the run decoded them, uint8 (at most BLOCK, S, S, 3)."""

    def pixels(file: Path) -> np.ndarray:
        try:
            return decode(file, data)
        except ImageProblem as problem:
            raise DataError(f"{file} cannot be decoded ({problem.kind}): {problem.detail}.", "Restore it.") from None

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), BLOCK):
            yield np.stack(list(pool.map(pixels, files[start : start + BLOCK])))


def _decode_in(model: BrowserModel, files: list[Path], run: Run, target: Path) -> None:
    """Write what a browser makes of image files: probabilities, NaN where it cannot read one, and `pixels_off`."""
    classes = len(run.manifest["classes"])
    probabilities, off = np.full((len(files), classes), np.nan, np.float32), np.full(len(files), np.nan)
    for place, (file, found) in enumerate(zip(files, model.from_files(files), strict=True)):
        if found is not None:
            pixels, probabilities[place] = found
            off[place] = np.abs(pixels.astype(np.int16) - decode(file, run.config.data)).mean()
    np.savez(target, probabilities=probabilities, pixels_off=off)


def latency_ms(forward: Forward, pixels: np.ndarray) -> float:
    """Median milliseconds of a batch."""
    return median(times_ms(forward, pixels))


def times_ms(forward: Forward, pixels: np.ndarray, repeats: int = REPEATS) -> list[float]:
    """Milliseconds of passes of a batch, after two that warm up: three at least, and as many as fit into SECONDS."""
    if isinstance(forward, BrowserModel):
        return forward.times_ms(pixels, repeats, SECONDS)
    seconds: list[float] = []
    for _ in range(2):
        forward(pixels)
    while len(seconds) < repeats and (len(seconds) < 3 or sum(seconds) < SECONDS):
        start = time.perf_counter()
        forward(pixels)
        seconds.append(time.perf_counter() - start)
    return [1000 * one for one in seconds]


if __name__ == "__main__":
    main(*sys.argv[1:])
