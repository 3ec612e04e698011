"""The command `transferkit` (also `python -m kit.cli`).

Subcommands are entry points of the group `transferkit.commands` of any distribution; a name of ours wins. Each is
imported when it runs or help lists it, and imports nothing heavy at its top: `transferkit --help` needs no numpy,
pandas or backend.

Exit status: 0 done; 1 a defect, with its traceback, or a closed output pipe; 2 a UserError, told in a line or two; 130
interrupted.
"""

import difflib
import io
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Any

import typer
import typer.core
import typer.main

from kit import backends
from kit.errors import UserError

DISTRIBUTION = "transferkit"
UsageError: Any = typer.BadParameter.__base__  # typer brings a click of its own
GROUP = "transferkit.commands"
OUR_PACKAGES = ("kit", "search", "reports")

# What pyproject.toml lists (a test compares them), for a checkout that is run without being installed.
BUILT_IN = {
    "demo": "search.demo:demo",
    "new": "kit.commands.settings_file:new",
    "train": "kit.commands.training:train",
    "lr-find": "kit.commands.rates:lr_find",
    "evaluate": "kit.commands.finished_run:evaluate",
    "predict": "kit.commands.finished_run:predict",
    "threshold": "kit.commands.abstaining:threshold",
    "export": "kit.commands.finished_run:export",
    "push": "kit.commands.pushing:push",
    "benchmark": "kit.commands.benchmarking:benchmark",
    "inspect": "kit.commands.inspecting:inspect",
    "cache": "kit.commands.caching:app",
    "doctor": "kit.commands.doctor:doctor",
    "demo-data": "search.demo:demo_data",
    "study": "search.commands:app",
    "report": "reports.commands:report",
}

_new_app = partial(typer.Typer, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def find_commands() -> dict[str, EntryPoint]:
    """Entry points of all subcommands by name: ours in the order of BUILT_IN, then others by name."""
    installed = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    ours = {point.name: point for point in installed if point.dist and point.dist.name == DISTRIBUTION}
    if not ours:
        ours = {name: EntryPoint(name, value, GROUP) for name, value in BUILT_IN.items()}
    ordered = {name: ours[name] for name in (*BUILT_IN, *ours) if name in ours}
    return ordered | {point.name: point for point in installed if point.name not in ours}


class LazyGroup(typer.core.TyperGroup):
    """Command group that imports subcommands on demand and reports every UserError."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(find_commands())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        point = find_commands().get(cmd_name)
        return None if point is None else load_command(point)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], known, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            _complain(error)
        except UsageError as error:
            if "--json" in sys.argv:
                hint = f"`{error.ctx.command_path if error.ctx else DISTRIBUTION} --help` says what there is."
                print(json.dumps({"error": error.format_message(), "hint": hint}))
            raise  # told on standard error too
        except ModuleNotFoundError as error:
            if _is_ours(error):
                raise
            _complain(_missing(error))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(130) from None
        raise typer.Exit(2)


def load_command(point: EntryPoint) -> Any:
    """Import a subcommand; one that cannot be imported becomes a command that says why, so that help still works."""
    try:
        target = point.load()
    except Exception as error:
        return _broken(point.name, error)
    if not isinstance(target, typer.Typer):
        function, target = target, _new_app()
        target.command(point.name)(function)
    command = typer.main.get_command(target)
    command.name = point.name
    command.params = [param for param in command.params if param.name not in ("install_completion", "show_completion")]
    return command


def _broken(name: str, error: Exception) -> Any:
    def fail() -> None:
        raise error

    app = _new_app()
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(name, help=f"(cannot be loaded: {error})", context_settings=anything)(fail)
    return typer.main.get_command(app)


def _is_ours(error: ModuleNotFoundError) -> bool:
    return (error.name or "").partition(".")[0] in OUR_PACKAGES


def _missing(error: ModuleNotFoundError) -> UserError:
    return UserError(
        f"The module {error.name} is not installed in the Python environment {sys.prefix}.",
        "Install the package that holds it, or install transferkit again with what it needs.",
    )


def _complain(error: UserError) -> None:
    """Tell an error on standard error; to whoever asked for JSON, as that on standard output too."""
    print(f"error: {error}", file=sys.stderr)
    if "--json" in sys.argv and not error.answered:
        print(json.dumps({"error": error.what, "hint": error.hint}))


app = _new_app(
    cls=LazyGroup, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=True
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        print(f"{DISTRIBUTION} {version(DISTRIBUTION)}")
    except PackageNotFoundError:
        print(f"{DISTRIBUTION} (run from its source, not installed)")
    raise typer.Exit


@app.callback()
def transferkit(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
    ),
) -> None:
    """Trains the best small image classifier that a folder of images allows, and says how good it is."""


def run_script(command: Callable[..., None]) -> None:
    """Run one function as the command of a script of this repository, with the command line's error messages."""
    backends.own_process()
    app = _new_app()
    app.command()(command)
    try:
        app()
    except UserError as error:
        _complain(error)
        sys.exit(2)


def main() -> None:
    """Run the command line and exit with its status."""
    backends.own_process()
    _pass_any_name(sys.stdout)
    try:
        try:
            typer.main.get_command(app)(prog_name=DISTRIBUTION)
        finally:
            sys.stdout.flush()  # here, where a closed pipe can still be handled
    except BrokenPipeError:
        # `transferkit ... | head`: the buffered rest must not fail again when Python exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _pass_any_name(stream: Any) -> None:
    """Print file names that the stream's encoding does not cover, instead of failing."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="surrogateescape" if stream.encoding.lower() == "utf-8" else "backslashreplace")


if __name__ == "__main__":
    main()
