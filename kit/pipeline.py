"""One training run, step by step: load, split, build, extract, fit, score, save, explain.

Each step leaves its part of the run folder (kit.run). Whatever is computed from images is cached by content and every
epoch leaves a checkpoint, so resuming a run repeats the same steps. Importing this module imports no backend; `train`
starts one.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kit import backends, progress, tracking
from kit.abstention import record_abstention
from kit.backends.choice import choose_backend
from kit.config import NAMED, RunConfig
from kit.cross_validation import cross_validate
from kit.data import OUT_OF_FOLD, SPLITS, Source
from kit.data.dataset import Dataset, build_dataset
from kit.data.labels import require_learnable
from kit.data.sources import load_samples
from kit.errors import ConfigError, DataError, StorageError, WeightsError
from kit.files import atomic_path, write_json
from kit.insights.collect import collect_insights
from kit.machine import require_cache
from kit.model.catalog import HUB, is_hub
from kit.model.saving import save_model
from kit.model.weights import Weights
from kit.parts import require_monitor, require_same_parts, with_parts
from kit.report_hook import draw_page
from kit.run import DEFAULT_RUNS, SCHEMA_VERSION, Run, default_run_path, own_corrections
from kit.run_scores import record_folds, record_scores
from kit.run_weights import (
    count_seen,
    describe_weights,
    may_download,
    resolve_weights,
    starting_run,
    warn_of_weights,
)
from kit.run_writer import RunWriter
from kit.stage_clock import StageClock
from kit.training.history import History

if TYPE_CHECKING:
    from kit.parts import Parts
    from kit.training.callbacks import Callbacks
    from kit.training.estimate import StageCost
    from kit.training.session import Session


Listener = Callable[[History], None]


def train(
    config: RunConfig,
    out: Path | None = None,
    *,
    on_epoch: Listener | None = None,
    note: Mapping[str, Any] | None = None,
    callbacks: Iterable[Any] = (),
    log: str | Iterable[str] = (),
) -> Run:
    """Train and score one model.

    Args:
        out: Run folder to create; default `runs/<data>-<time>`.
        on_epoch: Called with the history after every epoch; of cross-validation with each fold's, then the kept
            model's.
        note: Goes into the manifest under `study`, where a study trains its best configuration.
        callbacks: Keras callbacks, told of the training of the kept model alone.
        log: `tensorboard`, `mlflow` or both: where epochs and scores are told of (kit.tracking).

    Raises:
        UserError: If the configuration, backend, images, weights or disk do not allow it; the message says what to do.
    """
    RunWriter(out or DEFAULT_RUNS).require_vacant(default=out is None)  # early, before loading and building
    log = tracking.chosen(log)
    config, found = start(config)
    listening = listen(callbacks)
    clock = StageClock()
    dataset, weights = load(found, config, clock)
    config = dataset.decoding(config)
    if dataset.grey_range:
        black, white = config.data.grey_range
        progress.say(f"Grey values {black:,} to {white:,} become 0 to 255 in all images of 16 and 32 bits.")
    path = out or default_run_path(dataset.name)
    plugin, config = config.plugin, own_corrections(config, path)
    session = build(config, dataset, weights)
    run = RunWriter.create(path, config, dataset.corrections, plugin)
    with run.lock():
        run.update_manifest(**_origin(config, dataset, weights), **({} if note is None else {"study": dict(note)}))
        progress.say(f"Recording into {run.path}")
        _finish(run, dataset, weights, session, clock, on_epoch, listening, log)
    return run


def resume(
    path: Path,
    *,
    on_epoch: Listener | None = None,
    callbacks: Iterable[Any] = (),
    parts: "Parts | None" = None,
) -> Run:
    """Continue an interrupted run from its last finished epoch; a finished run is left as it is.

    `parts` are those that the run was started with as objects; a plugin lies in its folder.

    Raises UserError if the images, weights, parts or backend are no longer those of the run.
    """
    run = RunWriter.open(path)
    with run.lock():
        if run.manifest["status"] == "finished":
            progress.say(f"{path} is finished already: nothing was left to do.")
            return run
        run.remove_leftovers()
        if not (path / "config.toml").exists():
            raise StorageError(f"{path} was stopped before its settings were recorded.", "Start a new run.")
        config, clock = replace(run.config, parts=parts), StageClock()
        _require_weights(config, path)
        if "data" in run.manifest:  # else it was stopped before it recorded what it was started with
            require_same_parts(run.manifest.get("parts"), config, path)
        started, found = start(config)
        config = replace(config, parts=started.parts)
        listening = listen(callbacks)
        dataset, weights = load(found, config, clock)
        # absent if the run was killed before recording it
        manifest = _origin(config, dataset, weights) | run.manifest
        _require_same(manifest, path, config, dataset, weights)
        if (path / "samples.csv").exists():
            dataset = dataset.as_recorded(run.samples)
        session = build(config, dataset, weights)
        run.update_manifest(**(manifest | {"status": "running"}))
        clock.add(manifest.get("stages", {}))
        _finish(run, dataset, weights, session, clock, on_epoch, listening)
    return run


# === Before there is a run folder ===


def start(config: RunConfig) -> tuple[RunConfig, Source]:
    """Check what is cheap to check, then start the backend.

    Returns the configuration that names the backend, its paths absolute, and the samples, unread. Raises UserError for
    a missing backend, a cache that cannot be written, data that are not there or no source of images, and weights of no
    finished run.
    """
    choose_backend(config.backend)
    require_cache()
    found = load_samples(config.data.path, config.data.columns, corrections=config.data.corrections)
    for line in found.tree:
        progress.say(line)
    require_learnable(found)
    starting_run(config)
    require_monitor(config)
    name = backends.start(config.backend, config.threads, config.seed)
    return with_parts(with_absolute_paths(replace(config, backend=name))), found


def listen(callbacks: Iterable[Any]) -> "Callbacks | None":
    """Keras callbacks, checked; None where there are none, and ConfigError for what has no place in a run."""
    from kit.training.callbacks import Callbacks

    listening = Callbacks(callbacks)
    return listening if listening.all else None


def load(found: Source, config: RunConfig, clock: StageClock) -> tuple[Dataset, Weights]:
    """Audit and split the images, and find the weights; UserError if either is impossible."""
    weights = None if may_download(config) else resolve_weights(config)
    with clock.stage("audit"):
        dataset = build_dataset(found, config)
    seen = count_seen(config, dataset)
    dataset = replace(dataset, warnings=(*dataset.warnings, *warn_of_weights(config, dataset, seen)))
    weights = weights or resolve_weights(config)  # downloaded last: folders without images are told before
    weights = replace(weights, seen=seen)
    counts = Counter(finding.kind for finding in dataset.findings if finding.severity == "warning")
    findings = [f"{count:,} findings of the kind {kind}." for kind, count in counts.items()]
    kinds = Counter(kind for *_, kind in dataset.dropped)
    why = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    dropped = [f"{kinds.total():,} files are left out ({why})."] if kinds else []
    for warning in (*dataset.warnings, *findings, *dropped):
        progress.say(f"warning: {warning}")
    if findings or dropped:
        progress.say(f"`transferkit inspect {config.data.path}` names the files.")
    return dataset, weights


def build(config: RunConfig, dataset: Dataset, weights: Weights) -> "Session":
    """Build the network (pretrained backbone, fresh head) and its schedule."""
    from kit.training.session import Session, build_classifier

    return Session(config, build_classifier(config, len(dataset.classes), weights), dataset)


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """Configuration with absolute paths, so that config.toml repeats the run from any folder."""
    data, weights = Path(config.data.path), Path(config.model.weights)
    if config.data.path and data.exists():
        config = replace(config, data=replace(config.data, path=os.path.abspath(data)))
    if config.data.corrections:
        corrections = os.path.abspath(Path(config.data.corrections).expanduser())
        config = replace(config, data=replace(config.data, corrections=corrections))
    if config.plugin:
        config = replace(config, plugin=os.path.abspath(Path(config.plugin).expanduser()))
    if config.model.weights not in NAMED and weights.exists():
        config = replace(config, model=replace(config.model, weights=os.path.abspath(weights)))
    preset = Path(config.model.backbone.removeprefix(HUB)).expanduser()
    if is_hub(config.model.backbone) and preset.is_dir():
        config = replace(config, model=replace(config.model, backbone=HUB + os.path.abspath(preset)))
    return config


def _origin(config: RunConfig, dataset: Dataset, weights: Weights) -> dict[str, Any]:
    data = {"name": dataset.name, "fingerprint": dataset.fingerprint, "photos": dataset.counts()}
    return {
        "data": data if dataset.corrections is None else data | {"corrections": dataset.corrections.describe()},
        "classes": list(dataset.classes),
        "weights": describe_weights(config, weights),
        "seeds": {"run": config.seed, "split": config.split.seed},
        "warnings": list(dataset.warnings),
        "environment": backends.describe(),
        **({} if config.parts is None else {"parts": config.parts.describe()}),
    }


def _require_weights(config: RunConfig, path: Path) -> None:
    """Raise WeightsError if the file or run that a run started from is gone."""
    weights = Path(config.model.weights).expanduser()
    if config.model.weights not in NAMED and not os.path.exists(weights):
        raise WeightsError(
            f"{weights}, whose weights {path} started from, is gone.",
            f"Put it back, or write its new place as model.weights into {path / 'config.toml'}; or start a new run.",
        )


def _require_same(
    manifest: Mapping[str, Any], path: Path, config: RunConfig, dataset: Dataset, weights: Weights
) -> None:
    if dataset.fingerprint != manifest["data"]["fingerprint"]:
        raise DataError(
            f"The images in {config.data.path} are no longer those that {path} was started on.",
            "Restore them, or start a new run.",
        )
    if weights.sha256 != manifest["weights"]["sha256"]:
        raise ConfigError(f"The weights {config.model.weights} are no longer those of {path}.", "Start a new run.")


# === In the run folder ===


def _finish(
    run: RunWriter,
    dataset: Dataset,
    weights: Weights,
    session: "Session",
    clock: StageClock,
    on_epoch: Listener | None,
    callbacks: "Callbacks | None",
    log: Iterable[str] = (),
) -> None:
    from kit.training.extraction import extract
    from kit.training.fit import fit, predict_phases
    from kit.training.session import describe_network

    with _failure_recorded(run, clock), tracking.tracked(run, log, dataset.name) as tell:
        run.update_manifest(schema_version=SCHEMA_VERSION)  # of what is written from here on, if an older one began it
        run.write_samples(dataset.table())
        if callbacks:
            before = run.manifest.get("callbacks", [])
            run.update_manifest(callbacks=list(dict.fromkeys([*before, *callbacks.names])))
        write_json(run.insights / "findings.json", [asdict(finding) for finding in dataset.findings])
        with clock.stage("features"):
            activations = extract(session)
        folds, fitted, training = None, session, activations
        if dataset.folds is not None:
            with clock.stage("folds"):
                folds = cross_validate(run, session, weights, on_epoch)
                fitted = folds.final(session)
                training = extract(fitted)  # from the cache
        recorded = run.history if (run.path / "history.csv").exists() else History()
        recorder = _recorder(run, tell, on_epoch)
        fit(fitted, training, run.checkpoints, recorded, recorder, clock.stage, callbacks=callbacks)
        with clock.stage("evaluation"):
            if folds is not None:
                by_phase = record_folds(run, session, activations, folds)
            else:
                by_phase = predict_phases(session, activations, run.checkpoints, SPLITS)
                record_scores(run, dataset, by_phase, [phase.name for phase in session.phases])
            _record_own_metrics(run, session, by_phase[-1].probabilities)
        with clock.stage("saving"), atomic_path(run.model_path) as temporary:
            session.classifier.freeze_normalisation()
            save_model(session.classifier.full(), temporary)
        with clock.stage("thresholds"):
            record_abstention(run, session, activations, None if folds is None else folds.distances)
        with clock.stage("insights"):
            collect_insights(run, dataset, session, activations, by_phase[-1].probabilities)
        network = describe_network(session) | {"store_dtype": activations.dtype}
        run.update_manifest(status="finished", error=None, stages=clock.stages, network=network)
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    draw_page(run.path)


def _record_own_metrics(run: RunWriter, session: "Session", probabilities: np.ndarray) -> None:
    """Add metrics of one's own to metrics.json, by split."""
    parts, dataset = session.config.parts, session.dataset
    if parts is None or not parts.metrics:
        return
    whole = {OUT_OF_FOLD: np.arange(len(dataset.keys))}
    places = whole if dataset.folds is not None else {split: dataset.indices(split) for split in SPLITS}
    own = {split: dict(parts.measure(dataset.labels[at], probabilities[at])) for split, at in places.items() if len(at)}
    run.write_metrics(run.metrics | {"own_metrics": own})


def _recorder(run: RunWriter, tell: Listener, on_epoch: Listener | None) -> Listener:
    """Listener that writes the history after every epoch, then calls `tell` and `on_epoch`."""

    def record(history: History) -> None:
        run.write_history(history)
        tell(history)
        if on_epoch is not None:
            on_epoch(history)

    return record


@contextmanager
def _failure_recorded(run: RunWriter, clock: StageClock) -> Iterator[None]:
    """Record in the manifest how an unfinished run ended."""
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        progress.say(
            f"The run {'was interrupted' if interrupted else 'has failed'}; `transferkit train --resume {run.path}` "
            "goes on from its last finished epoch."
        )
        with suppress(StorageError, OSError):  # a full disk must not hide the original error
            status = "interrupted" if interrupted else "failed"
            run.update_manifest(status=status, stages=clock.stages, error=f"{type(error).__name__}: {error}")
        raise


@dataclass(frozen=True)
class Rehearsal:
    """Stages and cost of a run that has not begun: name of the data, images by split, seconds and bytes by stage.

    `tree` says how folders or columns were understood, a line a level.
    """

    name: str
    tree: tuple[str, ...]
    classes: tuple[str, ...]
    images: dict[str, int]
    stages: "tuple[StageCost, ...]"


def rehearse(config: RunConfig) -> Rehearsal:
    """Estimate the cost of a run, keeping nothing; UserError for whatever would keep the run from starting."""
    config, found = start(config)
    from kit.training.estimate import StageCost, estimate

    clock = StageClock()
    dataset, weights = load(found, config, clock)
    audited = StageCost("audit", f"{len(dataset.findings):,} findings", clock.stages["audit"]["seconds"], 0)
    stages = estimate(build(dataset.decoding(config), dataset, weights))
    if config.split.folds:
        # K folds of all images but one fold's each, and then all images
        times = config.split.folds
        stages = [
            replace(one, seconds=one.seconds * times, work=f"{one.work}, and the rest for each of {times} folds")
            if one.name.startswith("phase ")
            else one
            for one in stages
        ]
    return Rehearsal(dataset.name, dataset.tree, dataset.classes, dataset.counts(), (audited, *stages))
