"""What the recipe's commands share: their arguments, and how they end."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from kit.errors import UserError

Photos = Annotated[str, typer.Argument(metavar="PHOTOS", help="The photos: a folder of class folders.")]
Teacher = Annotated[str, typer.Option(help="Weights of MobileNetV2 1.0 without top: .weights.h5 or .h5.")]


def start(command: Callable[..., None]) -> None:
    """Runs a module's one command; what the user can put right is a line or two and status 2."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(command)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
