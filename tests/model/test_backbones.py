"""MobileNetV2's cut points: where they lie and what they are called."""

import keras
import numpy as np
import pytest

from kit import backend
from kit.errors import ConfigError
from kit.model.backbones import BLOCKS, STEM_DEPTH, mobilenet_v2, mobilenet_v2_cuts


@pytest.fixture(scope="module")
def backbone():
    backend.start()
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
    assert [cut.depth for cut in backbone.cuts] == list(range(STEM_DEPTH + 1)) == list(range(20))
    assert [cut.name for cut in backbone.cuts[2:18]] == [f"block_{number}" for number in range(BLOCKS - 1, 0, -1)]
    places = [layer.name for layer in backbone.model.layers]
    found = [places.index(cut.layer) for cut in backbone.cuts if cut.layer]
    assert found == sorted(found, reverse=True)
    assert backbone.cut(-1) == backbone.cut(19)


@pytest.mark.parametrize("depth", [-2, 20, 1000])
def test_a_depth_that_does_not_exist_is_refused(backbone, depth):
    with pytest.raises(ConfigError, match=rf"from 0 \(the head alone\) to 19 \(all\), or -1 for all, not {depth}"):
        backbone.cut(depth)


def test_everything_above_a_cut_depends_on_its_tensor_alone(backbone):
    """A cut carries everything: no layer above it reads anything below it but the cut itself."""
    model = backbone.model
    for cut in backbone.cuts[1:-1]:
        above = {layer.name for layer in keras.Model(model.get_layer(cut.layer).output, model.output).layers}
        below = {layer.name for layer in keras.Model(model.input, model.get_layer(cut.layer).output).layers}
        names = {layer.name for layer in model.layers}
        inputs = {layer.name for layer in model.layers if isinstance(layer, keras.layers.InputLayer)}
        assert (above & names) | below == names
        assert above & below <= inputs | {cut.layer}


def test_names_follow_the_layers_that_are_there():
    """Where a block has an addition, the cut lies behind it."""
    cuts = mobilenet_v2_cuts({"block_15_add", "block_3_add"})
    assert cuts[2].layer == "block_15_add"
    assert cuts[3].layer == "block_14_project_BN"


@pytest.mark.parametrize(("size", "alpha", "side", "channels"), [(96, 0.5, 3, 1280), (64, 1.4, 2, 1792)])
def test_other_sizes_and_alphas(size, alpha, side, channels):
    backend.start()
    backbone = mobilenet_v2(size, alpha)
    assert backbone.model.input.shape == (None, size, size, 3)
    assert backbone.model.output.shape == (None, side, side, channels)
    assert [cut.name for cut in backbone.cuts][:3] == ["pooled", "Conv_1", "block_16"]


def test_preprocessing_is_that_of_keras_applications(backbone):
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    expected = keras.applications.mobilenet_v2.preprocess_input(values.astype(np.float32))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(backbone.preprocessing(values)), expected, atol=1e-6)
