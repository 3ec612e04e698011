"""A small run that has both thresholds, and gives each of the three answers."""

import os
from pathlib import Path

from image_files import make_images
from kit.pipeline import train
from kit.run import Run
from kit.settings import load_config

CLASSES = ("blue", "green", "red")


def make_unsure_images(folder: Path) -> Path:
    """Images of which some lie in the next class's folder, so that the model is unsure of some."""
    made = make_images(folder, CLASSES, 50, seed=7)
    for place, name in enumerate(CLASSES):
        for number in range(0, 50, 10):
            os.rename(made / name / f"{number:04d}.jpg", made / CLASSES[(place + 1) % 3] / f"m-{name}-{number}.jpg")
    return made


def train_judged(images: Path, toy_weights: Path, out: Path) -> Run:
    """Train the toy network on them; it answers 0.8 of the validation images."""
    return train_toy(images, toy_weights, out, {"abstention.coverage": 0.8})


def train_toy(images: Path, toy_weights: Path, out: Path, settings: dict[str, float]) -> Run:
    """Train the toy network in two phases, with activations in float32: nothing is rounded on the way."""
    sets = {
        "data.path": str(images),
        "data.image_size": 32,
        "model.weights": str(toy_weights),
        "model.backbone": "toy",
        "model.head_units": 16,
        "views.count": 1,
        "split.train": 0.4,
        "split.validation": 0.4,
        "split.test": 0.2,
        "training.store_dtype": "float32",
        "training.batch_size": 16,
        "phases.0.epochs": 20,
        "phases.0.learning_rate": 0.05,
        "phases.1.epochs": 2,
        "phases.1.unfreeze_depth": 1,
    }
    return train(load_config(flags=sets | settings), out)
