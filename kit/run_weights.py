"""Weights of a run that is to be: a file's, or the fine-tuned backbone of an earlier, finished run.

Importing this module imports no backend.
"""

from collections.abc import Mapping
from typing import Any

from kit.config import RunConfig
from kit.data import OUT_OF_FOLD
from kit.data.dataset import Dataset
from kit.errors import ConfigError, StorageError, WeightsError
from kit.files import sha256_file
from kit.model.catalog import Packaged, find, is_hub
from kit.model.weights import Weights, resolve
from kit.run import Run
from kit.run_images import SEEN, earlier_runs, seen_splits
from kit.settings import named_run


def resolve_weights(config: RunConfig) -> Weights:
    """Find and verify the weights that a configuration names; UserError if there are none such, or of another network.

    Weights of a run are its model.keras; `kit.model.weights.load_into` takes the backbone out of it.
    """
    model, run = config.model, starting_run(config)
    if run is None:
        return resolve(model.weights, model.alpha, config.data.image_size, model.backbone)
    return Weights(f"{run.path.absolute().name}/{run.model_path.name}", run.model_path, sha256_file(run.model_path))


def may_download(config: RunConfig) -> bool:
    """Whether `resolve_weights` may need a network; ConfigError if there is no such backbone."""
    model = config.model
    if model.weights != "imagenet":
        return False
    if is_hub(model.backbone):
        return True
    return not isinstance(find(model.backbone).imagenet(model.alpha, config.data.image_size), Packaged)


def starting_run(config: RunConfig) -> Run | None:
    """Finished run whose backbone a configuration starts from; None where the weights are no run's.

    Raises WeightsError if the folder is no finished run, ConfigError if its network is not the configured one.
    """
    folder = named_run(config.model.weights)
    if folder is None:
        return None
    try:
        run = Run.open(folder)
        run.require_finished()
    except StorageError as error:
        raise WeightsError(error.what, _hint(folder, error)) from None
    given, own = config.model, run.config.model
    if _network(given.backbone) != _network(own.backbone):
        raise _another(run, "backbone", own.backbone, given.backbone)
    if given.alpha != own.alpha:
        raise _another(run, "alpha", own.alpha, given.alpha)
    return run


def count_seen(config: RunConfig, dataset: Dataset) -> dict[str, int]:
    """Number of images that the starting run, or one before it, has used otherwise than now; empty without such a run.

    Of `test` those that it trained on or chose epochs by, of `validation` those that it trained on; of cross-validation
    `out-of-fold`, where each image is a test image.
    """
    run = starting_run(config)
    if run is None:
        return {}
    before = seen_splits(run, dataset.facts)
    if dataset.folds is not None:
        return {OUT_OF_FOLD: sum(split in SEEN for split in before)}
    splits = list(zip(before, dataset.splits.tolist(), strict=True))
    return {
        "test": sum(now == "test" and split in SEEN for split, now in splits),
        "validation": sum(now == "validation" and split == "train" for split, now in splits),
    }


def describe_weights(config: RunConfig, weights: Weights) -> dict[str, Any]:
    """Manifest of the weights: name, sha256 and, of a run, `run` (path, data, its own weights) and `seen`."""
    described: dict[str, Any] = {"name": weights.name, "sha256": weights.sha256}
    if run := starting_run(config):
        manifest = run.manifest
        described["run"] = {
            "path": str(run.path.absolute()),
            "created": manifest["created"],
            "data": manifest["data"]["name"],
            "weights": manifest["weights"],
        }
        described["seen"] = dict(weights.seen)
    return described


def warn_of_weights(config: RunConfig, dataset: Dataset, seen: Mapping[str, int]) -> tuple[str, ...]:
    """Sentences about what makes the scores of a run that starts from another one doubtful; `seen`: `count_seen`."""
    run = starting_run(config)
    if run is None:
        return ()
    told = [
        f"{count:,} of the {len(dataset.indices(split)) or len(dataset.keys):,} {split} images"
        for split, count in seen.items()
        if count
    ]
    sentences = []
    if told:
        sentences.append(
            f"The weights of {run.path} have seen {' and '.join(told)} (the same files): scores there say too much. "
            "Score images that they have not seen, split as that run did, or start from other weights."
        )
    for folder in earlier_runs(run)[1]:
        sentences.append(
            f"The weights of {run.path} come from a run that is no longer in {folder}: whether they have seen images "
            "that are tested now is not known."
        )
    given, found = config.data.grey_range, dataset.grey_range
    if given and found and given == run.config.data.grey_range and found[1] > given[1]:
        sentences.append(
            f"Grey values above {given[1]:,} become white, as {run.path} was trained; these images have some up to "
            f"{found[1]:,}. data.grey_range gives another range."
        )
    return tuple(sentences)


def _network(backbone: str) -> str:
    return backbone if is_hub(backbone) else find(backbone).name


def _another(run: Run, key: str, own: object, given: object) -> ConfigError:
    return ConfigError(
        f"The weights of {run.path} are of {key} {own}; model.{key} is {given}.",
        f"Leave model.{key} out, or choose other model.weights.",
    )


def _hint(folder: Any, error: StorageError) -> str:
    if (folder / "manifest.json").is_file():
        return error.hint
    if (folder / "best" / "manifest.json").is_file():
        return f"It is a study; its best model is a run: --weights {folder / 'best'}."
    return (
        "Give --weights the folder of a finished run, as `transferkit train` printed it at its end, or a weights file."
    )
