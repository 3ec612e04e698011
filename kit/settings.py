"""Text, files and the environment -> RunConfig, and back to TOML.

A setting's key is its place in RunConfig (`data.image_size`, `phases.1.learning_rate`). From weakest to strongest:

1. the defaults of `kit.config`;
2. a TOML file (`--config run.toml`); its `[[phases]]` replace the default ones as a whole;
3. the environment: `TRANSFERKIT_DATA__IMAGE_SIZE=160` (two underscores for a dot);
4. the command line: a setting's own flag and `--set data.image_size=160` weigh the same, so giving one key two
   different values there is an error rather than a guess.

The starter weights bring the alpha and the image size that they were trained for, where no source gives these.
"""

import dataclasses
import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kit.config import STARTER, STARTER_SETTINGS, PhaseConfig, RunConfig
from kit.errors import ConfigError

PREFIX = "TRANSFERKIT_"
NOT_SETTINGS = frozenset({"TRANSFERKIT_CACHE", "TRANSFERKIT_REAL_DATA"})
_TYPE_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    tuple: "a list of whole numbers",
}
# Options of the command line and keywords of `kit.configure`: short name -> key. Every other setting goes by its key.
SHORTHANDS = {
    "weights": "model.weights",
    "backend": "backend",
    "seed": "seed",
    "split_seed": "split.seed",
    "threads": "threads",
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
}
_PHASE_KEY = re.compile(r"phases\.(0|[1-9]\d{0,5})\.(\w+)", re.ASCII)


class Setting(NamedTuple):
    """One row of the table of settings; phases appear once, as `phases.N.…`, with the defaults of a new phase."""

    key: str
    type: str
    default: Any
    help: str


def load_config(
    *,
    flags: Mapping[str, object] | None = None,
    sets: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
    origin: str = "its flag",
) -> RunConfig:
    """Builds the configuration of one run from all its sources; the module's docstring gives their order.

    Args:
        flags: Dotted key -> value of the flags that were given; None means not given.
        sets: `key=value` texts of `--set`. A value is read as TOML, and as bare text where it is none.
        environ: The environment (`os.environ`); None reads no environment.
        file: A TOML file.
        origin: What errors call the flags.

    Raises:
        ConfigError: If a key is unknown, a value of the wrong type or out of range, a key given twice with different
            values, or the file unreadable. It names the key, its source and, for an unknown key, the nearest one.
    """
    draft = _Draft()
    if file is not None:
        draft.put_tree(_read_toml(Path(file)), str(file))
    draft.put_all(_from_environment(environ or {}))
    draft.put_all(_from_command_line(flags or {}, sets, origin))
    return draft.build()


def from_toml(text: str, source: str = "the TOML text") -> RunConfig:
    """RunConfig from TOML; `source` is what errors call the text.

    Raises:
        ConfigError: As `load_config`.
    """
    draft = _Draft()
    draft.put_tree(_parse_toml(text, source), source)
    return draft.build()


def override(config: RunConfig, values: Mapping[str, object], source: str) -> RunConfig:
    """A configuration with other values for some keys.

    A change to the starter weights brings their alpha and image size where the configuration has the defaults.

    Args:
        config: What holds otherwise.
        values: Dotted key -> value.
        source: What errors call the values.

    Raises:
        ConfigError: As `load_config`.
    """
    draft = _Draft()
    draft.put_tree(dataclasses.asdict(config) | {"phases": list(map(dataclasses.asdict, config.phases))}, "before")
    if config.model.weights != STARTER:
        draft.forget_defaults(STARTER_SETTINGS)
    draft.put_all(_Given(key, value, source) for key, value in values.items())
    return draft.build()


def value_of(config: RunConfig, key: str) -> Any:
    """The value of a dotted key; `KeyError` where the configuration has no such setting."""
    found: Any = dataclasses.asdict(config) | {"phases": dict(enumerate(map(dataclasses.asdict, config.phases)))}
    for name in key.split("."):
        if not isinstance(found, dict):
            raise KeyError(key)
        found = found[int(name) if name.isdecimal() else name]
    return found


def to_toml(config: RunConfig) -> str:
    """The whole configuration as TOML, grouped in tables; `from_toml` gives the equal RunConfig back."""
    import tomli_w

    return tomli_w.dumps(dataclasses.asdict(config))


def keys() -> list[Setting]:
    """Every setting with its type, default and help, in the order of `kit.config`."""
    return [*_section_keys(RunConfig, ""), *_section_keys(PhaseConfig, "phases.N.")]


def _section_keys(section: type, prefix: str) -> Iterable[Setting]:
    texts = _attribute_help(section.__doc__ or "")
    for name, kind in _types(section).items():
        if dataclasses.is_dataclass(kind):
            yield from _section_keys(typing.cast(type, kind), f"{name}.")
        elif name != "phases":
            yield Setting(f"{prefix}{name}", _type_name(kind), getattr(section(), name), texts.get(name, ""))


def _attribute_help(docstring: str) -> dict[str, str]:
    """Name -> text of the `Attributes:` section of a Google-style docstring, its lines joined."""
    _, _, listing = docstring.partition("Attributes:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in listing.splitlines():
        start = re.match(r" {8}(\w+): (.*)", line)
        if start:
            name, texts[start[1]] = start[1], start[2].strip()
        elif line.startswith(" " * 9) and name:
            texts[name] += f" {line.strip()}"
        elif line.strip():
            break
    return texts


def _types(section: type) -> dict[str, Any]:
    return typing.get_type_hints(section)


def _type_name(kind: Any) -> str:
    return "list of int" if _is_list(kind) else kind.__name__


def _is_list(kind: Any) -> bool:
    return isinstance(kind, types.GenericAlias)


def _kind_of(key: str) -> Any:
    """The type of a key, or None if there is no such setting."""
    phase = _PHASE_KEY.fullmatch(key)
    if phase:
        return _types(PhaseConfig).get(phase[2])
    section: Any = RunConfig
    *parents, name = key.split(".")
    for parent in parents:
        section = _types(section).get(parent)
        if not dataclasses.is_dataclass(section):
            return None
    kind = _types(typing.cast(type, section)).get(name)
    return None if dataclasses.is_dataclass(kind) or key == "phases" else kind


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


def _from_environment(environ: Mapping[str, str]) -> list[_Given]:
    given = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in NOT_SETTINGS:
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            source = f"the environment variable {name}"
            if key != "phases" and _kind_of(key) is None:
                raise _unknown(key, source, lambda near: PREFIX + near.upper().replace(".", "__"))
            given.append(_Given(key, _from_text(key, environ[name]), source))
    return given


def _from_command_line(flags: Mapping[str, object], sets: Sequence[str], origin: str) -> list[_Given]:
    given = [_Given(key, value, origin) for key, value in flags.items() if value is not None]
    for text in sets:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key:
            raise ConfigError(f"--set needs key=value, not {text!r}.", "For instance --set phases.1.learning_rate=1e-4")
        given.append(_Given(key, _from_text(key, value), f"--set {key}"))
    chosen: dict[str, _Given] = {}
    for item in given:
        other = chosen.setdefault(item.key, item)
        value, rival = _typed(item), _typed(other)
        if value != rival:
            raise ConfigError(
                f"{item.key} is given twice: {_short(rival)} ({other.source}) and {_short(value)} ({item.source}).",
                "Give it once on the command line.",
            )
    return list(chosen.values())


def _from_text(key: str, text: str) -> Any:
    """The TOML value that the text is; the bare text where it is none or the setting is text (`data.path=2024`)."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    if set(parsed) != {"value"} or (_kind_of(key) is str and not isinstance(parsed["value"], str)):
        return text
    return parsed["value"]


# === Putting them together ===


class _Draft:
    """Values and where each came from, before the dataclasses check them."""

    def __init__(self):
        default = RunConfig()
        self.plain: dict[str, Any] = {}
        self.phases: list[dict[str, Any]] = [dataclasses.asdict(phase) for phase in default.phases]
        self.sources: dict[str, str] = {}

    def put_tree(self, tree: Mapping[str, Any], source: str) -> None:
        """Takes a parsed TOML document."""
        for name, value in tree.items():
            if dataclasses.is_dataclass(_types(RunConfig).get(name)):
                if not isinstance(value, dict):
                    raise ConfigError(f"{name} in {source} must be a table ([{name}]), not {_short(value)}.")
                self.put_all(_Given(f"{name}.{inner}", item, source) for inner, item in value.items())
            else:
                self.put_all([_Given(name, value, source)])

    def put_all(self, given: Iterable[_Given]) -> None:
        for item in sorted(given, key=_order):
            if item.key == "phases":
                self._put_phases(item)
            else:
                self._put(item)

    def _put_phases(self, item: _Given) -> None:
        if not isinstance(item.value, list) or not all(isinstance(phase, dict) for phase in item.value):
            raise ConfigError(
                f"phases from {item.source} must be a list of tables ([[phases]]), not {_short(item.value)}."
            )
        self.phases = []
        self.sources = {key: source for key, source in self.sources.items() if not key.startswith("phases")}
        for index, phase in enumerate(item.value):
            self.phases.append({})
            for name, value in phase.items():
                self._put(_Given(f"phases.{index}.{name}", value, item.source))

    def _put(self, item: _Given) -> None:
        value = _typed(item)
        phase = _PHASE_KEY.fullmatch(item.key)
        if phase:
            index = int(phase[1])
            if index > len(self.phases):
                raise ConfigError(
                    f"{item.key} from {item.source} skips a phase: there are {len(self.phases)}, counted from 0.",
                    f"The next new phase is phases.{len(self.phases)}.",
                )
            if index == len(self.phases):
                self.phases.append({})
            self.phases[index][phase[2]] = value
        else:
            self.plain[item.key] = value
        self.sources[item.key] = item.source

    def forget_defaults(self, names: Iterable[str]) -> None:
        """Takes settings that have their default value as not given."""
        for key in names:
            if self.plain.get(key) == value_of(RunConfig(), key):
                del self.plain[key], self.sources[key]

    def _put_companions(self) -> None:
        """What weights bring with them, where nobody gave it."""
        if self.plain.get("model.weights") == STARTER:
            for key, value in STARTER_SETTINGS.items():
                self.plain.setdefault(key, value)

    def build(self) -> RunConfig:
        self._put_companions()
        phases = tuple(self._make(PhaseConfig, phase, index) for index, phase in enumerate(self.phases))
        values: dict[str, Any] = {"phases": phases}
        for name, kind in _types(RunConfig).items():
            if dataclasses.is_dataclass(kind):
                own = {key.partition(".")[2]: value for key, value in self.plain.items() if key.startswith(f"{name}.")}
                values[name] = self._make(kind, own)
            elif name in self.plain:
                values[name] = self.plain[name]
        return self._make(RunConfig, values)

    def _make(self, kind: Any, values: dict[str, Any], index: int = 0) -> Any:
        try:
            return kind(**values)
        except ConfigError as error:
            what = error.what.replace("phases.*", f"phases.{index}")
            named = [f"{key} comes from {source}." for key, source in self.sources.items() if _mentions(what, key)]
            raise ConfigError(what, " ".join([error.hint, *named]).strip()) from None


def _order(item: _Given) -> tuple[int, int]:
    # a whole list of phases first, then its phases from the first on, so that several may be appended in any order
    phase = _PHASE_KEY.fullmatch(item.key)
    return (1, int(phase[1])) if phase else (0, 0)


def _mentions(what: str, key: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.]*\w)", what) is not None


def _typed(item: _Given) -> Any:
    """The value as its setting's type: a whole number may stand for a number, a path for text; the rest is refused."""
    if item.key == "phases":
        return item.value
    kind = _kind_of(item.key)
    if kind is None:
        raise _unknown(item.key, item.source)
    value = os.fspath(item.value) if isinstance(item.value, os.PathLike) else item.value
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if _is_list(kind) and isinstance(value, list | tuple) and all(type(part) is int for part in value):
        return tuple(value)
    if type(value) is not kind:
        wanted = _TYPE_WORDS[tuple if _is_list(kind) else kind]
        raise ConfigError(f"{item.key} must be {wanted}, not {_short(value)}.", f"{item.key} comes from {item.source}.")
    return value


def _unknown(key: str, source: str, shown=lambda near: near) -> ConfigError:
    """An error that names the nearest key, in the spelling of its source."""
    sections = [name for name, kind in _types(RunConfig).items() if dataclasses.is_dataclass(kind)]
    if key in sections:
        return ConfigError(
            f"{key} from {source} is a table of settings, not a setting.", f"Set one of its keys, {key}.NAME."
        )
    phase = _PHASE_KEY.fullmatch(key)
    known = [setting.key.replace(".N.", f".{phase[1] if phase else 0}.") for setting in keys()]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0)
    # a bare last part (`learning_rate`, `train.lr`) is nearer to the key that ends like it than to one of equal length
    same_end = [other for other in known if other.rpartition(".")[2] == key.rpartition(".")[2]]
    return ConfigError(f"There is no setting {key} ({source}).", f"The nearest is {shown((same_end or near)[0])}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
