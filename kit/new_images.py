"""Evaluation of a finished run on images that it has not seen, and the record folder of its page.

    manifest.json     schema version, kind `evaluation`, run, data, options, counts of images by origin
    predictions.csv   path, split, label, predicted, confidence, p_<class>; `split` is the run's, or `new`
    metrics.json      all, new: scores of what was scored, and of what is new; test (out-of-fold of a cross-validated
                      run): the run's own, where it has any; drift: what differs between `new` and those
    images.csv  thumbnails.zip  insights.json     as of a run (kit.insights)

Importing this module imports no backend.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kit import backends, progress
from kit.config import RunConfig
from kit.csv_tables import make_table, write_table
from kit.data import OUT_OF_FOLD, SPLITS
from kit.data.audit import audit, exclude
from kit.data.facts import ImageFacts
from kit.data.images import ImageProblem
from kit.data.listing import heic_advice
from kit.data.sources import load_samples
from kit.errors import DataError
from kit.evaluation import score
from kit.files import make_folder, write_json
from kit.insights import IMAGE_COLUMNS, Insights, thumbnails
from kit.insights.collect import image_table
from kit.insights.thumbnails import thumbnails_of_files
from kit.predict import Predictor
from kit.run import Run
from kit.run_images import SEEN, seen_splits
from kit.significance import holm

SCHEMA_VERSION = 1
NEW = "new"
COLUMNS = ("path", "split", "label", "predicted", "confidence")
_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma


@dataclass(frozen=True)
class Evaluation:
    """Scored images of a finished run's model.

    Attributes:
        paths: As the data name them; n of them, as of `files` (absolute) and `facts`.
        origins: `new`, or the split of the run that holds the same bytes, (n,).
        labels: Class numbers in the run's order, int (n,).
        probabilities: As the model gives them, float (n, c).
        images: Counts of all usable images by origin, and of what was `left_out` as unusable and `scored`.
        left_out: Counts of unusable files by the kind of finding.
        options: What the evaluation was asked for beside its defaults.
        scores: As in metrics.json; what images of one class alone cannot tell is None.
        new_scores: Of the new ones among them.
    """

    run: Run
    data: str
    name: str
    paths: tuple[str, ...]
    files: tuple[Path, ...]
    facts: tuple[ImageFacts, ...]
    origins: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    images: dict[str, int]
    left_out: dict[str, int]
    options: dict[str, Any]
    scores: dict[str, Any]
    new_scores: dict[str, Any]


def evaluate_images(
    run: Run,
    data: str,
    config: RunConfig,
    *,
    include_seen: bool = False,
    conflicts: str | None = None,
    columns: str | None = None,
) -> Evaluation:
    """Score a finished run's model on images, without those that chose its weights.

    Args:
        data: Images in any form that training takes; one class will do.
        config: The run's, with the backend to start.
        include_seen: Score the run's training and validation images too.
        conflicts: `refuse` or `drop` images under two labels; None is as the run was trained.
        columns: Which column of a table is what (`data.columns`); None is as the run was trained.

    Raises:
        DataError: If labels are not among the run's, contradict each other, or no image is left to score.
    """
    named = config.data.columns if columns is None else columns
    found = load_samples(data, named, fewest_classes=1)
    if strange := sorted(set(found.classes) - set(run.classes)):
        raise DataError(
            f"The model knows {progress.some(run.classes)}; {data} also has {progress.some(strange)}.",
            "Remove or rename those classes.",
        )
    for line in found.tree:
        progress.say(line)
    # how data are split, and whether a file must be mended, matters to training alone
    found = replace(found, samples=tuple(replace(sample, split=None) for sample in found.samples))
    wanted = replace(config.data, path=data, strict=False, group_by="", conflicts=conflicts or config.data.conflicts)
    audited = audit(found, wanted, config.threads)
    excluded = exclude(found, audited, wanted)
    unread = heic_advice(sample.file for sample in found.samples if sample.path in excluded)
    for warning in (*found.warnings, *unread):
        progress.say(f"warning: {warning}")
    kept = [i for i, sample in enumerate(found.samples) if sample.path not in excluded]
    origins = [split or NEW for split in seen_splits(run, [audited.facts[i] for i in kept])]
    images = {name: origins.count(name) for name in (NEW, *SPLITS)} | {"left_out": len(found.samples) - len(kept)}
    chosen = [
        (found.samples[i], audited.facts[i], audited.groups[i], origin)
        for i, origin in zip(kept, origins, strict=True)
        if include_seen or origin not in SEEN
    ]
    if not chosen:
        counts = ", ".join(f"{images[split]:,} {split}" for split in SEEN if images[split])
        raise DataError(
            f"{run.path} has seen all of the {len(kept):,} images of {data} ({counts}): what it scores there says "
            "nothing about new images.",
            "Give images that it has not seen, or score these all the same with `--include-seen`.",
        )
    backends.start(config.backend, config.threads, config.seed)
    samples, facts, groups, scored_origins = zip(*chosen, strict=True)
    files = [sample.file for sample in samples]
    outputs = list(Predictor.of(run).probabilities(files))
    probabilities = [output for output in outputs if not isinstance(output, ImageProblem)]
    if len(probabilities) < len(outputs):
        raise DataError(f"Images of {data} changed while they were scored.", "Run the command again.")
    table = np.stack(probabilities)
    labels = np.array([run.classes.index(sample.label) for sample in samples])
    new = np.flatnonzero([origin == NEW for origin in scored_origins])
    asked = {"include_seen": include_seen, "conflicts": conflicts, "columns": columns}
    return Evaluation(
        run=run,
        data=data,
        name=found.name,
        paths=tuple(sample.path for sample in samples),
        files=tuple(files),
        facts=facts,
        origins=scored_origins,
        labels=labels,
        probabilities=table,
        images=images | {"scored": len(samples)},
        left_out=dict(Counter(excluded.values())),
        options={name: value for name, value in asked.items() if value},
        scores=_scores(table, labels, groups, run),
        new_scores=_scores(table[new], labels[new], [groups[i] for i in new], run),
    )


def _scores(probabilities: np.ndarray, labels: np.ndarray, groups: Sequence[str], run: Run) -> dict[str, Any]:
    """Scores as in metrics.json; those that need images of other classes are None where all are of one."""
    scores = score(probabilities, labels, run.classes, run.metrics["temperature"], groups).to_dict()
    if len(only := set(labels.tolist())) != 1:
        return scores
    nothing = {"precision": None, "recall": None, "f1": None, "support": 0}
    alone = run.classes[only.pop()]
    per_class = {name: dict(nothing) for name in run.classes}
    per_class[alone] |= {"recall": scores["accuracy"], "support": scores["n"]}
    return scores | {"macro_f1": None, "per_class": per_class}


def only_class(scores: dict[str, Any]) -> str | None:
    """Class that all scored images are of; None where there are several."""
    present = [name for name, one in scores["per_class"].items() if one["support"]]
    return present[0] if len(present) == 1 else None


# === Record ===


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
    names = np.array(run.classes, dtype=object)
    predicted, confidence = evaluation.probabilities.argmax(axis=1), evaluation.probabilities.max(axis=1)
    values = (
        list(evaluation.paths),
        list(evaluation.origins),
        names[evaluation.labels].tolist(),
        names[predicted].tolist(),
        confidence,
    )
    columns = dict(zip(COLUMNS, values, strict=True))
    table = make_table(columns | {f"p_{name}": evaluation.probabilities[:, i] for i, name in enumerate(run.classes)})
    write_table(folder / "predictions.csv", table, list(table.columns))
    own = _measured_split(run)
    measured = {own: run.metrics[own]} if own else {}
    drift = _drift(evaluation, confidence, own)
    scores = {"all": evaluation.scores, "new": evaluation.new_scores}
    write_json(folder / "metrics.json", {**scores, **measured, "drift": drift})
    insights.write_table("images", image_table(evaluation.paths, evaluation.facts))
    worst = thumbnails.worst_mistakes(evaluation.labels, predicted, confidence)
    drawn = thumbnails.sample(len(evaluation.paths), run.config.seed)
    pairs = thumbnails.confused(evaluation.labels, predicted, worst)
    shown = dict.fromkeys([*drawn.tolist(), *worst.tolist(), *pairs])
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
