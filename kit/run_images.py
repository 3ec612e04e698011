"""Images of a run, found again where they lie now, and which of other images a run has seen.

Importing this module imports no backend.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kit.config import RunConfig
from kit.data import Source
from kit.data.audit import data_fingerprint
from kit.data.facts import ImageFacts, read_facts
from kit.data.sources import load_samples
from kit.errors import DataError
from kit.files import sha256_file
from kit.machine import available_threads
from kit.run import Run

if TYPE_CHECKING:
    import pandas as pd

SEEN = ("train", "validation")  # splits that chose weights or epochs; test images were only measured


def config_at(run: Run, moved: str | None) -> RunConfig:
    """Configuration of a run whose images have moved to the path `moved`; None: they have not."""
    config = run.config
    return config if moved is None else replace(config, data=replace(config.data, path=str(moved)))


def find_own_images(run: Run, moved: str | None, command: str) -> Source:
    """Samples of a run's own images; `command` is what was asked for, as `transferkit evaluate RUN`.

    Raises DataError if they cannot be found, or `moved` holds other images; the message names `--data`.
    """
    config = config_at(run, moved)
    hint = f"If they lie elsewhere now, name the place: `{command} --data FOLDER`; else put them back."
    try:
        found = load_samples(config.data.path, config.data.columns, corrections=config.data.corrections)
    except DataError as error:
        raise DataError(f"The images of {run.path} cannot be read: {error.what}", hint) from None
    if moved is not None:
        files = [sample.file for sample in found.samples]
        facts = read_facts(files, config.data.background, config.threads or available_threads())
        require_same_images(run, data_fingerprint(found.samples, facts), str(moved))
    return found


def split_images(run: Run, split: str, moved: str | None, command: str) -> "tuple[tuple[Path, ...], pd.DataFrame]":
    """Files of a split's images where they lie now, and their rows of samples.csv, in its order.

    `moved` and `command` as for `find_own_images`. Raises DataError as that, and if some are no longer there.
    """
    samples = run.samples
    rows = samples[samples["finding"].isna() & (samples["split"] == split)]
    files = {sample.path: sample.file for sample in find_own_images(run, moved, command).samples}
    gone = [path for path in rows["path"] if path not in files]
    if gone:
        raise DataError(
            f"{len(gone)} of the {len(rows)} {split} images of {run.path} are no longer in "
            f"{config_at(run, moved).data.path}: {', '.join(gone[:3])}{', ...' if len(gone) > 3 else ''}.",
            "They are needed: put them back where they were.",
        )
    return tuple(files[path] for path in rows["path"]), rows


def require_same_images(run: Run, fingerprint: str, place: str) -> None:
    """Raise DataError unless images have the fingerprint that a run recorded."""
    if fingerprint != run.manifest["data"]["fingerprint"]:
        raise DataError(
            f"The images in {place} are no longer those of {run.path}: files, labels or bytes differ.",
            f"Score them as other data: `transferkit evaluate {run.path} {place}`; or name the place where the run's "
            f"own lie now: `transferkit evaluate {run.path} --data FOLDER`.",
        )


def seen_splits(run: Run, facts: Sequence[ImageFacts]) -> list[str]:
    """Split of the run that holds the same bytes as each image: `train`, `validation`, `test`, or empty for none.

    What chose the weights that the run started from, of earlier runs, counts as if it had been the run's own.
    """
    known = run.split_by_hash
    for earlier in earlier_runs(run)[0]:
        for key, split in earlier.split_by_hash.items():
            if split == "train" or (split == "validation" and known.get(key) != "train"):
                known[key] = split
    return [known.get(fact.sha256, "") for fact in facts]


def earlier_runs(run: Run) -> tuple[list[Run], list[Path]]:
    """Runs that a run's weights come from (`model.weights`), and folders of those that are gone or hold another model.

    The latest comes first.
    """
    found, gone = [], []
    weights = run.manifest.get("weights", {})
    while origin := weights.get("run"):
        earlier = Run(Path(origin["path"]))
        if earlier.model_path.is_file() and sha256_file(earlier.model_path) == weights["sha256"]:
            found.append(earlier)
        else:
            gone.append(earlier.path)
        weights = origin["weights"]
    return found, gone
