"""Python API: train, resume, load, evaluate, with settings as keywords."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kit import backends, pipeline, run_scores
from kit.config import RunConfig
from kit.errors import ConfigError
from kit.pipeline import Listener
from kit.run import Name, Run
from kit.setting_table import SHORTHANDS
from kit.settings import load_config


def configure(data: Name = "", *, file: Name | None = None, sets: Sequence[str] = (), **settings: Any) -> RunConfig:
    """Build the configuration of a run or a study. The environment is not read.

    Args:
        data: A folder of class folders, split folders, a table, an archive, or `flowers`.
        file: A TOML file of settings; keywords override it.
        sets: `key=value` texts, as for `--set` on the command line.
        settings: The command line's options with underscores (`weights="none"`, `fine_tune_epochs=5`; all are in
            `kit.setting_table.SHORTHANDS`); any other setting by its key: `**{"training.monitor": "val_loss"}`.

    Raises:
        ConfigError: If a setting is unknown (the nearest one is named), of the wrong type or out of range.
    """
    given = {SHORTHANDS.get(name, name): value for name, value in settings.items()}
    if data:
        given["data.path"] = data
    return load_config(flags=given, sets=sets, file=None if file is None else Path(file), origin="a keyword")


@backends.restored()
def train(data: Name | RunConfig, out: Name | None = None, *, on_epoch: Listener | None = None, **settings: Any) -> Run:
    """Train and score one model.

        run = kit.train("images", weights="none", views=3)
        run.metrics["test"]["accuracy"], run.predict("photo.jpg").label

    Args:
        data: The images, or a whole configuration from `configure`.
        out: Run folder to create; default `runs/<data>-<time>`.
        on_epoch: Called with the History after every epoch.
        settings: As for `configure`; none beside a whole configuration.

    Raises:
        UserError: If the settings, backend, images, weights or disk do not allow it; the message says what to do.
    """
    if isinstance(data, RunConfig):
        if settings:
            raise ConfigError(
                f"train was given a whole configuration, and {', '.join(settings)} beside it.",
                "Give the settings to kit.configure.",
            )
        config = data
    else:
        config = configure(data, **settings)
    return pipeline.train(config, None if out is None else Path(out), on_epoch=on_epoch)


@backends.restored()
def resume(run: Name | Run, *, on_epoch: Listener | None = None) -> Run:
    """Continue an interrupted run from its last finished epoch; a finished run is left as it is.

    Raises UserError if the images, weights or backend are no longer those of the run.
    """
    return pipeline.resume(_folder(run), on_epoch=on_epoch)


def load_run(path: Name) -> Run:
    """Open the run in a folder, finished or not; StorageError if there is none, or a newer transferkit wrote it."""
    return Run.open(Path(path))


@backends.restored()
def evaluate(run: Name | Run, data: Name | None = None) -> dict[str, Any]:
    """Score a finished run's model again.

    `data`: other images, in any form that training takes. Returns scores (as in `metrics.json`) by split for the run's
    own images, under `all` for others.

    Raises UserError if the run is not finished, or the images cannot be scored.
    """
    return run_scores.evaluate(load_run(_folder(run)), None if data is None else str(data))


def _folder(run: Name | Run) -> Path:
    return run.path if isinstance(run, Run) else Path(run)
