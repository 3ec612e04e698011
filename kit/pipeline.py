"""train(config) -> Run: the one place that composes all of kit.

images → pixels → frozen features → phases → scores → run folder. Everything before the phases is kept in content-keyed
stores and every epoch leaves a checkpoint, so resuming a run is doing the same again.

Importing this module imports no backend: `train` starts one first, and only then what needs keras.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kit import backend, progress
from kit.config import RunConfig
from kit.data.audit import audit, exclude
from kit.data.dataset import Dataset, build_dataset, load_dataset
from kit.data.images import ImageProblem
from kit.data.samples import SPLITS
from kit.data.sources import load_samples
from kit.errors import ConfigError, DataError, StorageError
from kit.evaluation import fit_temperature, score
from kit.files import atomic_path, write_json
from kit.insights.collect import record_insights
from kit.model.catalog import HUB, is_hub
from kit.model.weights import NAMED, Weights, resolve
from kit.predict import Predictor, load_classifier, require_finished
from kit.records import RunFolder, StageClock, default_run_path, make_table, sweep
from kit.report_hook import draw_page
from kit.run import Run
from kit.significance import mcnemar
from kit.training.history import History

if TYPE_CHECKING:
    from kit.training.estimate import Stage
    from kit.training.session import Session

Listener = Callable[[History], None]


def train(
    config: RunConfig,
    out: Path | None = None,
    *,
    on_epoch: Listener | None = None,
    note: Mapping[str, Any] | None = None,
) -> Run:
    """Trains and scores one model.

    Args:
        config: All that the run needs.
        out: The run folder to be; default `runs/<data>-<time>`.
        on_epoch: Called with the history after every epoch.
        note: For the manifest, under `study`, where a study trains its best configuration.

    Returns:
        The finished run.

    Raises:
        UserError: If the configuration, backend, images, weights or disk do not allow it; the message says what to do.
    """
    config = anchored(replace(config, backend=backend.start(config.backend, config.threads, config.seed)))
    if out is not None:
        RunFolder(out).require_vacant()  # before the work that comes first
    clock = StageClock()
    dataset, session, weights = _prepare(config, clock)
    run = Run.create(out or default_run_path(dataset.name), config)
    with run.lock():
        run.update_manifest(**_origin(config, dataset, weights), **({} if note is None else {"study": dict(note)}))
        progress.say(f"Recording into {run.path}")
        _finish(run, dataset, session, clock, on_epoch)
    return run


def resume(path: Path, *, on_epoch: Listener | None = None) -> Run:
    """Goes on with a run that was interrupted, from its last finished epoch; a finished run is left as it is.

    Args:
        path: The run folder.
        on_epoch: As for `train`.

    Raises:
        UserError: If the images, the weights or the backend are no longer those of the run.
    """
    run = Run.open(path)
    with run.lock():
        manifest = run.manifest
        if manifest["status"] == "finished":
            return run
        sweep(run)
        if not (path / "config.toml").exists():
            raise StorageError(f"{path} was stopped before its settings were recorded.", "Start a new run.")
        config, clock = run.config, StageClock()
        backend.start(config.backend, config.threads, config.seed)
        dataset, session, weights = _prepare(config, clock)
        manifest = _origin(config, dataset, weights) | manifest  # a kill may have come before it was recorded
        if dataset.fingerprint != manifest["data"]["fingerprint"]:
            raise DataError(
                f"The images in {config.data.path} are no longer those that {path} was started on.",
                "Restore them, or start a new run.",
            )
        if weights.sha256 != manifest["weights"]["sha256"]:
            raise ConfigError(f"The weights {config.model.weights} are no longer those of {path}.", "Start a new run.")
        run.update_manifest(**(manifest | {"status": "running"}))
        clock.add(manifest.get("stages", {}))
        _finish(run, dataset, session, clock, on_epoch)
    return run


def _origin(config: RunConfig, dataset: Dataset, weights: Weights) -> dict[str, Any]:
    """What a run starts from, for the manifest."""
    return {
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint, "photos": dataset.counts()},
        "classes": list(dataset.classes),
        "weights": {"name": weights.name, "sha256": weights.sha256},
        "seeds": {"run": config.seed, "split": config.split.seed},
        "warnings": list(dataset.warnings),
        "environment": backend.describe(),
    }


def train_seeds(config: RunConfig, seeds: int, out: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Repeats a run with several seeds: `seed` and `split.seed` both count up from what the configuration says.

    Calling it again on the same folder goes on: finished runs are kept, an interrupted one is resumed.

    Args:
        config: Of the first run.
        seeds: How many runs.
        out: Folder that will hold `seed-0`, `seed-1`, ... and `seeds.json`; default `runs/<data>-<time>`.

    Returns:
        The folder, and mean, spread and range of each score over the runs.

    Raises:
        UserError: As `train`, and if the folder holds runs of other settings.
    """
    config = anchored(replace(config, backend=backend.start(config.backend, config.threads, config.seed)))
    import keras  # only now: it reads the choice of a backend when it is imported

    from kit.evaluation import summarise_seeds

    folder = out or default_run_path(load_samples(config.data.path).name)
    parts = [_of_seed(config, folder, i) for i in range(seeds)]
    metrics: list[dict[str, Any]] = []
    for one, part in parts:
        progress.say(f"Seed {len(metrics) + 1} of {seeds}; the same command with --out {folder} goes on if it stops.")
        run = resume(part) if (part / "config.toml").exists() else train(one, part)
        metrics.append(run.metrics)
        keras.backend.clear_session()
    summary = {"schema_version": 1, "kind": "seeds", "runs": seeds, "scores": summarise_seeds(metrics)}
    write_json(folder / "seeds.json", summary)
    return folder, summary


def _of_seed(config: RunConfig, folder: Path, i: int) -> tuple[RunConfig, Path]:
    """Settings and folder of one of several runs; what the folder holds already must be of the same settings."""
    one = replace(config, seed=config.seed + i, split=replace(config.split, seed=config.split.seed + i))
    part = folder / f"seed-{i}"
    if (part / "config.toml").exists() and RunFolder.open(part).config != one:
        raise ConfigError(f"{part} holds a run of other settings.", "Give the settings it has, or --out another.")
    return one, part


def evaluate(run: RunFolder, data: str | None = None, *, backend_name: str = "auto") -> dict[str, Any]:
    """Scores a finished run's model again.

    Args:
        run: A finished run.
        data: Other images, in any form that training takes; None scores the run's own, the very way the run did.
        backend_name: `auto`, `jax` or `tensorflow`.

    Returns:
        Scores by split for the run's own images; scores under `all` for others.

    Raises:
        UserError: If the run is not finished, or the images cannot be scored.
    """
    require_finished(run)
    config = run.config
    if backend_name != "auto" or config.backend not in backend.installed_backends():
        config = replace(config, backend=backend_name)
    backend.start(config.backend, config.threads, config.seed)
    temperature = run.metrics["temperature"]
    if data is not None:
        return {"all": _score_others(run, replace(config, data=replace(config.data, path=data)), temperature)}
    from kit.training.session import Session

    dataset = load_dataset(config)
    if dataset.fingerprint != run.manifest["data"]["fingerprint"]:
        raise DataError(
            f"The images in {config.data.path} are no longer those of {run.path}.",
            f"Score them as other data: `transferkit evaluate {run.path} {config.data.path}`.",
        )
    session = Session(config, load_classifier(run))
    probabilities = session.score_saved(session.extract(dataset, to_train=False))
    return scores_by_split(dataset, probabilities, temperature)


def _score_others(run: RunFolder, config: RunConfig, temperature: float) -> dict[str, Any]:
    """Scores of images that the run has not seen, all in one; their labels must be among the model's classes."""
    found = load_samples(config.data.path)
    excluded = exclude(found, audit(found, config.data, config.threads), config.data)
    samples = [sample for sample in found.samples if sample.path not in excluded]
    classes = run.manifest["classes"]
    if strange := sorted(set(found.classes) - set(classes)):
        raise DataError(
            f"The model knows {', '.join(classes)}; {config.data.path} also has {', '.join(strange[:5])}.",
            "Remove or rename those classes.",
        )
    predictor = Predictor.of(run)
    rows = [row for _, row in predictor.probabilities([sample.file for sample in samples])]
    probabilities = [row for row in rows if not isinstance(row, ImageProblem)]
    if len(probabilities) < len(rows):
        raise DataError(f"Images of {config.data.path} changed while they were scored.", "Run the command again.")
    labels = np.array([classes.index(sample.label) for sample in samples])
    return score(np.stack(probabilities), labels, classes, temperature).to_dict()


@dataclass(frozen=True)
class Rehearsal:
    """What a run would do and cost.

    Attributes:
        name: Of the data.
        classes: Class names.
        images: Images in each split.
        stages: With estimated seconds and bytes.
    """

    name: str
    classes: tuple[str, ...]
    images: dict[str, int]
    stages: "tuple[Stage, ...]"


def rehearse(config: RunConfig) -> Rehearsal:
    """Works out what a run would do, writes no run folder and trains nothing that is kept.

    Raises:
        UserError: Whatever would keep the run from starting.
    """
    config = replace(config, backend=backend.start(config.backend, config.threads, config.seed))
    clock = StageClock()
    dataset, session, _ = _prepare(config, clock)
    from kit.training.estimate import Stage, estimate

    audited = Stage("audit", f"{len(dataset.findings):,} findings", clock.stages["audit"]["seconds"], 0)
    return Rehearsal(dataset.name, dataset.classes, dataset.counts(), (audited, *estimate(session, dataset)))


def _prepare(config: RunConfig, clock: StageClock) -> "tuple[Dataset, Session, Weights]":
    """Everything that can fail because of what the user gave, before a run folder is made."""
    from kit.training.session import Session, build_classifier

    found = load_samples(config.data.path)  # a wrong path is told before weights are fetched
    weights = resolve(config.model.weights, config.model.alpha, config.data.image_size, config.model.backbone)
    with clock.stage("audit"):
        dataset = build_dataset(found, config)
    warnings = Counter(finding.kind for finding in dataset.findings if finding.severity == "warning")
    for warning in (
        *dataset.warnings,
        *(f"{count:,} findings of the kind {kind}." for kind, count in warnings.items()),
    ):
        progress.say(f"warning: {warning}")
    if dataset.dropped:
        progress.say(f"warning: {len(dataset.dropped):,} files are left out.")
    if warnings or dataset.dropped:
        progress.say(f"`transferkit inspect {config.data.path}` names the files.")
    return dataset, Session(config, build_classifier(config, len(dataset.classes), weights)), weights


def _finish(run: RunFolder, dataset: Dataset, session: "Session", clock: StageClock, on_epoch: Listener | None) -> None:
    """Everything after the manifest; how it ended is recorded whatever happens."""
    try:
        run.write_samples(_samples_table(dataset))
        write_json(run.insights / "findings.json", [asdict(finding) for finding in dataset.findings])
        with clock.stage("features"):
            activations = session.extract(dataset)

        def record(history: History) -> None:
            run.write_history(history)
            if on_epoch is not None:
                on_epoch(history)

        recorded = run.history if (run.path / "history.csv").exists() else History()
        session.fit(activations, run.checkpoints, recorded, record, clock.stage)
        with clock.stage("evaluation"):
            by_phase = session.predict(activations, run.checkpoints, SPLITS)
            _write_scores(run, dataset, by_phase, [phase.name for phase in session.phases])
        with clock.stage("saving"), atomic_path(run.model_path) as temporary:
            session.classifier.full().save(temporary)
        with clock.stage("insights"):
            record_insights(run, dataset, session, activations, by_phase[-1])
        run.update_manifest(status="finished", error=None, stages=clock.stages, network=session.describe())
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        outcome = "was interrupted" if status == "interrupted" else "has failed"
        progress.say(
            f"The run {outcome}; `transferkit train --resume {run.path}` goes on from its last finished epoch."
        )
        with suppress(StorageError, OSError):  # a full disk must not hide the first error
            run.update_manifest(status=status, stages=clock.stages, error=f"{type(error).__name__}: {error}")
        raise
    draw_page(run.path)


def _write_scores(run: RunFolder, dataset: Dataset, by_phase: Sequence[np.ndarray], names: Sequence[str]) -> None:
    """Predictions and metrics of the model that is kept, and of each phase's beside it."""
    final, first = by_phase[-1], by_phase[0]
    validation, test = dataset.indices("validation"), dataset.indices("test")
    temperature = fit_temperature(final[validation], dataset.labels[validation])
    paired = mcnemar(*(phase[test].argmax(axis=1) == dataset.labels[test] for phase in (first, final)))
    metrics = scores_by_split(dataset, final, temperature)
    metrics["temperature"] = temperature
    metrics["phases"] = [
        {"name": name, **scores_by_split(dataset, probabilities, None)}
        for name, probabilities in zip(names, by_phase, strict=True)
    ]
    metrics["mcnemar"] = {"first": names[0], "second": names[-1], **asdict(paired)}
    write_json(run.insights / "mcnemar.json", metrics["mcnemar"])
    run.write_predictions(_predictions_table(dataset, final, first))
    run.write_metrics(metrics)


def scores_by_split(dataset: Dataset, probabilities: np.ndarray, temperature: float | None) -> dict[str, Any]:
    """Scores of each split.

    Args:
        dataset: n images.
        probabilities: (n, classes).
        temperature: Fitted on validation; None leaves the scaled scores out.
    """
    return {
        split: score(
            probabilities[dataset.indices(split)], dataset.labels[dataset.indices(split)], dataset.classes, temperature
        ).to_dict()
        for split in SPLITS
    }


def _samples_table(dataset: Dataset):
    kept = zip(dataset.paths, dataset.labels, dataset.splits, dataset.groups, strict=True)
    rows = [(path, dataset.classes[label], str(split), group, None) for path, label, split, group in kept]
    columns = list(zip(*sorted(rows + list(dataset.dropped), key=lambda row: row[0]), strict=True))
    return make_table(dict(zip(("path", "label", "split", "group", "finding"), columns, strict=True)))


def _predictions_table(dataset: Dataset, final: np.ndarray, first: np.ndarray):
    names = np.array(dataset.classes, dtype=object)
    columns = {
        "path": list(dataset.paths),
        "split": dataset.splits.tolist(),
        "label": names[dataset.labels].tolist(),
        "predicted": names[final.argmax(axis=1)].tolist(),
        "predicted_phase1": names[first.argmax(axis=1)].tolist(),
        "confidence": final.max(axis=1),
    }
    return make_table(columns | {f"p_{name}": final[:, i] for i, name in enumerate(dataset.classes)})


def anchored(config: RunConfig) -> RunConfig:
    """The configuration with paths that hold from any folder, so that config.toml repeats the run."""
    data, weights = Path(config.data.path), Path(config.model.weights)
    if config.data.path and data.exists():
        config = replace(config, data=replace(config.data, path=os.path.abspath(data)))
    if config.model.weights not in NAMED and weights.exists():
        config = replace(config, model=replace(config.model, weights=os.path.abspath(weights)))
    preset = Path(config.model.backbone.removeprefix(HUB)).expanduser()
    if is_hub(config.model.backbone) and preset.is_dir():
        config = replace(config, model=replace(config.model, backbone=HUB + os.path.abspath(preset)))
    return config
