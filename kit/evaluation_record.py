"""Record folder of an evaluation, for its page.

    manifest.json     schema version, kind `evaluation`, run, data, options, counts of images by origin
    predictions.csv   path, split, label, predicted, confidence, p_<class>; `split` is the run's, or `new`; behind
                      confidence `answer`, where a threshold was asked for
    metrics.json      all, new: scores of what was scored, and of what is new; test (out-of-fold of a cross-validated
                      run): the run's own, where it has any; drift: what differs between `new` and those; answered:
                      kit.evaluation.answered, with a threshold
    images.csv  thumbnails.zip  insights.json     as of a run (kit.insights)

Importing this module imports no backend.
"""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kit import backends
from kit.csv_tables import make_table, predictions_table, write_table
from kit.data import OUT_OF_FOLD
from kit.files import make_folder, write_json
from kit.insights import IMAGE_COLUMNS, Insights, thumbnails
from kit.insights.collect import image_table
from kit.insights.thumbnails import thumbnails_of_files
from kit.new_images import NEW, Evaluation
from kit.predict import UNSURE
from kit.run import Run
from kit.significance import holm

SCHEMA_VERSION = 1
_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write the record folder; it is complete once the manifest's status is `finished`."""
    run, insights = evaluation.run, Insights(folder)
    make_folder(folder, "Give --out another.")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "kind": "evaluation",
        "status": "running",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": str(run.path.absolute()),
        "data": evaluation.data,
        "name": evaluation.name,
        "classes": list(run.classes),
        "options": evaluation.options,
        "images": evaluation.images,
        "left_out": evaluation.left_out,
        "environment": backends.describe(),
    }
    write_json(folder / "manifest.json", manifest)
    probabilities = evaluation.probabilities
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    table = predictions_table(run.classes, evaluation.paths, evaluation.origins, evaluation.labels, probabilities)
    if (threshold := evaluation.options.get("threshold")) is not None:
        answers = [
            UNSURE if sure < threshold else said for sure, said in zip(confidence, table["predicted"], strict=True)
        ]
        table.insert(table.columns.get_loc("confidence") + 1, "answer", make_table({"answer": answers})["answer"])
    write_table(folder / "predictions.csv", table, list(table.columns))
    own = _measured_split(run)
    measured = {own: run.metrics[own]} if own else {}
    drift = _drift(evaluation, confidence, own)
    scores = {"all": evaluation.scores, "new": evaluation.new_scores}
    if evaluation.answered:
        scores["answered"] = evaluation.answered
    write_json(folder / "metrics.json", {**scores, **measured, "drift": drift})
    insights.write_table("images", image_table(evaluation.paths, evaluation.facts))
    worst = thumbnails.worst_mistakes(evaluation.labels, predicted, confidence)
    drawn = thumbnails.sample(len(evaluation.paths), run.config.seed)
    pairs = thumbnails.confused(evaluation.labels, predicted, worst)
    shown = dict.fromkeys([*drawn.tolist(), *worst.tolist(), *pairs, *range(len(evaluation.paths))])
    files = {evaluation.paths[i]: evaluation.files[i] for i in list(shown)[: thumbnails.LARGEST]}
    insights.write_album("thumbnails", thumbnails_of_files(files))
    insights.write_summary([evaluation.paths[i] for i in drawn], {})
    write_json(folder / "manifest.json", {**manifest, "status": "finished"})


def _measured_split(run: Run) -> str:
    """Split on which a run measured what it had not been trained on; empty where it kept none."""
    return next((split for split in (OUT_OF_FOLD, "test") if run.metrics.get(split, {}).get("n")), "")


def _drift(evaluation: Evaluation, confidence: np.ndarray, own: str) -> list[dict[str, Any]]:
    """Differences in distribution between the new images and those of the run's split `own`.

    Kolmogorov and Smirnov's two-sample test of each property, p-values by Holm; empty where either set is missing.
    Distances are of all images, p-values of as many as are independent (`n_effective`): near copies count once.
    """
    from scipy.stats import ks_2samp, kstwo  # here: they take half a second to import

    run, new = evaluation.run, np.array([origin == NEW for origin in evaluation.origins])
    predictions, recorded = run.predicted, Insights(run.insights).images
    scored = predictions[predictions["split"] == own]
    if not new.any() or not len(scored):
        return []
    pairs = {"confidence": (scored["confidence"].to_numpy(np.float64), confidence[new])}
    measured = set(scored["path"].tolist())
    rows = recorded[[path in measured for path in recorded["path"].tolist()]]
    if len(rows):
        old = _properties(rows[list(IMAGE_COLUMNS[1:])].to_numpy(np.float64))
        facts = [fact for fact, is_new in zip(evaluation.facts, new, strict=True) if is_new]
        fresh = _properties(np.array([[f.width, f.height, f.bytes, *f.mean_colour] for f in facts], dtype=np.float64))
        pairs |= {name: (old[name], fresh[name]) for name in old}
    distances = [float(ks_2samp(*pair).statistic) for pair in pairs.values()]
    measured_on = run.metrics[own]
    sizes = measured_on.get("n_effective", measured_on["n"]), evaluation.new_scores["n_effective"]  # absent in 0.1
    # the asymptotic test of scipy.stats.ks_2samp: one sample of n m / (n + m) images
    together = max(1, round(math.prod(sizes) / sum(sizes)))
    adjusted = holm(kstwo.sf(distances, together).tolist())
    return [
        {
            "property": name,
            "own_median": float(np.median(old)),
            "new_median": float(np.median(fresh)),
            "distance": distance,
            "p_value": p_value,
        }
        for (name, (old, fresh)), distance, p_value in zip(pairs.items(), distances, adjusted, strict=True)
    ]


def _properties(facts: np.ndarray) -> dict[str, np.ndarray]:
    """Properties of images from width, height, bytes and mean red, green, blue: float (n, 6)."""
    width, height, _, red, green, blue = facts.T
    return {
        "brightness": np.stack([red, green, blue], axis=1) @ _GREY / 255,
        "warmth (red - blue)": (red - blue) / 255,
        "shorter side in pixels": np.minimum(width, height),
        "width : height": width / height,
    }
