"""One trial of a search: train, score on validation, keep no model, never look at test.

A trial is `kit.pipeline.train` without its files: same images, weights, seed and phases, so the same history to the
bit. Images are audited, and weights read, once a process. Importing this module imports no backend.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any

from kit import backends
from kit.config import RunConfig
from kit.data.dataset import Dataset, build_dataset
from kit.data.labels import require_learnable
from kit.data.sources import load_samples
from kit.errors import DataError
from kit.files import fingerprint
from kit.model.weights import Weights
from kit.parts import Parts, with_parts
from kit.run_weights import resolve_weights
from kit.stage_clock import StageClock
from kit.training.history import EpochRecord, History


@dataclass(frozen=True)
class Trained:
    """Result of a trial; `parameters` and `multiply_adds` (for one image) are of the whole network.

    `trained_parameters` are those of the phase that trains the most, `kept` is the epoch whose weights a run would
    keep; `stages` is name -> seconds and peak memory, as in a manifest.
    """

    history: History
    kept: EpochRecord
    parameters: int
    trained_parameters: int
    multiply_adds: int
    stages: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Work:
    """What a trial took from the cache, and what it computed.

    `shared_head`: whether an earlier trial trained the first phase. `computed`: name of a cut point -> images whose
    activations no store had, counted once a view.
    """

    shared_head: bool
    computed: dict[str, int]


class Trainer:
    """Trains one configuration after another; `work` is the latest trial's, even if it ended early."""

    def __init__(self) -> None:
        self.work = Work(False, {})
        self._datasets: dict[str, Dataset] = {}
        self._weights: dict[tuple[str, float, int, str], Weights] = {}
        self._parts: Parts | None = None

    def train(
        self, config: RunConfig, depths: Iterable[int] = (), on_epoch: Callable[[History], None] = lambda history: None
    ) -> Trained:
        """Train the phases of one configuration.

        `depths` are further cut points to store for later trials. `on_epoch` gets the history after every epoch, those
        of a shared head included; an exception it raises ends the trial. Raises UserError as `kit.pipeline.train`, and
        without a validation split.
        """
        backends.start(config.backend, config.threads, config.seed)
        config = self._with_parts(config)
        import keras

        from kit.training.checkpoints import SharedHead
        from kit.training.extraction import extract
        from kit.training.fit import fit
        from kit.training.session import Session, build_classifier, network_size, trained_parameters

        keras.backend.clear_session()  # what the last trial left, before this one adds its own
        clock = StageClock()
        with clock.stage("audit"):
            dataset = self._dataset(config)
        config = dataset.decoding(config)
        classifier = build_classifier(config, len(dataset.classes), self._resolved(config))
        session = Session(config, classifier, dataset)
        with clock.stage("features"):
            activations = extract(session, depths=depths)
        head = SharedHead.of(session, activations)
        self.work = Work(head is not None and head.trained is not None, activations.computed)
        history = fit(session, activations, None, History(), on_epoch, clock.stage, head)
        return Trained(
            history,
            history.best(config.training.monitor),
            **network_size(classifier),
            trained_parameters=max(trained_parameters(session)),
            stages=clock.stages,
        )

    def latency(self, config: RunConfig, repeats: int = 30) -> float:
        """Median milliseconds for one image, pixels to probabilities, by a saved model's layers with random weights."""
        backends.start(config.backend, config.threads, config.seed)
        config = self._with_parts(config)
        import keras
        import numpy as np

        from kit.training.forward import compile_forward
        from kit.training.session import build_classifier

        keras.backend.clear_session()
        random = Weights("none", None, "")
        forward = compile_forward(build_classifier(config, len(self._dataset(config).classes), random).full())
        image = np.zeros((1, config.data.image_size, config.data.image_size, 3), np.uint8)
        seconds = []
        for number in range(5 + repeats):  # the first compile, and fill caches
            start = perf_counter()
            forward(image)
            if number >= 5:
                seconds.append(perf_counter() - start)
        return 1000 * median(seconds)

    def _with_parts(self, config: RunConfig) -> RunConfig:
        """The configuration with the parts of its plugin, which is run once for all trials."""
        if config.plugin:
            config = with_parts(replace(config, parts=self._parts))
            self._parts = config.parts
        return config

    def _dataset(self, config: RunConfig) -> Dataset:
        """The images without the test split, so that nothing of it can be read."""
        key = fingerprint([repr(config.data), repr(config.split)])
        if key not in self._datasets:
            found = load_samples(config.data.path, config.data.columns, corrections=config.data.corrections)
            require_learnable(found)
            dataset = build_dataset(found, config).without("test")
            if not len(dataset.indices("validation")):
                raise DataError(
                    "There are no validation images, by which trials are compared.",
                    "Give more images, or raise split.validation.",
                )
            self._datasets = {key: dataset}
        return self._datasets[key]

    def _resolved(self, config: RunConfig) -> Weights:
        key = (config.model.weights, config.model.alpha, config.data.image_size, config.model.backbone)
        if key not in self._weights:
            self._weights[key] = resolve_weights(config)
        return self._weights[key]
