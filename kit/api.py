"""Python API: train, resume, load, evaluate, with settings as keywords."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit import backends, pipeline, report_hook, run_scores
from kit.config import RunConfig
from kit.data.given import is_given, keep
from kit.errors import ConfigError
from kit.evaluation_record import write_evaluation
from kit.inspection import refuse_other_content
from kit.learning_rates import STEPS, LearningRates, find_learning_rates
from kit.new_images import evaluate_images
from kit.parts import NAMES as PARTS
from kit.parts import given_parts
from kit.pipeline import Listener
from kit.run import Name, Run, path_of
from kit.setting_table import SHORTHANDS
from kit.settings import load_config

if TYPE_CHECKING:
    import keras

    Callbacks = Iterable[keras.callbacks.Callback]


class TrainedRun(Run):
    """A run in a program or a notebook: its record, its model, and what the commands do with them."""

    def _repr_html_(self) -> str | None:
        """What a notebook shows: accuracy with its interval, curves, a small confusion matrix."""
        return report_hook.summary_html(self.path)

    @cached_property
    @backends.restored()
    def model(self) -> "keras.Model":
        """The trained network, of Keras's own layers: uint8 (n, S, S, 3), 0-255, to probabilities (n, classes).

        Loaded at the first use; StorageError if the run is not finished, BackendError without a backend. The softmax of
        a run of schema version 1 has yet to be scaled by `unapplied_temperature`.
        """
        from kit.model.catalog import is_hub
        from kit.model.loading import load_model

        self.require_finished()
        backends.start(threads=self.config.threads)
        return load_model(self.model_path, hub=is_hub(self.config.model.backbone))

    def evaluate(self, data: Any = None, **options: Any) -> dict[str, Any]:
        """Score the model again, on its own images or on others: `kit.evaluate`, which names the options."""
        return evaluate(self, data, **options)

    def export(self, format_name: str, out: Name | None = None, **options: Any) -> Path:
        """Export the model to another format, after a parity check; returns the folder.

        `kit.export.export_run` names the formats and the other options.
        """
        from kit.export import export_run

        return export_run(self, format_name, None if out is None else path_of(out, "out"), **options).path

    def push(self, repository: str, format_name: str = "keras", *, private: bool = False) -> str:
        """Upload the model with its card to the Hugging Face Hub (`user/name`); returns the address of its page.

        Needs the extra `push` and a token (`hf auth login`); see `kit.hub_push.push`.
        """
        from kit.hub_push import push

        return push(self, repository, format_name=format_name, private=private)

    def report(self) -> Path:
        """Draw the run's page; returns its path. StorageError if it cannot be drawn."""
        return report_hook.require_page(self.path)

    @cached_property
    def figures(self) -> Any:
        """Figures of the run's page by name: `run.figures.confusion()`, `list(run.figures)`; plotly's."""
        return report_hook.figures(self.path)


def configure(
    data: Any = "",
    y: Any = None,
    *,
    recipe: str = "default",
    file: Name | None = None,
    sets: Sequence[str] = (),
    **settings: Any,
) -> RunConfig:
    """Build the configuration of a run or a study. The environment is not read.

    Args:
        data: A folder of class folders, split folders, a table, an archive, or `flowers`; a DataFrame with the columns
            of a table, paths counted from the current folder; or images, uint8 (n, height, width, 3) or (n, height,
            width), or a list of arrays, of images of Pillow or of bytes, alone or in a pair with `y`; or a dictionary
            of these by split. What lies in memory is kept in the cache, under its content, and said.
        y: Labels of images that came without: numbers or texts (n,), or one-hot (n, classes).
        recipe: Settings by effort: `quick`, `default` or `best`.
        file: A TOML file of settings, which goes over the recipe; keywords override it.
        sets: `key=value` texts, as for `--set` on the command line.
        settings: The command line's options with underscores (`weights="none"`, `fine_tune_epochs=5`; all are in
            `kit.setting_table.SHORTHANDS`); any other setting by its key: `**{"training.monitor": "val_loss"}`. And
            parts of one's own: `head`, `loss`, `metrics`, `augmentation` (`kit.parts.Parts`), or `plugin`, a file.

    Raises:
        ConfigError: If a setting is unknown (the nearest one is named), of the wrong type or out of range.
    """
    parts = given_parts(**{name: settings.pop(name) for name in PARTS if name in settings})
    given = {SHORTHANDS.get(name, name): value for name, value in settings.items()}
    in_memory = is_given(data) or y is not None
    if not in_memory and (not isinstance(data, str) or data):
        given["data.path"] = _data(data)
    file = None if file is None else path_of(file, "file")
    config = replace(load_config(flags=given, sets=sets, file=file, recipe=recipe, origin="a keyword"), parts=parts)
    if not in_memory:
        return config
    # kept after the settings were checked: a wrong one is told at once; columns are the table's own from here on
    return replace(config, data=replace(config.data, path=str(keep(data, y, config.data.columns)), columns=""))


@backends.restored()
def train(
    data: Any,
    y: Any = None,
    out: Name | None = None,
    *,
    on_epoch: Listener | None = None,
    callbacks: "Callbacks" = (),
    log: str | Sequence[str] = (),
    **settings: Any,
) -> TrainedRun:
    """Train and score one model.

        run = kit.train("images", weights="none", views=3)
        run.metrics["test"]["accuracy"], run.predict("photo.jpg").label
        run = kit.train(x, y)  # uint8 (n, height, width, 3); labels

    Args:
        data: The images, as for `configure`, or a whole configuration from it.
        y: Labels of images in memory. A path here is `out`: `train("images", "runs/first")`.
        out: Run folder to create; default `runs/<data>-<time>`.
        on_epoch: Called with the History after every epoch.
        callbacks: Keras callbacks; a phase is to them what a call of `fit` is (docs/python-api.md).
        log: `tensorboard`, `mlflow` or both, which are told of epochs and scores.
        settings: As for `configure`, `head`, `loss`, `metrics` and `augmentation` of one's own among them; none beside
            a whole configuration.

    Raises:
        UserError: If the settings, backend, images, weights or disk do not allow it; the message says what to do.
    """
    if out is None and isinstance(y, str | os.PathLike):
        y, out = None, y
    config = _configuration(data, y, "train", settings)
    folder = None if out is None else path_of(out, "out")
    return TrainedRun(pipeline.train(config, folder, on_epoch=on_epoch, callbacks=callbacks, log=log).path)


@backends.restored()
def resume(
    run: Name | Run, *, on_epoch: Listener | None = None, callbacks: "Callbacks" = (), **parts: Any
) -> TrainedRun:
    """Continue an interrupted run from its last finished epoch; a finished run is left as it is.

    `head`, `loss`, `metrics` and `augmentation` are given again, if the run was started with any as objects.

    Raises UserError if the images, weights, parts or backend are no longer those of the run.
    """
    if unknown := parts.keys() - set(PARTS):
        raise ConfigError(f"resume takes no {', '.join(sorted(unknown))}.", "Settings are those of the run.")
    given = given_parts(**parts)
    return TrainedRun(pipeline.resume(_folder(run), on_epoch=on_epoch, callbacks=callbacks, parts=given).path)


@backends.restored()
def find_learning_rate(data: Any, y: Any = None, *, steps: int = STEPS, **settings: Any) -> LearningRates:
    """Suggest a learning rate for each phase by a range test, in seconds on stored activations.

        rates = kit.find_learning_rate("images", views=3)
        rates.figure, kit.train("images", views=3, **rates.settings)

    Args:
        data, y: The images and labels as for `configure`, or a whole configuration from it.
        steps: Batches that each phase is tried on.
        settings: As for `configure`.

    Raises:
        UserError: As `train`.
    """
    return find_learning_rates(_configuration(data, y, "find_learning_rate", settings), steps)


def load_run(path: Name) -> TrainedRun:
    """Open the run in a folder, finished or not; StorageError if there is none, or a newer transferkit wrote it."""
    return TrainedRun.open(_folder(path))


@backends.restored()
def evaluate(
    run: Name | Run,
    data: Any = None,
    *,
    moved: Any = None,
    include_seen: bool = False,
    conflicts: str | None = None,
    columns: str | None = None,
    threshold: float | None = None,
    tta: bool = False,
    out: Name | None = None,
) -> dict[str, Any]:
    """Score a finished run's model again, on its own images or on others.

    Args:
        data: Other images, in any form that training takes (arrays in a pair with labels); None: the run's own.
        moved: Where the run's own images lie now, if not where they were.
        include_seen: Score those of `data` too that the run was trained on or validated with.
        conflicts: `refuse` or `drop` images of `data` under two labels; None is as the run was trained.
        columns: Which column of a table is what (`data.columns`); None is as the run was trained.
        threshold: Confidence, 0 to 1, below which the model is silent; None: it always answers.
        tta: Average the answers for each image of `data` and its mirror image.
        out: Folder of the record and page about `data`; None writes none.

    Returns:
        Scores (as in `metrics.json`) by split for the run's own images. For others scores under `all`, and under
        `images` how many are new, how many the run has in each split, how many were left out and how many scored.
        With a `threshold` also `answered`, by the same names: how many images get an answer, and how many of those
        answers are right (`kit.evaluation.answered`).

    Raises:
        UserError: If the run is not finished, or the images cannot be scored.
    """
    folder = load_run(_folder(run))
    if threshold is not None and not (isinstance(threshold, (int, float)) and 0 <= threshold <= 1):
        raise ConfigError(f"threshold must be 0 to 1, not {threshold!r}.", "Give a confidence, such as 0.83.")
    if data is None:
        if tta:
            raise ConfigError("`tta` is for images that are named.", "Name them: kit.evaluate(run, data, tta=True).")
        place = None if moved is None else _data(moved, folder.classes)
        return run_scores.evaluate(folder, moved=place, threshold=threshold)
    if moved is not None:
        raise ConfigError("evaluate was given other images and `moved`, which is of the run's own.", "Give one.")
    folder.require_finished()
    if is_given(data):
        data = keep(data, None, folder.config.data.columns if columns is None else columns, folder.classes)
        columns = ""  # the table of what is kept has its own
    place, record = _data(data), None if out is None else path_of(out, "out")
    if record is not None:
        refuse_other_content(record, "evaluation", "evaluate")
    config = run_scores.evaluation_config(folder)
    asked: dict[str, Any] = {"conflicts": conflicts, "columns": columns, "threshold": threshold, "tta": tta}
    done = evaluate_images(folder, place, config, include_seen=include_seen, **asked)
    if record is not None:
        write_evaluation(record, done)
        report_hook.draw_page(record)
    answered = {"answered": done.answered} if done.answered else {}
    return {"all": done.scores, "images": done.images, **answered}


def _configuration(data: Any, y: Any, function: str, settings: dict[str, Any]) -> RunConfig:
    """A whole configuration as it is, or that of images and settings."""
    if not isinstance(data, RunConfig):
        return configure(data, y, **settings)
    if y is not None:
        raise ConfigError(f"{function} was given a whole configuration, and labels beside it.", "Leave them out.")
    if settings:
        raise ConfigError(
            f"{function} was given a whole configuration, and {', '.join(settings)} beside it.",
            "Give the settings to kit.configure.",
        )
    return data


def _folder(run: Name | Run) -> Path:
    return path_of(run, "run", "Give a Run, or the folder of one.")


def _data(images: Any, known: Sequence[str] = ()) -> str:
    if is_given(images):
        return str(keep(images, known=known))
    hint = "Give a folder of class folders, a table, an archive, a DataFrame, or images and labels."
    return str(path_of(images, "data", hint))
