"""Images of poor quality are found by what sets them apart from their set; what is usual there is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from doubles import swap
from image_files import make_images
from kit.config import DataConfig
from kit.data import facts
from kit.data.audit import audit
from kit.data.quality import measure
from kit.data.sources import load_samples

CLASSES = ("cat", "dog")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path):
    """Two classes of 12 images of 160 x 128, all different."""
    return make_images(tmp_path / "data", CLASSES, 12, size=(160, 128))


def treat(folder, treatment, paths=None):
    """Puts treated images in the place of some, or of all."""
    for file in sorted(folder.rglob("*.jpg")) if paths is None else [folder / path for path in paths]:
        with Image.open(file) as image:
            image.load()
        treatment(image).save(file, quality=90)


def found(folder) -> dict[tuple[str, str], str]:
    """(kind, path) -> message of each finding of one image."""
    findings = audit(load_samples(str(folder)), DataConfig(near_duplicates="off"), 2).findings
    return {(one.kind, one.paths[0]): one.message for one in findings}


def darker(share):
    return lambda image: ImageEnhance.Brightness(image).enhance(share)


def flat(image):
    random = np.random.default_rng(1)
    return Image.fromarray(random.normal((150, 120, 90), 2, (image.height, image.width, 3)).astype(np.uint8))


@pytest.mark.parametrize(
    ("kind", "treatment", "says"),
    [
        ("blurred", lambda image: image.filter(ImageFilter.GaussianBlur(4)), "is blurred: sharpness 0.2"),
        ("dark", darker(0.1), "is dark: 99% of it lies below 2"),
        ("bright", lambda image: Image.blend(image, Image.new("RGB", image.size, "white"), 0.85), "lies above 21"),
        ("low-information", flat, "has little information: entropy 0."),
        ("grey", lambda image: image.convert("L").convert("RGB"), "is grey: red, green and blue differ by 0 (23 of 24"),
        ("odd-aspect", lambda image: image.crop((0, 0, 160, 40)), "an odd shape: 160 x 40, 4.0 to 1 (median: 1.2 to 1"),
        ("odd-size", lambda image: image.resize((960, 768)), "odd size: 960 x 768 (median: about 143 pixels a side)"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_one_odd_image_among_others_is_found_with_its_value(data, kind, treatment, says):
    assert found(data) == {}
    treat(data, treatment, ["cat/0003.jpg"])
    (seen,) = [key for key in found(data) if key[0] != "blurred" or kind == "blurred"]
    assert seen == (kind, "cat/0003.jpg")
    message = found(data)[seen]
    assert message.startswith("cat/0003.jpg ")
    assert says in message


@pytest.mark.parametrize(
    "treatment",
    [
        darker(0.2),
        lambda image: image.filter(ImageFilter.GaussianBlur(4)),
        lambda image: image.convert("L").convert("RGB"),
        lambda image: image.resize((400, 80)),
        lambda image: Image.blend(image, Image.new("RGB", image.size, "white"), 0.85),
    ],
    ids=["dark", "blurred", "grey", "panoramas", "bright"],
)
def test_what_all_images_of_a_set_have_is_no_finding(data, treatment):
    treat(data, treatment)
    assert found(data) == {}


def test_the_dark_one_among_dark_ones_is_found(data):
    treat(data, darker(0.25))
    treat(data, darker(0.2), ["dog/0001.jpg"])
    assert [kind for kind, path in found(data) if path == "dog/0001.jpg"] == ["dark"]


def test_a_saturated_image_is_not_dark_and_a_thing_on_black_is_no_nothing(data):
    """A red rose, which is dark as a grey image; a flower on a black ground, most of which is one level."""
    random = np.random.default_rng(0)
    rose = np.zeros((128, 160, 3), np.uint8)
    rose[..., 0] = np.repeat(np.repeat(random.integers(60, 256, (16, 20)), 8, 0), 8, 1)
    Image.fromarray(rose).save(data / "cat/rose.jpg", quality=90)
    flower = np.zeros((128, 160, 3), np.uint8)
    flower[40:70, 50:80] = np.repeat(np.repeat(random.integers(60, 256, (10, 10, 3)), 3, 0), 3, 1)
    Image.fromarray(flower).save(data / "cat/flower.jpg", quality=90)
    assert found(data) == {}


def test_nothing_is_said_twice_of_one_image(data):
    """Black noise is dark; that it is flat and has no edges follows."""
    treat(data, lambda image: darker(0.02)(flat(image)), ["cat/0000.jpg"])
    assert [kind for kind, path in found(data) if path == "cat/0000.jpg" and kind != "grey"] == ["dark"]


def test_the_oddest_comes_first(data):
    treat(data, darker(0.2), ["cat/0001.jpg"])
    treat(data, darker(0.1), ["dog/0002.jpg"])
    assert [path for kind, path in found(data) if kind == "dark"] == ["dog/0002.jpg", "cat/0001.jpg"]


def test_quality_is_measured_in_the_one_decoding_and_kept(data, monkeypatch):
    read, calls = facts.read_image, []

    def counted(content, background=(255, 255, 255), at_least=None, grey_range=None, *, profiles=True):
        calls.append(content)
        return read(content, background, at_least, grey_range, profiles=profiles)

    swap(monkeypatch, "kit.data.facts", "read_image", counted)
    treat(data, darker(0.1), ["cat/0003.jpg"])
    first = found(data)
    assert len(calls) == 24
    assert found(data) == first
    assert len(calls) == 24


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 700), height=st.integers(1, 700), level=st.integers(0, 255))
def test_any_size_can_be_measured(width, height, level):
    image = Image.new("RGB", (width, height), (level, 0, 255))
    measured = measure(image, image.resize((32, 32)))
    assert 0 <= measured.sharpness <= 1
    assert measured.colour == 255
    assert measured.information == 0


@pytest.mark.real
@pytest.mark.parametrize(("name", "few"), [("magnetic_tiles", 5), ("blood_cells", 3), ("clothes", 5), ("aerial", 5)])
def test_few_of_a_real_set_are_called_odd(real_data, name, few):
    """Dark tiles under a fixed camera, smooth cells under a microscope: what is usual there is not odd."""
    assert len(found(real_data / "data" / name)) - len(decoding(real_data / "data" / name)) <= few


def decoding(folder) -> list:
    """Findings that are not of quality: copies, sizes below what is usable."""
    kinds = ("duplicate", "conflict", "leak", "extreme-size", "bit-depth", "colour-profile")
    return [key for key in found(folder) if key[0] in kinds]
