"""Arguments shared by the recipe's commands."""

from typing import Annotated

import typer

Images = Annotated[str, typer.Argument(metavar="IMAGES", help="The images: a folder of class folders.")]
Teacher = Annotated[str, typer.Option(help="Weights of MobileNetV2 1.0 without top: .weights.h5 or .h5.")]
