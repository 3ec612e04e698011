"""One network through one schedule: build, extract, fit, predict. It composes all else in this package."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kit import backend, progress
from kit.cache import CachedArray
from kit.config import RunConfig
from kit.data.batches import TrainingSet
from kit.data.dataset import Dataset
from kit.fingerprint import fingerprint
from kit.model.backbones import Cut, build_backbone
from kit.model.catalog import is_hub
from kit.model.classifier import Classifier
from kit.model.cost import multiply_adds
from kit.model.head import build_head
from kit.model.kernels import choose
from kit.model.weights import Weights, load_into
from kit.training.checkpoints import PhaseEnd
from kit.training.extraction import Extractor
from kit.training.forward import compile_forward
from kit.training.history import History
from kit.training.phases import Validation, arrays, assign, predict_rows, run_phase
from kit.training.schedule import Phase, plan
from kit.training.trained_heads import VERSION, TrainedHead

Stage = Callable[[str], AbstractContextManager[None]]


def build_classifier(config: RunConfig, classes: int, weights: Weights) -> Classifier:
    """A network with pretrained trunk and fresh head.

    Raises:
        WeightsError: If the weights do not fit.
    """
    keras.utils.set_random_seed(config.seed)  # seeds of layers that drop at random, whatever was drawn before
    backbone = build_backbone(config.model.backbone, config.data.image_size, config.model.alpha)
    load_into(backbone.model, weights, hub=is_hub(config.model.backbone))
    width = backbone.model.output.shape[-1]
    head = build_head(width, classes, config.model.head_units, config.model.dropout, config.seed)
    kernels = choose(config.model.kernels, keras.backend.backend(), backend.device())
    return Classifier(backbone, head, kernels)


@dataclass
class Session:
    """A classifier on its way through a schedule.

    Attributes:
        config: The run's configuration.
        classifier: The network; trained in place.
        phases: The schedule, resolved against the backbone.
        head_was_shared: Whether `fit` took the trained head from another run.
        computed: Name of a cut -> rows that `extract` computed, since no store had them.
    """

    config: RunConfig
    classifier: Classifier
    phases: tuple[Phase, ...] = field(init=False)
    head_was_shared: bool = field(default=False, init=False)
    computed: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self):
        depths = [self.classifier.backbone.cut(phase.unfreeze_depth).depth for phase in self.config.phases]
        self.phases = plan(self.config.phases, depths)

    def extractor(self, dataset: Dataset) -> Extractor:
        """Where activations come from."""
        return Extractor(self.classifier, self._base(len(dataset.keys), len(dataset.indices("train"))), self.config)

    def extract(self, dataset: Dataset, *, to_train: bool = True, depths: Iterable[int] = ()) -> "Activations":
        """Everything the phases and the scores read, from stores or computed into them.

        Args:
            dataset: The images.
            to_train: False leaves out what only training reads: augmented views, and every phase but the last.
            depths: Other cut points to be stored on the way, for runs to come: one pass over the images is cheaper.
        """
        views = self.config.views.count if to_train else 1
        extractor = self.extractor(dataset)
        starts = {phase.start_depth: self.start(phase.start_depth, extractor.base) for phase in self.phases}
        if not to_train:
            starts = {self.phases[-1].start_depth: starts[self.phases[-1].start_depth]}
        train = dataset.indices("train")
        others = [self.classifier.backbone.cut(depth) for depth in depths]
        if self._stored_bytes(others, len(dataset.keys), len(train)) > self.config.training.store_limit_gib * 2**30:
            others = []
        wanted = [*starts.values(), *(cut for cut in others if cut.depth < extractor.base.depth)]
        cuts = tuple({cut.depth: cut for cut in wanted}.values())
        plain = extractor.extract(dataset, [0], cuts)
        augmented = extractor.extract(dataset.take(train), range(1, views), cuts) if views > 1 else {}
        training = {
            cut.depth: CachedArray.concatenate(
                [plain[cut.depth].take(train), *([augmented[cut.depth]] if augmented else [])]
            )
            for cut in cuts
        }
        self.computed = dict(extractor.computed)
        stores = {cut.depth: tuple(extractor.store(cut, view).name for view in range(views)) for cut in starts.values()}
        return Activations(dataset, {depth: cut.depth for depth, cut in starts.items()}, plain, training, views, stores)

    def fit(
        self,
        activations: "Activations",
        checkpoints: Path | None,
        history: History,
        on_epoch: Callable[[History], None],
        stage: Stage,
        *,
        share_head: bool = False,
    ) -> History:
        """Runs the phases that have not ended yet, each from its last checkpoint.

        Args:
            activations: What `extract` returned.
            checkpoints: Folder of the run's checkpoints; None for a run that nothing will resume.
            history: Epochs recorded so far.
            on_epoch: Called with the history after every epoch.
            stage: Times a named stage.
            share_head: Take the first phase, where it trains the head alone, from a run that trained the same one
                (`kit.training.trained_heads`), and keep it for others.
        """
        epochs = 0
        for phase in self.phases:
            tail = self._tail(phase, activations)
            ended = None if checkpoints is None else PhaseEnd.load(checkpoints, phase.index)
            if ended is not None:
                assign(tail.variables, ended.variables)
                epochs = ended.epochs_total
                continue
            key = self._head_key(phase, activations) if share_head and not phase.index and not phase.depth else None
            if key and (trained := TrainedHead.find(key)):
                trained.give(tail)
                self.head_was_shared = True
                history, epochs = trained.history, len(trained.history)
                for done in range(1, epochs + 1):
                    on_epoch(History(history.records[:done]))
                continue
            with stage(f"phase {phase.index + 1}: {phase.name}"):
                history = run_phase(
                    phase,
                    tail,
                    activations.training_set(
                        phase.start_depth, self._class_weights(activations.dataset), self.config.seed
                    ),
                    activations.validation(phase.start_depth),
                    self.config.training,
                    checkpoints,
                    history,
                    epochs,
                    on_epoch,
                )
            epochs = len(history)
            if key:
                TrainedHead.of(tail, history).keep(key)
            if checkpoints is not None:
                PhaseEnd(arrays(tail.variables), epochs).save(checkpoints, phase.index)
        return history

    def predict(self, activations: "Activations", checkpoints: Path, splits: tuple[str, ...]) -> list[np.ndarray]:
        """What the model of each phase says of the images of some splits, all phases in one pass over the images.

        Args:
            checkpoints: Where the phases' ends are kept; every phase has ended.
            splits: Which images to score; the others are not read.

        Returns:
            For each phase: probabilities float32 (n, classes), NaN for images of other splits. The classifier is left
            with the weights of the last phase.
        """
        wanted = np.flatnonzero(np.isin(activations.dataset.splits, splits))
        results = []
        for phase in self.phases:
            tail = self._tail(phase, activations)
            ended = PhaseEnd.load(checkpoints, phase.index)
            if ended is None:
                raise ValueError(f"phase {phase.index} has not ended")
            assign(tail.variables, ended.variables)
            results.append(activations.predict(tail, phase.start_depth, wanted, self.config.training.batch_size))
        return results

    def score_saved(self, activations: "Activations") -> np.ndarray:
        """What the classifier, trained already, says of every image, computed as `predict` does for the last phase."""
        phase = self.phases[-1]
        everything = np.arange(len(activations.dataset.keys))
        return activations.predict(
            self._tail(phase, activations), phase.start_depth, everything, self.config.training.batch_size
        )

    def describe(self) -> dict[str, Any]:
        """What was trained, for the manifest."""
        full = self.classifier.full()
        phases = []
        for phase in self.phases:
            cut = self.classifier.backbone.cut(phase.depth)
            self.classifier.unfreeze(cut)
            trained = sum(int(np.prod(variable.shape)) for variable in full.trainable_variables)
            phases.append(
                {"name": phase.name, "unfreeze_depth": phase.depth, "cut": cut.name, "trained_parameters": trained}
            )
        blocks = ["stem", *(cut.name for cut in self.classifier.backbone.cuts[-2:0:-1])]  # the deepest is called `all`
        network = {"backbone": self.config.model.backbone, "blocks": blocks, "kernels": self.classifier.kernels}
        return {**self.size(), **network, "phases": phases}

    def size(self) -> dict[str, int]:
        """How large the whole network is: parameters, and multiply-adds of one image."""
        full = self.classifier.full()
        return {"parameters": full.count_params(), "multiply_adds": multiply_adds(full)}

    def _tail(self, phase: Phase, activations: "Activations") -> keras.Model:
        """What a phase trains, from the activations that feed it; sets what is trainable."""
        self.classifier.unfreeze(self.classifier.backbone.cut(phase.depth))
        return self.classifier.tail(self.classifier.backbone.cut(activations.starts[phase.start_depth]))

    def _base(self, images: int, trained: int) -> Cut:
        """The deepest cut point asked for, or the pixels where its activations would not fit the disk budget."""
        least = self.classifier.backbone.cut(self.config.training.base_depth)
        cut = self.classifier.backbone.cut(max(least.depth, *(phase.start_depth for phase in self.phases)))
        pixels = self.classifier.backbone.cut(-1)
        size, limit = self._stored_bytes([cut], images, trained), self.config.training.store_limit_gib * 2**30
        if cut == pixels or size <= limit:
            return cut
        progress.say(
            f"The activations at {cut.name} would take {size / 2**30:.1f} GiB, more than training.store_limit_gib = "
            f"{self.config.training.store_limit_gib:g}: the frozen layers below it run again in every epoch instead."
        )
        return pixels

    def _stored_bytes(self, cuts: Iterable[Cut], images: int, trained: int) -> int:
        """What the activations at some cut points take on disk."""
        rows = images + trained * (self.config.views.count - 1)
        one = sum(int(np.prod(self.classifier.shape(cut))) for cut in cuts)
        return one * rows * np.dtype(self.config.training.store_dtype).itemsize

    def start(self, depth: int, base: Cut) -> Cut:
        """Where a phase starts: its own cut, unless that is the deepest one and did not fit."""
        deepest = max(phase.start_depth for phase in self.phases)
        pixels = self.classifier.backbone.cut(-1)
        if depth == deepest and base == pixels != self.classifier.backbone.cut(self.config.training.base_depth):
            return base
        return self.classifier.backbone.cut(depth)

    def _head_key(self, phase: Phase, activations: "Activations") -> str:
        """Fingerprint of all that decides a trained head."""
        dataset = activations.dataset
        images = [list(dataset.keys), dataset.labels.tolist(), dataset.splits.tolist()]
        rows = [(*row, split) for *row, split in zip(*images, strict=True) if split != "test"]
        name = keras.backend.backend()
        return fingerprint(
            {
                "version": [VERSION, name, backend.backend_version(name), backend.threads_in_use(name)],
                "rows": activations.stores[activations.starts[phase.start_depth]],  # weights and views are in there
                "photos": fingerprint(rows),
                "classes": len(dataset.classes),
                "seed": self.config.seed,
                "head": [self.config.model.head_units, self.config.model.dropout],
                "training": asdict(self.config.training),
                "phase": asdict(phase.settings),
            }
        )

    def _class_weights(self, dataset: Dataset) -> np.ndarray:
        """Weight of each training image: 1, or n / (classes · images of its class) [as scikit-learn's `balanced`]."""
        labels = dataset.labels[dataset.indices("train")]
        if self.config.training.class_weights == "none":
            return np.ones(len(labels), np.float32)
        counts = np.bincount(labels, minlength=len(dataset.classes))
        return (len(labels) / (np.count_nonzero(counts) * counts[labels])).astype(np.float32)


@dataclass(frozen=True)
class Activations:
    """Stored rows that feed phases and scores.

    Attributes:
        dataset: The images.
        starts: Start depth of a phase -> depth of the cut point whose rows feed it.
        plain: Depth of a cut -> rows of every image, plain.
        training: Depth of a cut -> rows of the training images, one view after the other.
        views: How many views.
        stores: Depth of a cut that feeds a phase -> names of the stores of its rows, by view.
    """

    dataset: Dataset
    starts: dict[int, int]
    plain: dict[int, CachedArray]
    training: dict[int, CachedArray]
    views: int
    stores: dict[int, tuple[str, ...]]

    def training_set(self, start_depth: int, weights: np.ndarray, seed: int) -> TrainingSet:
        """What a phase trains on."""
        labels = self.dataset.labels[self.dataset.indices("train")]
        return TrainingSet(self.training[self.starts[start_depth]], labels, weights, self.views, seed)

    def validation(self, start_depth: int) -> Validation:
        """What a phase is validated on."""
        chosen = self.dataset.indices("validation")
        return Validation(self.plain[self.starts[start_depth]].take(chosen), self.dataset.labels[chosen])

    def predict(self, tail: keras.Model, start_depth: int, wanted: np.ndarray, batch_size: int) -> np.ndarray:
        """Probabilities float32 (images, classes) of the wanted images, NaN for the others."""
        forward = compile_forward(tail)
        rows = self.plain[self.starts[start_depth]].take(wanted)
        result = np.full((len(self.dataset.keys), tail.output.shape[-1]), np.nan, np.float32)
        if len(wanted):
            result[wanted] = predict_rows(lambda batch: forward(batch)[0], rows, batch_size)
        return result
