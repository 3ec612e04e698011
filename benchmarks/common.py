"""What every benchmark shares: the recipe, child processes, alternate timing, a table on the screen, a record in JSON.

Each run that is measured has a process of its own, because a process has one backend, keeps what it has compiled, and
never gives back all its memory.
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
Recipe = Annotated[str, typer.Option(help="A TOML file of settings, or `default` for the kit's defaults.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="A setting of the run, key=value; may be repeated.")]
Results = Annotated[Path, typer.Option(help="Folder for the JSON record.")]
RESULTS = HERE / "results"


start = run_script  # what every script here ends with


def load_recipe(recipe: str, sets: Sequence[str] | None, flags: Mapping[str, object]) -> RunConfig:
    """The configuration that a recipe and the command line give.

    TRANSFERKIT_* settings of the environment are left aside, so that the command alone says what was measured.

    Args:
        recipe: A TOML file, or `default`.
        sets: Texts of `--set`.
        flags: Dotted key -> value.

    Raises:
        ConfigError: If they do not make a configuration.
    """
    file = None if recipe == "default" else Path(recipe)
    return settings.load_config(flags=flags, sets=sets or (), file=file)


def train_in_child(
    config: RunConfig, out: Path | None = None, environ: Mapping[str, str] | None = None, watch: "Watch | None" = None
) -> dict[str, Any]:
    """Trains once in a process of its own; `one_run.py` lists the facts that come back.

    Args:
        config: The run's configuration.
        out: The run folder to be; None keeps none.
        environ: Added to the environment.
        watch: As for `child`.
    """
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
        recipe = Path(folder) / "recipe.toml"
        write_text(recipe, settings.to_toml(config))
        return child("one_run.py", [str(recipe), str(out or Path(folder) / "run")], environ, watch)


Watch = Callable[["subprocess.Popen[bytes]"], None]


def child(
    script: str,
    arguments: Sequence[str],
    environ: Mapping[str, str] | None = None,
    watch: Watch | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Runs a script of this folder in a process of its own, and returns the facts that it wrote.

    Args:
        script: Its file name; it takes `--facts FILE` and writes a JSON object there.
        arguments: Its other arguments.
        environ: Added to the environment.
        watch: Called while the child runs, and returns once it has ended.
        quiet: Show what it says on standard error only if it fails.

    Raises:
        UserError: If it fails; its own message stands on standard error.
    """
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
        facts = Path(folder) / "facts.json"
        command = [sys.executable, str(HERE / script), *arguments, "--facts", str(facts)]
        log = Path(folder) / "stderr.txt"
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
        return read_json(facts)


def environment(added: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that is measured."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(added or {})}


def alternate(things: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """Calls each thing once a round, and turns the order round by round, so that a machine that slows down hits all.

    Args:
        things: Name -> what to call.
        rounds: 1 or more.

    Returns:
        Name -> what each call returned, by round.
    """
    results: dict[str, list[Any]] = {name: [] for name in things}
    for number in range(rounds):
        for name in list(things) if number % 2 == 0 else reversed(list(things)):
            results[name].append(things[name]())
    return results


Layers = Annotated[bool, typer.Option("--layers", help="Time Keras's layers in the kit's calls as well.")]
ImageSize = Annotated[int, typer.Option(min=32, help="Side of the images, in pixels.")]
Alpha = Annotated[float, typer.Option(help="Width of the network.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images in a batch.")]
Seconds = Annotated[float, typer.Option(help="How long to measure each, a round.")]
Jit = Annotated[str, typer.Option(help="jit_compile of stock Keras: auto (its default), on or off.")]
Rounds = Annotated[int, typer.Option(min=1, help="How often to time all, in turns.")]


def jit_compile(jit: str) -> str | bool:
    """What `model.compile` takes for the option `--jit`.

    Raises:
        ConfigError: If it is none of auto, on and off.
    """
    values: dict[str, str | bool] = {"auto": "auto", "on": True, "off": False}
    if jit not in values:
        raise ConfigError(f"--jit must be one of {', '.join(values)}, not {jit!r}.")
    return values[jit]


def throughput_arguments(weights: str, image_size: int, alpha: float, batch_size: int, seconds: float) -> list[str]:
    """The command line of `throughput.py` that all measurements of one benchmark share.

    Raises:
        WeightsError: If there are no such weights.
    """
    found = resolve(weights, alpha, image_size)
    file = str(found.path.absolute()) if found.path else "none"
    arguments = ["--weights", file, "--image-size", str(image_size), "--alpha", str(alpha)]
    return [*arguments, "--batch-size", str(batch_size), "--seconds", str(seconds)]


def throughput(name: str, arguments: Sequence[str], jit: str, layers: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    """What measures one network on every installed backend, for `alternate`.

    Args:
        name: `{}` stands for the backend and who computes.
        arguments: Of `throughput.py`.
        jit: As for `jit_compile`.
        layers: Also Keras's layers in the kit's calls.

    Raises:
        ConfigError: If `jit` is none of auto, on and off.
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
    """Measures rates in turns, prints them and records them.

    Args:
        name: Of the benchmark.
        things: As for `alternate`; each returns what `rate_facts` does, and its environment.
        rounds: 1 or more.
        results: The folder of records.
        told: What else the record says.
    """
    sides = alternate(things, rounds)
    facts = {**told, **rates(sides)}
    show_rates(facts)
    record(results, name, next(iter(sides.values()))[0]["environment"], facts)


def measure(run: Callable[[], object], seconds: float) -> list[float]:
    """Seconds of each of several calls, the first of which compiles; at least four."""
    timings = [timed(run) for _ in range(2)]
    until = perf_counter() + seconds
    while perf_counter() < until or len(timings) < 4:
        timings.append(timed(run))
    return timings


def rate_facts(
    timings: Sequence[float], batch_size: int, multiply_adds: int, matrix_rate: float, passes: int
) -> dict[str, Any]:
    """What one measurement comes to.

    Args:
        timings: Of `measure`.
        batch_size: Images a call.
        multiply_adds: Of an image, forward, of the part that is run.
        matrix_rate: Floating-point operations a second of the runtime's own matrix product.
        passes: How often a call does that work: 1 forward, 3 in training.

    Returns:
        images_per_second (median over calls), first_seconds (the first call: compiling), batches, multiply_adds,
        matrix_rate, and floor_images_per_second: what that rate alone would allow.
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
    """What rounds of `throughput.py` come to, by what was measured.

    The floor is what the matrix products alone would take: two floating-point operations for each multiply-add, three
    times over in training (forward, and the gradients of inputs and of kernels), at the best rate that the same
    process reached in a matrix product.
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
    """Prints what `rates` found, and each as a multiple of the first."""
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
    """Seconds that a call takes."""
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
    """Prints a table: the first column to the left, the others to the right, None as a dash."""
    cells = [list(header), *[["-" if cell is None else str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for number, row in enumerate(cells):
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *rest]).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def record(results: Path, name: str, environment: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Writes `results/NAME.json`: when, with which command, on what machine, and the facts.

    Args:
        results: The folder.
        name: What was measured.
        environment: What `kit.backends.describe` said in the process that was measured.
        facts: Ready for JSON.
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
    """Bytes of memory that the machine has; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
