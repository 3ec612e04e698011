"""Scores of a run: recorded at its end, and computed again later. Importing this module imports no backend."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kit import backends, progress
from kit.backends.choice import installed_backends
from kit.config import RunConfig
from kit.cross_validation import OutOfFold
from kit.csv_tables import PREDICTION_COLUMNS, make_table
from kit.data import OUT_OF_FOLD, SPLITS
from kit.data.audit import audit, exclude
from kit.data.dataset import Dataset, load_dataset
from kit.data.images import ImageProblem
from kit.data.sources import load_samples
from kit.errors import DataError
from kit.evaluation import apply_temperature, explain_temperature, fit_temperature, score
from kit.files import write_json
from kit.predict import Predictor, load_classifier
from kit.run import Run
from kit.significance import mcnemar

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

    from kit.training.extraction import Activations
    from kit.training.fit import Predicted
    from kit.training.session import Session


def record_scores(run: Run, dataset: Dataset, by_phase: "Sequence[Predicted]", names: Sequence[str]) -> None:
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
    run.write_predictions(predictions_table(dataset, final, first))
    run.write_metrics(metrics)


def record_folds(run: Run, session: "Session", activations: "Activations", folds: OutOfFold) -> "list[Predicted]":
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


def evaluate(run: Run, data: str | None = None, *, backend_name: str = "auto") -> dict[str, Any]:
    """Score a finished run's model again.

    `data`: other images, in any form that training takes; None scores the run's own, exactly as the run did. Returns
    scores by split for the run's own images, under `all` for others.

    Raises UserError if the run is not finished, or the images cannot be scored.
    """
    run.require_finished()
    config = run.config
    if backend_name != "auto" or config.backend not in installed_backends():
        config = replace(config, backend=backend_name)
    backends.start(config.backend, config.threads, config.seed)
    if data is not None:
        return {"all": _score_others(run, replace(config, data=replace(config.data, path=data)))}
    from kit.training.extraction import extract
    from kit.training.fit import predict_trained
    from kit.training.session import Session

    dataset = load_dataset(config)
    if dataset.fingerprint != run.manifest["data"]["fingerprint"]:
        raise DataError(
            f"The images in {config.data.path} are no longer those of {run.path}.",
            f"Score them as other data: `transferkit evaluate {run.path} {config.data.path}`.",
        )
    dtype = run.manifest["network"].get("store_dtype", config.training.store_dtype)  # absent in early runs
    config = replace(config, training=replace(config.training, store_dtype=dtype))
    dataset = dataset.as_recorded(run.samples)
    session = Session(config, load_classifier(run), dataset)
    probabilities = predict_trained(session, extract(session, to_train=False))
    return scores_by_split(dataset, probabilities, run.metrics["temperature"])


def _score_others(run: Run, config: RunConfig) -> dict[str, Any]:
    """Scores of new images as one set; their labels must be among the model's classes."""
    found = load_samples(config.data.path, config.data.columns)
    excluded = exclude(found, audit(found, config.data, config.threads), config.data)
    samples = [sample for sample in found.samples if sample.path not in excluded]
    if strange := sorted(set(found.classes) - set(run.classes)):
        raise DataError(
            f"The model knows {', '.join(run.classes)}; {config.data.path} also has {', '.join(strange[:5])}.",
            "Remove or rename those classes.",
        )
    outputs = [output for _, output in Predictor.of(run).probabilities([sample.file for sample in samples])]
    probabilities = [output for output in outputs if not isinstance(output, ImageProblem)]
    if len(probabilities) < len(outputs):
        raise DataError(f"Images of {config.data.path} changed while they were scored.", "Run the command again.")
    labels = np.array([run.classes.index(sample.label) for sample in samples])
    return score(np.stack(probabilities), labels, run.classes, run.metrics["temperature"]).to_dict()


def predictions_table(dataset: Dataset, final: np.ndarray, first: np.ndarray) -> "pandas.DataFrame":
    """Predictions after the last and the first phase, from probabilities of float (n, classes)."""
    names = np.array(dataset.classes, dtype=object)
    values = (
        list(dataset.paths),
        dataset.splits.tolist(),
        names[dataset.labels].tolist(),
        names[final.argmax(axis=1)].tolist(),
        names[first.argmax(axis=1)].tolist(),
        final.max(axis=1),
    )
    columns = dict(zip(PREDICTION_COLUMNS, values, strict=True))
    return make_table(columns | {f"p_{name}": final[:, i] for i, name in enumerate(dataset.classes)})
