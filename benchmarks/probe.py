"""Linear probe of a frozen network; a child of suite.py."""

from time import perf_counter

STARTED = perf_counter()  # before keras is imported: importing is a part of the run

from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Annotated  # noqa: E402

import common  # noqa: E402
import typer  # noqa: E402

from kit.config import PhaseConfig  # noqa: E402
from kit.files import write_json  # noqa: E402
from kit.settings import load_config  # noqa: E402

PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)  # scikit-learn's C


def probe(
    config: Annotated[Path, typer.Argument(help="TOML of the run whose images and splits are taken.")],
    facts: Annotated[Path, typer.Option(help="Where to write what was measured, as JSON.")],
) -> None:
    """How good is logistic regression on the pooled features of the frozen network, and how long does it take?

    The facts: seconds (of everything, the imports included), accuracy (of test), penalty (the C of the best validation
    accuracy).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from kit.pipeline import build, load, start
    from kit.stage_clock import StageClock
    from kit.training.extraction import extract

    settings = load_config(file=config)
    frozen = replace(settings, views=replace(settings.views, count=1), phases=(PhaseConfig(name="head", epochs=1),))
    frozen, found = start(frozen)
    dataset, weights = load(found, frozen, StageClock())
    frozen = dataset.decoding(frozen)
    features = extract(build(frozen, dataset, weights)).plain[0][:].astype("float32")
    train, validation, test = (dataset.indices(split) for split in ("train", "validation", "test"))
    fitted = {}
    for penalty in PENALTIES:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=2000))
        fitted[penalty] = model.fit(features[train], dataset.labels[train])
    chosen = max(PENALTIES, key=lambda penalty: fitted[penalty].score(features[validation], dataset.labels[validation]))
    accuracy = float(fitted[chosen].score(features[test], dataset.labels[test]))
    write_json(facts, {"seconds": perf_counter() - STARTED, "accuracy": accuracy, "penalty": chosen})


if __name__ == "__main__":
    common.start(probe)
