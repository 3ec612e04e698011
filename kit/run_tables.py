"""The tables of a run: samples.csv and predictions.csv."""

from typing import TYPE_CHECKING

import numpy as np

from kit.csv_tables import PREDICTION_COLUMNS, SAMPLE_COLUMNS, make_table
from kit.data.dataset import Dataset

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run


def samples_table(dataset: Dataset) -> "pandas.DataFrame":
    """Every image of the source, those left out included, sorted by path."""
    kept = zip(dataset.paths, dataset.labels, dataset.splits, dataset.groups, strict=True)
    rows = [(path, dataset.classes[label], str(split), group, None) for path, label, split, group in kept]
    columns = zip(*sorted([*rows, *dataset.dropped], key=lambda row: row[0]), strict=True)
    return make_table(dict(zip(SAMPLE_COLUMNS, columns, strict=True)))


def predictions_table(dataset: Dataset, final: np.ndarray, first: np.ndarray) -> "pandas.DataFrame":
    """Predictions after the last and the first phase, from probabilities of float (n, classes)."""
    names = np.array(dataset.classes, dtype=object)
    values = (
        list(dataset.paths),
        dataset.splits.tolist(),
        names[dataset.labels].tolist(),
        names[final.argmax(axis=1)].tolist(),
        names[first.argmax(axis=1)].tolist(),
        final.max(axis=1),
    )
    columns = dict(zip(PREDICTION_COLUMNS, values, strict=True))
    return make_table(columns | {f"p_{name}": final[:, i] for i, name in enumerate(dataset.classes)})
