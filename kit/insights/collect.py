"""Collect the insights of a run, after its model is saved. It imports no keras by itself."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kit.csv_tables import make_table
from kit.data.dataset import Dataset
from kit.data.facts import ImageFacts
from kit.data.pixels import cached_pixels
from kit.insights import CURVE_COLUMNS, Evidence, Insights, thumbnails
from kit.insights.evidence import maps_of_classes, shares
from kit.insights.image_map import FEWEST, MAPPED, map_images
from kit.insights.label_issues import label_issues
from kit.insights.linear_probe import learning_curve, out_of_fold, reduce
from kit.run import Run

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

    from kit.training.extraction import Activations
    from kit.training.session import Session

BLOCK = 32  # images whose feature maps are held at a time
ISSUES = 200
ISSUES_SHOWN = 48
NOT_ONE_MODEL = "The predictions are of the models of the folds; the one that was kept has seen these images."
NO_POOLED = "No phase trains the head alone, so the run keeps no pooled features."
NOT_POOLED = "The head, one of your own, reads the feature map, so the run keeps no pooled features."
OWN_HEAD = "The head is one of your own, whose evidence has no closed form."


def collect_insights(
    run: Run, dataset: Dataset, session: "Session", activations: "Activations", probabilities: np.ndarray
) -> None:
    """Record the insights of a run; `probabilities` (images, classes) are the kept model's, or out-of-fold ones."""
    insights = Insights(run.insights)
    missing: dict[str, str] = {}
    doubted: dict[str, int] = {}
    method: dict[str, str] = {}
    scored = (
        np.arange(len(dataset.keys))
        if dataset.folds is not None
        else next(
            (found for split in ("test", "validation") if len(found := dataset.indices(split))), np.array([], int)
        )
    )
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    worst = scored[thumbnails.worst_mistakes(dataset.labels[scored], predicted[scored], confidence[scored])]
    shuffled = scored[thumbnails.sample(len(scored), session.config.seed, len(scored))]
    sampled = shuffled[: thumbnails.GRID]
    issues = np.array([], int)
    pooled = activations.plain.get(0) if session.classifier.pools else None
    if pooled is None:
        why = NO_POOLED if session.classifier.pools else NOT_POOLED
        missing |= {"doubted": why, "learning_curve": why, "map": why}
    else:
        seed = session.config.seed
        reduced = reduce(pooled, dataset.indices("train"), len(dataset.classes), seed)
        issues = _linear_probe(insights, missing, dataset, reduced, probabilities, seed)
        method = _image_map(insights, missing, dataset, reduced, shuffled[:MAPPED], seed)
        doubted = {"total": len(issues), "judged": len(dataset.labels)}
    index = {path: i for i, path in enumerate(dataset.paths)}
    shown = _unique(
        sampled.tolist(),
        worst.tolist(),
        thumbnails.confused(dataset.labels, predicted, worst),
        issues[:ISSUES_SHOWN].tolist(),
        thumbnails.per_class(dataset.labels.tolist()),
        [index[path] for path in thumbnails.in_findings(dataset.findings) if path in index],
    )[: thumbnails.LARGEST]
    left_out = {row[0]: file for row, file in zip(dataset.dropped, dataset.dropped_files, strict=True)}
    odd = [path for path in thumbnails.in_findings(dataset.findings) if path in left_out][
        : thumbnails.LARGEST - len(shown)
    ]
    # what room is left shows others that were scored, those on the map first: the page browses them
    shown = _unique(shown, shuffled.tolist())[: thumbnails.LARGEST - len(odd)]
    pixels = _pixels(session, dataset, shown)
    insights.write_album(
        "thumbnails",
        {dataset.paths[i]: thumbnails.thumbnail(Image.fromarray(pixels[k])) for k, i in enumerate(shown)}
        | thumbnails.thumbnails_of_files({path: left_out[path] for path in odd}),
    )
    if session.classifier.has_own_head:
        missing["activation"] = OWN_HEAD
    elif dataset.folds is None:
        drawn = np.array(sorted(set(shown) & set(scored.tolist())), int)
        _evidence(insights, dataset, session, activations, drawn, probabilities)
    else:
        missing["activation"] = NOT_ONE_MODEL
    insights.write_table("images", image_table(dataset.paths, dataset.facts))
    insights.write_summary([dataset.paths[i] for i in sampled], missing, doubted, method)


def _linear_probe(
    insights: Insights, missing: dict, dataset: Dataset, reduced: np.ndarray, probabilities: np.ndarray, seed: int
) -> np.ndarray:
    """Record label issues and the learning curve; returns the indices of all issues."""
    classes, train, validation = len(dataset.classes), dataset.indices("train"), dataset.indices("validation")
    probe = out_of_fold(reduced, dataset.labels, dataset.groups, classes, seed)
    learned = (dataset.splits == "train") & (dataset.folds is None)
    found = label_issues(probe, probabilities, dataset.labels, learned)
    issues, other, predicted = found.images[:ISSUES], found.others[:ISSUES], found.probabilities
    names = np.array(dataset.classes, dtype=object)
    columns = {
        "path": [dataset.paths[i] for i in issues],
        "split": dataset.splits[issues].tolist(),
        "label": names[dataset.labels[issues]].tolist(),
        "predicted": names[other].tolist(),
        "p_label": predicted[issues, dataset.labels[issues]],
        "p_predicted": predicted[issues, other],
    }
    insights.write_table("doubted", make_table(columns))
    if not len(validation):
        missing["learning_curve"] = "There is no validation split to measure it on."
        return found.images
    curve = learning_curve(reduced, dataset.labels, train, validation, classes, seed)
    if not curve:
        missing["learning_curve"] = "There are too few training images for parts of them to be compared."
    rows = {name: [point[k] for point in curve] for k, name in enumerate(CURVE_COLUMNS)}
    insights.write_table("learning_curve", make_table(rows))
    return found.images


def _image_map(
    insights: Insights, missing: dict, dataset: Dataset, reduced: np.ndarray, images: np.ndarray, seed: int
) -> dict[str, str]:
    """Record the map of some images; returns how it was made."""
    if len(images) < FEWEST:
        missing["map"] = f"A map takes at least {FEWEST} images that were scored."
        return {}
    method, places = map_images(reduced[images], seed)
    columns: dict[str, Any] = {"path": [dataset.paths[i] for i in images], "x": places[:, 0], "y": places[:, 1]}
    insights.write_table("map", make_table(columns))
    return {"method": method}


def _evidence(
    insights: Insights,
    dataset: Dataset,
    session: "Session",
    activations: "Activations",
    images: np.ndarray,
    probabilities: np.ndarray,
) -> None:
    """Record two activation maps of each of some images: of the predicted class, and of the label or the next."""
    head = {layer.name: layer.get_weights() for layer in session.classifier.head.layers}
    order = np.argsort(-probabilities[images], axis=1, kind="stable")
    labels, predicted = dataset.labels[images], order[:, 0]
    classes = np.stack([predicted, np.where(predicted == labels, order[:, 1], labels)], axis=1)
    found: dict[str, list[tuple[int, bytes]]] = {}
    height = width = 0
    for start, features in _feature_maps(session, dataset, activations, images):
        height, width = features.shape[1:3]
        asked = classes[start : start + len(features)]
        for place, maps in enumerate(maps_of_classes(features, head, asked)):
            levels = (255 * shares(maps)).round().astype(np.uint8)
            numbered = zip(asked[place].tolist(), levels, strict=True)
            found[dataset.paths[images[start + place]]] = [(number, level.tobytes()) for number, level in numbered]
    insights.write_evidence(Evidence((height, width), found))


def _feature_maps(
    session: "Session", dataset: Dataset, activations: "Activations", indices: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the feature maps of the trained backbone, float (n, height, width, channels), BLOCK images at a time.

    Before each block its place in `indices`.
    """
    from kit.training.forward import compile_forward, in_passes

    backbone = session.classifier.backbone
    depth = session.start(session.phases[-1]).depth
    forward = in_passes(compile_forward(session.classifier.feature_maps(backbone.cut(depth or -1))), BLOCK)
    for start in range(0, len(indices), BLOCK):
        block = indices[start : start + BLOCK]
        rows = _pixels(session, dataset, block) if depth == 0 else activations.plain[depth].take(block)[:]
        yield start, forward(rows)[0]


def _pixels(session: "Session", dataset: Dataset, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Cached pixels of some images: uint8 (n, size, size, 3), 0-255."""
    files, keys = [dataset.files[i] for i in indices], [dataset.keys[i] for i in indices]
    (pixels,) = cached_pixels(files, keys, (0,), session.config)
    return pixels[:]


def image_table(paths: Sequence[str], facts: Sequence[ImageFacts]) -> "pandas.DataFrame":
    """Size and mean colour of images: images.csv."""
    columns: dict[str, Any] = {
        "path": list(paths),
        "width": np.array([fact.width for fact in facts], np.int64),
        "height": np.array([fact.height for fact in facts], np.int64),
        "bytes": np.array([fact.bytes for fact in facts], np.int64),
        **{
            f"mean_{letter}": np.array([fact.mean_colour[k] for fact in facts], np.float32)
            for k, letter in enumerate("rgb")
        },
    }
    return make_table(columns)


def _unique(*parts: list[int]) -> list[int]:
    """All numbers, in order, without repetition."""
    return list(dict.fromkeys(i for part in parts for i in part))
