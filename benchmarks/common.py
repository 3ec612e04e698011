"""Recipe, child processes, alternate timing, tables and JSON records of all benchmarks.

Each measured run has its own process, because a process has one backend, keeps what it compiled, and never frees all
its memory.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Annotated, Any

import typer

from kit import settings
from kit.backends.choice import installed_backends
from kit.cli import run_script
from kit.config import RunConfig
from kit.errors import ConfigError, UserError
from kit.files import read_json, write_json, write_text
from kit.model.weights import resolve

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE.parent / "examples" / "notebook.toml"

Data = Annotated[
    str, typer.Argument(metavar="DATA", help="The images: a folder of class folders, or what train takes.")
]
WeightsOption = Annotated[str, typer.Option("--weights", help="`imagenet`, a weights file, or `none`.")]
Recipe = Annotated[str, typer.Option(help="A TOML file of settings, or `quick`, `default` or `best`.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="A setting of the run, key=value; may be repeated.")]
Results = Annotated[Path, typer.Option(help="Folder for the JSON record.")]
RESULTS = HERE / "results"


start = run_script  # start of every script here


def load_recipe(recipe: str, sets: Sequence[str] | None, flags: Mapping[str, object]) -> RunConfig:
    """Configuration of a recipe (TOML file, or a name as of `transferkit train --recipe`) and of the command line.

    Ignores TRANSFERKIT_* of the environment, so that the command alone says what was measured. `sets` are texts of
    `--set`, `flags` map dotted keys to values. Raises ConfigError if they make no configuration.
    """
    named = recipe in (settings.DEFAULT, *settings.RECIPES)
    file, name = (None, recipe) if named else (Path(recipe), settings.DEFAULT)
    return settings.load_config(flags=flags, sets=sets or (), file=file, recipe=name)


def train_in_child(
    config: RunConfig, out: Path | None = None, environ: Mapping[str, str] | None = None, watch: "Watch | None" = None
) -> dict[str, Any]:
    """Train once in a process of its own; `one_run.py` lists the returned facts, beside `cpu_seconds`.

    The run folder goes to `out`, or is not kept. `environ` and `watch` are as for `child`.
    """
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
        recipe = Path(folder) / "recipe.toml"
        write_text(recipe, settings.to_toml(config))
        return child("one_run.py", [str(recipe), str(out or Path(folder) / "run")], environ, watch)


def recorded(path: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of an earlier call that was `asked` the same, or just that; ConfigError if it was asked otherwise."""
    facts: dict[str, Any] = read_json(path) if path.exists() else {"asked": dict(asked)}
    if facts["asked"] != asked:
        raise ConfigError(f"{path} was measured with other settings.", "Delete it, or give another --results.")
    return facts


Watch = Callable[["subprocess.Popen[bytes]"], None]


def child(
    script: str,
    arguments: Sequence[str],
    environ: Mapping[str, str] | None = None,
    watch: Watch | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Run a script of this folder in its own process, and return the facts it wrote, with `cpu_seconds`.

    Those are user and system time of the process and of its own children, from Python's start to its end. What else
    runs on the machine changes them little. One child at a time: the system counts those of this process together.

    Args:
        script: File name; it writes a JSON object to the file of its option `--facts`.
        environ: Added to the environment.
        watch: Called while the child runs, with its process; returns once it has ended.
        quiet: Show standard error only if the child fails.

    Raises:
        UserError: If it fails; its own message stands on standard error.
    """
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
        facts = Path(folder) / "facts.json"
        command = [sys.executable, str(HERE / script), *arguments, "--facts", str(facts)]
        log = Path(folder) / "stderr.txt"
        before = _cpu_seconds_of_children()
        with log.open("wb") as said:
            stderr = said if quiet else None
            with subprocess.Popen(
                command, env=environment(environ), stdout=subprocess.DEVNULL, stderr=stderr
            ) as process:
                try:
                    if watch is not None:
                        watch(process)
                    process.wait()
                except BaseException:
                    process.kill()
                    raise
        if process.returncode:
            print(log.read_text(errors="replace"), end="", file=sys.stderr)
            raise UserError(f"{script} ended with status {process.returncode}.", "Its own message stands above.")
        return {**read_json(facts), "cpu_seconds": _cpu_seconds_of_children() - before}


def _cpu_seconds_of_children() -> float:
    """User and system time of the processes that this one has waited for, and of theirs; 0 on Windows."""
    times = os.times()
    return times.children_user + times.children_system


def environment(added: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment of a measured process."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(added or {})}


def alternate(things: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """Call each thing once a round, in alternating order, so that a slowdown of the machine affects all.

    Returns the results of each name by round; `rounds` is 1 or more.
    """
    results: dict[str, list[Any]] = {name: [] for name in things}
    for number in range(rounds):
        for name in list(things) if number % 2 == 0 else reversed(list(things)):
            results[name].append(things[name]())
    return results


Layers = Annotated[bool, typer.Option("--layers", help="Time Keras's layers in transferkit's calls as well.")]
ImageSize = Annotated[int, typer.Option(min=32, help="Side of the images, in pixels.")]
Alpha = Annotated[float, typer.Option(help="Width of the network.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images in a batch.")]
Seconds = Annotated[float, typer.Option(help="How long to measure each, a round.")]
Jit = Annotated[str, typer.Option(help="jit_compile of stock Keras: auto (its default), on or off.")]
Rounds = Annotated[int, typer.Option(min=1, help="How often to time all, in turns.")]


def jit_compile(jit: str) -> str | bool:
    """`jit_compile` of `model.compile` for the option `--jit`; ConfigError if not auto, on or off."""
    values: dict[str, str | bool] = {"auto": "auto", "on": True, "off": False}
    if jit not in values:
        raise ConfigError(f"--jit must be one of {', '.join(values)}, not {jit!r}.")
    return values[jit]


def throughput_arguments(weights: str, image_size: int, alpha: float, batch_size: int, seconds: float) -> list[str]:
    """Arguments of `throughput.py` that a benchmark's measurements share; WeightsError for no such weights."""
    found = resolve(weights, alpha, image_size)
    file = str(found.path.absolute()) if found.path else "none"
    arguments = ["--weights", file, "--image-size", str(image_size), "--alpha", str(alpha)]
    return [*arguments, "--batch-size", str(batch_size), "--seconds", str(seconds)]


def throughput(name: str, arguments: Sequence[str], jit: str, layers: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    """Measurements of one network on every installed backend, for `alternate`.

    `{}` in `name` stands for backend and implementation; `arguments` are those of `throughput.py`; `layers` adds
    Keras's layers in transferkit's calls. Raises ConfigError if `jit` is not auto, on or off.
    """
    jit_compile(jit)  # before anything is timed

    def on(backend: str, who: str) -> Callable[[], dict[str, Any]]:
        rest = [*arguments, "--jit", jit, "--who", who]
        return lambda: child("throughput.py", rest, {"KERAS_BACKEND": backend}, quiet=True)

    told = {"kit": "kit", "layers": "stock layers", "keras": "stock Keras"}
    return {
        name.format(f"{backend}, {words}"): on(backend, who)
        for backend in installed_backends()
        for who, words in told.items()
        if layers or who != "layers"
    }


def compare_rates(name: str, things: Mapping[str, Callable[[], Any]], rounds: int, results: Path, **told: Any) -> None:
    """Measure rates in turns, print and record them, and `told` with them.

    `things` and `rounds` are as for `alternate`; each thing returns `rate_facts` and its environment.
    """
    sides = alternate(things, rounds)
    facts = {**told, **rates(sides)}
    show_rates(facts)
    record(results, name, next(iter(sides.values()))[0]["environment"], facts)


def measure(run: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each of several calls, at least four, the first of which compiles."""
    timings = [timed(run) for _ in range(2)]
    until = perf_counter() + seconds
    while perf_counter() < until or len(timings) < 4:
        timings.append(timed(run))
    return timings


def rate_facts(
    timings: Sequence[float], batch_size: int, multiply_adds: int, matrix_rate: float, passes: int
) -> dict[str, Any]:
    """Rates of one measurement.

    Args:
        timings: Of `measure`.
        batch_size: Images a call.
        multiply_adds: Of an image, forward, of the measured part.
        matrix_rate: Floating-point operations a second of the runtime's own matrix product.
        passes: Of that work in a call: 1 forward, 3 in training.

    Returns:
        images_per_second (median over calls), first_seconds (the first call: compiling), batches, multiply_adds,
        matrix_rate, and floor_images_per_second: images a second at that matrix rate.
    """
    first, *others = timings
    return {
        "images_per_second": batch_size / median(others),
        "first_seconds": first,
        "batches": len(others),
        "multiply_adds": multiply_adds,
        "matrix_rate": matrix_rate,
        "floor_images_per_second": matrix_rate / (2 * multiply_adds * passes),
    }


def rates(sides: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Medians over the rounds of `throughput.py`, by name.

    The floor is the time of the matrix products alone: two floating-point operations for each multiply-add, three times
    over in training (forward, gradients of inputs and of kernels), at the process's best rate in a matrix product.
    """
    return {
        "measured": {
            name: {
                "images_per_second": median(one["images_per_second"] for one in rounds),
                "images_per_second_rounds": [one["images_per_second"] for one in rounds],
                "first_batch_seconds": median(one["first_seconds"] for one in rounds),
                "floor_images_per_second": median(one["floor_images_per_second"] for one in rounds),
            }
            for name, rounds in sides.items()
        }
    }


def show_rates(facts: Mapping[str, Any]) -> None:
    """Print rates, and each as a multiple of the first."""
    measured = facts["measured"]
    first = next(iter(measured.values()))["images_per_second"]
    show(
        [
            [
                name,
                f"{one['images_per_second']:.0f}",
                f"{one['images_per_second'] / first:.2f}",
                f"{one['floor_images_per_second']:.0f}",
                f"{one['images_per_second'] / one['floor_images_per_second']:.0%}",
                f"{one['first_batch_seconds']:.1f}",
            ]
            for name, one in measured.items()
        ],
        ("images/s", "median", "to the first", "floor", "of the floor", "first batch, s"),
    )


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = perf_counter()
    call()
    return perf_counter() - start


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95% interval of a mean: m ± t · s / √n, with Student's t of n - 1 degrees; None for fewer than two values.

    Student, The probable error of a mean, Biometrika 6 (1908) 1-25.
    """
    n = len(values)
    if n < 2:
        return None
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # its stubs are a package of their own

    mean = fmean(values)
    spread = (sum((value - mean) ** 2 for value in values) / (n - 1)) ** 0.5
    half = float(stdtrit(n - 1, 0.975)) * spread / n**0.5
    return mean - half, mean + half


def show(rows: Sequence[Sequence[object]], header: Sequence[str]) -> None:
    """Print a table: first column left-aligned, the others right-aligned, None as a dash."""
    cells = [list(header), *[["-" if cell is None else str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for number, row in enumerate(cells):
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *rest]).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def record(results: Path, name: str, environment: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write `results/NAME.json`: time, command, machine and `facts`, which are ready for JSON.

    `environment` is `kit.backends.describe` of the measured process.
    """
    path = Path(results) / f"{name}.json"
    content = {
        "benchmark": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": sys.argv[1:],
        "machine": {**environment, "cpus": os.cpu_count(), "memory_bytes": _memory()},
    }
    write_json(path, {**content, **facts})
    print(f"\nWritten to {path}")


def _memory() -> int | None:
    """Memory of the machine in bytes; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
