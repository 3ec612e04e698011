"""Recipes compared on the images of many sets that are not test images, paired image by image."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import common
import numpy as np
import typer
from suite import find_sets

from kit import progress, settings
from kit.backends.choice import explain_choice
from kit.config import RunConfig
from kit.csv_tables import make_table, write_table
from kit.data.dataset import load_dataset
from kit.data.split import share_out
from kit.errors import UserError
from kit.files import write_json, write_text
from kit.model.weights import resolve
from kit.progress import duration
from kit.significance import holm, mcnemar

RESAMPLED = 2000
COLUMNS = ("path", "label", "group")


def recipes(
    data_root: Annotated[Path, typer.Argument(help="Folder that holds data/ (a set in each folder) and flowers/.")],
    recipe: Annotated[
        list[str],
        typer.Argument(
            help="`quick`, `default`, `best`, a TOML file, NAME:KEY=VALUE,... over the defaults; first, the one to beat"
        ),
    ],
    weights: common.WeightsOption = "imagenet",
    backend: Annotated[str, typer.Option(help="`jax`, `tensorflow`, `torch` or `auto`.")] = "auto",
    only: Annotated[list[str] | None, typer.Option("--only", metavar="SET", help="This set; may be repeated.")] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 3,
    limit: Annotated[int, typer.Option(min=1, help="Most images of a set.")] = 1000,
    base_depth: Annotated[int, typer.Option(help="Deepest unfreeze_depth of any recipe, ever: one trunk pass.")] = 8,
    sets: common.Sets = None,
    keep: Annotated[Path | None, typer.Option(help="Cache of the trunk, kept for the next call.")] = None,
    results: common.Results = common.RESULTS,
) -> None:
    """Is a recipe more accurate than another, over all kinds of images?

    Test images (those of split.seed 0) are left out, so that what is chosen here can be measured there. The others are
    predicted by cross-validation, as in `transferkit train --folds`, each recipe on the same folds and from the same
    stored activations. Every result is written when it is there: the same command goes on after a kill, and measures
    only what is new.
    """
    chosen = dict(map(named, recipe))
    folders = find_sets(data_root, only or [])
    name = explain_choice(backend).name
    measured: dict[str, dict[str, Any]] = {one: {} for one in chosen}
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as temporary:
        cache = (keep or Path(temporary)).absolute()
        for set_name, path in folders.items():
            table = development_images(path, limit, Path(temporary) / f"{set_name}.csv")
            for one, (file, values) in chosen.items():
                config = common.load_recipe(file, [*(sets or []), *values], {"model.weights": weights})
                config = of_set(config, table, folds, base_depth, name)
                record = results / f"recipes-{name}" / set_name / f"{one}.json"
                measured[one][set_name] = measure(record, config, limit, cache)
                progress.say(f"{set_name}: {one} {accuracy(measured[one][set_name]):.4f}")
    print("\n".join(markdown(measured)))


def named(text: str) -> tuple[str, tuple[str, list[str]]]:
    """Name of a recipe, and the TOML file or `default` and the settings that make it."""
    if ":" in text:
        name, values = text.split(":", 1)
        return name, ("default", values.split(","))
    return Path(text).stem, (text, [])


def development_images(path: Path, limit: int, table: Path) -> Path:
    """Write a table of a set's training and validation images, at most about `limit`, stratified; returns it."""
    config = settings.load_config(flags={"data.path": str(path), "data.conflicts": "drop", "data.leaks": "drop"})
    dataset = load_dataset(config)
    kept = np.flatnonzero(dataset.splits != "test")
    labels, groups = [dataset.classes[label] for label in dataset.labels[kept]], [dataset.groups[i] for i in kept]
    if len(kept) > limit:
        shares = {"kept": limit / len(kept), "rest": 1 - limit / len(kept)}
        parts = np.array(share_out(labels, groups, shares, seed=0))
        kept, labels, groups = kept[parts == "kept"], *(list(np.array(v)[parts == "kept"]) for v in (labels, groups))
    files = [str(dataset.files[i].absolute()) for i in kept]
    write_table(table, make_table(dict(zip(COLUMNS, (files, labels, groups), strict=True))), COLUMNS)
    return table


def of_set(config: RunConfig, table: Path, folds: int, base_depth: int, backend: str) -> RunConfig:
    """The recipe on the images of a table, cross-validated."""
    return replace(
        config,
        backend=backend,
        data=replace(config.data, path=str(table)),
        split=replace(config.split, folds=folds),
        training=replace(config.training, base_depth=base_depth),
    )


def measure(record: Path, config: RunConfig, limit: int, cache: Path) -> dict[str, Any]:
    """Facts of a recipe on a set, measured unless the record has them; ConfigError if it is of other settings."""
    found = resolve(config.model.weights, config.model.alpha, config.data.image_size, config.model.backbone)
    text = settings.to_toml(
        replace(config, data=replace(config.data, path=""), model=replace(config.model, weights="none"))
    )
    asked = {"settings": text, "weights": found.sha256, "limit": limit}
    facts = common.recorded(record, asked)
    if "images" in facts:
        return facts
    with tempfile.TemporaryDirectory(prefix="transferkit-benchmark-") as folder:
        write_text(Path(folder) / "recipe.toml", settings.to_toml(config))
        arguments = [f"{folder}/recipe.toml", f"{folder}/run"]
        facts |= common.child("one_cross_validation.py", arguments, {"TRANSFERKIT_CACHE": str(cache)}, quiet=True)
    write_json(record, facts)
    return facts


# === Table ===


def accuracy(facts: Mapping[str, Any]) -> float:
    return float(np.mean([right for right, _ in facts["images"].values()]))


def compare(first: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[np.ndarray, float]:
    """Difference of right answers of each group of images, other - first, summed; and McNemar's p-value."""
    paths = list(first["images"])
    if set(paths) != set(other["images"]):
        raise UserError("Two recipes were measured on different images.", "Delete the results, and measure again.")
    before, after = (np.array([facts["images"][path][0] for path in paths]) for facts in (first, other))
    groups = [first["groups"][path] for path in paths]
    _, member_of = np.unique(np.array(groups, dtype=object), return_inverse=True)
    gained = np.bincount(member_of, weights=after.astype(int) - before.astype(int))
    return gained / len(paths), mcnemar(after, before, groups).p_value


def mean_difference(gained: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Mean over sets of the accuracy gained, and its 95% interval by the bootstrap over groups of images.

    Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979) 1-26; percentiles.
    """
    random = np.random.default_rng(0)
    drawn = [np.mean([len(one) * random.choice(one, len(one)).mean() for one in gained]) for _ in range(RESAMPLED)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(np.mean([one.sum() for one in gained])), float(low), float(high)


def markdown(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Table in Markdown: accuracy by recipe and set, the mean, its paired difference to the first recipe, and time."""
    names = list(measured)
    sets = list(measured[names[0]])
    rows: list[tuple[str, ...]] = [("recipe", *sets, "mean", "to the first", "time")]
    rows.append(("---",) * len(rows[0]))
    for name in names:
        scores = [accuracy(measured[name][one]) for one in sets]
        cells, told = [f"{score:.3f}" for score in scores], "–"
        if name != names[0]:
            compared = [compare(measured[names[0]][one], measured[name][one]) for one in sets]
            adjusted = holm([p_value for _, p_value in compared])
            cells = [
                cell + (" (better)" if gained.sum() > 0 else " (worse)") * (p_value < 0.05)
                for cell, (gained, _), p_value in zip(cells, compared, adjusted, strict=True)
            ]
            mean, low, high = mean_difference([gained for gained, _ in compared])
            told = f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
        seconds = sum(facts["seconds"] for facts in measured[name].values())
        rows.append((name, *cells, f"{np.mean(scores):.4f}", told, duration(seconds)))
    return [f"| {' | '.join(row)} |" for row in rows]


if __name__ == "__main__":
    common.start(recipes)
