"""One training run: a folder of images in, a scored model out.

Packages and modules; each imports only those above it:
    errors, files, machine, progress    user errors; atomic files and hashes; this machine; progress lines
    config, settings, recipes       configuration of a run; text, files and environment turned into it; by effort
    backends                        each Keras backend behind one protocol; chooses and starts one
    significance, evaluation        intervals and tests; scores and calibration
    cache                           content-keyed arrays on disk
    csv_tables, stage_clock         tables as CSV; seconds, memory and compiled programs of stages
    data                            images: found, audited, split, decoded, augmented, batched
    model                           backbone, head, cut points, kernels, pretrained weights
    training                        activations of the frozen trunk once, then phases
    run, run_writer, predict        the folder a run leaves, read and written; predictions of its model
    tracking                        runs told to TensorBoard and MLflow
    insights                        data of report pages that takes the model or the images
    cross_validation                folds of a run, and the epochs of the model of all images
    pipeline                        `train`: the steps of a run, from top to bottom; the dry run
    run_scores, seeds               score again; several seeds
    new_images, evaluation_record   score other images; what that leaves
    learning_rates                  learning rates by a range test
    trial                           `train` for a search: no folder, no test split
    export, hub_push                other formats, checked against the original; uploaded
    api                             the Python API (docs/python-api.md): configure, train, resume, load_run, evaluate
    cli, commands                   the command line
    synthetic                       drawn images; the core imports none of it

Importing `kit` imports no backend.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kit.api import TrainedRun, configure, evaluate, find_learning_rate, load_run, resume, train
    from kit.config import RunConfig
    from kit.errors import UserError
    from kit.predict import Prediction
    from kit.run import Run

__all__ = [
    "Prediction",
    "Run",
    "RunConfig",
    "TrainedRun",
    "UserError",
    "configure",
    "evaluate",
    "find_learning_rate",
    "load_run",
    "resume",
    "train",
]

_HOMES = {"Prediction": "kit.predict", "Run": "kit.run", "RunConfig": "kit.config", "UserError": "kit.errors"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "kit.api")), name)
    raise AttributeError(f"module 'kit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
