"""RunConfig: all that one run needs, as frozen dataclasses that check themselves.

This module knows no files, no command line and no environment: `kit.settings` reads those and builds a RunConfig.
The docstring of each class is the reference of its settings; a key's path in TOML is its place here
(`phases.1.learning_rate`, counted from 0).
"""

from dataclasses import dataclass, field

from kit.errors import ConfigError

BACKENDS = ("jax", "tensorflow")
STARTER = "starter"
# What the kit's own weights were trained for: the settings of a run that takes them and says nothing else.
STARTER_SETTINGS = {"model.alpha": 0.35, "data.image_size": 128}


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be from {low} to {high}, not {value}.")


def _one_of(name: str, value: object, allowed: tuple) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}.")


@dataclass(frozen=True)
class DataConfig:
    """Where the images are and how they become pixels.

    Attributes:
        path: A folder of class folders, a folder with train/ and val/ (and test/), a table (.csv, .parquet), an archive
            (.zip, .tar, .tar.gz), or the name `flowers`.
        image_size: Side of the square the model sees, in pixels; 32 to 1024.
        resize: `crop` (shorter side to image_size, then the middle), `stretch` (both sides, changing the proportions)
            or `pad` (longer side to image_size, the rest background).
        background: What shows through transparent pixels and fills padding: red, green, blue, each 0 to 255.
        near_duplicate_bits: Two images whose 64-bit perceptual hashes differ in at most this many bits are near
            duplicates and stay in one split; 0 to 16.
        conflicts: The same bytes under two labels: `refuse` to train, or `drop` every copy.
        leaks: The same bytes in two given splits: `refuse` to train, or `drop` the copies in the split that is trained
            on (train before validation before test), so that what is measured stays whole.
        strict: Refuse to train when any image cannot be read, instead of leaving it out.
    """

    path: str = ""
    image_size: int = 224
    resize: str = "crop"
    background: tuple[int, ...] = (255, 255, 255)
    near_duplicate_bits: int = 4
    conflicts: str = "refuse"
    leaks: str = "refuse"
    strict: bool = False

    def __post_init__(self):
        _within("data.image_size", self.image_size, 32, 1024)
        _one_of("data.resize", self.resize, ("crop", "stretch", "pad"))
        _within("data.near_duplicate_bits", self.near_duplicate_bits, 0, 16)
        _one_of("data.conflicts", self.conflicts, ("refuse", "drop"))
        _one_of("data.leaks", self.leaks, ("refuse", "drop"))
        if len(self.background) != 3 or not all(0 <= channel <= 255 for channel in self.background):
            raise ConfigError(f"data.background must be three numbers from 0 to 255, not {list(self.background)}.")


@dataclass(frozen=True)
class SplitConfig:
    """How samples without a given split are shared out, per class, by a hash of seed and group.

    Attributes:
        seed: Chooses the split. The same image keeps its split when others are added.
        train: Share trained on.
        validation: Share that chooses epochs and settings.
        test: Share scored once, at the end. The three add up to 1.
    """

    seed: int = 0
    train: float = 0.70
    validation: float = 0.15
    test: float = 0.15

    def __post_init__(self):
        _within("split.seed", self.seed, 0, 2**32 - 1)
        for name in ("train", "validation", "test"):
            _within(f"split.{name}", getattr(self, name), 0.0, 1.0)
        if self.train == 0:
            raise ConfigError("split.train must be more than 0: there is nothing to train on.")
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            total = self.train + self.validation + self.test
            raise ConfigError(f"split.train + split.validation + split.test must be 1, not {total:g}.")


@dataclass(frozen=True)
class ViewsConfig:
    """Augmented views of the training images, each decoded once and passed through the trunk once.

    Attributes:
        count: Views of each image, the plain one included: 1 means no augmentation. Epochs take turns.
        flip: Mirror half of the augmented views left to right.
        crop: Smallest share of the image's area that a random crop keeps; 1 keeps all.
        rotation: Greatest rotation either way, in degrees.
        brightness: Greatest relative change of brightness; 0.2 means a factor from 0.8 to 1.2.
        contrast: Greatest relative change of contrast.
        colour: Greatest relative change of colour saturation.
    """

    count: int = 5
    flip: bool = True
    crop: float = 0.4
    rotation: float = 10.0
    brightness: float = 0.2
    contrast: float = 0.2
    colour: float = 0.2

    def __post_init__(self):
        _within("views.count", self.count, 1, 100)
        _within("views.crop", self.crop, 0.05, 1.0)
        _within("views.rotation", self.rotation, 0.0, 45.0)
        for name in ("brightness", "contrast", "colour"):
            _within(f"views.{name}", getattr(self, name), 0.0, 0.9)


@dataclass(frozen=True)
class ModelConfig:
    """A backbone, then global average pooling, a dense ReLU layer, dropout, and a softmax over the classes.

    Attributes:
        backbone: `mobilenet_v2`, `mobilenet_v3_small`, `mobilenet_v3_large`, `efficientnet_v2_b0`, `resnet50`,
            `resnet50_v2`, `convnext_tiny`, `densenet121`, or `hub:` and a KerasHub preset (extra `hub`).
        alpha: Width multiplier: 0.35, 0.5, 0.75, 1.0, 1.3 or 1.4 of MobileNetV2, 0.75 or 1.0 of MobileNetV3; others
            have one width, 1.0.
        weights: `imagenet` (of a KerasHub preset: its own), `starter` (the kit's own of MobileNetV2, which need no
            download: alpha 0.35, and 128 pixels unless data.image_size says otherwise), a weights file (.weights.h5,
            .h5), or `none` for random ones.
        head_units: Width of the dense layer; 0 leaves it out.
        dropout: Share of the dense layer's outputs dropped while training.
        kernels: `auto` (what is fastest on the backend and device), `stock` (Keras's own layers) or `own`.
    """

    backbone: str = "mobilenet_v2"
    alpha: float = 1.0
    weights: str = "imagenet"
    head_units: int = 128
    dropout: float = 0.0
    kernels: str = "auto"

    def __post_init__(self):
        if not self.backbone:
            raise ConfigError("model.backbone must name a backbone, such as mobilenet_v2, not be empty.")
        _one_of("model.alpha", self.alpha, (0.35, 0.5, 0.75, 1.0, 1.3, 1.4))
        _within("model.head_units", self.head_units, 0, 65536)
        _within("model.dropout", self.dropout, 0.0, 0.95)
        _one_of("model.kernels", self.kernels, ("auto", "stock", "own"))
        if not self.weights:
            raise ConfigError("model.weights must be `imagenet`, `starter`, `none` or a weights file, not empty.")
        if self.weights == STARTER and self.alpha != STARTER_SETTINGS["model.alpha"]:
            raise ConfigError(
                f"The starter weights are of alpha {STARTER_SETTINGS['model.alpha']}; model.alpha is {self.alpha}.",
                "Leave model.alpha out, or choose other model.weights.",
            )


@dataclass(frozen=True)
class TrainingConfig:
    """What all phases share.

    Attributes:
        batch_size: Images a step.
        optimizer: `adam`, `adamw`, `sgd` (Nesterov momentum 0.9) or `rmsprop`.
        label_smoothing: Share of each label spread evenly over all classes.
        class_weights: `none`, or `balanced` (each class weighs the same in the loss, however many images it has).
        monitor: What picks the epoch that is kept: `val_accuracy` (ties: lower val_loss) or `val_loss`.
        store_dtype: Type of stored activations: `float16` or `float32`.
        store_limit_gib: Disk that a run's stored activations may take, in GiB. Where a cut point would need more, the
            frozen layers below it run again in every epoch instead.
        base_depth: Cut point, counted as `unfreeze_depth`, that the trunk runs up to at least; all others are computed
            from there. A study sets it to the deepest of its space, so that the trunk runs once for all its trials. 0
            is that of the schedule.
    """

    batch_size: int = 32
    optimizer: str = "adam"
    label_smoothing: float = 0.1
    class_weights: str = "none"
    monitor: str = "val_accuracy"
    store_dtype: str = "float16"
    store_limit_gib: float = 50.0
    base_depth: int = 0

    def __post_init__(self):
        _within("training.batch_size", self.batch_size, 1, 4096)
        _one_of("training.optimizer", self.optimizer, ("adam", "adamw", "sgd", "rmsprop"))
        _within("training.label_smoothing", self.label_smoothing, 0.0, 0.5)
        _one_of("training.class_weights", self.class_weights, ("none", "balanced"))
        _one_of("training.monitor", self.monitor, ("val_accuracy", "val_loss"))
        _one_of("training.store_dtype", self.store_dtype, ("float16", "float32"))
        _within("training.store_limit_gib", self.store_limit_gib, 0.0, 1e6)
        _within("training.base_depth", self.base_depth, -1, 1000)


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of the schedule: what is trained, how long, how fast.

    Attributes:
        name: What curves and tables call it.
        epochs: Passes over the training images, at most.
        unfreeze_depth: Blocks of the backbone trained, counted from the top: 0 the head alone, and of MobileNetV2 1
            adds Conv_1, 2 adds block 16, ... 19 all. -1 also means all. Batch normalisation is never trained. 0 in a
            later phase leaves that phase out: there is nothing new to train.
        learning_rate: Step size at its highest.
        schedule: `constant`, or `cosine` (falls to 0 over the phase).
        warmup_epochs: Epochs over which the learning rate rises from 0 first; fractions are fine.
        weight_decay: Decoupled weight decay (AdamW); 0 for none.
        patience: Epochs without a better `training.monitor` before the phase ends; 0 never ends early. The best epoch's
            weights are kept either way.
    """

    name: str = ""
    epochs: int = 10
    unfreeze_depth: int = 0
    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    weight_decay: float = 0.0
    patience: int = 0

    def __post_init__(self):
        _within("phases.*.epochs", self.epochs, 1, 100_000)
        _within("phases.*.unfreeze_depth", self.unfreeze_depth, -1, 1000)
        if not 0 < self.learning_rate <= 100:
            raise ConfigError(f"phases.*.learning_rate must be more than 0 and at most 100, not {self.learning_rate}.")
        _one_of("phases.*.schedule", self.schedule, ("constant", "cosine"))
        _within("phases.*.warmup_epochs", self.warmup_epochs, 0.0, float(self.epochs))
        _within("phases.*.weight_decay", self.weight_decay, 0.0, 1.0)
        _within("phases.*.patience", self.patience, 0, 100_000)


DEFAULT_PHASES = (
    PhaseConfig(name="head", epochs=10, unfreeze_depth=0, learning_rate=1e-3, schedule="cosine"),
    PhaseConfig(
        name="fine-tune", epochs=10, unfreeze_depth=5, learning_rate=1e-4, schedule="cosine", warmup_epochs=0.5
    ),
)


@dataclass(frozen=True)
class RunConfig:
    """One run, whole: the same configuration, data, backend and machine give the same model to the bit.

    Attributes:
        seed: Draws initial head weights, dropout, views and the order of images. `split.seed` draws the split.
        backend: `auto`, `jax` or `tensorflow`.
        threads: CPU threads to use; 0 means all.
    """

    seed: int = 0
    backend: str = "auto"
    threads: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    phases: tuple[PhaseConfig, ...] = DEFAULT_PHASES

    def __post_init__(self):
        _within("seed", self.seed, 0, 2**32 - 1)
        _one_of("backend", self.backend, ("auto", *BACKENDS))
        _within("threads", self.threads, 0, 4096)
        if not self.phases:
            raise ConfigError("phases must hold at least one phase.")
