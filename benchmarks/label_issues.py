"""Doubted labels: wrong ones are planted in real sets, and looked for in what a run lists."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import common
import numpy as np
import typer

from kit import progress
from kit.data.sources import load_samples
from kit.insights import Insights

RATES = "0,0.02,0.05,0.1"


def label_issues(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Sets of images, as train takes them.")],
    weights: common.WeightsOption = "imagenet",
    rates: Annotated[str, typer.Option(help="Shares of the labels that are made wrong.")] = RATES,
    per_class: Annotated[int, typer.Option(min=3, help="Images of each class, at most.")] = 150,
    seed: Annotated[int, typer.Option(help="Draws the images and the wrong labels.")] = 0,
    recipe: common.Recipe = "default",
    sets: common.Sets = None,
    results: common.Results = common.RESULTS,
) -> None:
    """How many wrong labels does a run find, and how many of those it doubts are right?

    A share of the labels is replaced, each by another class drawn at random, and the defaults train on them. Precision
    is the share of the doubted labels that were planted (real sets have wrong labels of their own, which count against
    it), recall the share of the planted that are doubted.
    """
    facts: dict[str, Any] = {"per_class": per_class, "seed": seed, "sets": {}}
    environment: dict[str, Any] = {}
    for source in data:
        found = load_samples(source)
        measured = facts["sets"][found.name] = []
        for rate in map(float, rates.split(",")):
            with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
                labels = plant([sample.label for sample in found.samples], rate, per_class, seed)
                planted = lay_out(Path(folder) / "images", [sample.file for sample in found.samples], labels)
                flags = {"data.path": str(Path(folder) / "images"), "model.weights": weights, "data.conflicts": "drop"}
                run = common.train_in_child(common.load_recipe(recipe, sets, flags), Path(folder) / "run")
                measured.append({"rate": rate, **judge(Insights(Path(folder) / "run" / "insights"), planted)})
            environment = run["environment"]
            progress.say(f"{found.name}, {rate:.0%}: {measured[-1]}")
    rows = [[name, *_cells(one)] for name, measured in facts["sets"].items() for one in measured]
    common.show(rows, ("set", "planted", "images", "wrong", "doubted", "precision", "recall", "false, of 1,000"))
    common.record(results, "label_issues", environment, facts)


def plant(labels: Sequence[str], rate: float, per_class: int, seed: int) -> dict[int, tuple[str, str]]:
    """Some images of each class, a share of them with another label: index -> (label, label that was right)."""
    random = np.random.default_rng(seed)
    classes = sorted(set(labels))
    of_class = {name: [i for i, label in enumerate(labels) if label == name] for name in classes}
    chosen = [i for name in classes for i in random.permutation(of_class[name])[:per_class].tolist()]
    wrong = random.permutation(chosen)[: round(rate * len(chosen))].tolist()
    others = {i: str(random.choice([name for name in classes if name != labels[i]])) for i in wrong}
    return {i: (others.get(i, labels[i]), labels[i]) for i in chosen}


def lay_out(folder: Path, files: Sequence[Path], labels: dict[int, tuple[str, str]]) -> dict[str, bool]:
    """Link images as class folders; returns whether the label of each path was planted."""
    planted = {}
    for i, (label, right) in labels.items():
        path = Path(label) / f"{i:06d}{files[i].suffix.lower()}"
        (folder / label).mkdir(parents=True, exist_ok=True)
        try:
            (folder / path).symlink_to(files[i].absolute())
        except OSError:  # no links on this file system
            shutil.copyfile(files[i], folder / path)
        planted[path.as_posix()] = label != right
    return planted


def judge(insights: Insights, planted: dict[str, bool]) -> dict[str, Any]:
    """Counts of what a run doubts: `doubted`, `found` of `wrong`, `precision` and `recall` (None where undefined)."""
    listed = insights.doubted["path"].tolist()
    found, wrong = sum(planted[path] for path in listed), sum(planted.values())
    return {
        "images": len(planted),
        "wrong": wrong,
        "doubted": insights.summary["doubted"]["total"],
        "found": found,
        "precision": found / len(listed) if listed else None,
        "recall": found / wrong if wrong else None,
        "false_alarms_of_1000": 1000 * (len(listed) - found) / max(1, len(planted) - wrong),
    }


def _cells(one: dict[str, Any]) -> list[object]:
    shares = [None if one[name] is None else f"{one[name]:.2f}" for name in ("precision", "recall")]
    counts = [one["images"], one["wrong"], one["doubted"]]
    return [f"{one['rate']:.0%}", *counts, *shares, f"{one['false_alarms_of_1000']:.0f}"]


if __name__ == "__main__":
    common.start(label_issues)
