"""Scores of a run: recorded at its end, and computed again later. Importing this module imports no backend."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kit import backends, progress
from kit.backends.choice import choose_backend, installed_backends
from kit.config import RunConfig
from kit.cross_validation import OutOfFold
from kit.csv_tables import predictions_table
from kit.data import OUT_OF_FOLD, SPLITS
from kit.data.dataset import Dataset, build_dataset
from kit.evaluation import answered, apply_temperature, explain_temperature, fit_temperature, score
from kit.files import write_json
from kit.machine import require_cache
from kit.predict import load_classifier
from kit.run import Run
from kit.run_images import config_at, find_own_images, require_same_images
from kit.run_writer import RunWriter
from kit.significance import mcnemar

if TYPE_CHECKING:
    from kit.training.extraction import Activations
    from kit.training.fit import Predicted
    from kit.training.session import Session


def record_scores(run: RunWriter, dataset: Dataset, by_phase: "Sequence[Predicted]", names: Sequence[str]) -> None:
    """Write predictions.csv and metrics.json; `by_phase`: what the model of each phase predicts."""
    first, final = by_phase[0].probabilities, by_phase[-1].probabilities
    fitted, compared = (OUT_OF_FOLD,) * 2 if OUT_OF_FOLD in dataset.splits else ("validation", "test")
    validation, test = dataset.indices(fitted), dataset.indices(compared)
    temperature = by_phase[-1].temperature
    if note := explain_temperature(temperature, final[validation], dataset.labels[validation], fitted):
        progress.say(note)
    before, after = (phase[test].argmax(axis=1) == dataset.labels[test] for phase in (first, final))
    paired = mcnemar(before, after, [dataset.groups[i] for i in test])
    metrics = scores_by_split(dataset, final, temperature)
    metrics["temperature"], metrics["temperature_note"] = temperature, note
    metrics["phases"] = [
        {"name": name, **scores_by_split(dataset, phase.probabilities, phase.temperature)}
        for name, phase in zip(names, by_phase, strict=True)
    ]
    metrics["mcnemar"] = {"first": names[0], "second": names[-1], **asdict(paired)}
    write_json(run.insights / "mcnemar.json", metrics["mcnemar"])
    table = predictions_table(dataset.classes, dataset.paths, dataset.splits.tolist(), dataset.labels, final, first)
    run.write_predictions(table)
    run.write_metrics(metrics)


def record_folds(run: RunWriter, session: "Session", activations: "Activations", folds: OutOfFold) -> "list[Predicted]":
    """Calibrate the trained model of a cross-validated run, and write predictions.csv and metrics.json.

    Each phase's temperature is fitted on the out-of-fold predictions, which are recorded and returned. The trained
    model gives the scores of `train`, which is all images.
    """
    from kit.training.fit import Predicted, predict_trained

    dataset, temperatures = session.dataset, [fit_temperature(one, session.dataset.labels) for one in folds.by_phase]
    by_phase = [
        Predicted(apply_temperature(one, temperature).astype(np.float32), temperature)
        for one, temperature in zip(folds.by_phase, temperatures, strict=True)
    ]
    session.classifier.scale(temperatures[-1])
    out_of_fold = replace(dataset, splits=np.full(len(dataset.keys), OUT_OF_FOLD))
    record_scores(run, out_of_fold, by_phase, [phase.name for phase in session.phases])
    trained = scores_by_split(dataset, predict_trained(session, activations), temperatures[-1])["train"]
    run.write_metrics(run.metrics | {"train": trained} | folds.to_dict())
    return by_phase


def scores_by_split(dataset: Dataset, probabilities: np.ndarray, temperature: float | None = None) -> dict[str, Any]:
    """Scores of each split, as in metrics.json.

    `probabilities` is float (n, classes), scaled by `temperature`; None leaves the unscaled scores out.
    """
    names = (OUT_OF_FOLD, *SPLITS) if OUT_OF_FOLD in dataset.splits else SPLITS
    places = {split: dataset.indices(split) for split in names}
    return {
        split: score(
            probabilities[chosen],
            dataset.labels[chosen],
            dataset.classes,
            temperature,
            [dataset.groups[i] for i in chosen],
        ).to_dict()
        for split, chosen in places.items()
    }


def evaluate(
    run: Run, *, moved: str | None = None, backend_name: str = "auto", threshold: float | None = None
) -> dict[str, Any]:
    """Score a finished run's model again on its own images, exactly as the run did; returns scores by split.

    `moved`: where these images lie now, if not where they were. With a `threshold`, 0 to 1, there is also `answered`:
    what the model gets right by split where it is silent below that confidence.

    Raises UserError if the run is not finished, or the images are no longer those of the run.
    """
    run.require_finished()
    config = evaluation_config(run, backend_name, moved)
    require_cache()
    source = find_own_images(run, moved, f"transferkit evaluate {run.path}")
    backends.start(config.backend, config.threads, config.seed)
    from kit.training.extraction import extract
    from kit.training.fit import predict_trained
    from kit.training.session import Session

    dataset = build_dataset(source, config)
    require_same_images(run, dataset.fingerprint, config.data.path)
    dtype = run.manifest["network"].get("store_dtype", config.training.store_dtype)  # absent in early runs
    config = replace(config, training=replace(config.training, store_dtype=dtype))
    dataset = dataset.as_recorded(run.samples)
    session = Session(config, load_classifier(run), dataset)
    probabilities = predict_trained(session, extract(session, to_train=False))
    scores = scores_by_split(dataset, probabilities, run.metrics["temperature"])
    if threshold is None:
        return scores
    places = {split: dataset.indices(split) for split in scores}
    by_split = {
        split: answered(probabilities[at], dataset.labels[at], threshold, [dataset.groups[i] for i in at])
        for split, at in places.items()
    }
    return {**scores, "answered": by_split}


def evaluation_config(run: Run, backend_name: str = "auto", moved: str | None = None) -> RunConfig:
    """Configuration of a run to score it with, on its own backend where that is installed and none is asked for."""
    config = config_at(run, moved)
    if backend_name != "auto" or config.backend not in installed_backends():
        config = replace(config, backend=backend_name)
    choose_backend(config.backend)  # a wrong name is told before anything is read
    return config
