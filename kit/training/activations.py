"""Activations of a run's images at the cut points where phases start."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight

from kit.cache import CachedArray
from kit.data.batches import Batches
from kit.training.extraction import Extractor
from kit.training.schedule import Phase
from kit.training.session import Session


@dataclass(frozen=True)
class Activations:
    """Activations by depth of the cut point, for training and scoring.

    `plain` holds every image unaugmented, (n, ...); `training` the training images, (views * images, ...), one view
    after the other. `stores` names the stores behind `training`, by view; `computed` counts the images that no store
    had, once a view, by name of the cut.
    """

    plain: dict[int, CachedArray]
    training: dict[int, CachedArray]
    stores: dict[int, tuple[str, ...]]
    computed: dict[str, int]


def extract(session: Session, *, to_train: bool = True, depths: Iterable[int] = ()) -> Activations:
    """Read activations from the cache, and compute the missing ones; the classifier must be untrained.

    `to_train=False` leaves out augmented views and every phase but the last: scoring needs neither. `depths` are
    further cut points to store for later runs, where the disk budget allows.
    """
    dataset, classifier = session.dataset, session.classifier
    extractor = Extractor(classifier, session.base, session.config)
    starts = [session.start(phase) for phase in (session.phases if to_train else session.phases[-1:])]
    others = [classifier.backbone.cut(depth) for depth in depths]
    others = [cut for cut in others if cut.depth < session.base.depth] if session.fits(others) else []
    cuts = {cut.depth: cut for cut in (*starts, *others)}
    views = range(session.config.views.count if to_train else 1)
    train = dataset.indices("train")
    plain = extractor.extract(dataset, [0], list(cuts.values()))
    training = {depth: array.take(train) for depth, array in plain.items()}
    if len(views) > 1:
        augmented = extractor.extract(dataset.take(train), views[1:], list(cuts.values()))
        training = {depth: CachedArray.concatenate([training[depth], augmented[depth]]) for depth in cuts}
    stores = {cut.depth: tuple(extractor.store(cut, view).name for view in views) for cut in starts}
    return Activations(plain, training, stores, dict(extractor.computed))


def training_batches(session: Session, activations: Activations, phase: Phase) -> Batches:
    """Training batches of a phase."""
    config = session.config
    labels = session.dataset.labels[session.dataset.indices("train")]
    balance = None if config.training.class_weights == "none" else config.training.class_weights
    return Batches(
        activations.training[session.start(phase).depth],
        labels,
        config.training.batch_size,
        compute_sample_weight(balance, labels).astype(np.float32),
        config.views.count,
        config.seed,
    )


def validation_batches(session: Session, activations: Activations, phase: Phase) -> Batches:
    """Validation batches of a phase."""
    chosen = session.dataset.indices("validation")
    x = activations.plain[session.start(phase).depth].take(chosen)
    return Batches(x, session.dataset.labels[chosen], session.config.training.batch_size)
