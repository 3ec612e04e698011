"""Backbones: where each can be cut, what its blocks are called, and what it expects of pixels."""

import keras
import numpy as np
import pytest

from kit import backends
from kit.errors import ConfigError
from kit.model.backbones import Backbone, build_backbone, mobilenet_v2
from kit.model.catalog import RECIPES, find
from kit.model.graph import gateways, multiply_adds

pytestmark = pytest.mark.backend


@pytest.fixture(scope="module")
def backbone():
    backends.start()
    return mobilenet_v2(32, 0.35)


# depth, name of the first block above the cut, layer whose output the cut is
NAMES = [
    (0, "pooled", ""),
    (1, "Conv_1", "block_16_project_BN"),  # the last block widens, so it has no residual addition
    (2, "block_16", "block_15_add"),
    (3, "block_15", "block_14_add"),
    (4, "block_14", "block_13_project_BN"),  # block 13 has stride 2: no addition
    (5, "block_13", "block_12_add"),
    (8, "block_10", "block_9_add"),
    (17, "block_1", "expanded_conv_project_BN"),
    (18, "expanded_conv", "Conv1_relu"),
    (19, "all", ""),
]


@pytest.mark.parametrize(("depth", "name", "layer"), NAMES)
def test_a_depth_names_the_block_that_begins_above_it(backbone, depth, name, layer):
    cut = backbone.cut(depth)
    assert (cut.depth, cut.name, cut.layer) == (depth, name, layer)


def test_the_cuts_lie_in_order_from_the_top_to_the_pixels(backbone):
    assert [cut.depth for cut in backbone.cuts] == list(range(20))
    assert [cut.name for cut in backbone.cuts[2:18]] == [f"block_{number}" for number in range(16, 0, -1)]
    places = [layer.name for layer in backbone.model.layers]
    found = [places.index(cut.layer) for cut in backbone.cuts if cut.layer]
    assert found == sorted(found, reverse=True)
    assert backbone.cut(-1) == backbone.cut(19)


@pytest.mark.parametrize("depth", [-2, 20, 1000])
def test_a_depth_that_does_not_exist_is_refused(backbone, depth):
    with pytest.raises(ConfigError, match=rf"from 0 \(the head alone\) to 19 \(all\), or -1 for all, not {depth}"):
        backbone.cut(depth)


@pytest.mark.parametrize(("size", "alpha", "side", "channels"), [(96, 0.5, 3, 1280), (64, 1.4, 2, 1792)])
def test_other_sizes_and_alphas(size, alpha, side, channels):
    backends.start()
    backbone = mobilenet_v2(size, alpha)
    assert backbone.model.input.shape == (None, size, size, 3)
    assert backbone.model.output.shape == (None, side, side, channels)
    assert [cut.name for cut in backbone.cuts][:3] == ["pooled", "Conv_1", "block_16"]


# === Every backbone of the catalog ===


@pytest.fixture(scope="module", autouse=True)
def _no_drawing():
    """Weights of zeros: here only shapes count, and drawing random numbers takes a minute."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (keras.initializers.VarianceScaling, keras.initializers.TruncatedNormal):
            patch.setattr(kind, "__call__", lambda self, shape, dtype=None: np.zeros(shape, "float32"))
        yield


@pytest.fixture(
    scope="module",
    params=[
        "mobilenet_v2",
        *(pytest.param(name, marks=pytest.mark.full) for name in RECIPES if name != "mobilenet_v2"),
    ],
)
def named(request) -> tuple[str, Backbone]:
    """Each backbone at the size its authors count multiply-adds at."""
    backends.start()
    return request.param, build_backbone(request.param, RECIPES[request.param].image_size)


# name -> number of blocks above the stem, the top ones, and multiply-adds of the convolutions [the papers' figures; of
# EfficientNet-Lite what the shapes of the published weights give: its authors count 6% more, without saying what]
KNOWN = {
    "mobilenet_v2": (18, ["Conv_1", "block_16"], 0.30e9),
    "mobilenet_v3_small": (12, ["conv_1", "expanded_conv_10"], 0.055e9),
    "mobilenet_v3_large": (16, ["conv_1", "expanded_conv_14"], 0.215e9),
    "efficientnet_v2_b0": (22, ["top", "block6h"], 0.72e9),
    "efficientnet_lite0": (17, ["top", "block7a"], 0.384e9),
    "efficientnet_lite1": (22, ["top", "block7a"], 0.599e9),
    "efficientnet_lite2": (22, ["top", "block7a"], 0.858e9),
    "resnet50": (16, ["conv5_block3", "conv5_block2"], 3.86e9),
    "resnet50_v2": (16, ["conv5_block3", "conv5_block2"], 3.48e9),
    "convnext_tiny": (21, ["convnext_tiny_stage_3_block_2", "convnext_tiny_stage_3_block_1"], 4.46e9),
    "densenet121": (61, ["conv5_block16", "conv5_block15"], 2.83e9),
}


def test_each_backbone_has_its_blocks_and_its_cost(named):
    name, backbone = named
    blocks, top, cost = KNOWN[name]
    assert [cut.name for cut in backbone.cuts] == ["pooled", *top, *(cut.name for cut in backbone.cuts[3:-1]), "all"]
    assert len(backbone.cuts) == blocks + 2 == RECIPES[name].deepest + 1
    assert abs(multiply_adds(backbone.model) / cost - 1) < 0.01


def test_everything_above_a_cut_depends_on_its_tensor_alone(named):
    """Shown without the finder: with the cut's tensor as their input, the operations above reach no other input."""
    _, backbone = named
    model = backbone.model
    names = [one.name for one in model.operations]
    places = [names.index(cut.layer) for cut in backbone.cuts[1:-1]]
    assert places == sorted(places, reverse=True)
    for cut, place in zip(backbone.cuts[1:-1], places, strict=True):
        tail = keras.Model(model.operations[place].output, model.output)  # raises where another input is needed
        above = {one.name for one in tail.operations if not isinstance(one, keras.layers.InputLayer)}
        assert above == set(names[place + 1 :]), cut.name


def test_the_finder_knows_the_cuts_of_mobilenet_and_no_inside_of_a_block(backbone):
    found = [one.name for one in gateways(backbone.model)]
    assert {cut.layer for cut in backbone.cuts if cut.layer} <= set(found)
    assert not {"block_15_expand", "block_15_depthwise_relu", "block_15_project_BN"} & set(
        found
    )  # the shortcut goes by
    assert {"block_16_expand", "block_16_depthwise_relu"} <= set(found)  # block 16 has none


def test_a_graph_with_two_ends_open_has_no_gateway_between():
    x = keras.Input((4,))
    left, right = keras.layers.Dense(3, name="left")(x), keras.layers.Dense(3, name="right")(x)
    joined = keras.layers.Add(name="joined")([left, right])
    model = keras.Model(x, keras.layers.Dense(2, name="last")(joined))
    assert [one.name for one in gateways(model)] == [model.layers[0].name, "joined", "last"]


def test_preprocessing_is_that_of_keras_applications(named):
    """What the network itself would do to the pixels, or the function beside it."""
    name, backbone = named
    recipe = find(name)
    values = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    found = keras.ops.convert_to_numpy(backbone.preprocessing(values))
    if recipe.inner_preprocessing:
        whole = getattr(keras.applications, recipe.builder)(input_shape=(32, 32, 3), include_top=False, weights=None)
        expected = values
        for layer in whole.layers[1:]:
            if not isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) and layer.weights:
                break
            expected = keras.ops.convert_to_numpy(layer(expected))
    elif name.startswith("efficientnet_lite"):  # [efficientnet_lite_builder.py: MEAN_RGB and STDDEV_RGB]
        expected = (values.astype(np.float32) - 127.0) / 128.0
    else:
        module = {"mobilenet_v2": "mobilenet_v2", "resnet50": "resnet", "resnet50_v2": "resnet_v2"}.get(
            name, "densenet"
        )
        expected = getattr(keras.applications, module).preprocess_input(values.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=2e-5)


# === Names ===


@pytest.mark.parametrize("name", ["EfficientNetV2B0", "efficientnet_v2_b0", "efficientnet-v2-b0"])
def test_capitals_and_dashes_do_not_matter(name):
    assert find(name).name == "efficientnet_v2_b0"


def test_an_unknown_backbone_is_refused_and_the_nearest_named():
    with pytest.raises(ConfigError, match="The nearest is resnet50") as caught:
        build_backbone("resnet52", 32)
    assert all(name in caught.value.what for name in RECIPES)


def test_a_width_that_a_backbone_has_not_is_refused():
    with pytest.raises(ConfigError, match=r"one of 0.75, 1.0 for the backbone mobilenet_v3_small, not 1.4"):
        build_backbone("mobilenet_v3_small", 32, 1.4)
    with pytest.raises(ConfigError, match=r"one of 1.0 for the backbone resnet50, not 0.5"):
        build_backbone("ResNet50", 32, 0.5)
