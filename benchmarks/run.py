"""Time of a whole run: transferkit against the straightforward way in Keras."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import common
import typer
from straightforward import require_plain

from kit import settings
from kit.backends.choice import explain_choice
from kit.config import RunConfig
from kit.data import SPLITS
from kit.data.dataset import Dataset, load_dataset
from kit.errors import DataError
from kit.files import write_text
from kit.model.weights import resolve

READABLE = (".bmp", ".gif", ".jpeg", ".jpg", ".png")  # ALLOWLIST_FORMATS of keras/src/utils/image_dataset_utils.py


def run(
    data: common.Data,
    weights: common.WeightsOption = "imagenet",
    recipe: common.Recipe = str(common.NOTEBOOK),
    backend: Annotated[str, typer.Option(help="`jax`, `tensorflow`, `torch` or `auto`.")] = "auto",
    epochs_timed: Annotated[
        int,
        typer.Option(
            min=0, help="Straightforward side: whole epochs to time in each phase, the rest extrapolated; 0 runs all."
        ),
    ] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="How often to time both, in turns.")] = 1,
    jit: common.Jit = "auto",
    sets: common.Sets = None,
    results: common.Results = common.RESULTS,
) -> None:
    """How much faster is a whole run with transferkit, images to scores, than the straightforward way in Keras?

    Same images in the same splits, same recipe, backend and machine, each side in a process of its own. The kit starts
    with an empty cache. The straightforward way is image_dataset_from_directory, the whole MobileNetV2 in every epoch
    and model.fit for each phase; TensorFlow must be installed for it. The images have been read once before, so that
    neither side waits for the disk. The kit keeps the best epoch of a phase, the straightforward way the last.
    """
    flags = {"data.path": data, "model.weights": weights}
    config = common.load_recipe(recipe, sets, flags)
    require_plain(config)
    config = replace(config, backend=explain_choice(backend if backend != "auto" else config.backend).name)
    with plain_side(config, epochs_timed, jit) as plain:
        sides = common.alternate({"kit": lambda: _kit(config), "straightforward": plain}, rounds)
    if sides["kit"][0]["photos"] != sides["straightforward"][0]["photos"]:
        raise DataError("The two sides did not read the same number of images.", "Report this: the comparison is void.")
    facts = {"recipe": Path(recipe).stem, "data": data, "epochs_timed": epochs_timed, "jit": jit, **summary(sides)}
    _show(facts, config.backend)
    common.record(results, f"run-{config.backend}", sides["kit"][0]["environment"], facts | {"rounds": sides})


@contextmanager
def plain_side(
    config: RunConfig, epochs_timed: int, jit: str, guide: bool = False
) -> Iterator[Callable[[], dict[str, Any]]]:
    """Lay out images for the straightforward side; yields a function that times it once.

    `guide` adds the augmentation and the unfreezing of Keras's guide.
    """
    found = resolve(config.model.weights, config.model.alpha, config.data.image_size)
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as name:
        folder = Path(name)
        link_splits(load_dataset(config), folder / "photos")
        write_text(folder / "recipe.toml", settings.to_toml(config))
        rest = ["--epochs-timed", str(epochs_timed), "--jit", jit]
        rest += ["--weights", str(found.path.absolute())] if found.path else []
        rest += ["--guide"] if guide else []
        arguments = [str(folder / "photos"), str(folder / "recipe.toml"), *rest]
        # a Keras home of its own: importing Keras writes there
        environ = {"KERAS_BACKEND": config.backend, "KERAS_HOME": str(folder / "keras")}
        yield lambda: common.child("straightforward.py", arguments, environ, quiet=True)


def summary(sides: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Median seconds of each stage and of all, and the ratio of the latter.

    `sides` maps `kit` and `straightforward` to facts by round.
    """
    stages = {
        side: {name: median(one["stages"][name] for one in rounds) for name in rounds[0]["stages"]}
        for side, rounds in sides.items()
    }
    seconds = {side: median(one["seconds"] for one in rounds) for side, rounds in sides.items()}
    plain = sides["straightforward"][0]
    return {
        "stages": stages,
        "seconds": seconds,
        "ratio": seconds["straightforward"] / seconds["kit"],
        "extrapolated": not plain["complete"],
        "accuracy": {"kit": sides["kit"][0]["accuracy"]["test"], "straightforward": plain["accuracy"]},
        "photos": plain["photos"],
    }


def link_splits(dataset: Dataset, folder: Path) -> None:
    """Link a data set's images as `folder/SPLIT/CLASS/NUMBER.jpg`; classes are numbers, to keep their order.

    Raises DataError if a split is empty, or image_dataset_from_directory passes over an image's format.
    """
    for split in SPLITS:
        chosen = dataset.indices(split)
        if not len(chosen):
            raise DataError(f"The {split} split has no images.", "Give more images, or raise its share.")
        for label in range(len(dataset.classes)):
            (folder / split / f"{label:04d}").mkdir(parents=True)
        for index in chosen:
            file = dataset.files[index]
            if file.suffix.lower() not in READABLE:
                raise DataError(f"{file} has none of the suffixes {', '.join(READABLE)}.", "Keras would pass it over.")
            link = folder / split / f"{dataset.labels[index]:04d}" / f"{index:07d}{file.suffix.lower()}"
            link.symlink_to(file.absolute())


def _kit(config: RunConfig) -> dict[str, Any]:
    """Run once with an empty cache."""
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-cache-") as cache:
        return common.train_in_child(config, environ={"TRANSFERKIT_CACHE": cache})


def _show(facts: Mapping[str, Any], backend: str) -> None:
    kit, plain = facts["stages"]["kit"], facts["stages"]["straightforward"]
    names = sorted(dict.fromkeys([*kit, *plain]), key=[*kit, *plain].index)
    rows = [[name, *(f"{side[name]:.1f}" if name in side else None for side in (kit, plain))] for name in names]
    rows.append(["all", *(f"{facts['seconds'][side]:.1f}" for side in ("kit", "straightforward"))])
    common.show(rows, (f"seconds, {backend}", "kit", "straightforward"))
    print(f"\nThe kit takes 1/{facts['ratio']:.1f} of the time.")
    if facts["extrapolated"]:
        print(
            "The straightforward phases are extrapolated: after a first step that compiles, whole epochs of each were "
            f"timed ({facts['epochs_timed']}), and their mean was multiplied by the epochs of the recipe."
        )
    scores = {side: "-" if score is None else f"{score:.4f}" for side, score in facts["accuracy"].items()}
    print(f"Test accuracy: kit {scores['kit']}, straightforward {scores['straightforward']}.")


if __name__ == "__main__":
    common.start(run)
