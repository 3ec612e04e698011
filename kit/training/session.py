"""Network, images and schedule of a run; where each phase starts."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from kit import progress
from kit.backends.kernels import choose
from kit.config import RunConfig
from kit.data.dataset import Dataset
from kit.model import undrawn
from kit.model.backbones import Cut, build_backbone
from kit.model.catalog import is_hub
from kit.model.classifier import Classifier, build_head, own_head
from kit.model.graph import multiply_adds
from kit.model.weights import Weights, load_into
from kit.training.schedule import Phase, plan


@dataclass(frozen=True)
class Session:
    """Configuration, classifier and dataset of a run; the classifier is trained in place."""

    config: RunConfig
    classifier: Classifier
    dataset: Dataset

    def __post_init__(self):
        _ = self.phases  # a depth that the network lacks is refused before there is a run folder

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The schedule, resolved against the backbone."""
        depths = [self.classifier.backbone.cut(phase.unfreeze_depth).depth for phase in self.config.phases]
        return plan(self.config.phases, depths, self.config.views.count)

    @property
    def views(self) -> tuple[int, ...]:
        """Views of the training images that any phase reads, the plain one (0) first."""
        return tuple(sorted({view for phase in self.phases for view in phase.views}))

    def starts(self, view: int) -> tuple[Cut, ...]:
        """Cut points from which a phase reads a view of the training images."""
        return tuple(dict.fromkeys(self.start(phase) for phase in self.phases if view in phase.views))

    @cached_property
    def base(self) -> Cut:
        """Deepest cut of the phases and `training.base_depth`; the pixels if it exceeds `training.store_limit_gib`."""
        settings, pixels = self.config.training, self.classifier.backbone.cut(-1)
        least = self.classifier.backbone.cut(settings.base_depth).depth
        cut = self.classifier.backbone.cut(max(least, *(phase.start_depth for phase in self.phases)))
        if cut == pixels or self.fits([cut]):
            return cut
        progress.say(
            f"The activations at {cut.name} would take {self.stored_bytes([cut]) / 2**30:.1f} GiB, more than "
            f"training.store_limit_gib = {settings.store_limit_gib:g}: the frozen layers below it run again in every "
            "epoch instead."
        )
        return pixels

    def fits(self, cuts: Iterable[Cut], dtype: str = "") -> bool:
        """Whether the activations at these cut points keep to `training.store_limit_gib`."""
        return self.stored_bytes(cuts, dtype) <= self.config.training.store_limit_gib * 2**30

    def start(self, phase: Phase) -> Cut:
        """Cut point that a phase starts from: its own, or the pixels if that is the deepest and did not fit."""
        deepest = max(phase.start_depth for phase in self.phases)
        pixels, least = (self.classifier.backbone.cut(depth) for depth in (-1, self.config.training.base_depth))
        if phase.start_depth == deepest and self.base == pixels != least:
            return pixels
        return self.classifier.backbone.cut(phase.start_depth)

    def tail(self, phase: Phase, *, logits: bool = False) -> keras.Model:
        """Model that a phase trains, from its start activations to probabilities, or to the `logits` it is trained on.

        Sets which layers are trainable.
        """
        self.classifier.unfreeze(self.classifier.backbone.cut(phase.depth))
        return self.classifier.tail(self.start(phase), logits=logits)

    def stored_bytes(self, cuts: Iterable[Cut], dtype: str = "") -> int:
        """Bytes of the activations at these cut points; `dtype` is `training.store_dtype` unless given."""
        views = len(self.dataset.keys) + len(self.dataset.indices("train")) * (len(self.views) - 1)
        one = sum(int(np.prod(self.classifier.shape(cut))) for cut in cuts)
        return one * views * np.dtype(dtype or self.config.training.store_dtype).itemsize


def build_classifier(config: RunConfig, classes: int, weights: Weights) -> Classifier:
    """Pretrained trunk and fresh head; raises WeightsError if the weights do not fit."""
    keras.utils.set_random_seed(config.seed)  # seeds of layers that drop at random, whatever was drawn before
    with undrawn() if weights.path else nullcontext():
        backbone = build_backbone(config.model.backbone, config.data.image_size, config.model.alpha)
    load_into(backbone.model, weights, hub=is_hub(config.model.backbone))
    width = backbone.model.output.shape[-1]
    if config.parts is not None and config.parts.head is not None:
        keras.utils.set_random_seed(config.seed)  # of its layers, whatever the backbone has drawn
        head = own_head(config.parts.head, tuple(backbone.model.output.shape[1:]), classes, config.seed)
    else:
        head = build_head(width, classes, config.model.head_units, config.model.dropout, config.seed)
    kernels = choose(config.model.kernels)
    return Classifier(backbone, head, kernels, config.training.train_normalisation)


def network_size(classifier: Classifier) -> dict[str, int]:
    """Parameters of the whole network, and multiply-adds of one image."""
    full = classifier.full()
    return {"parameters": full.count_params(), "multiply_adds": multiply_adds(full)}


def trained_parameters(session: Session) -> list[int]:
    """Parameters that each phase trains; the trunk, and batch normalisation unless it is trained, left out."""
    full, counts = session.classifier.full(), []
    for phase in session.phases:
        session.classifier.unfreeze(session.classifier.backbone.cut(phase.depth))
        counts.append(sum(int(np.prod(variable.shape)) for variable in full.trainable_variables))
    return counts


def describe_network(session: Session) -> dict[str, Any]:
    """Description of the trained network for the manifest."""
    classifier, backbone = session.classifier, session.classifier.backbone
    phases = [
        {
            "name": phase.name,
            "unfreeze_depth": phase.depth,
            "cut": backbone.cut(phase.depth).name,
            "trained_parameters": trained,
        }
        for phase, trained in zip(session.phases, trained_parameters(session), strict=True)
    ]
    return {
        **network_size(classifier),
        "backbone": session.config.model.backbone,
        "blocks": ["stem", *(cut.name for cut in backbone.cuts[-2:0:-1])],  # the deepest is called `all`
        "kernels": classifier.kernels,
        "phases": phases,
    }
