"""Abstention of a run: its strangeness and thresholds, set at its end and again later.

The strangeness compares pooled features of the final network. When a run ends they come from the stored activations: no
image passes through the frozen layers for them. Importing this module imports no backend.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit import backends, progress
from kit.config import AbstentionConfig, RunConfig
from kit.data import OUT_OF_FOLD
from kit.data.images import ImageProblem, decode
from kit.errors import DataError
from kit.model.strangeness import Strangeness, choose_kept, distances
from kit.predict import BATCH, load_classifier
from kit.run import Run
from kit.run_images import split_images
from kit.run_scores import evaluation_config
from kit.run_writer import RunWriter
from kit.thresholds import Thresholds, choose_thresholds

if TYPE_CHECKING:
    from kit.training.extraction import Activations
    from kit.training.session import Session

FOLDS_ARE_GONE = (
    "No threshold of strangeness is set: of a cross-validated run it is chosen while the models of its folds are "
    "there, and this run is older than that."
)


def record_abstention(
    run: RunWriter, session: "Session", activations: "Activations", held_out: np.ndarray | None = None
) -> None:
    """Fit the strangeness of a trained run, choose its thresholds, and record both.

    `held_out`: of a cross-validated run the `distances` of its images by the models of their folds, float (n,); empty
    where the folds did not record them. Else the validation images are held out.
    """
    from kit.training.fit import features_to_compare

    measured, validation = None, session.dataset.indices("validation")
    if len(validation) or (held_out is not None and len(held_out)):
        kept, others = features_to_compare(session, activations, validation)
        measured = Strangeness.fit(kept, distances(kept, others) if held_out is None else held_out)
    chosen = _choose(run, measured, session.config.abstention)
    run.write_abstention(chosen, measured)
    for line in chosen.describe():
        progress.say(line)


def set_thresholds(
    run: RunWriter,
    wanted: AbstentionConfig,
    *,
    insist: Collection[str] = (),
    moved: str | None = None,
    backend_name: str = "auto",
) -> Thresholds:
    """Choose the thresholds of a finished run anew, and record them; returns them.

    Its strangeness is fitted first if the run has none; that reads its images, and starts a backend. `moved`: where
    they lie now, if not where they were.

    Raises:
        DataError: If the validation images cannot promise what is wanted, of the settings in `insist`; the record stays
            as it was. Other settings that they cannot promise leave a note in it.
        UserError: If the run is not finished, or its images are no longer there.
    """
    run.require_finished()
    measured = run.strangeness
    validated = (run.samples["finding"].isna() & (run.samples["split"] == "validation")).any()
    if measured is None and validated and "folds" not in run.metrics and wanted.known:
        measured = _measured_again(run, moved, backend_name)
    chosen = _choose(run, measured, wanted)
    unsure = ("accuracy" in insist and wanted.accuracy) or ("coverage" in insist and wanted.coverage)
    unlike = "known" in insist and wanted.known
    if (unsure and chosen.confidence is None) or (unlike and chosen.strangeness is None):
        hint = "Ask for less (--accuracy, --coverage, --known), or train with more images."
        raise DataError(" ".join(chosen.notes), hint)
    with run.lock():
        run.write_abstention(chosen, measured)
    return chosen


def _choose(run: Run, measured: Strangeness | None, wanted: AbstentionConfig) -> Thresholds:
    split = OUT_OF_FOLD if "folds" in run.metrics else "validation"
    table = run.predictions
    rows = table[table["split"] == split]
    used = run.samples[run.samples["finding"].isna()]
    groups = dict(zip(used["path"], used["group"], strict=True))
    classes = {name: i for i, name in enumerate(run.classes)}
    chosen = choose_thresholds(
        rows[[f"p_{name}" for name in run.classes]].to_numpy(),
        np.array([classes[label] for label in rows["label"]], int),
        [groups[path] for path in rows["path"]],
        None if measured is None else measured.held_out,
        wanted,
        split,
    )
    missing = (FOLDS_ARE_GONE,) if split == OUT_OF_FOLD and wanted.known and measured is None else ()
    return replace(chosen, notes=(*missing, *chosen.notes))


def _measured_again(run: Run, moved: str | None, backend_name: str) -> Strangeness:
    """Strangeness of a finished run, whose images are read again."""
    command = f"transferkit threshold {run.path}"
    files, rows = split_images(run, "train", moved, command)
    kept = choose_kept(rows["label"].map(run.classes.index).to_numpy(), run.config.seed)
    held_out, _ = split_images(run, "validation", moved, command)
    config = evaluation_config(run, backend_name, moved)
    backends.start(config.backend, config.threads, config.seed)
    from kit.training.forward import compile_from_pixels

    forward = compile_from_pixels(load_classifier(run), pooled=True)
    features = []
    with progress.track("images", len(kept) + len(held_out)) as advance:
        for part in ([files[i] for i in kept], held_out):
            pooled = []
            for start in range(0, len(part), BATCH):
                pixels = np.stack([_pixels(file, config) for file in part[start : start + BATCH]])
                pooled.append(forward(pixels)[1])
                advance(len(pixels))
            features.append(np.concatenate(pooled))
    return Strangeness.fit(features[0], distances(*features))


def _pixels(file: Path, config: RunConfig) -> np.ndarray:
    try:
        return decode(file, config.data)
    except ImageProblem as problem:
        raise DataError(
            f"{file} cannot be decoded ({problem.kind}): {problem.detail}.",
            "It could be read when the run was trained: put it back as it was.",
        ) from problem
