"""Accuracy and time of the defaults on many kinds of images, beside what else one would do with them."""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import common
import typer
from run import plain_side

from kit import progress, settings
from kit.backends.choice import explain_choice
from kit.config import ModelConfig, PhaseConfig, RunConfig, TrainingConfig, ViewsConfig
from kit.errors import DataError
from kit.files import write_json, write_text
from kit.insights import Insights
from kit.model.weights import resolve
from kit.progress import duration
from kit.run import Run
from kit.significance import newcombe_interval, wilson_interval

SIDES = ("kit", "guide", "probe")
NO_TENSORFLOW = "The guide's recipe reads images through TensorFlow, which is not installed."


def suite(
    data_root: Annotated[Path, typer.Argument(help="Folder that holds data/ (a set in each folder) and flowers/.")],
    weights: common.WeightsOption = "imagenet",
    backend: Annotated[str, typer.Option(help="`jax`, `tensorflow`, `torch` or `auto`.")] = "auto",
    only: Annotated[list[str] | None, typer.Option("--only", metavar="SET", help="This set; may be repeated.")] = None,
    frozen_epochs: Annotated[int, typer.Option(min=1, help="Epochs of the guide's first phase.")] = 20,
    whole_epochs: Annotated[int, typer.Option(min=1, help="Epochs of the guide's second phase.")] = 10,
    sets: common.Sets = None,
    results: common.Results = common.RESULTS,
) -> None:
    """How accurate are the defaults on many kinds of images, and how long do they take, against simpler ways?

    Every set is trained on by the defaults, untouched (--set is for trying this script), by the recipe of Keras's guide
    to transfer learning, and by a linear probe, on the same splits. Each result is written when it is there, so that
    the same command goes on after a kill.
    """
    folders = find_sets(data_root, only or [])
    chosen = common.load_recipe("default", sets, {"model.weights": weights})
    chosen = replace(chosen, backend=explain_choice(backend).name)
    found = resolve(chosen.model.weights, chosen.model.alpha, chosen.data.image_size, chosen.model.backbone)
    asked = {
        "backend": chosen.backend,
        "weights": found.sha256,
        "settings": sorted(sets or []),
        "guide_epochs": [frozen_epochs, whole_epochs],
    }
    folder = results / f"suite-{chosen.backend}"
    measured = {}
    for name, path in folders.items():
        # one image under two labels is left out: real sets have some, and no default trains on them
        config = replace(chosen, data=replace(chosen.data, path=str(path), conflicts="drop", leaks="drop"))
        sides = {
            "kit": lambda config=config: _kit(config),
            "guide": lambda config=config: _guide(config, frozen_epochs, whole_epochs),
            "probe": lambda config=config: _probe(config),
        }
        measured[name] = measure(folder / f"{name}.json", name, asked, sides)
    print("\n".join(markdown(measured)))
    print(f"\nWritten to {folder}")


def find_sets(root: Path, only: list[str]) -> dict[str, Path]:
    """Folders of `root`/data and `root`/flowers by name; DataError where there is none of those asked for."""
    found = {path.name: path for path in sorted((root / "data").glob("*")) if path.is_dir()}
    if (root / "flowers").is_dir():
        found["flowers"] = root / "flowers"
    unknown = [name for name in only if name not in found]
    if unknown or not found:
        what = f"{root} has no set {', '.join(unknown)}." if unknown else f"{root} holds neither data/ nor flowers/."
        raise DataError(what, f"It has {', '.join(found)}." if found else "Give the folder above data/.")
    return {name: path for name, path in found.items() if not only or name in only}


def measure(
    record: Path, name: str, asked: Mapping[str, Any], sides: Mapping[str, Callable[[], dict[str, Any]]]
) -> dict[str, Any]:
    """Facts of one set by side; what `record` has is taken from there, what is new is written at once.

    Sides that were skipped, or recorded without CPU time, are measured again. Raises ConfigError if the record is of
    other settings.
    """
    facts = {"benchmark": "suite", "set": name, **common.recorded(record, asked)}
    for side, run in sides.items():
        if "cpu_seconds" in facts.get(side, {}):
            continue
        progress.say(f"{name}: {side}")
        facts[side] = run()
        write_json(record, facts)
    return facts


def _kit(config: RunConfig) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
        run = Path(folder) / "run"
        facts = common.train_in_child(config, run, environ={"TRANSFERKIT_CACHE": f"{folder}/cache"})
        test = Run.open(run).metrics["test"]
        if not test["n"]:
            raise DataError(f"{config.data.path} has no test images.", "Give more images.")
        kinds = Counter(finding["kind"] for finding in Insights(run / "insights").findings)
        doubted = Insights(run / "insights").summary["doubted"]
    return {
        "accuracy": test["accuracy"],
        "n": test["n"],
        "n_effective": test["n_effective"],
        "interval": test["accuracy_interval"],
        "seconds": facts["seconds"],
        "cpu_seconds": facts["cpu_seconds"],
        "photos": facts["photos"],
        "findings": dict(kinds),
        "doubted": doubted.get("total"),
        "train_accuracy": facts["accuracy"]["train"],
        "phase_accuracy": facts["phase_accuracy"],
        "stages": facts["stages"],
        "environment": facts["environment"],
    }


def guide_recipe(config: RunConfig, frozen_epochs: int, whole_epochs: int) -> RunConfig:
    """Recipe of https://keras.io/guides/transfer_learning/ on the images, splits and network of `config`."""
    model = config.model
    return replace(
        config,
        views=ViewsConfig(count=1),
        model=ModelConfig(alpha=model.alpha, weights=model.weights, head_units=0, dropout=0.2),
        training=TrainingConfig(label_smoothing=0.0, batch_size=32),
        phases=(
            PhaseConfig(name="frozen", epochs=frozen_epochs, unfreeze_depth=0, learning_rate=1e-3),
            PhaseConfig(name="whole", epochs=whole_epochs, unfreeze_depth=-1, learning_rate=1e-5),
        ),
    )


def _guide(config: RunConfig, frozen_epochs: int, whole_epochs: int) -> dict[str, Any]:
    if find_spec("tensorflow") is None:
        progress.say(f"warning: {NO_TENSORFLOW}")
        return {"skipped": NO_TENSORFLOW}
    with plain_side(guide_recipe(config, frozen_epochs, whole_epochs), 0, "auto", guide=True) as plain:
        facts = plain()
    return {name: facts[name] for name in ("accuracy", "seconds", "cpu_seconds", "stages")}


def _probe(config: RunConfig) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
        recipe = Path(folder) / "recipe.toml"
        write_text(recipe, settings.to_toml(config))
        return common.child("probe.py", [str(recipe)], {"TRANSFERKIT_CACHE": f"{folder}/cache"}, quiet=True)


# === Table ===


def markdown(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Table in Markdown: accuracy with its 95% interval, CPU and wall time, and the comparison with the guide."""
    head = ("set", "train/validation/test", "findings", "transferkit", "guide", "linear probe", "to the guide")
    rows = [head, ("---",) * len(head)]
    for name, facts in measured.items():
        kit = facts["kit"]
        images = "/".join(f"{kit['photos'][split]:,}" for split in ("train", "validation", "test"))
        findings = ", ".join(f"{count} {kind}" for kind, count in kit["findings"].items()) or "none"
        cells = [_cell(facts[side], kit["n_effective"]) for side in SIDES]
        rows.append((name, images, findings, *cells, verdict(kit, facts["guide"])))
    return [f"| {' | '.join(row)} |" for row in rows]


def _cell(side: Mapping[str, Any], independent: float) -> str:
    if "skipped" in side:
        return "–"
    low, high = wilson_interval(side["accuracy"] * independent, independent)
    time = f"{side['cpu_seconds'] / 60:.1f} CPU min ({duration(side['seconds'])})"
    return f"{side['accuracy']:.3f} [{low:.3f}, {high:.3f}], {time}"


def verdict(kit: Mapping[str, Any], guide: Mapping[str, Any]) -> str:
    """`ahead` or `behind` where Newcombe's 95% interval excludes 0, else `level`; the difference, and times as fast."""
    if "skipped" in guide:
        return "–"
    n = kit["n_effective"]
    low, high = newcombe_interval(kit["accuracy"], n, guide["accuracy"], n)
    word = "ahead" if low > 0 else "behind" if high < 0 else "level"
    time = "cpu_seconds" if kit["cpu_seconds"] else "seconds"  # Windows counts none
    return f"{word} ({kit['accuracy'] - guide['accuracy']:+.3f}), {guide[time] / kit[time]:.1f}x as fast"


if __name__ == "__main__":
    common.start(suite)
