"""Train the student on the teacher's features, with a checkpoint after each epoch."""

import re
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from kit import progress
from kit.files import atomic_path
from kit.model.backbones import Backbone
from starter.targets import Projection, Targets

MOMENTUM = 0.99  # of the moving statistics: Keras's 0.999 lags behind in so few steps


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of the student: AdamW, linear warm-up, cosine decay to 0.

    In an epoch each image passes in one view; views take turns. `batch_size` counts views. `learning_rate` is the peak,
    `warmup` the share of all steps before it, `weight_decay` decoupled. `map_weight` and `pooled_weight` are of the
    mean squared error of the last map, in the teacher's components, and of the pooled features; `label_weight` of the
    cross-entropy of a linear classifier on the pooled features. `seed` draws the order of images and views, and the
    classifier's initial weights.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.02
    map_weight: float = 1.0
    pooled_weight: float = 1.0
    label_weight: float = 0.1
    seed: int = 0


def build(
    backbone: Backbone, projections: tuple[Projection, Projection], classes: int, recipe: Recipe, steps: int
) -> keras.Model:
    """Compiled model from pixels to projected map, projected pooled features and logits; `steps` are of an epoch."""
    for layer in backbone.model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    inputs = keras.Input(backbone.model.input.shape[1:], dtype="uint8")
    features = backbone.model(backbone.preprocessing(inputs))
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    of_map, of_pooled = (_fixed(projection, name) for projection, name in zip(projections, _PROJECTED, strict=True))
    logits = keras.layers.Dense(classes, kernel_initializer="zeros", name="label")(pooled)
    model = keras.Model(inputs, {"map": of_map(features), "pooled": of_pooled(pooled), "label": logits})
    total = recipe.epochs * steps
    warmup = round(recipe.warmup * total)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, total - warmup, warmup_target=recipe.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(
        optimizer,
        loss={
            "map": "mse",
            "pooled": "mse",
            "label": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        },
        loss_weights={"map": recipe.map_weight, "pooled": recipe.pooled_weight, "label": recipe.label_weight},
        jit_compile=keras.backend.backend() == "jax",  # on TensorFlow XLA's convolutions are 15 times slower on a CPU
    )
    return model


_PROJECTED = ("map", "pooled")


def _fixed(projection: Projection, name: str) -> keras.layers.Layer:
    channels, components = projection.matrix.shape
    layer = keras.layers.Dense(components, name=name, trainable=False)
    layer.build((None, channels))
    layer.set_weights([projection.matrix, -projection.mean @ projection.matrix])
    return layer


def epoch_of(targets: Targets, labels: np.ndarray, recipe: Recipe, epoch: int) -> tuple[np.ndarray, dict]:
    """Every image in one view, shuffled; every view once over as many epochs as there are views."""
    n, views = targets.pixels.shape[:2]
    first = np.random.default_rng(recipe.seed).integers(views, size=n)
    order = np.random.default_rng([recipe.seed, epoch]).permutation(n)
    order = order[: n - n % recipe.batch_size] if n > recipe.batch_size else order  # whole batches only
    view = (first[order] + epoch) % views
    wanted = {"map": targets.map[order, view], "pooled": targets.pooled[order, view], "label": labels[order]}
    return targets.pixels[order, view], {k: v if k == "label" else v.astype(np.float32) for k, v in wanted.items()}


def train(
    model: keras.Model, targets: Targets, labels: np.ndarray, recipe: Recipe, folder: Path, watch=lambda epoch: ""
) -> None:
    """Train from the last checkpoint in `folder`, if there is one, to the last epoch.

    `watch` gets the number of finished epochs after each; its text is shown.
    """
    for epoch in range(_restore(model, folder), recipe.epochs):
        pixels, wanted = epoch_of(targets, labels, recipe, epoch)
        history = model.fit(pixels, wanted, batch_size=recipe.batch_size, shuffle=False, verbose=0).history
        losses = ", ".join(f"{name.removesuffix('_loss')} {value[0]:.4f}" for name, value in sorted(history.items()))
        progress.say(f"epoch {epoch + 1} of {recipe.epochs}: {losses} {watch(epoch + 1)}".rstrip())
        _save(model, folder, epoch + 1)


def _save(model: keras.Model, folder: Path, epoch: int) -> None:
    """Write a checkpoint, then remove the one before it."""
    with atomic_path(folder / f"epoch-{epoch}.weights.h5") as temporary:
        model.save_weights(temporary)
    (folder / f"epoch-{epoch - 1}.weights.h5").unlink(missing_ok=True)


def _restore(model: keras.Model, folder: Path) -> int:
    """Load the newest checkpoint with the optimizer's state; returns its number of epochs."""
    found = {int(re.findall(r"\d+", path.name)[0]): path for path in folder.glob("epoch-*.weights.h5")}
    if not found:
        return 0
    model.optimizer.build(model.trainable_variables)
    model.load_weights(found[max(found)])
    return max(found)
