"""`transferkit demo`: all of transferkit in a few minutes, on images that it draws itself.

Each step leaves its record under one folder, and is skipped where that is complete: after Ctrl-C or a kill the same
command continues, and a second run takes seconds.

    photos/        kit.synthetic      run/      two phases, scored on unseen images
    inspection/    what is in the data     study/    a few trials; the best, trained again, in best/
    manifest.json  settings of this demo: others need another folder
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.backends.choice import BACKENDS
from kit.commands import AsJson, Quiet

if TYPE_CHECKING:
    from kit.config import RunConfig
    from search.demo.summary import DemoSummary


FOLDER = Path("transferkit-demo")
SCHEMA_VERSION = 1


def demo(
    keep: Annotated[Path, typer.Option(metavar="DIR", help="The output folder, which stays.")] = FOLDER,
    per_class: Annotated[int, typer.Option(min=10, help="Images to draw of each of five flowers.")] = 200,
    trials: Annotated[int, typer.Option(min=1, help="Of the study.")] = 8,
    backend: Annotated[str | None, typer.Option(help=f"{' or '.join(BACKENDS)}.", show_default="auto")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Shows transferkit at work: data, training, a study, pages. Nothing is downloaded.

    The same command goes on where it was stopped. TRANSFERKIT_<KEY> in the environment changes any setting.
    """
    from kit import progress
    from kit.settings import load_config

    progress.set_quiet(quiet or as_json)
    recipe = Path(__file__).with_name("demo.toml")
    config = load_config(flags={"backend": backend}, environ=os.environ, file=recipe)
    summary = run_demo(keep, config, per_class, trials)
    print(json.dumps(summary.to_dict()) if as_json else "\n".join(summary.lines()))


def run_demo(folder: Path, config: "RunConfig", per_class: int, trials: int) -> "DemoSummary":
    """Draw, inspect, train, search and report; existing steps are kept.

    `config` is that of the run and of the study's first trial, on `per_class` drawn images of each of five flowers;
    `trials` are the finished ones wanted.

    Raises UserError if the folder holds anything else, or a step cannot be done; the message says what to do.
    """
    from kit import progress
    from kit.stage_clock import StageClock
    from kit.synthetic import DemoData, write_data_set
    from search.api import run_study
    from search.demo.summary import DemoSummary
    from search.study_spec import plan_space

    # The run uses the cut point of the study's trials, so that they share its activations.
    space = Path(__file__).with_name("demo_space.toml")
    config = plan_space(replace(config, data=replace(config.data, path="")), ("accuracy",), space).own
    _take(folder, config, per_class)
    photos, clock = folder / "photos", StageClock()
    config = replace(config, data=replace(config.data, path=str(photos)))
    try:
        with clock.stage("photos"):
            data = DemoData(per_class=per_class)
            progress.say(f"1 of 4: drawing {data.images:,} images of flowers into {photos}")
            write_data_set(photos, data)
        with clock.stage("inspection"):
            progress.say("2 of 4: looking at them before anyone trains")
            _inspected(folder / "inspection", config)
        with clock.stage("run"):
            progress.say("3 of 4: training a head on frozen features, then fine-tuning the top of the network")
            run = _trained(folder / "run", config)
        with clock.stage("study"):
            progress.say(f"4 of 4: searching for better settings in {trials} trials that share the frozen features")
            study = run_study(config, trials, name="demo", out=folder / "study", space=space)
    except KeyboardInterrupt:
        progress.say(f"What is done is kept in {folder}: the same command goes on.")
        raise
    seconds = {name: measured["seconds"] for name, measured in clock.stages.items()}
    return DemoSummary.of(folder, run, study, seconds)


def _take(folder: Path, config: "RunConfig", per_class: int) -> None:
    """Write the demo's manifest, or require that the existing one has the same settings."""
    from kit.errors import ConfigError, StorageError
    from kit.files import make_folder, read_json, storage_errors, write_json
    from search.study import config_tree, first_difference

    asked = {"per_class": per_class, **config_tree(config)}
    manifest = folder / "manifest.json"
    with storage_errors(folder):
        if manifest.is_file() and (before := read_json(manifest)).get("kind") == "demo":
            if before["asked"] != asked:
                name, then, now = first_difference("config", before["asked"], asked)
                raise ConfigError(
                    f"{folder} holds a demo with {name} = {then}, not {now}.",
                    "Give --keep another folder for this one.",
                )
            return
        # a kill may have left a temporary file of the manifest
        if folder.exists() and (
            not folder.is_dir() or any(not one.name.startswith(".tmp-") for one in folder.iterdir())
        ):
            raise StorageError(f"{folder} is there already, and holds no demo.", "Give --keep a new or empty folder.")
    make_folder(folder, "Give --keep another folder.")
    write_json(manifest, {"schema_version": SCHEMA_VERSION, "kind": "demo", "asked": asked})


def _inspected(folder: Path, config: "RunConfig") -> None:
    from kit.files import read_json
    from kit.inspection import look, summarise, write_record
    from kit.report_hook import draw_page

    manifest = folder / "manifest.json"
    if not manifest.is_file() or read_json(manifest).get("status") != "finished":
        inspection = look(config.data, config.split.seed, config.threads)
        write_record(folder, config.data.path, config.split.seed, inspection, summarise(inspection))
    if not (folder / "report.html").exists():
        draw_page(folder)


def _trained(folder: Path, config: "RunConfig") -> Any:
    from kit.pipeline import resume, train
    from kit.report_hook import draw_page

    run = resume(folder) if (folder / "config.toml").exists() else train(config, folder)
    if not run.report_path.exists():
        draw_page(folder)
    return run


def demo_data(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The output folder: a new or empty one.", show_default=False)
    ],
    per_class: Annotated[int, typer.Option(min=1, max=1_000_000, help="Images of each class.")] = 120,
    classes: Annotated[
        int, typer.Option(min=2, max=10_000, help="Daisy, dandelion, roses, sunflowers, tulips; then made-up species.")
    ] = 5,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Side of the images in pixels.")] = 160,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Another seed draws other images.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draws images of flowers, to try everything with.

    No download is needed.

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
