"""Table of settings: key, type, default and help, read from the dataclasses of `kit.config`.

A key is the setting's place in RunConfig: `data.image_size`, `phases.1.learning_rate`.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from kit.config import PhaseConfig, RunConfig

# Options of the command line and keywords of `kit.configure`: short name -> key. Every other setting goes by its key.
SHORTHANDS = {
    "weights": "model.weights",
    "backend": "backend",
    "seed": "seed",
    "split_seed": "split.seed",
    "folds": "split.folds",
    "threads": "threads",
    "plugin": "plugin",
    "columns": "data.columns",
    "corrections": "data.corrections",
    "image_size": "data.image_size",
    "resize": "data.resize",
    "backbone": "model.backbone",
    "alpha": "model.alpha",
    "views": "views.count",
    "head_units": "model.head_units",
    "dropout": "model.dropout",
    "batch_size": "training.batch_size",
    "optimizer": "training.optimizer",
    "label_smoothing": "training.label_smoothing",
    "class_weights": "training.class_weights",
    "head_epochs": "phases.0.epochs",
    "head_learning_rate": "phases.0.learning_rate",
    "fine_tune_epochs": "phases.1.epochs",
    "learning_rate": "phases.1.learning_rate",
    "unfreeze_depth": "phases.1.unfreeze_depth",
    "conflicts": "data.conflicts",
    "leaks": "data.leaks",
    "near_duplicates": "data.near_duplicates",
    "group_by": "data.group_by",
    "strict": "data.strict",
    "accuracy": "abstention.accuracy",
    "coverage": "abstention.coverage",
}
NO_SETTING = "parts"  # objects
PHASE_KEY = re.compile(r"phases\.(0|[1-9]\d{0,5})\.(\w+)", re.ASCII)
SECTIONS = {name: type(part) for name, part in vars(RunConfig()).items() if dataclasses.is_dataclass(part)}


class Setting(NamedTuple):
    """One setting; those of phases appear once, as `phases.N.…`, with the defaults of a new phase."""

    key: str
    type: str
    default: Any
    help: str


def keys() -> list[Setting]:
    """All settings, in the order of `kit.config`."""
    return [*_list_settings(RunConfig(), ""), *_list_settings(PhaseConfig(), "phases.N.")]


def find_setting(key: str) -> Setting | None:
    """Setting of a key, or None; `phases.1.epochs` finds `phases.N.epochs`."""
    return _by_key().get(PHASE_KEY.sub(r"phases.N.\2", key))


def flat(section: Any, prefix: str = "") -> dict[str, Any]:
    """Key -> value of a RunConfig, or of one section whose keys begin with the prefix."""
    values: dict[str, Any] = {}
    for name, value in vars(section).items():
        if name in SECTIONS:
            values |= flat(value, f"{name}.")
        elif name == "phases":
            for index, phase in enumerate(value):
                values |= flat(phase, f"phases.{index}.")
        elif name != NO_SETTING:
            values[prefix + name] = value
    return values


@functools.cache
def _by_key() -> dict[str, Setting]:
    return {setting.key: setting for setting in keys()}


def _list_settings(section: Any, prefix: str) -> Iterator[Setting]:
    texts = _attribute_help(section)
    for name, value in vars(section).items():
        if name in SECTIONS:
            yield from _list_settings(value, f"{name}.")
        elif name not in ("phases", NO_SETTING):
            kind = "list of int" if isinstance(value, tuple) else type(value).__name__
            yield Setting(prefix + name, kind, value, texts.get(name, ""))


def _attribute_help(section: object) -> dict[str, str]:
    """Name -> text of the `Attributes:` section of a Google-style docstring, its lines joined."""
    listing = (inspect.getdoc(section) or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", listing, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
