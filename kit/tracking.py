"""Runs and trials told to TensorBoard and MLflow (`--log`), each by its own package and without TensorFlow.

They get settings and numbers: no image, page or model. What fails there once training has begun is a warning, and never
ends a run.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kit import progress
from kit.config import RunConfig
from kit.errors import ConfigError, StorageError, UserError
from kit.machine import install_command, package_version
from kit.setting_table import flat

if TYPE_CHECKING:
    from kit.run_writer import RunWriter
    from kit.training.history import EpochRecord, History

NAMES = ("tensorboard", "mlflow")
CURVES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
SCORES = ("accuracy", "macro_f1", "log_loss", "calibration_error")
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"  # MLflow's words


@dataclass(frozen=True)
class Subject:
    """A run or a trial: its name, the experiment it belongs to, settings by key, and what else is known of it."""

    name: str
    experiment: str
    settings: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)


class Tracker(Protocol):
    """One run or trial in one place; `reference` finds it again."""

    reference: str

    def epoch(self, record: "EpochRecord") -> None:
        """Tell of an epoch; one that is told again replaces the former."""

    def close(self, scores: Mapping[str, float], epoch: int, status: str) -> None:
        """Tell of the scores after the last epoch, and how it ended."""


class TensorBoardTracker:
    """Event files in a folder, with the names that `keras.callbacks.TensorBoard` uses.

    Curves of training lie in `train/`, those of validation in `validation/`: TensorBoard lays them over each other.
    """

    def __init__(self, folder: Path, subject: Subject, from_epoch: int = 1):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.reference = folder.name
        self._writers = {part: EventFileWriter(str(folder / part)) for part in ("train", "validation")}
        for writer in self._writers.values():
            # what an interrupted run wrote of later epochs is void
            start = SessionLog(status=SessionLog.START)
            writer.add_event(Event(wall_time=time.time(), step=from_epoch, session_log=start))
        rows = [f"| {key} | {value} |" for key, value in {**subject.settings, **subject.tags}.items()]
        self._write("train", 0, [_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]))])

    def epoch(self, record: "EpochRecord") -> None:
        for name in CURVES:
            value = getattr(record, name)
            if value is not None:
                part = "validation" if name.startswith("val_") else "train"
                self._write(part, record.epoch, [_scalar(f"epoch_{name.removeprefix('val_')}", value)])
        for writer in self._writers.values():
            writer.flush()

    def close(self, scores: Mapping[str, float], epoch: int, status: str) -> None:
        self._write("train", epoch, [_scalar(f"scores/{name}", value) for name, value in scores.items()])
        for writer in self._writers.values():
            writer.close()

    def _write(self, part: str, step: int, values: list[Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if values:
            self._writers[part].add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))


def _scalar(tag: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=tag, simple_value=float(value))


def _text(tag: str, text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()], tensor_shape=shape)
    plugin = SummaryMetadata.PluginData(plugin_name="text")
    return Summary.Value(tag=tag, tensor=tensor, metadata=SummaryMetadata(plugin_data=plugin))


class MlflowTracker:
    """A run of the MLflow server or store that MLFLOW_TRACKING_URI names; where it names none, MLflow's default."""

    def __init__(self, subject: Subject, reference: str = ""):
        from mlflow import MlflowClient
        from mlflow.entities import Param, RunTag

        self._client = MlflowClient()
        if reference:
            self.reference = reference
            self._client.update_run(reference, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(subject.experiment)
        experiment = self._client.create_experiment(subject.experiment) if found is None else found.experiment_id
        self.reference = self._client.create_run(experiment, run_name=subject.name).info.run_id
        # by a setting's key, for MLflow compares runs by them
        settings = [Param(key, str(value)[:500]) for key, value in subject.settings.items()]
        tags = [RunTag(f"transferkit.{key}", value) for key, value in subject.tags.items()]
        self._client.log_batch(self.reference, params=settings, tags=tags)

    def epoch(self, record: "EpochRecord") -> None:
        values = {name: getattr(record, name) for name in CURVES}
        self._metrics({name: value for name, value in values.items() if value is not None}, record.epoch)

    def close(self, scores: Mapping[str, float], epoch: int, status: str) -> None:
        self._metrics(scores, epoch)
        self._client.set_terminated(self.reference, status)

    def _metrics(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(
            self.reference, metrics=[Metric(name, float(v), now, step) for name, v in values.items()]
        )


class Trackers:
    """Trackers of one run by name; one that fails is named in a warning and left out from then on."""

    def __init__(self, trackers: Mapping[str, Tracker]):
        self._trackers = dict(trackers)

    @property
    def references(self) -> dict[str, str]:
        return {name: tracker.reference for name, tracker in self._trackers.items()}

    def epoch(self, record: "EpochRecord") -> None:
        self._tell(lambda tracker: tracker.epoch(record))

    def close(self, scores: Mapping[str, float], epoch: int, status: str = FINISHED) -> None:
        self._tell(lambda tracker: tracker.close(scores, epoch, status))

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                what(tracker)
            except Exception as error:  # whatever a server or a disk does
                progress.say(f"warning: {name} could not be told ({type(error).__name__}: {error}); it is left out.")
                del self._trackers[name]


def chosen(names: str | Iterable[str]) -> tuple[str, ...]:
    """Trackers asked for, in order; ConfigError for an unknown one, UserError where its package is missing."""
    asked = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in asked:
        if name not in NAMES:
            raise ConfigError(f"A run can be logged to {' or '.join(NAMES)}, not to {name!r}.")
        found = find_spec(name)
        if found is None or found.origin is None:  # a folder of that name is no package
            raise UserError(f"To log to {name} its package is missing.", f"Install it: {install_command(name)}")
    return asked


def begin(
    names: Iterable[str], folder: Path, subject: Subject, known: Mapping[str, str] | None = None, epochs: int = 0
) -> Trackers:
    """Begin with a run or trial in each place, or go on with what `known` refers to after some epochs.

    `folder` gets TensorBoard's files. Raises StorageError where a place cannot be reached.
    """
    trackers: dict[str, Tracker] = {}
    for name in names:
        try:
            if name == "tensorboard":
                trackers[name] = TensorBoardTracker(folder, subject, epochs + 1)
            else:
                trackers[name] = MlflowTracker(subject, (known or {}).get(name, ""))
        except Exception as error:
            where = "MLFLOW_TRACKING_URI says where MLflow is." if name == "mlflow" else ""
            raise StorageError(f"{name} cannot be told of {subject.name}: {error}", where) from error
    return Trackers(trackers)


@contextmanager
def tracked(run: "RunWriter", names: Iterable[str], experiment: str) -> "Iterator[Callable[[History], None]]":
    """Tell of a run while the body trains it; yields the listener of epochs. The caller holds the run's lock.

    A run that is resumed goes on where it was told of before.
    """
    from kit.training.history import History

    known: dict[str, str] = run.manifest.get("log", {})
    asked = tuple(dict.fromkeys([*known, *names]))
    if not asked:
        yield lambda history: None
        return
    chosen(asked)
    done = len(run.history) if (run.path / "history.csv").exists() else 0
    config = run.config
    subject = Subject(run.path.absolute().name, experiment, flat(config), tags_of(config, run.path))
    trackers = begin(asked, run.path / "tensorboard", subject, known, done)
    run.update_manifest(log=trackers.references)
    told = History()

    def listen(history: "History") -> None:
        nonlocal told
        told = history
        trackers.epoch(history.records[-1])

    try:
        yield listen
    except BaseException as error:
        trackers.close({}, len(told), KILLED if isinstance(error, KeyboardInterrupt) else FAILED)
        raise
    trackers.close(scores_of(run.metrics), len(run.history))


def tags_of(config: RunConfig, folder: Path) -> dict[str, str]:
    """What a run is known by besides its settings."""
    return {"folder": str(folder.absolute()), "version": str(package_version("transferkit"))}


def scores_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Scores of metrics.json as `test_accuracy`, `validation_log_loss`, ...; those of empty splits left out."""
    scored = {split: scores for split, scores in metrics.items() if isinstance(scores, dict) and scores.get("n")}
    return {
        f"{split}_{name}".replace("-", "_"): float(scores[name])
        for split, scores in scored.items()
        for name in SCORES
        if scores.get(name) is not None
    }
