"""Start-up time of the command line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import common
import typer

from kit import backends
from kit.backends.choice import explain_choice
from kit.errors import UserError
from kit.run import Run

PREDICT_WITH_KERAS = """
import sys
import keras, numpy
from PIL import Image
model = keras.saving.load_model(sys.argv[1])
size = model.input.shape[1]
image = numpy.asarray(Image.open(sys.argv[2]).convert("RGB").resize((size, size)))
print(model.predict(image[None], verbose=0).argmax())
"""


def start_up(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="One image.")],
    rounds: Annotated[int, typer.Option(min=1, help="How often to time all, in turns.")] = 5,
    results: common.Results = common.RESULTS,
) -> None:
    """How long until the command line answers: `--help`, and `predict` on one image, on the run's own backend?

    Beside them what Python alone takes, what importing Keras takes, and what loading the model and predicting takes
    in plain Keras. Every measurement is a new process; the first round, which may compile, is reported as cold.
    """
    config = Run.open(run).config
    name = explain_choice(config.backend).name
    kit = [sys.executable, "-m", "kit.cli"]
    commands = {
        "python, nothing": [sys.executable, "-c", "pass"],
        "--help": [*kit, "--help"],
        "import keras": [sys.executable, "-c", "import keras"],
        "predict, one image": [*kit, "predict", str(run), str(image)],
        "the same in plain Keras": [sys.executable, "-c", PREDICT_WITH_KERAS, str(run / "model.keras"), str(image)],
    }
    found = common.alternate({what: _timed(command, name) for what, command in commands.items()}, rounds)
    seconds = {what: {"cold": times[0], "median": median(times)} for what, times in found.items()}
    rows = [[what, *(f"{one[key]:.2f}" for key in ("cold", "median"))] for what, one in seconds.items()]
    common.show(rows, (f"seconds, {name}", "cold", "median"))
    backends.start(name)
    common.record(results, f"start_up-{name}", backends.describe(), {"seconds": seconds, "rounds": found})


def _timed(command: list[str], name: str) -> Callable[[], float]:
    environment = common.environment({"KERAS_BACKEND": name})

    def run() -> None:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{' '.join(command[:4])} ended with status {done.returncode}.", done.stderr.strip())

    return lambda: common.timed(run)


if __name__ == "__main__":
    common.start(start_up)
