"""Views are a pure function of seed, image and number, and never show what is not in the image."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kit.config import DataConfig, ViewsConfig
from kit.data.images import fit_square
from kit.data.views import render_views, view_key

DATA = DataConfig(image_size=48)
PLAIN = ViewsConfig(flip=False, crop=1.0, rotation=0.0, brightness=0.0, contrast=0.0, colour=0.0)


def noisy_image(width=160, height=120, seed=0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(60, 200, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def render(views, image=None, key="k", data=DATA, config=None, seed=0):
    return render_views(image or noisy_image(), key, tuple(views), data, config or ViewsConfig(), seed)


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
def test_view_0_is_the_plain_image(resize):
    data = replace(DATA, resize=resize)
    assert np.array_equal(render([0], data=data)[0], fit_square(noisy_image(), 48, resize, data.background))


def test_shape_and_no_views():
    assert render([3, 1]).shape == (2, 48, 48, 3)
    assert render([]).shape == (0, 48, 48, 3)


def test_same_whatever_is_asked_beside_it_and_on_whatever_thread():
    alone = {view: render([view])[0] for view in range(6)}
    with ThreadPoolExecutor(4) as pool:
        for rendered in pool.map(lambda _: render([4, 2, 0, 5]), range(8)):
            for view, pixels in zip([4, 2, 0, 5], rendered, strict=True):
                assert np.array_equal(pixels, alone[view])


def test_seed_image_and_number_each_matter():
    base = render([1])[0]
    for other in (render([2])[0], render([1], key="l")[0], render([1], seed=1)[0]):
        assert np.abs(base.astype(int) - other).mean() > 1


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
def test_without_augmentation_every_view_is_the_plain_image(resize):
    plain, *views = render(range(4), data=replace(DATA, resize=resize), config=PLAIN).astype(int)
    for view in views:
        # pad: cut from the padded image, so the very edge between image and padding is a little softer
        assert np.abs(view - plain).mean() <= 1.5
        assert resize == "pad" or np.abs(view - plain).max() <= 2


def test_half_of_the_views_are_mirrored():
    plain, *views = render(range(201), config=replace(PLAIN, flip=True)).astype(int)
    mirrored = sum(np.abs(view - plain[:, ::-1]).max() <= 2 for view in views)
    same = sum(np.abs(view - plain).max() <= 2 for view in views)
    assert mirrored + same == 200
    assert 70 <= mirrored <= 130  # 4 standard deviations


def test_switching_one_thing_off_leaves_the_others():
    """The flip has its own draw: without it, the very same crop."""
    with_flip = render(range(1, 9), config=replace(PLAIN, crop=0.3, flip=True)).astype(int)
    without = render(range(1, 9), config=replace(PLAIN, crop=0.3)).astype(int)
    for a, b in zip(with_flip, without, strict=True):
        assert min(np.abs(a - b).max(), np.abs(a[:, ::-1] - b).max()) <= 2


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    crop=st.floats(0.05, 1.0),
    rotation=st.floats(0.0, 45.0),
    resize=st.sampled_from(["crop", "stretch"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_corner_is_ever_empty(width, height, crop, rotation, resize, seed):
    """A white image stays white, whatever its shape: nothing is taken from beyond its edge."""
    config = replace(PLAIN, flip=True, crop=crop, rotation=rotation)
    white = Image.new("RGB", (width, height), (255, 255, 255))
    data = replace(DATA, resize=resize)
    assert render([1, 2], white, data=data, config=config, seed=seed).min() == 255


def test_crops_keep_at_least_their_share():
    """Pixels carry their own coordinates, so a view tells which part of the image it shows."""
    y, x = np.mgrid[0:256, 0:256].astype(np.uint8)
    image = Image.fromarray(np.stack([x, y, x * 0], axis=-1))
    for view in render(range(1, 60), image, config=replace(PLAIN, crop=0.25)).astype(float):
        across, down = np.ptp(view[24, :, 0]), np.ptp(view[:, 24, 1])
        assert across * down / 256**2 >= 0.25 * 0.9
        assert 0.7 <= across / down <= 1.43


def test_rotation_turns_by_at_most_its_angle():
    y, x = np.mgrid[0:256, 0:256].astype(np.uint8)
    image = Image.fromarray(np.stack([x, y, x * 0], axis=-1))
    angles = []
    for view in render(range(1, 60), image, config=replace(PLAIN, rotation=20.0)).astype(float):
        along_x, along_y = view[24, 40] - view[24, 8], view[40, 24] - view[8, 24]
        angles.append(np.degrees(np.arctan2(along_x[1], along_x[0])))
        assert np.dot(along_x[:2], along_y[:2]) == pytest.approx(0, abs=0.05 * np.dot(along_x, along_x))
    assert max(map(abs, angles)) <= 21
    assert min(angles) < -10
    assert max(angles) > 10


@pytest.mark.parametrize("name", ["brightness", "contrast", "colour"])
def test_light_changes_within_its_range(name):
    plain, *views = render(range(30), config=replace(PLAIN, **{name: 0.3})).astype(float)
    measure = {
        "brightness": lambda pixels: pixels.mean(),
        "contrast": lambda pixels: pixels.mean(axis=-1).std(),
        "colour": lambda pixels: (pixels.max(axis=-1) - pixels.min(axis=-1)).mean(),
    }[name]
    factors = [measure(view) / measure(plain) for view in views]
    assert 0.68 <= min(factors) < 0.85
    assert 1.15 < max(factors) <= 1.32


def test_keys_hold_what_decides_the_pixels_and_nothing_else():
    def key(view, data=DATA, config=ViewsConfig(), seed=0):  # noqa: B008  frozen
        return view_key(data, config, seed, view)

    assert key(0) == key(0, config=PLAIN, seed=7)
    assert key(1) == key(1, config=ViewsConfig(count=9))
    assert key(1) != key(2)
    assert key(1) != key(1, seed=1)
    assert key(1) != key(1, config=replace(ViewsConfig(), rotation=1.0))
    for changed in (replace(DATA, image_size=64), replace(DATA, resize="pad"), replace(DATA, background=(0, 0, 0))):
        assert key(0, changed) != key(0)
    assert key(0, replace(DATA, path="x", near_duplicate_bits=1, strict=True)) == key(0)
