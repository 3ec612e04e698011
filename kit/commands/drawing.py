"""`transferkit demo-data`: a synthetic data set of flowers."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kit.options import AsJson, Quiet


def demo_data(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to: a new or empty folder.", show_default=False)],
    per_class: Annotated[int, typer.Option(min=1, max=1_000_000, help="Images of each class.")] = 120,
    classes: Annotated[
        int, typer.Option(min=2, max=10_000, help="Daisy, dandelion, roses, sunflowers, tulips; then made-up species.")
    ] = 5,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Side of the images in pixels.")] = 160,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Another seed draws other images.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draws images of flowers: a data set to try everything with, no download needed.

    The same seed draws the same images. A folder that holds them already is completed: after a kill, run it again.
    """
    from kit import progress
    from kit.synthetic import DemoData, species_names, write_data_set

    progress.set_quiet(quiet or as_json)
    data = DemoData(per_class, classes, size, seed)
    drawn = write_data_set(folder, data)
    if as_json:
        record = {"folder": str(folder), "photos": data.images, "drawn": drawn, "per_class": per_class}
        print(json.dumps({**record, "classes": species_names(classes), "size": size, "seed": seed}))
        return
    kept = f" ({data.images - drawn:,} were there)" if drawn < data.images else ""
    print(f"{folder}: {data.images:,} images in {classes:,} classes{kept}.")
    print(f"Next: transferkit inspect {folder}, transferkit train {folder}")
