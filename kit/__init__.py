"""One training run: a folder of images in, a scored model out.

Who owns what, in the order of the arrows (each imports only what stands before it):
    errors, files, progress     messages a user can act on; files that appear whole or not at all
    statistics                  intervals and a paired test
    config, settings            what a run needs; text, files and environment turned into it
    store                       computed rows, content-keyed and memory-mapped
    backends                    each Keras backend behind one protocol; chooses and starts one
    data                        images: found, audited, split, decoded, augmented, batched
    model                       backbone, head, cut points, kernels, pretrained weights
    training                    features once, then phases
    evaluation, records         scores with intervals; the folder a run leaves
    predict, run, experiment    a finished run at work; and `train`, which composes all of the above
    api                         the names below
    cli, commands               the command line

The Python API (docs/python-api.md); importing `kit` imports no backend:
    configure                   settings as keywords -> RunConfig
    train, resume, load_run     -> Run: the record, and `predict`
    evaluate                    the scores again, or those of other images
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kit.api import configure, evaluate, load_run, resume, train
    from kit.config import RunConfig
    from kit.errors import UserError
    from kit.predict import Prediction
    from kit.run import Run

__all__ = ["Prediction", "Run", "RunConfig", "UserError", "configure", "evaluate", "load_run", "resume", "train"]

_HOMES = {"Prediction": "kit.predict", "Run": "kit.run", "RunConfig": "kit.config", "UserError": "kit.errors"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "kit.api")), name)
    raise AttributeError(f"module 'kit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
