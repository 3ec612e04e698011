"""Network of a run: built with pretrained weights, described for the manifest."""

from typing import Any

import keras
import numpy as np

from kit.backends.kernels import choose
from kit.config import RunConfig
from kit.model.backbones import build_backbone
from kit.model.catalog import is_hub
from kit.model.classifier import Classifier
from kit.model.cost import multiply_adds
from kit.model.head import build_head
from kit.model.weights import Weights, load_into
from kit.training.session import Session


def build_classifier(config: RunConfig, classes: int, weights: Weights) -> Classifier:
    """Pretrained trunk and fresh head; raises WeightsError if the weights do not fit."""
    keras.utils.set_random_seed(config.seed)  # seeds of layers that drop at random, whatever was drawn before
    backbone = build_backbone(config.model.backbone, config.data.image_size, config.model.alpha)
    load_into(backbone.model, weights, hub=is_hub(config.model.backbone))
    width = backbone.model.output.shape[-1]
    head = build_head(width, classes, config.model.head_units, config.model.dropout, config.seed)
    kernels = choose(config.model.kernels)
    return Classifier(backbone, head, kernels)


def network_size(classifier: Classifier) -> dict[str, int]:
    """Parameters of the whole network, and multiply-adds of one image."""
    full = classifier.full()
    return {"parameters": full.count_params(), "multiply_adds": multiply_adds(full)}


def describe_network(session: Session) -> dict[str, Any]:
    """Description of the trained network for the manifest."""
    classifier, backbone = session.classifier, session.classifier.backbone
    full, phases = classifier.full(), []
    for phase in session.phases:
        cut = backbone.cut(phase.depth)
        classifier.unfreeze(cut)
        trained = sum(int(np.prod(variable.shape)) for variable in full.trainable_variables)
        phases.append(
            {"name": phase.name, "unfreeze_depth": phase.depth, "cut": cut.name, "trained_parameters": trained}
        )
    return {
        **network_size(classifier),
        "backbone": session.config.model.backbone,
        "blocks": ["stem", *(cut.name for cut in backbone.cuts[-2:0:-1])],  # the deepest is called `all`
        "kernels": classifier.kernels,
        "phases": phases,
    }
