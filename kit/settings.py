"""RunConfig from text, files and the environment, and back to TOML.

From weakest to strongest:

1. the defaults of `kit.config`;
2. a recipe (`--recipe best`), a file of `kit/recipes/`;
3. a TOML file (`--config run.toml`); its `[[phases]]` replace all those of before;
4. the environment: `TRANSFERKIT_DATA__IMAGE_SIZE=160` (two underscores for a dot);
5. the command line: a setting's own flag and `--set data.image_size=160` weigh the same; two different values for one
   key are an error.

Starter weights, and those of a finished run, bring the settings that they were trained for, where no source gives
these.
"""

import dataclasses
import difflib
import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kit.config import BEFORE_RECORDED, NAMED, STARTER, STARTER_SETTINGS, PhaseConfig, RunConfig
from kit.errors import ConfigError
from kit.model.catalog import image_size
from kit.setting_table import NO_SETTING, PHASE_KEY, SECTIONS, SHORTHANDS, find_setting, flat, keys

PREFIX = "TRANSFERKIT_"
RECIPES = {path.stem: path for path in sorted((Path(__file__).parent / "recipes").glob("*.toml"))}
DEFAULT = "default"  # the recipe that is no file
NOT_SETTINGS = frozenset({"TRANSFERKIT_CACHE", "TRANSFERKIT_REAL_DATA"})
WHOLE = frozenset({"seed", "backend", "threads", "data", "split", "views", "model", "training", "phases"})
# What weights bring: what the network is, how it sees images, and which of them it has seen.
CARRIED = (
    *("model.backbone", "model.alpha", "data.image_size", "data.resize", "data.background", "data.grey_range"),
    *("data.colour_profiles", "split.method", "split.seed"),
)
_NEAR = 0.7  # similarity (difflib's ratio, 0 to 1) from which a name may be a slip of another
_TYPE_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    tuple: "a list of whole numbers",
}


def load_config(
    *,
    flags: Mapping[str, object] | None = None,
    sets: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
    recipe: str = DEFAULT,
    origin: str = "its flag",
    base: RunConfig | None = None,
) -> RunConfig:
    """Build the configuration of one run from all its sources; the module's docstring gives their order.

    Args:
        flags: Dotted key -> value of the flags; None means not given.
        sets: `key=value` texts of `--set`. A value is read as TOML, or else as bare text.
        environ: The environment (`os.environ`); None reads no environment.
        file: A TOML file.
        recipe: Name of one of RECIPES, or `default`: none of them.
        origin: What errors call the flags.
        base: Holds what no source gives; None: the defaults.

    Raises:
        ConfigError: If a key is unknown, a value of the wrong type or out of range, a key given twice with different
            values, or the file unreadable. It names the key, its source and, for an unknown key, the nearest one.
    """
    draft = _Draft(base or RunConfig())
    if recipe != DEFAULT:
        if not isinstance(recipe, str) or recipe not in RECIPES:
            raise ConfigError(f"There is no recipe {recipe!r}.", f"There are {DEFAULT}, {', '.join(RECIPES)}.")
        draft.put(_from_tree(_read_toml(RECIPES[recipe]), f"the recipe {recipe}"))
    if file is not None:
        draft.put(_from_tree(_read_toml(Path(file)), str(file)))
    draft.put(_from_environment(environ or {}))
    draft.put(_from_command_line(flags or {}, sets, origin))
    return draft.build()


def from_toml(text: str, source: str = "the TOML text", base: RunConfig | None = None) -> RunConfig:
    """RunConfig from TOML; `source` is what errors call the text, `base` as of `load_config`, as is ConfigError."""
    draft = _Draft(base or RunConfig())
    draft.put(_from_tree(_parse_toml(text, source), source))
    return draft.build()


def override(config: RunConfig, values: Mapping[str, object], source: str) -> RunConfig:
    """Copy of a configuration with other values for some dotted keys; `source` is what errors call them.

    A change of the weights brings the settings that go with them where the configuration has the defaults.

    Raises ConfigError as `load_config`.
    """
    draft = _Draft(config)
    draft.put(_Given(key, value, source) for key, value in values.items())
    return draft.build()


def recorded_config(folder: Path) -> RunConfig:
    """Settings of the run in a folder; ConfigError if their file is missing or damaged."""
    path = folder / "config.toml"
    try:
        # surrogateescape: a path whose bytes are not UTF-8
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        hint = "Put the file back; without it a run cannot be used."
        raise ConfigError(f"The settings of the run in {path} cannot be read: {error.strerror}.", hint) from None
    return from_toml(text, str(path), base=BEFORE_RECORDED)


def named_run(weights: str) -> Path | None:
    """Folder that `model.weights` names as a run's, by itself or by the model.keras in it; None for other weights."""
    path = Path(weights).expanduser()
    if weights in NAMED:
        return None
    if path.name == "model.keras" and os.path.isfile(path.with_name("manifest.json")):
        return path.parent
    return path if os.path.isdir(path) and path.suffix != ".h5" else None


def value_of(config: RunConfig, key: str) -> Any:
    """Value of a dotted key; KeyError where there is no such setting."""
    return flat(config)[key]


def to_toml(config: RunConfig) -> str:
    """Whole configuration as TOML, grouped in tables; `from_toml` is the inverse."""
    import tomli_w

    content = dataclasses.asdict(dataclasses.replace(config, parts=None))
    return tomli_w.dumps({name: value for name, value in content.items() if name != NO_SETTING})


# === Reading the sources ===


class _Given(NamedTuple):
    key: str
    value: Any
    source: str


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        # surrogateescape: `to_toml` may have written a path whose bytes are not UTF-8
        return _parse_toml(path.read_bytes().decode("utf-8", errors="surrogateescape"), str(path))
    except OSError as error:
        hint = "Give --config the TOML file of a run, for instance runs/NAME/config.toml."
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.", hint) from None


def _parse_toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not TOML: {error}.", 'Text values need quotes: weights = "none".') from None


def _from_tree(tree: Mapping[str, Any], source: str) -> Iterator[_Given]:
    split = tree.get("split")
    if tree.keys() >= WHOLE and isinstance(split, dict) and "method" not in split:
        # a whole configuration, as version 0.1 recorded it: what it gave then, it gives now
        yield _Given("split.method", "hash", source)
    for name, value in tree.items():
        if name not in SECTIONS:
            yield _Given(name, value, source)
        elif isinstance(value, dict):
            yield from (_Given(f"{name}.{inner}", item, source) for inner, item in value.items())
        else:
            raise ConfigError(f"{name} in {source} must be a table ([{name}]), not {_short(value)}.")


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in NOT_SETTINGS:
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            source = f"the environment variable {name}"
            if key != "phases" and find_setting(key) is None:
                raise _unknown(key, source, lambda near: PREFIX + near.upper().replace(".", "__"))
            yield _Given(key, _from_text(key, environ[name]), source)


def _from_command_line(flags: Mapping[str, object], sets: Sequence[str], origin: str) -> Iterable[_Given]:
    given = [_Given(key, value, origin) for key, value in flags.items() if value is not None]
    for text in sets:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key:
            raise ConfigError(f"--set needs key=value, not {text!r}.", "For instance --set phases.1.learning_rate=1e-4")
        given.append(_Given(key, _from_text(key, value), f"--set {key}"))
    chosen: dict[str, _Given] = {}
    for item in map(_typed, given):
        other = chosen.setdefault(item.key, item)
        if item.value != other.value:
            raise ConfigError(
                f"{item.key} is given twice: {_short(other.value)} ({other.source}) and {_short(item.value)} "
                f"({item.source}).",
                "Give it once on the command line.",
            )
    return chosen.values()


def _from_text(key: str, text: str) -> Any:
    """TOML value of the text; the bare text where it is no TOML or the setting is text (`data.path=2024`)."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    setting = find_setting(key)
    if set(parsed) != {"value"} or (setting and setting.type == "str" and not isinstance(parsed["value"], str)):
        return text
    return parsed["value"]


def _typed(given: _Given) -> _Given:
    """Convert a value to its setting's type (int to float, path to text), or raise ConfigError."""
    key, value, source = given
    if key == "phases":
        return given
    setting = find_setting(key)
    if setting is None:
        raise _unknown(key, source)
    kind = type(setting.default)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    value = _plain(value)
    if kind is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if kind is tuple and isinstance(value, list) and all(type(part) is int for part in value):
        value = tuple(value)
    if type(value) is not kind:
        raise ConfigError(f"{key} must be {_TYPE_WORDS[kind]}, not {_short(value)}.", f"{key} comes from {source}.")
    return _Given(key, value, source)


def _plain(value: Any) -> Any:
    """Python's own number or list for NumPy's; anything else as it is. NumPy is not imported."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.tolist() if type(value).__module__ == "numpy" and hasattr(value, "tolist") else value


# === Putting them together ===


class _Draft:
    """Values of all settings and the source of each, before the dataclasses check them."""

    def __init__(self, base: RunConfig):
        self.base = flat(base)
        self.values = dict(self.base)
        self.sources: dict[str, str] = {}

    def put(self, given: Iterable[_Given]) -> None:
        """Apply one source over the weaker ones."""
        for item in sorted(given, key=_order):
            if item.key == "phases":
                self._replace_phases(item)
            else:
                self._put(_typed(item))

    def _replace_phases(self, item: _Given) -> None:
        if not isinstance(item.value, list) or not all(isinstance(phase, dict) for phase in item.value):
            raise ConfigError(
                f"phases from {item.source} must be a list of tables ([[phases]]), not {_short(item.value)}."
            )
        for known in (self.values, self.sources):
            for key in [key for key in known if key.startswith("phases.")]:
                del known[key]
        for index, phase in enumerate(item.value):
            self._append_phase()
            for name, value in phase.items():
                self._put(_typed(_Given(f"phases.{index}.{name}", value, item.source)))

    def _append_phase(self) -> None:
        self.values |= flat(PhaseConfig(), f"phases.{self._phase_count()}.")

    def _phase_count(self) -> int:
        return len({key.split(".")[1] for key in self.values if key.startswith("phases.")})

    def _put(self, item: _Given) -> None:
        if item.key not in self.values:
            count = self._phase_count()
            if not item.key.startswith(f"phases.{count}."):
                raise ConfigError(
                    f"{item.key} from {item.source} skips a phase: there are {count}, counted from 0.",
                    f"The next new phase is phases.{count}.",
                )
            self._append_phase()
        self.values[item.key], self.sources[item.key] = item.value, item.source

    def build(self) -> RunConfig:
        self._carry()
        parts: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        for key, value in self.values.items():
            parent, _, name = key.rpartition(".")
            parts[parent][name] = value
        phases = tuple(self._make(PhaseConfig, parts[part], part) for part in parts if part.startswith("phases."))
        sections = {name: self._make(kind, parts[name]) for name, kind in SECTIONS.items()}
        return self._make(RunConfig, parts[""] | sections | {"phases": phases})

    def _carry(self) -> None:
        """Take over what backbone and weights were trained with, where no source says otherwise."""
        weights, default = self.values["model.weights"], flat(RunConfig())
        absent = [key for key in CARRIED if key not in self.sources and self.values[key] == default[key]]
        brought: dict[str, Any] = {}
        if (backbone := self.values["model.backbone"]) != self.base["model.backbone"]:
            brought["data.image_size"] = image_size(backbone)
        if absent and weights != self.base["model.weights"]:
            brought |= STARTER_SETTINGS if weights == STARTER else {}
            folder = named_run(weights)
            if folder is not None and (folder / "config.toml").is_file():
                brought = flat(recorded_config(folder))
        self.values |= {key: brought[key] for key in absent if key in brought}

    def _make(self, kind: Any, values: dict[str, Any], phase: str = "") -> Any:
        try:
            return kind(**values)
        except ConfigError as error:
            what = error.what.replace("phases.*", phase)
            named = [f"{key} comes from {source}." for key, source in self.sources.items() if _mentions(what, key)]
            raise ConfigError(what, " ".join([error.hint, *named]).strip()) from None


def _order(item: _Given) -> tuple[int, int]:
    # whole list of phases first, then phases by index, so that several can be appended in any order
    phase = PHASE_KEY.fullmatch(item.key)
    return (1, int(phase[1])) if phase else (0, 0)


def _mentions(what: str, key: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.]*\w)", what) is not None


def _unknown(key: str, source: str, shown: Callable[[str], str] = str) -> ConfigError:
    """ConfigError that names the nearest key, in the spelling of its source."""
    if key in SECTIONS:
        hint = f"Set one of its keys, {key}.NAME."
        return ConfigError(f"{key} from {source} is a table of settings, not a setting.", hint)
    phase = PHASE_KEY.fullmatch(key)
    known = [setting.key.replace(".N.", f".{phase[1] if phase else 0}.") for setting in keys()]
    # a key with the same last part (`learning_rate`), then one that looks similar, then such a last part or short name
    last = key.rpartition(".")[2]
    ends = {other.rpartition(".")[2]: other for other in reversed(known)}
    short = {name: setting for name, setting in SHORTHANDS.items() if name not in ends}
    near = [other for other in known if other.rpartition(".")[2] == last]
    # equal tables alone (`phases.0.lr`, `phases.0.name`) do not make keys alike
    alike = [other for other in known if other.rpartition(".")[0] != key.rpartition(".")[0] or _alike(other, key)]
    near += difflib.get_close_matches(key, alike, n=1, cutoff=_NEAR)
    near += [(ends | short)[end] for end in difflib.get_close_matches(last, ends | short, n=1, cutoff=_NEAR)]
    hint = f"The nearest is {shown(near[0])}." if near else "docs/configuration.md lists all settings."
    return ConfigError(f"There is no setting {key} ({source}).", hint)


def _alike(one: str, other: str) -> bool:
    """Whether the last parts of two keys look similar."""
    first, second = (key.rpartition(".")[2] for key in (one, other))
    return difflib.SequenceMatcher(None, first, second).ratio() >= _NEAR


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
