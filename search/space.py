"""Search space of a study: settings, their ranges, and the RunConfig of a trial.

All suggest_* calls are here. A space file is TOML whose keys are settings:

    [model.head_units]               # a range; whole numbers where the setting is one
    low = 64
    high = 512
    log = true

    [model]
    dropout = { low = 0.0, high = 0.5, step = 0.1 }
    alpha = [0.5, 1.0]               # one of these

    [phases.1]
    unfreeze_depth = 3               # fixed: not searched
"""

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.config import RunConfig
from kit.errors import ConfigError
from kit.model.catalog import find, is_hub
from kit.parts import defined_in
from kit.setting_table import keys
from kit.settings import override, value_of
from search.records import Value

if TYPE_CHECKING:
    import optuna

# Settings that change the images, the metric or the machine: trials that differ in them cannot be compared.
NOT_SEARCHABLE = re.compile(r"seed|backend|threads|split\..*|training\.(monitor|store_.*|base_depth)|phases\.\d+\.name")
_DATA_SEARCHABLE = ("data.image_size", "data.resize")
_OF_TAILS = ("training.layer_decay", "training.train_normalisation", "training.interpolate")
_PHASE = re.compile(r"phases\.(\d+)\.(\w+)")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole numbers where both are.

    `log` draws evenly on a logarithmic scale; `step` draws only low, low + step, ...
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    def __post_init__(self):
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low > self.high:
            raise ConfigError(f"low must be at most high, and both finite, not {self.low} and {self.high}.")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ConfigError(f"a logarithmic range needs low more than 0 and no step, not {self.low}, {self.step}.")
        if self.step is not None and not 0 < self.step <= max(self.high - self.low, self.step):
            raise ConfigError(f"step must be more than 0, not {self.step}.")

    def holds(self, value: Value) -> bool:
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-9

    def all_whole(self) -> Iterable[Value]:
        """Every whole number that can be drawn."""
        return range(int(self.low), int(self.high) + 1, int(self.step or 1))

    def draw(self, trial: "optuna.Trial", key: str) -> Value:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(key, self.low, self.high, log=self.log, step=int(self.step or 1))
        return trial.suggest_float(key, self.low, self.high, log=self.log, step=self.step)

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that must be legal for all to be."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Choice:
    """One of several values (two or more, all different), in no order."""

    choices: tuple[Value, ...]

    def __post_init__(self):
        if len(set(self.choices)) != len(self.choices) or len(self.choices) < 2:
            raise ConfigError(f"a list of choices needs two or more different values, not {list(self.choices)}.")

    def holds(self, value: Value) -> bool:
        return value in self.choices

    def all_whole(self) -> Iterable[Value]:
        return self.choices

    def draw(self, trial: "optuna.Trial", key: str) -> Value:
        drawn = trial.suggest_categorical(key, list(self.choices))
        assert drawn is not None  # Optuna's type allows None; a setting has none
        return drawn

    @property
    def ends(self) -> tuple[Value, ...]:
        return self.choices


@dataclass(frozen=True)
class Space:
    """Search space of a study.

    Attributes:
        own: The user's own configuration: the study's first trial.
        fixed: Setting -> the one value that all trials but the first have.
    """

    own: RunConfig
    parameters: Mapping[str, Range | Choice]
    fixed: Mapping[str, Value]

    def suggest(self, trial: "optuna.Trial") -> RunConfig:
        """Configuration of a trial, its parameters drawn by the study's sampler.

        A setting of a later phase is drawn only where that phase trains something, and one of _OF_TAILS only where any
        phase does: at unfreeze depth 0 it has no effect and would only add noise for the sampler.
        """
        if trial.user_attrs.get("own"):
            for key, value in self.own_params().items():
                drawn = self.parameters[key].draw(trial, key)
                assert drawn == value, f"{key} was enqueued as {value} and came back as {drawn}"
            return self.own
        chosen: dict[str, Value] = {}
        for key in self._in_order():
            if self._matters(key, chosen):
                chosen[key] = self.parameters[key].draw(trial, key)
        return self.configuration(chosen)

    def configuration(self, params: Mapping[str, Value]) -> RunConfig:
        """Configuration with these values of the searched settings."""
        return override(self.own, {**self.fixed, **params}, "the space")

    def own_params(self) -> dict[str, Value]:
        """Searched settings of the user's own configuration, where the space holds it."""
        own: dict[str, Value] = {}
        for key in self._in_order():
            value = _value(self.own, key)
            if value is not None and self.parameters[key].holds(value) and self._matters(key, own, self.own):
                own[key] = value
        return own

    def depths(self) -> tuple[int, ...]:
        """Every unfreeze depth that a trial may have, 0 included, ascending; the whole network (-1) comes last."""
        found = {0, *(phase.unfreeze_depth for phase in self.own.phases)}
        for key, parameter in self.parameters.items():
            if key.endswith(".unfreeze_depth"):
                found |= {int(depth) for depth in parameter.all_whole()}
        found |= {int(value) for key, value in self.fixed.items() if key.endswith(".unfreeze_depth")}
        return tuple(sorted(found, key=lambda depth: math.inf if depth < 0 else depth))

    @classmethod
    def of_record(cls, own: RunConfig, described: Mapping[str, Mapping[str, Any]]) -> "Space":
        """Inverse of `describe`."""
        parameters: dict[str, Range | Choice] = {}
        for key, content in described.items():
            if "choices" in content:
                parameters[key] = Choice(tuple(content["choices"]))
            elif "fixed" not in content:
                parameters[key] = Range(**content)
        return cls(own, parameters, {key: content["fixed"] for key, content in described.items() if "fixed" in content})

    def describe(self) -> dict[str, dict[str, Any]]:
        """Setting -> its range or choices, for the record."""
        described: dict[str, dict[str, Any]] = {}
        for key in sorted(self.parameters):
            content = {name: value for name, value in asdict(self.parameters[key]).items() if value is not None}
            described[key] = {name: list(v) if isinstance(v, tuple) else v for name, v in content.items()}
        return described | {key: {"fixed": self.fixed[key]} for key in sorted(self.fixed)}

    def _in_order(self) -> list[str]:
        """Depths before the settings that depend on them; else by name, so that the file's order does not matter."""
        return sorted(self.parameters, key=lambda key: (not key.endswith(".unfreeze_depth"), key))

    def _matters(self, key: str, chosen: Mapping[str, Value], otherwise: RunConfig | None = None) -> bool:
        phase = _PHASE.fullmatch(key)
        if key in _OF_TAILS:
            return any(self._unfreezes(number, chosen, otherwise) for number in range(len(self.own.phases)))
        if not phase or phase[1] == "0" or phase[2] == "unfreeze_depth":
            return True
        return self._unfreezes(int(phase[1]), chosen, otherwise)

    def _unfreezes(self, phase: int, chosen: Mapping[str, Value], otherwise: RunConfig | None) -> bool:
        depth = f"phases.{phase}.unfreeze_depth"
        if depth in chosen:
            return chosen[depth] != 0
        if otherwise is None and depth in self.fixed:
            return self.fixed[depth] != 0
        return value_of(self.own, depth) != 0


def default_space(own: RunConfig) -> dict[str, Range | Choice]:
    """Head units, and depth and learning rate of the last phase, the most important settings of fine-tuning.

    A head of one's own has units of its own.
    """
    last = len(own.phases) - 1
    return {
        **({} if _has_own_head(own) else {"model.head_units": Range(32, 1024, log=True)}),
        f"phases.{last}.unfreeze_depth": Range(0, 8),
        f"phases.{last}.learning_rate": Range(1e-6, 1e-3, log=True),
    }


def load_space(own: RunConfig, file: Path | None = None) -> Space:
    """Space of a study: the default one, extended, narrowed or fixed by a file.

    Raises ConfigError if the file is unreadable, or a setting is unknown, not searchable, or of a wrong type or range;
    the message names the file and the setting.
    """
    parameters: dict[str, Range | Choice] = default_space(own)
    fixed: dict[str, Value] = {}
    for key, content in _read(file) if file is not None else ():
        parameters.pop(key, None)
        fixed.pop(key, None)
        source = str(file)
        _require_searchable(own, key, source)
        try:
            found = _parameter(own, key, content, source)
        except ConfigError as error:
            raise ConfigError(f"{key} in {source}: {error.what}", error.hint) from None
        if isinstance(found, Range | Choice):
            parameters[key] = found
        else:
            fixed[key] = found
    if not parameters:
        raise ConfigError(f"{file} fixes every setting: there is nothing to search.", "Give one a range or choices.")
    space = Space(own, parameters, fixed)
    override(own, fixed, str(file))
    _require_depths(space)
    return space


def _has_own_head(own: RunConfig) -> bool:
    return bool(own.plugin) and "head" in defined_in(own.plugin)


def _require_depths(space: Space) -> None:
    """Raise ConfigError if a trial might unfreeze more than its network has, before any trial fails."""
    searched = space.parameters.get("model.backbone")
    names = searched.ends if searched else (space.fixed.get("model.backbone", space.own.model.backbone),)
    recipes = [find(str(name)) for name in names if not is_hub(str(name))]
    if not recipes:
        return  # only the preset itself knows
    least = min(recipes, key=lambda recipe: recipe.deepest)
    if beyond := [depth for depth in space.depths() if depth > least.deepest]:
        raise ConfigError(
            f"unfreeze_depth goes up to {least.deepest} (all) in {least.name}, and the study might try {max(beyond)}.",
            "Narrow it in the space, or in the configuration.",
        )


def _parameter(own: RunConfig, key: str, content: Any, source: str) -> "Range | Choice | Value":
    """Entry of a space file, each of its values tried in a configuration."""
    if isinstance(content, dict):
        if unknown := sorted(set(content) - {"low", "high", "log", "step"}):
            raise ConfigError(f"a range has low, high, log and step, not {', '.join(unknown)}.")
        if missing := sorted({"low", "high"} - set(content)):
            raise ConfigError(f"a range needs {' and '.join(missing)}.")
        if not isinstance(content.get("log", False), bool):
            raise ConfigError(f"log must be true or false, not {content['log']!r}.")
        numbers = {name: value for name, value in content.items() if name != "log"}
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"{name} must be a number, not {value!r}.")
        kind = type(_typed(own, key, content["low"], source))
        for name, value in numbers.items():
            if kind is int and not float(value).is_integer():  # false for infinity
                raise ConfigError(f"{name} must be a whole number, as the setting is, not {value}.")
        found: Range | Choice = Range(
            **{name: kind(value) for name, value in numbers.items()}, log=content.get("log", False)
        )
    elif isinstance(content, list):
        found = Choice(tuple(_typed(own, key, value, source) for value in content))
    else:
        return _typed(own, key, content, source)
    for value in found.ends:
        _typed(own, key, value, source)
    return found


def _typed(own: RunConfig, key: str, value: Any, source: str) -> Any:
    """The value as a configuration takes it, or the configuration's own error."""
    return value_of(override(own, {key: value}, source), key)


def _value(config: RunConfig, key: str) -> Any:
    try:
        return value_of(config, key)
    except KeyError:
        return None


def _require_searchable(own: RunConfig, key: str, source: str) -> None:
    phase = _PHASE.fullmatch(key)
    if phase and int(phase[1]) >= len(own.phases):
        raise ConfigError(
            f"{key} in {source}: the configuration has {len(own.phases)} phases, counted from 0.",
            "Add the phase to the configuration first.",
        )
    known = {setting.key.replace(".N.", f".{phase[1]}." if phase else ".N.") for setting in keys()}
    if key not in known:
        override(own, {key: 0}, source)  # names the nearest
    if key in ("model.head_units", "model.dropout") and _has_own_head(own):
        raise ConfigError(
            f"{key} in {source} is of transferkit's head, and {own.plugin} defines a head.", "Leave one of them out."
        )
    if NOT_SEARCHABLE.fullmatch(key) or (key.startswith("data.") and key not in _DATA_SEARCHABLE):
        raise ConfigError(
            f"{key} in {source} cannot be searched: trials that differ in it are not measured alike.",
            "Give it in the configuration, for all trials.",
        )


def _read(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The space {file} cannot be read: {error.strerror}.", "Give --space a TOML file.") from None
    except ValueError as error:
        raise ConfigError(
            f"{file} is not TOML: {error}.", "Its form: [model.head_units] low = 64, high = 512"
        ) from None
    yield from _flat(tree)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and not set(value) & {"low", "high", "log", "step"}:
            yield from _flat(value, f"{key}.")
        else:
            yield key, value
