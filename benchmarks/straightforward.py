"""Two-phase recipe in plain Keras, which run.py and suite.py compare with transferkit.

It follows Keras's guide to transfer learning (https://keras.io/guides/transfer_learning/): image_dataset_from_directory
(which needs TensorFlow under JAX too), the whole network in every epoch, model.fit twice. transferkit computes nothing
here: it reads the settings, and its block numbers say which layers to unfreeze.
"""

from time import perf_counter

STARTED = perf_counter()  # before keras is imported: importing is a part of the run

from pathlib import Path  # noqa: E402
from statistics import fmean  # noqa: E402
from typing import Annotated, Any  # noqa: E402

import common  # noqa: E402
import typer  # noqa: E402

from kit.config import PhaseConfig, RunConfig  # noqa: E402
from kit.errors import ConfigError  # noqa: E402
from kit.files import write_json  # noqa: E402
from kit.settings import load_config  # noqa: E402


def straightforward(
    images: Annotated[Path, typer.Argument(help="A folder with train/, validation/ and test/.")],
    config: Annotated[Path, typer.Argument(help="TOML of the run.")],
    facts: Annotated[Path, typer.Option(help="Where to write what was measured, as JSON.")],
    weights: Annotated[Path | None, typer.Option(help="Weights file of the base; none for random weights.")] = None,
    epochs_timed: Annotated[int, typer.Option(min=0, help="Whole epochs to time in each phase; 0 runs all.")] = 0,
    jit: common.Jit = "auto",
    guide: Annotated[bool, typer.Option("--guide", help="The guide's augmentation and unfreezing as well.")] = False,
) -> None:
    """How long the recipe takes in Keras as its guide writes it, stage by stage, and how good the model is.

    The facts: seconds, stages (name -> seconds), phases (name -> epochs, epoch_seconds, warm_up_seconds), complete (all
    epochs were run), accuracy (of test; None unless complete), images (split -> count).
    """
    settings = load_config(file=config)
    require_plain(settings)
    jit_compile = common.jit_compile(jit)
    import keras

    keras.utils.set_random_seed(settings.seed)
    train, validation, test = (_dataset(images / split, settings) for split in ("train", "validation", "test"))
    model, base = _build(settings, len(train.class_names), weights, guide)
    stages, phases = {"start and rest": perf_counter() - STARTED}, {}
    for number, phase in enumerate(settings.phases, start=1):
        if guide:
            base.trainable = phase.unfreeze_depth != 0
        else:
            _unfreeze(base, phase.unfreeze_depth)
        _compile(model, phase.learning_rate, jit_compile)
        name = f"phase {number}: {phase.name}"
        phases[name] = _fit(model, train, validation, phase, epochs_timed)
        stages[name] = phases[name]["seconds"]
    began = perf_counter()
    _, accuracy = model.evaluate(test, verbose=0)
    stages["evaluation"], began = perf_counter() - began, perf_counter()
    model.save(facts.with_name("straightforward.keras"))
    stages["saving"] = perf_counter() - began
    complete = all(len(phase["epoch_seconds"]) == phase["epochs"] for phase in phases.values())
    write_json(
        facts,
        {
            "seconds": sum(stages.values()),
            "stages": stages,
            "phases": phases,
            "complete": complete,
            "accuracy": float(accuracy) if complete else None,
            "photos": {
                "train": len(train.file_paths),
                "validation": len(validation.file_paths),
                "test": len(test.file_paths),
            },
        },
    )


def require_plain(config: RunConfig) -> None:
    """Raise ConfigError if the recipe has settings that the plain way lacks."""
    training, views = config.training, config.views
    wanted = {
        "views.count": (views.count, 1),
        "training.optimizer": (training.optimizer, "adam"),
        "training.label_smoothing": (training.label_smoothing, 0.0),
        "training.class_weights": (training.class_weights, "none"),
        "threads": (config.threads, 0),
    }
    for index, phase in enumerate(config.phases):
        wanted[f"phases.{index}.schedule"] = (phase.schedule, "constant")
        wanted[f"phases.{index}.warmup_epochs"] = (phase.warmup_epochs, 0.0)
        wanted[f"phases.{index}.weight_decay"] = (phase.weight_decay, 0.0)
        wanted[f"phases.{index}.patience"] = (phase.patience, 0)
    for key, (value, plain) in wanted.items():
        if value != plain:
            raise ConfigError(
                f"{key} must be {plain!r} to compare with the straightforward way, not {value!r}.",
                f"Set it: --set {key}={plain}.",
            )


def _dataset(folder: Path, config: RunConfig) -> Any:
    import keras

    size = config.data.image_size
    return keras.utils.image_dataset_from_directory(
        folder,
        image_size=(size, size),
        batch_size=config.training.batch_size,
        shuffle=folder.name == "train",
        seed=config.seed,
        crop_to_aspect_ratio=config.data.resize == "crop",
        pad_to_aspect_ratio=config.data.resize == "pad",
        verbose=False,
    )


def _build(config: RunConfig, classes: int, weights: Path | None, augment: bool) -> tuple[Any, Any]:
    """Model from float32 pixels 0-255 (batch, S, S, 3) to probabilities (batch, classes), and its base."""
    import keras

    shape = (config.data.image_size, config.data.image_size, 3)
    base = keras.applications.MobileNetV2(input_shape=shape, alpha=config.model.alpha, include_top=False, weights=None)
    if weights is not None:
        base.load_weights(weights)
    inputs = pixels = keras.Input(shape)
    if augment:
        pixels = keras.layers.RandomFlip("horizontal", seed=config.seed)(pixels)
        pixels = keras.layers.RandomRotation(0.1, seed=config.seed)(pixels)
    # training=False keeps batch normalisation in inference mode, also when the base is unfrozen
    outputs = base(keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels), training=False)
    outputs = keras.layers.GlobalAveragePooling2D()(outputs)
    if config.model.head_units:
        outputs = keras.layers.Dense(config.model.head_units, activation="relu")(outputs)
    if config.model.dropout:
        outputs = keras.layers.Dropout(config.model.dropout)(outputs)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(outputs)), base


def _unfreeze(base: Any, depth: int) -> None:
    """Unfreeze the top `depth` blocks, batch normalisation excepted."""
    import keras

    from kit.model.backbones import find_cuts
    from kit.model.catalog import block_names

    names = [layer.name for layer in base.layers]
    cut = find_cuts(base, block_names("mobilenet_v2"))[depth]
    first = len(names) if cut.depth == 0 else names.index(cut.layer) + 1 if cut.layer else 0
    base.trainable = True
    for number, layer in enumerate(base.layers):
        layer.trainable = number >= first and not isinstance(layer, keras.layers.BatchNormalization)


def _compile(model: Any, learning_rate: float, jit_compile: str | bool) -> None:
    import keras

    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=jit_compile)


def _fit(model: Any, train: Any, validation: Any, phase: PhaseConfig, epochs_timed: int) -> dict[str, Any]:
    """One phase: all its epochs, or those to be timed after a first step that compiles."""
    import keras

    epoch_seconds: list[float] = []
    began = [0.0]
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: began.__setitem__(0, perf_counter()),
        on_epoch_end=lambda epoch, logs: epoch_seconds.append(perf_counter() - began[0]),
    )
    extrapolated = 0 < epochs_timed < phase.epochs
    start = perf_counter()
    if extrapolated:
        model.fit(_sample(train), validation_data=_sample(validation), verbose=0)
    warm_up = perf_counter() - start
    epochs = epochs_timed if extrapolated else phase.epochs
    model.fit(train, validation_data=validation, epochs=epochs, callbacks=[clock], verbose=0)
    seconds = warm_up + fmean(epoch_seconds) * phase.epochs if extrapolated else perf_counter() - start
    return {
        "epochs": phase.epochs,
        "epoch_seconds": epoch_seconds,
        "warm_up_seconds": warm_up if extrapolated else 0.0,
        "seconds": seconds,
    }


def _sample(dataset: Any) -> Any:
    """First batch, and a part as large as the last batch: the shapes that an epoch compiles."""
    import tensorflow as tf

    images, labels = next(iter(dataset))
    last = len(dataset.file_paths) % len(labels) or len(labels)
    batches = [(images, labels), (images[:last], labels[:last])]
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=dataset.element_spec).apply(
        tf.data.experimental.assert_cardinality(len(batches))
    )


if __name__ == "__main__":
    common.start(straightforward)
