"""Cross-validate once with transferkit and write its out-of-fold predictions; a child of recipes.py."""

from time import perf_counter

STARTED = perf_counter()  # before keras is imported: importing is a part of the run

from pathlib import Path  # noqa: E402
from typing import Annotated  # noqa: E402

import common  # noqa: E402
import numpy as np  # noqa: E402
import typer  # noqa: E402

from kit.files import write_json  # noqa: E402
from kit.settings import load_config  # noqa: E402


def one_cross_validation(
    config: Annotated[Path, typer.Argument(help="TOML of the run.")],
    out: Annotated[Path, typer.Argument(help="The run folder to be.")],
    facts: Annotated[Path, typer.Option(help="Where to write what was measured, as JSON.")],
) -> None:
    """How good is a recipe on images that it was not trained on?

    The facts: seconds (of everything, the imports included), images (path -> [whether the most probable class is right,
    probability of the right class], by the fold that held the image out), groups (path -> group), epochs (kept of each
    phase, the median of the folds).
    """
    from kit.cross_validation import cross_validate
    from kit.pipeline import build, load, start
    from kit.run_writer import RunWriter
    from kit.stage_clock import StageClock

    settings, found = start(load_config(file=config))
    dataset, weights = load(found, settings, StageClock())
    settings = dataset.decoding(settings)
    session = build(settings, dataset, weights)
    run = RunWriter.create(out, settings)
    with run.lock():
        folds = cross_validate(run, session, weights)
    predicted = folds.by_phase[-1]
    right = predicted.argmax(axis=1) == dataset.labels
    of_label = predicted[np.arange(len(right)), dataset.labels]
    write_json(
        facts,
        {
            "seconds": perf_counter() - STARTED,
            "images": {
                path: [bool(one), float(share)] for path, one, share in zip(dataset.paths, right, of_label, strict=True)
            },
            "groups": dict(zip(dataset.paths, dataset.groups, strict=True)),
            "epochs": list(folds.epochs),
        },
    )


if __name__ == "__main__":
    common.start(one_cross_validation)
