"""Settings of a run that takes a moment: `kit.train(images, weights=toy_weights, **SMALL)`. Imports no backend."""

SMALL = {
    "image_size": 32,
    "backbone": "toy",
    "views": 1,
    "head_units": 8,
    "batch_size": 16,
    "head_epochs": 2,
    "fine_tune_epochs": 1,
    "unfreeze_depth": 1,
}
