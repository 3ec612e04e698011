"""Images of no class of a run: which score tells them apart, and what the thresholds that are chosen keep."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import common
import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont

from kit import backends, progress
from kit.config import AbstentionConfig
from kit.data.images import decode
from kit.data.sources import load_samples
from kit.evaluation import SMALLEST_PROBABILITY
from kit.files import write_text
from kit.model.strangeness import Strangeness, choose_kept, distances
from kit.predict import load_classifier
from kit.run import Run
from kit.run_images import split_images
from kit.significance import effective_n, wilson_interval
from kit.thresholds import choose_thresholds

Rival = Callable[[np.ndarray, np.ndarray], np.ndarray]  # pooled features, probabilities -> scores (n,)
PASS = 32
ACCURACIES, COVERAGES = (0.95, 0.97, 0.98, 0.99), (0.8, 0.9, 0.95)
WORDS = ("the", "of", "model", "image", "train", "class", "run", "value", "number", "data", "open", "file", "error")


def strangeness(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    unknown: Annotated[list[str], typer.Argument(metavar="DATA...", help="Sets of images of none of its classes.")],
    most: Annotated[int, typer.Option(help="Images of each unknown set, drawn at random.")] = 200,
    made: Annotated[int, typer.Option(help="Images made of noise, of text and of screenshots, each.")] = 100,
    seed: Annotated[int, typer.Option(help="Draws them.")] = 0,
    results: common.Results = common.RESULTS,
) -> None:
    """Which score tells images of no class from the run's own test images, and do its thresholds keep their promise?

    AUROC is the probability that an unknown image scores higher than a test image; FPR95 the share of the unknown that
    passes where 95% of the test images do. Then thresholds are chosen on validation images as `transferkit threshold`
    does, and counted on test images. Scores are fitted to training images, as the network sees them from pixels.
    """
    opened = Run.open(run)
    see, head = _network(opened)
    seen = {split: see(split_images(opened, split, None, "benchmark")[0]) for split in ("train", "validation", "test")}
    strange: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for source in unknown:
        found = load_samples(source)
        drawn = np.sort(np.random.default_rng(seed).permutation(len(found.samples))[:most])
        strange[found.name] = see([found.samples[i].file for i in drawn])
    for name, draw in MADE.items():
        random = np.random.default_rng(seed)
        strange[name] = see([draw(random, opened.config.data.image_size) for _ in range(made)])
    labels = {split: _labels(opened, split) for split in seen}
    rivals = _rivals(seen["train"][0], labels["train"], seen["validation"][0], head, opened.config.seed)
    told = {
        name: {other: _apart(rival, seen["test"], strange[other]) for other in strange}
        for name, rival in rivals.items()
    }
    kept = _kept(opened, seen, labels, strange)
    table = f"{_table(told)}\n\n{_kept_table(kept)}\n"
    print(table)
    write_text(results / "strangeness.md", table)
    facts = {"images": {name: len(one[0]) for name, one in {**seen, **strange}.items()}, "rivals": told, "kept": kept}
    common.record(results, "strangeness", opened.manifest["environment"], facts)


def _network(run: Run) -> tuple[Callable[[Sequence[Any]], tuple[np.ndarray, np.ndarray]], dict[str, list[np.ndarray]]]:
    """Function of files, or of images of Pillow, to pooled features and probabilities; and the head's weights."""
    backends.start(run.config.backend, run.config.threads)
    from kit.training.forward import compile_from_pixels

    classifier = load_classifier(run)
    forward = compile_from_pixels(classifier, pooled=True)

    def see(images: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        with progress.track("images", len(images)) as advance:
            for start in range(0, len(images), PASS):
                block = images[start : start + PASS]
                pixels = [
                    np.asarray(one) if isinstance(one, Image.Image) else decode(one, run.config.data) for one in block
                ]
                probabilities, pooled = forward(np.stack(pixels))
                parts.append((pooled, probabilities))
                advance(len(block))
        pooled, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
        return pooled, probabilities

    return see, {layer.name: layer.get_weights() for layer in classifier.head.layers}


def _rows(run: Run, split: str) -> Any:
    samples = run.samples
    return samples[samples["finding"].isna() & (samples["split"] == split)]


def _labels(run: Run, split: str) -> np.ndarray:
    return np.array([run.classes.index(label) for label in _rows(run, split)["label"]])


# === Rivals ===


def _rivals(
    train: np.ndarray, labels: np.ndarray, validation: np.ndarray, head: dict[str, list[np.ndarray]], seed: int
) -> dict[str, Rival]:
    from sklearn.covariance import ledoit_wolf

    bank = train[choose_kept(labels, seed)]
    found = Strangeness.fit(bank, distances(bank, validation))
    means = np.stack([train[labels == one].mean(axis=0) for one in np.unique(labels)])
    covariance, _ = ledoit_wolf(train - means[labels], assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    strongest = np.where(np.arange(len(values)) < len(values) - 128, values[: len(values) - 128].mean(), values)

    def mahalanobis(variances: np.ndarray) -> Rival:
        whole = vectors / np.sqrt(variances)
        return lambda pooled, _: np.min([((pooled @ whole - one @ whole) ** 2).sum(axis=1) for one in means], axis=0)

    return {
        "nearest of 1,000, cosine": lambda pooled, _: found.of(pooled),
        "nearest, cosine": lambda pooled, _: _neighbour(pooled, train, 1),
        "10th nearest, cosine": lambda pooled, _: _neighbour(pooled, train, 10),
        "Mahalanobis, 128 directions": mahalanobis(strongest),
        "Mahalanobis, all directions": mahalanobis(values),
        "energy": lambda pooled, _: _energy(pooled, head),
        "greatest probability": lambda _, probabilities: 1 - probabilities.max(axis=1),
        "entropy": lambda _, shares: -(shares * np.log(np.maximum(shares, SMALLEST_PROBABILITY))).sum(axis=1),
    }


def _neighbour(pooled: np.ndarray, bank: np.ndarray, k: int) -> np.ndarray:
    a, b = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (pooled, bank))
    return 1 - np.sort(a @ b.T, axis=1)[:, -k]


def _energy(pooled: np.ndarray, head: dict[str, list[np.ndarray]]) -> np.ndarray:
    """W. Liu et al., Energy-based out-of-distribution detection, NeurIPS 2020, of the calibrated logits."""
    from scipy.special import logsumexp

    if "hidden" in head:
        kernel, bias = head["hidden"]
        pooled = np.maximum(pooled @ kernel + bias, 0)
    kernel, bias = head["probabilities"]
    return -logsumexp(pooled @ kernel + bias, axis=1)


def _apart(
    rival: Rival, known: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    inside, outside = rival(*known), rival(*other)
    unknown = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    return {
        "auroc": float(roc_auc_score(unknown, np.concatenate([inside, outside]))),
        "fpr95": float((outside <= np.quantile(inside, 0.95)).mean()),
    }


# === Promises ===


def _kept(run: Run, seen: dict, labels: dict, strange: dict) -> list[dict[str, Any]]:
    """What thresholds chosen on validation images give on test images."""
    bank = seen["train"][0][choose_kept(labels["train"], run.config.seed)]
    found = Strangeness.fit(bank, distances(bank, seen["validation"][0]))
    groups = {split: _rows(run, split)["group"].tolist() for split in ("validation", "test")}
    wanted = [AbstentionConfig(accuracy=one) for one in ACCURACIES]
    wanted += [AbstentionConfig(coverage=one) for one in COVERAGES]
    wanted += [replace(AbstentionConfig(accuracy=0.0), known=one) for one in (0.9, 0.95, 0.98, 0.99)]
    rows = []
    for one in wanted:
        chosen = choose_thresholds(
            seen["validation"][1], labels["validation"], groups["validation"], found.held_out, one
        )

        def passing(
            pooled: np.ndarray, probabilities: np.ndarray, limits: Any = chosen
        ) -> tuple[np.ndarray, np.ndarray]:
            known = found.of(pooled) <= (np.inf if limits.strangeness is None else limits.strangeness)
            return known, known & (probabilities.max(axis=1) >= (limits.confidence or 0.0))

        known, answered = passing(*seen["test"])
        right = (seen["test"][1].argmax(axis=1) == labels["test"])[answered]
        independent = effective_n([groups["test"][i] for i in np.flatnonzero(answered)])
        share = float(right.mean()) if len(right) else 0.0
        rows.append(
            {
                "wanted": {name: getattr(one, name) for name in ("accuracy", "coverage", "known")},
                "chosen": chosen.to_dict(),
                "test": {
                    "n": len(known),
                    "known": float(known.mean()),
                    "known_interval": wilson_interval(int(known.sum()), len(known)),
                    "answered": int(answered.sum()),
                    "accuracy": share,
                    "accuracy_interval": wilson_interval(share * independent, independent),
                },
                "unknown_unlike": {name: float(1 - passing(*other)[0].mean()) for name, other in strange.items()},
                "unknown_answered": {name: float(passing(*other)[1].mean()) for name, other in strange.items()},
            }
        )
    return rows


# === Tables ===


def _table(told: dict[str, dict[str, dict[str, float]]]) -> str:
    """AUROC and FPR95 of each rival for each unknown set, and their means."""
    sets = list(next(iter(told.values())))
    lines = [f"| score | {' | '.join(sets)} | mean |", f"|---|{'---|' * (len(sets) + 1)}"]
    for name, of in told.items():
        cells = [f"{of[one]['auroc']:.3f} / {of[one]['fpr95']:.2f}" for one in sets]
        means = [np.mean([of[one][key] for one in sets]) for key in ("auroc", "fpr95")]
        lines.append(f"| {name} | {' | '.join(cells)} | {means[0]:.3f} / {means[1]:.2f} |")
    return "\n".join(lines)


def _kept_table(kept: list[dict[str, Any]]) -> str:
    lines = [
        "| wanted | confidence, strangeness | right, validation | right, test | answered | known | unknown answered |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in kept:
        wanted, chosen, test = row["wanted"], row["chosen"], row["test"]
        asked = f"coverage {wanted['coverage']:g}" if wanted["coverage"] else f"accuracy {wanted['accuracy']:g}"
        low, high = test["accuracy_interval"]
        limits = ["none" if chosen[name] is None else f"{chosen[name]:.3f}" for name in ("confidence", "strangeness")]
        on = f"{chosen['right'] / chosen['answered']:.3f} of {chosen['answered']:,}" if chosen["answered"] else ""
        lines.append(
            f"| {asked}, known {wanted['known']:g} | {', '.join(limits)} | {on} | {test['accuracy']:.3f} "
            f"[{low:.3f}, {high:.3f}] | {test['answered']:,} of {test['n']:,} | {test['known']:.3f} | "
            f"{np.mean(list(row['unknown_answered'].values())):.3f} |"
        )
    return "\n".join(lines)


# === Images made here ===


def _noise(random: np.random.Generator, side: int) -> Image.Image:
    cells = max(2, side // int(random.choice([1, 2, 4, 16])))
    grain = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
    return grain.resize((side, side), Image.Resampling.BICUBIC)


def _line(random: np.random.Generator, words: int) -> str:
    return " ".join(random.choice(WORDS, words))


def _text(random: np.random.Generator, side: int) -> Image.Image:
    dark = random.random() < 0.2
    paper, ink = (random.integers(0, 60), random.integers(180, 256)) if dark else (random.integers(200, 256), 40)
    page = Image.new("RGB", (side, side), (int(paper),) * 3)
    pen, size = ImageDraw.Draw(page), int(random.integers(9, 22))
    font = ImageFont.load_default(size)
    for y in range(int(random.integers(2, 20)), side, int(size * 1.4)):
        line = _line(random, int(random.integers(3, 14)))
        pen.text((int(random.integers(4, 14)), y), line, fill=(int(ink),) * 3, font=font)
    return page


def _screenshot(random: np.random.Generator, side: int) -> Image.Image:
    """A window: title, buttons, a column of entries, text, fields."""
    dark = random.random() < 0.4
    back, ink = ((30, 32, 36), (210, 210, 210)) if dark else ((245, 246, 248), (40, 40, 40))
    page = Image.new("RGB", (side, side), back)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(9)

    def colour() -> tuple[int, int, int]:
        red, green, blue = random.integers(30, 230, 3).tolist()
        return red, green, blue

    pen.rectangle((0, 0, side, 16), fill=colour())
    pen.text((20, 3), _line(random, 4), fill="white", font=font)
    for k in range(3):
        pen.ellipse((side - 14 * (k + 1), 4, side - 14 * (k + 1) + 8, 12), fill="white")
    left = int(random.integers(side // 5, side // 3))
    pen.rectangle((0, 17, left, side), fill=tuple(max(0, value - 14) for value in back))
    for y in range(24, side - 12, 14):
        pen.text((6, y), _line(random, 2)[:12], fill=ink, font=font)
    y = 24
    while y < side - 12:
        kind = random.integers(0, 4)
        if kind == 0:
            pen.rounded_rectangle((left + 8, y, left + 60, y + 16), 4, fill=colour())
            pen.text((left + 14, y + 3), _line(random, 1), fill="white", font=font)
        elif kind == 1:
            pen.rectangle((left + 8, y, max(left + 9, side - 8), y + 20), outline=ink)
            pen.text((left + 12, y + 5), _line(random, 3), fill=ink, font=font)
        else:
            pen.text((left + 8, y), _line(random, 7), fill=ink, font=font)
        y += (24, 28, 13, 13)[kind]
    return page


MADE = {"noise": _noise, "text": _text, "screenshots": _screenshot}


if __name__ == "__main__":
    common.start(strangeness)
