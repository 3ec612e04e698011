"""Evaluation of a finished run on images that it has not seen.

Importing this module imports no backend.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kit import backends, progress
from kit.config import RunConfig
from kit.data import SPLITS
from kit.data.audit import audit, exclude
from kit.data.facts import ImageFacts
from kit.data.images import ImageProblem
from kit.data.listing import heic_advice
from kit.data.sources import load_samples
from kit.errors import DataError
from kit.evaluation import answered, score
from kit.predict import Predictor
from kit.run import Run
from kit.run_images import SEEN, seen_splits

NEW = "new"


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
        answered: Of `all` that were scored, what the model gets right above a threshold; empty without one.
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
    answered: dict[str, Any]


def evaluate_images(
    run: Run,
    data: str,
    config: RunConfig,
    *,
    include_seen: bool = False,
    conflicts: str | None = None,
    columns: str | None = None,
    threshold: float | None = None,
    tta: bool = False,
) -> Evaluation:
    """Score a finished run's model on images, without those that chose its weights.

    Args:
        data: Images in any form that training takes; one class will do.
        config: The run's, with the backend to start.
        include_seen: Score the run's training and validation images too.
        conflicts: `refuse` or `drop` images under two labels; None is as the run was trained.
        columns: Which column of a table is what (`data.columns`); None is as the run was trained.
        threshold: Confidence, 0 to 1, below which the model is silent, for `answered`.
        tta: Average the answers for each image and its mirror image.

    Raises:
        ConfigError: If the run was trained without mirrored views, and `tta`.
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
    outputs = list(Predictor.of(run, tta=tta).probabilities(files))
    probabilities = [output for output in outputs if not isinstance(output, ImageProblem)]
    if len(probabilities) < len(outputs):
        raise DataError(f"Images of {data} changed while they were scored.", "Run the command again.")
    table = np.stack(probabilities)
    labels = np.array([run.classes.index(sample.label) for sample in samples])
    new = np.flatnonzero([origin == NEW for origin in scored_origins])
    asked = {
        "include_seen": include_seen,
        "conflicts": conflicts,
        "columns": columns,
        "threshold": threshold,
        "tta": tta,
    }
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
        options={name: value for name, value in asked.items() if value not in (None, False)},
        scores=_scores(table, labels, groups, run),
        new_scores=_scores(table[new], labels[new], [groups[i] for i in new], run),
        answered={} if threshold is None else {"all": answered(table, labels, threshold, groups)},
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
