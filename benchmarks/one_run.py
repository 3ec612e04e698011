"""Train once with transferkit and write the facts of the run; a child of other scripts."""

from time import perf_counter

STARTED = perf_counter()  # before kit is imported: importing is a part of the run

from pathlib import Path  # noqa: E402
from typing import Annotated  # noqa: E402

import common  # noqa: E402
import typer  # noqa: E402

from kit.files import write_json  # noqa: E402
from kit.settings import load_config  # noqa: E402


def one_run(
    config: Annotated[Path, typer.Argument(help="TOML of the run.")],
    out: Annotated[Path, typer.Argument(help="The run folder to be.")],
    facts: Annotated[Path, typer.Option(help="Where to write what was measured, as JSON.")],
) -> None:
    """How long one run of transferkit takes, stage by stage, and how good its model is.

    The facts: seconds (of everything, the imports included), stages (name -> seconds), accuracy (split -> share),
    accuracy_interval (of test), phase_accuracy (test accuracy after each phase), images (split -> count), environment.
    """
    from kit.pipeline import train

    settings = load_config(file=config)
    ready = perf_counter()
    run = train(settings, out)
    ended = perf_counter()
    manifest, metrics = run.manifest, run.metrics
    stages = {name: stage["seconds"] for name, stage in manifest["stages"].items()}
    # outside all stages: the backend's import, weights, building the network, tables
    stages = {"start and rest": ended - STARTED - sum(stages.values()), **stages}
    write_json(
        facts,
        {
            "seconds": ended - STARTED,
            "seconds_before_train": ready - STARTED,
            "stages": stages,
            "accuracy": {split: metrics[split]["accuracy"] for split in ("train", "validation", "test")},
            "accuracy_interval": metrics["test"]["accuracy_interval"],
            "phase_accuracy": [phase["test"]["accuracy"] for phase in metrics["phases"]],
            "epochs": len(run.history),
            "photos": manifest["data"]["photos"],
            "environment": manifest["environment"],
        },
    )


if __name__ == "__main__":
    common.start(one_run)
