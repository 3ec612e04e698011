"""`transferkit lr-find`: a learning rate for each phase, found in seconds on the stored activations."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from kit.commands import AsJson, ConfigFile, Quiet, Recipe, Sets, by_key, setting_options


@setting_options()
def lr_find(
    data: Annotated[str, typer.Argument(metavar="DATA", help="The images, in any form that train takes.")],
    steps: Annotated[int, typer.Option(help="Batches that each phase is tried on.")] = 100,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Loss by rate, an HTML file.", show_default="none")
    ] = None,
    config: ConfigFile = None,
    recipe: Recipe = "default",
    sets: Sets = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    **settings: Any,
) -> None:
    """Suggests a learning rate for each phase, by a range test."""
    from kit import progress
    from kit.data import require_there
    from kit.errors import StorageError
    from kit.settings import load_config

    progress.set_quiet(quiet or as_json)
    require_there(data)
    if figure is not None and (figure.is_dir() or not figure.absolute().parent.is_dir()):
        raise StorageError(f"{figure} cannot be a file there.", "Name a file to be, in a folder that exists.")
    given = by_key(settings) | {"data.path": data}
    chosen = load_config(flags=given, sets=sets or (), environ=os.environ, file=config, recipe=recipe)
    from kit.learning_rates import find_learning_rates

    rates = find_learning_rates(chosen, steps)
    if figure is not None:
        from kit.files import write_text

        write_text(figure, rates.figure.to_html(include_plotlyjs=True, div_id="rates"))
    if as_json:
        print(json.dumps(rates.to_dict() | {"figure": None if figure is None else str(figure)}))
        return
    width = max(len(one.phase) for one in rates.sweeps)
    for one in rates.sweeps:
        found = "no suggestion: its loss did not fall" if one.suggestion is None else f"{one.suggestion:.2g}"
        print(f"{one.phase:<{width}}  {found}  (now {one.setting:.2g})")
    flags = " ".join(f"--set {key}={value:.2g}" for key, value in rates.settings.items())
    print("\n".join([*([f"For train: {flags}"] if flags else []), *([f"Figure: {figure}"] if figure else [])]))
