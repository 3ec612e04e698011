"""Settings of a study, checked before anything is computed."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kit import progress
from kit.backends.choice import explain_choice
from kit.config import RunConfig
from kit.data.corrections import write_copy
from kit.data.dataset import load_dataset
from kit.errors import ConfigError, DataError
from kit.files import sha256_file, storage_errors
from kit.machine import require_cache
from kit.parts import copy_plugin
from kit.pipeline import with_absolute_paths
from kit.run import own_corrections
from kit.run_weights import count_seen, resolve_weights, warn_of_weights
from search.records import DIRECTIONS, StudyRecord
from search.space import Space, load_space
from search.storage import Address
from search.study import PRUNERS, OpenStudy, config_tree, now, open_study, require_sampler

PARETO = tuple(("accuracy", size) for size in ("parameters", "trained_parameters", "multiply_adds"))


@dataclass(frozen=True)
class StudySpec:
    """Options of `study run`, as they were given."""

    config: RunConfig
    space: Path | None = None
    name: str | None = None
    out: Path | None = None
    storage: str | None = None
    objectives: str = "accuracy"
    sampler: str = "tpe"
    pruner: str = "median"
    seed: int = 0


def prepare(spec: StudySpec) -> OpenStudy:
    """Check all settings and open the study; UserError if any is wrong."""
    objectives = parse_objectives(spec.objectives)
    require_sampler(spec.sampler)
    if spec.pruner not in PRUNERS:
        raise ConfigError(f"--pruner must be one of {', '.join(PRUNERS)}, not {spec.pruner!r}.")
    if spec.config.parts is not None:
        raise ConfigError(
            "A study trains in processes of its own, which parts given as objects do not reach.",
            "Define head, loss, metrics or augmentation in a file of Python, and give that: plugin=FILE.",
        )
    require_cache()
    address = None if spec.storage is None else Address.parse(spec.storage)
    space = plan_space(spec.config, objectives, spec.space)
    config = space.own
    if config.split.folds:
        raise ConfigError(
            "A study compares trials on a validation split; split.folds cross-validates one configuration.",
            "Leave split.folds out, and cross-validate the best: `transferkit train --config .../best/config.toml "
            "--folds K`.",
        )
    dataset = load_dataset(config)
    if not len(dataset.indices("validation")):
        raise DataError(
            "There are no validation images, by which trials are compared.",
            "Give more images, or raise split.validation.",
        )
    weights = resolve_weights(config)
    for warning in warn_of_weights(config, dataset, count_seen(config, dataset)):
        progress.say(f"warning: {warning}")
    name = spec.name or dataset.name
    if not name or "/" in name or name.startswith("."):
        raise ConfigError(f"A study's name cannot be {name!r}.", "Give --name letters, digits and hyphens.")
    path = spec.out or Path("studies") / name
    try:
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"{path} cannot be a folder: there is a file in its place.", "Give another --out.") from None
    address = address or Address.of_folder(path.absolute())
    data: dict[str, Any] = {"name": dataset.name, "fingerprint": dataset.fingerprint, "weights": weights.sha256}
    if config.plugin:
        data["plugin"] = sha256_file(Path(config.plugin))
    if dataset.corrections is not None:
        data["corrections"] = dataset.corrections.describe()
    record = StudyRecord(
        path=path,
        name=name,
        created=now(),
        objectives=objectives,
        sampler=spec.sampler,
        pruner=spec.pruner,
        seed=spec.seed,
        storage=str(address),
        data=data,
        space=space.describe(),
        config=config_tree(own_corrections(config, path)),
    )
    study = open_study(record, address, space.own_params())
    write_copy(path, dataset.corrections)
    copy_plugin(config.plugin, path)
    return study


def plan_space(config: RunConfig, objectives: tuple[str, ...], file: Path | None) -> Space:
    """Space on a configuration with one cut point, so that all trials share one pass of the trunk."""
    config = with_absolute_paths(replace(config, backend=explain_choice(config.backend).name))
    monitor = "val_loss" if objectives[0] == "log_loss" else "val_accuracy"
    deepest = load_space(config, file).depths()[-1]
    return load_space(replace(config, training=replace(config.training, monitor=monitor, base_depth=deepest)), file)


def parse_objectives(text: str) -> tuple[str, ...]:
    """`accuracy,multiply-adds` -> ("accuracy", "multiply_adds"); ConfigError for unknown or incompatible names."""
    names = tuple(part.strip().replace("-", "_") for part in text.split(","))
    known = ", ".join(name.replace("_", "-") for name in DIRECTIONS)
    for name in names:
        if name not in DIRECTIONS:
            raise ConfigError(f"--objectives knows {known}, not {name!r}.")
    if names not in (("accuracy",), ("log_loss",), *PARETO):
        raise ConfigError(
            f"--objectives cannot be {text}.",
            "Give accuracy or log-loss, or accuracy and one of parameters, trained-parameters and multiply-adds.",
        )
    return names
