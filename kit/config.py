"""RunConfig: all that one run needs, as frozen dataclasses that check themselves.

This module knows no files, no command line and no environment: `kit.settings` reads those and builds a RunConfig.
The docstring of each class is the reference of its settings, the first sentence of each also the help of its option. A
key's path in TOML is its place here (`phases.1.learning_rate`, counted from 0).
"""

import re
from dataclasses import dataclass, field, fields
from typing import Any

from kit.backends.choice import BACKENDS
from kit.errors import ConfigError

STARTER = "starter"
MONITORS = ("val_accuracy", "val_loss")
NAMED = ("imagenet", STARTER, "none")  # weights that have a name instead of a file
# What the starter weights were trained for: the settings of a run that takes them and says nothing else.
STARTER_SETTINGS = {"model.alpha": 0.35, "data.image_size": 128}


def _within(default: float, low: float, high: float) -> Any:
    """A number from `low` to `high`, both included."""
    return field(default=default, metadata={"range": (low, high)})


def _one_of(*allowed: Any, default: Any = None) -> Any:
    """One of the allowed values; the first is the default where none is given."""
    return field(default=allowed[0] if default is None else default, metadata={"allowed": allowed})


def _check(section: Any, prefix: str) -> None:
    """Raises ConfigError for the first value outside its field's range or list."""
    for one in fields(section):
        value = getattr(section, one.name)
        if "range" in one.metadata:
            _require_within(prefix + one.name, value, *one.metadata["range"])
        if "allowed" in one.metadata and value not in one.metadata["allowed"]:
            allowed = ", ".join(map(str, one.metadata["allowed"]))
            raise ConfigError(f"{prefix}{one.name} must be one of {allowed}, not {value!r}.")


def _require_within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be from {low} to {high}, not {value}.")


@dataclass(frozen=True)
class DataConfig:
    """Where the images are and how they become pixels.

    Attributes:
        path: A folder of class folders, split folders, a table, an archive, or `flowers`. Split folders are train/ and
            val/ (and test/), or other words for them; a table is .csv, .tsv or .parquet, an archive .zip, .tar or
            .tar.gz.
        columns: Which column of a table is what: `path=file_name,label=breed`. Also `split` and `group`; those left out
            are found by their usual names.
        corrections: File of labels that were reviewed, as the pages of runs and inspections download it: images are
            kept, relabelled or dropped. A run keeps a copy and goes by that.
        image_size: Side of the square the model sees, in pixels; 32 to 1024. Where none is given, that which the
            backbone's weights were trained at: 240 of efficientnet_lite1, 260 of efficientnet_lite2, 224 of all others.
        resize: `crop`, `stretch` or `pad`. `crop` brings the shorter side to image_size and keeps the middle, `stretch`
            brings both sides there and changes the proportions, `pad` brings the longer one and fills the rest with the
            background.
        background: What shows through transparent pixels and fills padding: red, green, blue, each 0 to 255.
        grey_range: Values of 16- and 32-bit grey images that become black and white. Empty is those of the bit depth
            that the data set's greatest value needs, the same for all its images; a run records them.
        colour_profiles: Convert embedded colour profiles (Display P3, Adobe RGB, CMYK) to sRGB.
        near_duplicates: Keep near copies of an image in one split: `on` or `off`. Copies to the byte always are.
        near_duplicate_bits: Two images whose 64-bit perceptual hashes differ in at most this many bits are compared on
            pixels; 0 to 16. Those that these show to be copies (scaled, compressed, brightened, slightly cropped) are
            near duplicates.
        group_by: Images with the same text in this part of their path belong together and stay in one split: a regular
            expression, of which the first parenthesis counts, or else all it matches. A column `group` counts as well.
        conflicts: Same image under two labels: `refuse` the data, or `drop` every copy.
        leaks: Same image in two given splits: `refuse` the data, or `drop` copies. They are dropped in the split that
            is trained on (train before validation before test), so that what is measured stays whole.
        strict: Refuse to train when any image cannot be read, instead of leaving it out.
    """

    path: str = ""
    columns: str = ""
    corrections: str = ""
    image_size: int = _within(224, 32, 1024)
    resize: str = _one_of("crop", "stretch", "pad")
    background: tuple[int, ...] = (255, 255, 255)
    grey_range: tuple[int, ...] = ()
    colour_profiles: bool = True
    near_duplicates: str = _one_of("on", "off")
    near_duplicate_bits: int = _within(8, 0, 16)
    group_by: str = ""
    conflicts: str = _one_of("refuse", "drop")
    leaks: str = _one_of("refuse", "drop")
    strict: bool = False

    def __post_init__(self):
        _check(self, "data.")
        if len(self.background) != 3 or not all(0 <= channel <= 255 for channel in self.background):
            raise ConfigError(f"data.background must be three numbers from 0 to 255, not {list(self.background)}.")
        if self.grey_range and (len(self.grey_range) != 2 or self.grey_range[0] >= self.grey_range[1]):
            raise ConfigError(f"data.grey_range must be two numbers, the lower first, not {list(self.grey_range)}.")
        try:
            re.compile(self.group_by)
        except (re.error, OverflowError, RecursionError) as error:
            raise ConfigError(
                f"data.group_by is not a regular expression: {error}.",
                r"For instance '(.+)_\d+\.\w+$' groups what differs in a last number only.",
            ) from None


@dataclass(frozen=True)
class SplitConfig:
    """How samples without a given split are shared out; groups stay whole.

    Attributes:
        method: `stratified` (the groups of each class, ranked by a hash, are cut at the shares) or `hash` (a threshold
            on the hash, as in version 0.1: an image keeps its split whatever is added, and small classes scatter).
        seed: Chooses the split, by the hash of seed and group.
        folds: Cross-validate with this many folds, then train one model on all images: 2 to 100; 0 does not. `test` is
            then not used: each fold is the test split of a model trained on the others, `train` and `validation` share
            out the rest.
        train: Share trained on.
        validation: Share that chooses epochs and settings.
        test: Share scored once, at the end. The three add up to 1.
    """

    method: str = _one_of("stratified", "hash")
    seed: int = _within(0, 0, 2**32 - 1)
    folds: int = _within(0, 0, 100)
    train: float = _within(0.70, 0.0, 1.0)
    validation: float = _within(0.15, 0.0, 1.0)
    test: float = _within(0.15, 0.0, 1.0)

    def __post_init__(self):
        _check(self, "split.")
        if self.train == 0:
            raise ConfigError("split.train must be more than 0: there is nothing to train on.")
        if self.folds == 1:
            raise ConfigError("split.folds must be 0 or from 2 to 100, not 1.", "With 5, each model is trained on 80%.")
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            total = self.train + self.validation + self.test
            raise ConfigError(f"split.train + split.validation + split.test must be 1, not {total:g}.")


@dataclass(frozen=True)
class ViewsConfig:
    """Augmented views of the training images, each decoded once and passed through the trunk once.

    Attributes:
        count: Views of each image, the plain one included; 1 is no augmentation. Epochs take turns.
        flip: Mirror half of the augmented views left to right.
        crop: Smallest share of the image's area that a random crop keeps; 1 keeps all.
        rotation: Greatest rotation either way, in degrees.
        brightness: Greatest relative change of brightness; 0.2 means a factor from 0.8 to 1.2.
        contrast: Greatest relative change of contrast.
        colour: Greatest relative change of colour saturation.
    """

    count: int = _within(5, 1, 100)
    flip: bool = True
    crop: float = _within(0.4, 0.05, 1.0)
    rotation: float = _within(10.0, 0.0, 45.0)
    brightness: float = _within(0.2, 0.0, 0.9)
    contrast: float = _within(0.2, 0.0, 0.9)
    colour: float = _within(0.2, 0.0, 0.9)

    def __post_init__(self):
        _check(self, "views.")


@dataclass(frozen=True)
class ModelConfig:
    """A backbone, then global average pooling, a dense ReLU layer, dropout, and a softmax over the classes.

    Attributes:
        backbone: `mobilenet_v2`, `mobilenet_v3_small`, `mobilenet_v3_large`, `efficientnet_v2_b0`,
            `efficientnet_lite0`, `efficientnet_lite1`, `efficientnet_lite2` (extra `lite`: their weights come from the
            package index), `resnet50`, `resnet50_v2`, `convnext_tiny`, `densenet121`, or `hub:` and a KerasHub preset
            (extra `hub`).
        alpha: Width multiplier: 0.35, 0.5, 0.75, 1.0, 1.3 or 1.4 of MobileNetV2, 0.75 or 1.0 of MobileNetV3; others
            have one width, 1.0.
        weights: `imagenet`, `starter`, `none` (random), a weights file (.weights.h5, .h5), or a finished run. A run
            (its folder, or the model.keras in it) gives its fine-tuned backbone, without its head, and the settings
            that go with it where these are not given: backbone, alpha, image size, resize, background, grey range and
            colour profiles, and split.method and split.seed, so that images keep their splits. For a KerasHub preset
            `imagenet` means its own weights. `starter` are transferkit's own of MobileNetV2, which need no download:
            alpha 0.35, and 128 pixels unless data.image_size says otherwise.
        head_units: Units of the dense layer; 0 leaves it out.
        dropout: Dropout rate after the dense layer.
        kernels: `auto` (what is fastest on the backend and device), `stock` (Keras's own layers) or `own`.
    """

    backbone: str = "mobilenet_v2"
    alpha: float = _one_of(0.35, 0.5, 0.75, 1.0, 1.3, 1.4, default=1.0)
    weights: str = "imagenet"
    head_units: int = _within(128, 0, 65536)
    dropout: float = _within(0.0, 0.0, 0.95)
    kernels: str = _one_of("auto", "stock", "own")

    def __post_init__(self):
        if not self.backbone:
            raise ConfigError("model.backbone must name a backbone, such as mobilenet_v2, not be empty.")
        _check(self, "model.")
        if not self.weights:
            raise ConfigError(
                "model.weights must be `imagenet`, `starter`, `none`, a weights file or a run, not empty."
            )
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
        label_smoothing: Share of each label spread evenly over all classes; 0 to 0.5.
        class_weights: `none`, or `balanced` (each class weighs the same in the loss, however many images it has).
        layer_decay: Factor of the learning rate from block to block down the network: a block of unfreeze depth d
            learns at learning_rate times layer_decay to the power of d, the head (d = 0) at learning_rate; 0.3 to 1. 1
            is one rate for all.
        ema: Momentum of an exponential moving average of the trained weights, updated each step; 0 for none, 0.99
            averages over about 100 steps, once that many are done. Validation, the epoch that is kept and the saved
            model use the average.
        train_normalisation: Train scale and offset of batch normalisation with the layers around them. Its statistics
            stay as they are either way.
        mixup: MixUp of what each step reads: the images of a batch are mixed in pairs, and their labels in the same
            shares, drawn once a step from Beta(mixup, mixup); 0 for none, 0.2 is usual. A phase mixes the activations
            at its cut point; accuracy and loss of training count both labels, each by its share.
        interpolate: Share of the trained weights in those that a later phase is validated by and ends with; the rest
            are those it began with (WiSE-FT); 0.01 to 1, which interpolates nothing.
        monitor: What picks the epoch that is kept: `val_accuracy` (ties: lower val_loss), `val_loss`, or `val_` and the
            name of a metric of your own, of which more is better.
        store_dtype: Type of stored activations: `float16`, `bfloat16` or `float32`. Where one exceeds float16 (65,504),
            a run stores all as float32, or as bfloat16 if that exceeds store_limit_gib, and says so.
        store_limit_gib: Disk that a run's stored activations may take, in GiB. Where a cut point would need more, the
            frozen layers below it run again in every epoch instead.
        base_depth: Cut point, counted as `unfreeze_depth`, that the trunk runs up to at least; all others are computed
            from there. A study sets it to the deepest of its space, so that the trunk runs once for all its trials. 0
            is that of the schedule.
    """

    batch_size: int = _within(32, 1, 4096)
    optimizer: str = _one_of("adam", "adamw", "sgd", "rmsprop")
    label_smoothing: float = _within(0.1, 0.0, 0.5)
    class_weights: str = _one_of("none", "balanced")
    layer_decay: float = _within(1.0, 0.3, 1.0)
    ema: float = _within(0.0, 0.0, 0.9999)
    train_normalisation: bool = False
    mixup: float = _within(0.0, 0.0, 4.0)
    interpolate: float = _within(1.0, 0.01, 1.0)
    monitor: str = "val_accuracy"
    store_dtype: str = _one_of("float16", "bfloat16", "float32")
    store_limit_gib: float = _within(50.0, 0.0, 1e6)
    base_depth: int = _within(0, -1, 1000)

    def __post_init__(self):
        _check(self, "training.")
        if not re.fullmatch(r"val_\w+", self.monitor):
            allowed = ", ".join(MONITORS)
            raise ConfigError(f"training.monitor must be one of {allowed}, not {self.monitor!r}.")


@dataclass(frozen=True)
class AbstentionConfig:
    """When a trained model gives no answer; `transferkit threshold RUN` changes it later.

    Attributes:
        accuracy: Accuracy wanted of the answers: below the confidence that gives it on validation images the answer is
            "unsure". 0 sets none. Where these images are too few to promise it, the model always answers, and the run
            says so.
        coverage: Share of the images wanted to be answered, in place of `accuracy`; 0 is `accuracy`.
        known: Share of the validation images that pass as known: an image stranger than those is "unlike" anything the
            model was trained on. 0 to 0.999; 0 sets none.
    """

    accuracy: float = _within(0.99, 0.0, 1.0)
    coverage: float = _within(0.0, 0.0, 1.0)
    known: float = _within(0.95, 0.0, 0.999)

    def __post_init__(self):
        _check(self, "abstention.")


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of the schedule: what is trained, how long, how fast.

    Attributes:
        name: What curves and tables call it.
        epochs: Passes over the training images, at most.
        stop_after: Epochs after which the phase ends, its schedule that of all `epochs`; 0 for all of them. The best of
            a study, trained again on train and validation images, stops where it was best.
        unfreeze_depth: Blocks of the backbone trained, counted from the top; -1 is all. 0 is the head alone; of
            MobileNetV2 1 adds Conv_1, 2 adds block 16, ... 19 all. Of batch normalisation, training.train_normalisation
            says what is trained. 0 in a later phase leaves that phase out: there is nothing new to train.
        learning_rate: Peak learning rate.
        schedule: `constant`, or `cosine` (falls to 0 over the phase).
        warmup_epochs: Epochs over which the learning rate rises from 0 first; fractions are fine.
        weight_decay: Decoupled weight decay (AdamW); 0 for none.
        patience: Epochs without a better `training.monitor` before the phase ends; 0 never ends early. The best epoch's
            weights are kept either way.
    """

    name: str = ""
    epochs: int = _within(10, 1, 100_000)
    stop_after: int = _within(0, 0, 100_000)
    unfreeze_depth: int = _within(0, -1, 1000)
    learning_rate: float = 1e-3
    schedule: str = _one_of("constant", "cosine")
    warmup_epochs: float = 0.0
    weight_decay: float = _within(0.0, 0.0, 1.0)
    patience: int = _within(0, 0, 100_000)

    def __post_init__(self):
        _check(self, "phases.*.")
        _require_within("phases.*.warmup_epochs", self.warmup_epochs, 0.0, float(self.epochs))
        _require_within("phases.*.stop_after", self.stop_after, 0, self.epochs)
        if not 0 < self.learning_rate <= 100:
            raise ConfigError(f"phases.*.learning_rate must be more than 0 and at most 100, not {self.learning_rate}.")


DEFAULT_PHASES = (
    PhaseConfig(name="head", epochs=10, unfreeze_depth=0, learning_rate=1e-3, schedule="cosine"),
    PhaseConfig(
        name="fine-tune", epochs=10, unfreeze_depth=5, learning_rate=3e-4, schedule="cosine", warmup_epochs=0.5
    ),
)


@dataclass(frozen=True)
class RunConfig:
    """One run, whole: the same configuration, data, backend and machine give the same model to the bit.

    Attributes:
        seed: Of head weights, dropout, views and the order of images. `split.seed` draws the split.
        backend: `auto`, `jax`, `tensorflow` or `torch`.
        threads: CPU threads to use; 0 means all.
        plugin: File of Python that defines `head`, `loss`, `metrics` or `augmentation`, in place of transferkit's. A
            run keeps a copy and goes by that.
        parts: The same as objects (kit.parts.Parts), which no file holds.
    """

    seed: int = _within(0, 0, 2**32 - 1)
    backend: str = _one_of("auto", *BACKENDS)
    threads: int = _within(0, 0, 4096)
    plugin: str = ""
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    abstention: AbstentionConfig = field(default_factory=AbstentionConfig)
    phases: tuple[PhaseConfig, ...] = DEFAULT_PHASES
    parts: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self):
        _check(self, "")
        if not self.phases:
            raise ConfigError("phases must hold at least one phase.")


# Of runs recorded before a setting existed: what its absence meant.
BEFORE_RECORDED = RunConfig(
    data=DataConfig(colour_profiles=False),
    training=TrainingConfig(layer_decay=1.0, ema=0.0, train_normalisation=False, mixup=0.0, interpolate=1.0),
)
