"""One training run: a folder of images in, a scored model out.

Who owns what, in the order of the arrows (each imports only what stands before it):
    errors, files, progress     messages a user can act on; files that appear whole or not at all
    statistics                  intervals and a paired test
    config, settings            what a run needs; text, files and environment turned into it
    store                       computed rows, content-keyed and memory-mapped
    backend                     chooses and starts the Keras backend, before keras is imported
    data                        images: found, audited, split, decoded, augmented, batched
    model                       backbone, head, cut points, kernels, pretrained weights
    training                    features once, then phases
    evaluation, records         scores with intervals; the folder a run leaves
    predict, experiment         a finished run at work; and `train`, which composes all of the above
    cli, commands               the command line

The Python API is `kit.train`, `kit.resume` and `kit.evaluate`; importing `kit` imports no backend.
"""

from typing import Any

_API = ("evaluate", "resume", "train")
__all__ = list(_API)


def __getattr__(name: str) -> Any:
    if name in _API:
        from kit import experiment

        return getattr(experiment, name)
    raise AttributeError(f"module 'kit' has no attribute {name!r}")
