"""Commands, a module each; here the options that several share, and those that stand for settings."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from kit.config import RunConfig
from kit.setting_table import PHASE_KEY, SHORTHANDS, find_setting, flat

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
FinishedRun = Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.", show_default=False)]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be repeated.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings in TOML.", show_default="none")]
Recipe = Annotated[
    str, typer.Option(metavar="NAME", help="Settings by effort: quick, default or best; --config goes over it.")
]
Log = Annotated[
    list[str] | None,
    typer.Option(metavar="WHERE", help="Told of epochs and scores: tensorboard, mlflow; may be repeated."),
]
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def setting_options(*names: str, defaults: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each named setting of SHORTHANDS (default: all) to a command that takes `**settings`.

    `defaults`: whether help says those of a run that is to be.
    """

    def add(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        options = [_option(name, SHORTHANDS[name], defaults) for name in names or SHORTHANDS]
        command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        return command

    return add


def by_key(settings: dict[str, Any]) -> dict[str, Any]:
    """Options by short name -> values by key; those not given are left out."""
    return {SHORTHANDS[name]: value for name, value in settings.items() if value is not None}


def parse_duration(text: str, option: str, bare: str = "") -> float:
    """Seconds of `90s`, `45m`, `12h`, `30d`, `2w`, or several of them: `1h30m`; else ConfigError, naming the option.

    `bare` is the unit of a number without one; by default such is refused.
    """
    from kit.errors import ConfigError

    given = "".join(text.lower().split())
    if re.fullmatch(r"[\d.]+", given):
        given += bare
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhdw])", given)
    if not parts or "".join(number + unit for number, unit in parts) != given:
        raise ConfigError(f"{option} must be a time such as 90s, 45m, 12h, 30d or 1h30m, not {text!r}.")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _option(name: str, key: str, defaults: bool) -> inspect.Parameter:
    setting = find_setting(key)
    assert setting is not None
    phase = PHASE_KEY.fullmatch(key)
    which = f"{('First', 'Second')[int(phase[1])]} phase: " if phase else ""
    text = setting.help.split(". ")[0].rstrip(".").replace("`", "")
    value = flat(RunConfig())[key]  # the option's own default is "not given"
    shown = (str(value).lower() if isinstance(value, bool) else str(value)) or "none"
    told = f"{which}{text}. [{key}; default: {shown if defaults else 'as in the run'}]"
    option = typer.Option(f"--{name.replace('_', '-')}", help=told, show_default=False)
    kind = Annotated[type(setting.default) | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
