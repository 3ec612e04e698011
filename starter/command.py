"""The arguments that the recipe's commands share."""

from typing import Annotated

import typer

Photos = Annotated[str, typer.Argument(metavar="PHOTOS", help="The photos: a folder of class folders.")]
Teacher = Annotated[str, typer.Option(help="Weights of MobileNetV2 1.0 without top: .weights.h5 or .h5.")]
