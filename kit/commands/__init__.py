"""Commands, a module each; here the options that several share, and those that stand for settings."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from kit.setting_table import PHASE_KEY, SHORTHANDS, find_setting

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
FinishedRun = Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.", show_default=False)]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be repeated.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Settings in TOML.", show_default=False)]


def setting_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each named setting of SHORTHANDS (default: all) to a command that takes `**settings`."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        options = [_option(name, SHORTHANDS[name]) for name in names or SHORTHANDS]
        command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        return command

    return add


def by_key(settings: dict[str, Any]) -> dict[str, Any]:
    """Options by short name -> values by key; those not given are left out."""
    return {SHORTHANDS[name]: value for name, value in settings.items() if value is not None}


def _option(name: str, key: str) -> inspect.Parameter:
    setting = find_setting(key)
    assert setting is not None
    phase = PHASE_KEY.fullmatch(key)
    which = f"{('First', 'Second')[int(phase[1])]} phase: " if phase else ""
    text = setting.help.split(". ")[0].rstrip(".").replace("`", "")
    option = typer.Option(f"--{name.replace('_', '-')}", help=f"{which}{text}. [{key}]", show_default=False)
    kind = Annotated[type(setting.default) | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
