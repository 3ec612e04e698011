"""Make the starter weights: `python -m starter.distil IMAGES --teacher FILE` (docs/starter-weights.md: time, result).

The same command resumes a killed run, from the teacher's last finished shard or the student's last finished epoch.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from kit import backends, progress
from kit.cli import run_script
from kit.files import atomic_path, fingerprint, sha256_file
from kit.machine import cache_folder
from starter.command import Images, Teacher

if TYPE_CHECKING:
    from kit.data.dataset import Dataset
    from kit.model.backbones import Backbone
    from starter.student import Recipe

ALPHA = 0.35
SLIM_ON = 384  # images that the student's initial weights are fitted on
WATCH_EVERY = 5  # epochs between two scores on the validation images
RESULT = Path(__file__).resolve().parents[1] / "kit" / "model" / "starter.weights.h5"


def distil(
    path: Images,
    teacher: Teacher,
    out: Annotated[Path, typer.Option(help="The weights file to write; ends in .weights.h5.")] = RESULT,
    work: Annotated[Path | None, typer.Option(help="Folder for what a later run goes on from.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the images.")] = 10,
    four_fifths: Annotated[
        bool, typer.Option("--four-fifths", help="Train on the validation images too, once settings are chosen.")
    ] = False,
) -> None:
    """Distils a small MobileNetV2 from a large one, over four fifths of some images, and drawn ones beside them."""
    backends.start(seed=0)
    from kit.model.weights import resolve
    from starter import images, student

    checked = resolve(teacher, 1.0, images.TEACHER_SIZE)
    recipe = student.Recipe(epochs=epochs)
    dataset = images.read(path)
    splits = ["train", "validation"] if four_fifths else ["train"]
    places = np.sort(np.concatenate([dataset.indices(split) for split in splits]))
    looks = [asdict(images.VIEWS), asdict(images.DRAWN), images.TEACHER_SIZE]
    key = [dataset.fingerprint, checked.sha256, len(places), *looks]
    folder = (work or cache_folder() / "starter") / fingerprint(key)[:16]
    progress.say(f"{len(places)} images, and drawn ones; work in {folder}")
    backbone = _distilled(dataset, places, teacher, recipe, folder)
    with atomic_path(out) as temporary:
        backbone.model.save_weights(temporary)
    progress.say(f"{out}: {out.stat().st_size:,} bytes, SHA-256 {sha256_file(out)}")


def _distilled(dataset: "Dataset", places: np.ndarray, teacher: str, recipe: "Recipe", folder: Path) -> "Backbone":
    from kit.model.backbones import mobilenet_v2
    from starter import images, slimming, student, targets

    network = targets.load_teacher(teacher, images.TEACHER_SIZE)
    projections = targets.fit_projections(network, dataset, places)
    drawn, shown = images.draw(folder / "drawn")
    # real images first: `some`, below, indexes them
    lessons = targets.Targets.join(
        [
            targets.ensure(folder / "targets", network, projections, dataset, places),
            targets.ensure(folder / "drawn-targets", network, projections, drawn, shown),
        ]
    )
    labels = np.concatenate([dataset.labels[places], len(dataset.classes) + drawn.labels[shown]])
    backbone = mobilenet_v2(images.STUDENT_SIZE, ALPHA)
    steps = max(1, len(labels) // recipe.batch_size)
    model = student.build(backbone, projections, len(dataset.classes) + len(drawn.classes), recipe, steps)
    checkpoints = folder / fingerprint(asdict(recipe))[:16]
    if not any(checkpoints.glob("*.weights.h5")):
        wide = targets.load_plain(teacher, images.STUDENT_SIZE)
        some = np.random.default_rng(recipe.seed).permutation(len(places))[:SLIM_ON]
        slimming.slim(wide.model, backbone.model, _preprocessed(wide, lessons.pixels[some, 1]), recipe.seed)
    student.train(model, lessons, labels, recipe, checkpoints, _watch(dataset, backbone))
    return backbone


def _preprocessed(backbone: "Backbone", pixels: np.ndarray) -> np.ndarray:
    import keras

    return keras.ops.convert_to_numpy(backbone.preprocessing(pixels))


def _watch(dataset: "Dataset", backbone: "Backbone") -> Callable[[int], str]:
    """Score a linear probe on the validation images every few epochs; settings are chosen by it."""
    from starter import images, probe

    parts = [(dataset.labels[places], places) for places in map(dataset.indices, ("train", "validation"))]
    pixels = [probe.plain_pixels(dataset, places, images.STUDENT_SIZE) for _, places in parts]

    def look(epoch: int) -> str:
        if epoch % WATCH_EVERY:
            return ""
        (labels, _), (truth, _) = parts
        seen, asked = (probe.features(backbone, part) for part in pixels)
        return f"; validation {probe.probe(seen, labels, asked, truth)}"

    return look


if __name__ == "__main__":
    run_script(distil)
