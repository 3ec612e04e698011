"""Labels that the linear probe and the trained model both find unlikely.

Confident learning (C. Northcutt, L. Jiang, I. Chuang, JAIR 70 (2021) 1373-1411) ranks by the margin of an out-of-fold
model. Here the margin is in log-odds, the out-of-fold model is calibrated, and the trained model has a say. The bounds
were chosen on `benchmarks/label_issues.py`, which plants wrong labels; docs/reports.md has its table.
"""

from dataclasses import dataclass

import numpy as np

from kit.evaluation import apply_temperature, fit_temperature

PROBE_MARGIN = 2.5  # of the probe alone: odds of 12 to 1 against the label
JOINT_MARGIN = 1.0  # of both together
_SMALLEST = 1e-9


@dataclass(frozen=True)
class LabelIssues:
    """Doubted labels, the least plausible first: `images` and the class that the probe sees, `others`, both int (k,).

    `probabilities`, float (n, classes), are the probe's after temperature scaling.
    """

    images: np.ndarray
    others: np.ndarray
    probabilities: np.ndarray


def label_issues(probe: np.ndarray, model: np.ndarray, labels: np.ndarray, learned: np.ndarray) -> LabelIssues:
    """Images whose label both models doubt, by the probe's margin ln p(other) - ln p(label).

    Args:
        probe: Out-of-fold probabilities (n, classes). Their temperature is fitted here: a discriminant analysis in many
            dimensions is sure of everything.
        model: Probabilities (n, classes) of the trained model.
        labels: Class numbers, int (n,).
        learned: Whether the model was trained on the image, bool (n,). It then agrees with most labels, wrong ones too,
            and may outvote the probe by its log-odds; of other images it must find the other class likelier itself.
    """
    calibrated = apply_temperature(probe, max(1.0, fit_temperature(probe, labels)))
    rows, others = np.arange(len(labels)), calibrated.argmax(axis=1)
    first, second = (_margin(table, rows, others, labels) for table in (calibrated, model))
    doubted = (first > PROBE_MARGIN) & (first + second > JOINT_MARGIN) & (learned | (second > 0))
    images = np.flatnonzero(doubted)
    images = images[np.argsort(-first[images], kind="stable")]
    return LabelIssues(images, others[images], calibrated)


def _margin(table: np.ndarray, rows: np.ndarray, others: np.ndarray, labels: np.ndarray) -> np.ndarray:
    logs = np.log(np.maximum(np.asarray(table, np.float64), _SMALLEST))
    return logs[rows, others] - logs[rows, labels]
