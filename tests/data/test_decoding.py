"""Colour profiles and bit depths: what a person sees, one scale for a data set, and findings that say so."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import icc_profiles
from kit.config import DataConfig, RunConfig
from kit.data.audit import audit
from kit.data.dataset import load_dataset
from kit.data.decoding import usual_range
from kit.data.images import decode, read_image
from kit.data.sources import load_samples
from kit.run import Run

CONFIG = DataConfig(image_size=32)
FIXTURES = Path(__file__).parents[1] / "fixtures"


def saved(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def rainbow(side: int = 64) -> Image.Image:
    """Smooth, with every hue at every brightness."""
    hue, value = np.meshgrid(np.linspace(0, 255, side), np.linspace(40, 255, side))
    hsv = np.stack([hue, np.full_like(hue, 170), value], axis=-1).astype(np.uint8)
    return Image.fromarray(hsv, "HSV").convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).max())


def to_srgb(pixels: np.ndarray, colorants, decode_curve) -> np.ndarray:
    """By the formulas of the standards, without little CMS: IEC 61966-2-1 and its colorants adapted to D50."""
    srgb = np.array(
        [[0.4360747, 0.2225045, 0.0139322], [0.3850649, 0.7168786, 0.0971045], [0.1430804, 0.0606169, 0.7141733]]
    )
    linear = decode_curve(pixels / 255) @ np.array(colorants) @ np.linalg.inv(srgb)
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def of_srgb(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


# === Colour profiles ===


@pytest.mark.parametrize(
    ("profile", "colorants", "curve"),
    [
        (icc_profiles.display_p3(), icc_profiles._P3, of_srgb),
        (icc_profiles.adobe_rgb(), icc_profiles._ADOBE_RGB, lambda x: x ** (563 / 256)),
    ],
    ids=["Display P3", "Adobe RGB"],
)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_colours_of_other_spaces_are_those_of_srgb(profile, colorants, curve, format):
    content = saved(rainbow(), format, icc_profile=profile, **({"lossless": True} if format == "WEBP" else {}))
    decoded = read_image(content)
    expected = to_srgb(np.asarray(rainbow(), np.float64), colorants, curve)
    assert decoded.profile == "converted"
    assert np.abs(np.asarray(decoded.image) - expected).max() <= 2
    assert np.abs(np.asarray(rainbow()) - expected).max() > 20, "nothing to convert"
    assert difference(read_image(content, profiles=False).image, rainbow()) == 0


def test_a_photo_of_a_phone_turned_and_reduced_is_converted_as_well():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(rainbow(512), "JPEG", quality=95, exif=exif, icc_profile=icc_profiles.display_p3())
    small = read_image(content, at_least=64)
    assert (small.width, small.height, small.image.size) == (512, 512, (64, 64))
    reference = read_image(saved(rainbow(512), icc_profile=icc_profiles.display_p3())).image
    assert difference(small.image, reference.transpose(Image.Transpose.ROTATE_270).resize((64, 64))) < 16
    assert difference(small.image, rainbow(512).transpose(Image.Transpose.ROTATE_270).resize((64, 64))) > 40


def test_transparency_is_kept_and_the_background_is_not_converted():
    image = rainbow()
    image.putalpha(Image.fromarray(np.tile(np.uint8([0, 255]), (64, 32))))
    pixels = np.asarray(read_image(saved(image, icc_profile=icc_profiles.adobe_rgb()), (10, 200, 30)).image)
    opaque = np.asarray(read_image(saved(rainbow(), icc_profile=icc_profiles.adobe_rgb())).image)
    assert (pixels[:, ::2] == (10, 200, 30)).all()
    np.testing.assert_array_equal(pixels[:, 1::2], opaque[:, 1::2])


def test_inks_look_as_their_profile_says():
    patches = Image.fromarray(np.repeat(np.uint8([[[255, 0, 0, 0], [0, 0, 255, 0], [0, 0, 0, 0]]]), 8, axis=1), "CMYK")
    decoded = read_image(saved(patches, "TIFF", icc_profile=icc_profiles.cmyk()))
    assert (decoded.mode, decoded.profile) == ("CMYK", "converted")
    pixels = np.asarray(decoded.image, int)
    for place, colour in ((4, (20, 60, 140)), (12, (240, 220, 60)), (20, (255, 255, 255))):
        assert np.abs(pixels[0, place] - colour).max() <= 6
    assert np.asarray(read_image(saved(patches, "TIFF")).image)[0, 4].tolist() == [0, 255, 255]


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_of_another_gamma(mode):
    content = saved(Image.new(mode, (8, 8), (128, 255) if mode == "LA" else 128), icc_profile=icc_profiles.grey(1.0))
    assert np.asarray(read_image(content).image)[4, 4].tolist() == [188] * 3


def test_images_in_srgb_are_left_as_they_are():
    for profile in (icc_profiles.srgb(), icc_profiles.grey(2.2)):
        decoded = read_image(saved(rainbow(), icc_profile=profile))
        assert difference(decoded.image, rainbow()) == 0
    assert read_image(saved(rainbow(), icc_profile=icc_profiles.srgb())).profile == ""


@pytest.mark.parametrize(
    "profile",
    [b"no profile", icc_profiles.display_p3()[:200], icc_profiles.cmyk(), icc_profiles.grey(1.8), bytes(128)],
    ids=["text", "cut short", "of inks", "of grey", "zeros"],
)
def test_a_profile_that_cannot_be_used_is_ignored(profile):
    decoded = read_image(saved(rainbow(), icc_profile=profile))
    assert difference(decoded.image, rainbow()) == 0
    assert decoded.profile == "unusable"


@given(st.integers(0, 400), st.binary(min_size=1, max_size=40), st.sampled_from(["P3", "CMYK"]))
def test_no_profile_crashes(place, noise, kind):
    profile = bytearray(icc_profiles.display_p3() if kind == "P3" else icc_profiles.cmyk())
    profile[place : place + len(noise)] = noise
    image = rainbow(8) if kind == "P3" else rainbow(8).convert("CMYK")
    assert read_image(saved(image, "TIFF", icc_profile=bytes(profile))).image.mode == "RGB"


def test_profiles_are_found_by_the_audit(tmp_path):
    images = {
        "a/p3.png": saved(rainbow(), icc_profile=icc_profiles.display_p3()),
        "a/broken.png": saved(rainbow().rotate(90), icc_profile=b"no profile"),
        "b/plain.png": saved(rainbow().rotate(180)),
    }
    found = findings_of(tmp_path, images)
    assert found == {("colour-profile", "note"): ("a/p3.png",), ("colour-profile", "warning"): ("a/broken.png",)}


# === Bit depths ===


def findings_of(folder: Path, images: dict[str, bytes]) -> dict[tuple[str, str], tuple[str, ...]]:
    for name, content in images.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    source = load_samples(str(folder))
    decoding = ("bit-depth", "colour-profile")
    return {(one.kind, one.severity): one.paths for one in audit(source, CONFIG).findings if one.kind in decoding}


def deep(bits: int, seed: int = 0, format: str = "PNG") -> bytes:
    """Smooth noise whose greatest value is that of the bit depth, in a 16-bit file."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC), np.float64)
    values = (grey - grey.min()) / np.ptp(grey) * (2**bits - 1)
    return saved(Image.fromarray(values.astype(np.uint16)), format)


def pixels_of_dataset(folder: Path, config: DataConfig = CONFIG) -> tuple[DataConfig, np.ndarray]:
    config = RunConfig(data=replace(config, path=str(folder)))
    dataset = load_dataset(config)
    data = dataset.decoding(config).data
    return data, np.stack([decode(file, data) for file in dataset.files])


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_fewer_bits_in_16_show_the_same_image(tmp_path, bits, format):
    for depth in (bits, 16):
        for name in ("a/1", "a/2", "b/1", "b/2"):
            path = tmp_path / str(depth) / f"{name}.{format.lower()}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(deep(depth, 9 * ord(name[0]) + int(name[2]), format))
    few, shown = pixels_of_dataset(tmp_path / str(bits))
    full, expected = pixels_of_dataset(tmp_path / "16")
    assert (few.grey_range, full.grey_range) == ((0, 2**bits - 1), (0, 65535))
    assert np.abs(shown.astype(int) - expected).max() <= 1
    assert len(np.unique(shown)) > 100


def test_one_scale_holds_for_all_images_of_a_data_set(tmp_path):
    """A dark image stays dark beside a bright one, whatever was left out or added below the bright one's depth."""
    images = {
        "a/bright.png": deep(12, 1),
        "a/other.png": deep(12, 2),
        "b/dark.png": deep(9, 3),
        "b/more.png": deep(9, 4),
    }
    assert findings_of(tmp_path, images)[("bit-depth", "note")] == tuple(sorted(images))
    data, pixels = pixels_of_dataset(tmp_path)
    assert data.grey_range == (0, 4095)
    assert pixels[2:].max() < 40 < 200 < pixels[:2].max()
    (tmp_path / "b" / "dark.png").unlink()
    assert pixels_of_dataset(tmp_path)[0].grey_range == (0, 4095)


def test_images_of_another_depth_than_the_rest_are_warned_of(tmp_path):
    images = {"a/16.png": deep(16, 1), "a/b.png": deep(16, 2), "b/10.png": deep(10, 3), "b/c.png": deep(16, 4)}
    assert findings_of(tmp_path, images)[("bit-depth", "warning")] == ("b/10.png",)


def test_a_range_that_is_given_is_kept(tmp_path):
    findings_of(tmp_path, {"a/1.png": deep(12, 1), "b/2.png": deep(12, 2)})
    data, pixels = pixels_of_dataset(tmp_path, replace(CONFIG, grey_range=(1000, 3000)))
    assert data.grey_range == (1000, 3000)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_images_of_8_bits_have_no_range_and_no_finding(images):
    config = RunConfig(data=replace(CONFIG, path=str(images)))
    dataset = load_dataset(config)
    assert dataset.decoding(config) == config
    assert not [one for one in dataset.findings if one.kind in ("bit-depth", "colour-profile")]


def test_colour_of_16_bits_that_uses_few_of_them_is_warned_of(tmp_path):
    import struct
    import zlib

    def png(values: np.ndarray) -> bytes:
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
        chunks = [
            (b"IHDR", struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows)),
            (b"IEND", b""),
        ]
        body = b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
        return b"\x89PNG\r\n\x1a\n" + body

    noise = np.random.default_rng(0).integers(0, 4096, (64, 64 * 3))
    found = findings_of(tmp_path, {"a/12.png": png(noise), "b/16.png": png(noise * 16)})
    assert found == {("bit-depth", "warning"): ("a/12.png",)}
    (finding,) = audit(load_samples(str(tmp_path)), DataConfig()).findings
    assert "values to 4,095 at most" in finding.message
    assert "16 of 256 levels. Scale them, 0 to 4,095 becoming 0 to 255" in finding.message


@given(st.integers(0, 2**32 - 1))
def test_a_usual_range_is_that_of_a_bit_depth(high):
    black, white = usual_range(0, high)
    assert black == 0
    assert (white + 1) & white == 0
    assert white >= max(high, 255)
    assert white <= max(2 * high, 255)


def test_an_old_run_decodes_as_it_was_trained():
    data = Run(FIXTURES / "run-0.1").config.data
    assert (data.colour_profiles, data.grey_range) == (False, ())
    content = saved(rainbow(), icc_profile=icc_profiles.display_p3())
    np.testing.assert_array_equal(decode(content, data), decode(saved(rainbow()), data))
    twelve = np.uint16([[0, 4095]]).repeat(32, axis=1).repeat(32, axis=0)
    assert decode(saved(Image.fromarray(twelve)), data).max() == 16
