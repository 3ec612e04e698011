"""Classes that differ in their direction only are named, for mirrored views would teach the wrong label."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from image_files import make_images
from kit.config import RunConfig, ViewsConfig
from kit.data.dataset import build_dataset
from kit.data.facts import _appearance
from kit.data.mirroring import _ODD
from kit.data.sources import load_samples


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


def arrow(random: np.random.Generator) -> Image.Image:
    """An arrow to the right on a noisy ground, at any place."""
    image = Image.fromarray(random.normal(90, 12, (96, 96, 3)).clip(0, 255).astype(np.uint8))
    x, y = random.integers(0, 12, 2).tolist()
    outline = ((8, 34), (44, 34), (44, 16), (80, 42), (44, 68), (44, 50), (8, 50))
    ImageDraw.Draw(image).polygon([(x + across, y + down) for across, down in outline], fill=(240, 240, 240))
    return image


@pytest.fixture
def arrows(tmp_path):
    random = np.random.default_rng(0)
    for name in ("left", "right"):
        (tmp_path / "arrows" / name).mkdir(parents=True)
        for number in range(16):
            image = arrow(random)
            image = ImageOps.mirror(image) if name == "left" else image
            image.save(tmp_path / f"arrows/{name}/{number}.png")
    return tmp_path / "arrows"


def said(folder, **views) -> list[str]:
    dataset = build_dataset(load_samples(str(folder)), RunConfig(views=ViewsConfig(**views)))
    return [warning for warning in dataset.warnings if "Mirrored" in warning]


def test_classes_that_are_each_others_mirror_image_are_named(arrows):
    assert said(arrows) == [
        "Mirrored images of left look like right, and the other way round: `transferkit train --set "
        "views.flip=false` trains without mirrored views."
    ]
    assert said(arrows, flip=False) == []


def test_others_are_not(tmp_path):
    assert said(make_images(tmp_path / "data", ("cat", "dog"), 16)) == []


@pytest.mark.real
@pytest.mark.parametrize("name", ["road_signs", "aerial", "groceries", "magnetic_tiles", "ants_bees", "blood_cells"])
def test_no_alarm_on_real_images(real_data, name):
    assert said(real_data / "data" / name) == []


def test_the_hash_of_a_mirrored_image_is_that_of_the_image_with_its_odd_columns_changed():
    image = arrow(np.random.default_rng(1))
    plain, mirrored = _appearance(image)[0], _appearance(ImageOps.mirror(image))[0]
    assert (plain ^ mirrored ^ int(_ODD)).bit_count() <= 4
