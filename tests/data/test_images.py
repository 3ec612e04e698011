"""Images as people have them come out as a person sees them; everything else is an ImageProblem."""

import io
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, features
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from doubles import swap
from kit.config import DataConfig
from kit.data import images
from kit.data.decoding import fit_square
from kit.data.images import ImageProblem, decode, read_file, read_image

ORIENTATIONS = {  # what a camera held otherwise stores, for a picture to be seen as drawn
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


def load_rgb(file, background=(255, 255, 255), at_least=None, **options) -> Image.Image:
    """As a run decodes that recorded no range of grey values."""
    content = file if isinstance(file, bytes) else read_file(file)
    return read_image(content, background, at_least, **{"grey_range": (), **options}).image


def drawn(width=120, height=80) -> Image.Image:
    """Red above, blue below, a white corner: every turn and mirror of it differs."""
    image = Image.new("RGB", (width, height), (200, 30, 30))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height // 2, width, height), fill=(30, 30, 200))
    draw.rectangle((0, 0, width // 4, height // 4), fill=(255, 255, 255))
    return image


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def difference(image: Image.Image, expected: Image.Image) -> float:
    assert image.size == expected.size
    return float(np.abs(np.asarray(image, np.float64) - np.asarray(expected.convert("RGB"), np.float64)).mean())


def problem(content) -> str:
    with pytest.raises(ImageProblem) as caught:
        load_rgb(content)
    assert caught.value.detail
    assert "\n" not in caught.value.detail
    return caught.value.kind


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation(format, orientation):
    if format in ("WEBP", "AVIF") and not features.check(format.lower()):
        pytest.skip(f"this Pillow has no {format}")
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(ORIENTATIONS[orientation](drawn()), format, exif=exif)
    assert difference(load_rgb(content), drawn()) < 4


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "RGB", "RGBA", "LA"])
def test_modes(mode):
    black_white = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 64, axis=0).repeat(64, axis=1)).convert(
        "RGB"
    )
    image = black_white.convert("L").convert(mode) if mode == "LA" else black_white.convert(mode)
    format = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    assert difference(load_rgb(saved(image, format)), black_white) < 1.5


def test_cmyk_jpeg_keeps_its_colours():
    assert difference(load_rgb(saved(drawn().convert("CMYK"), "JPEG", quality=95)), drawn()) < 3


def transparent(mode: str) -> Image.Image:
    """Left half invisible (with red or black hidden there), right half green or grey 100."""
    if mode == "P":
        image = Image.new("P", (40, 20), 0)
        image.putpalette([255, 0, 0, 0, 200, 0])
        image.paste(1, (20, 0, 40, 20))
        return image
    invisible = {"RGBA": (255, 0, 0, 0), "LA": (0, 0), "RGB": (255, 0, 0), "L": 0}[mode]
    visible = {"RGBA": (0, 200, 0, 255), "LA": (100, 255), "RGB": (0, 200, 0), "L": 100}[mode]
    image = Image.new(mode, (40, 20), invisible)
    image.paste(visible, (20, 0, 40, 20))
    return image


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGBA", {}),
        ("LA", {}),
        ("P", {"transparency": 0}),
        ("P", {"transparency": b"\0\xff"}),
        ("RGB", {"transparency": (255, 0, 0)}),
        ("L", {"transparency": 0}),
    ],
)
def test_transparency_shows_the_background(mode, options):
    pixels = np.asarray(load_rgb(saved(transparent(mode), "PNG", **options), background=(10, 20, 30)))
    assert pixels[10, 5].tolist() == [10, 20, 30]
    assert pixels[10, 35].tolist() == ([100] * 3 if "L" in mode else [0, 200, 0])


def test_16_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    assert np.abs(np.asarray(load_rgb(saved(Image.fromarray(ramp), "PNG")), int)[0, :, 0] - np.arange(256)).max() <= 1
    assert np.abs(np.asarray(load_rgb(saved(Image.fromarray(ramp), "TIFF")), int)[0, :, 1] - np.arange(256)).max() <= 1
    dim = (ramp // 64).astype(np.uint16)  # of one camera, a dark image stays dark
    assert np.asarray(load_rgb(saved(Image.fromarray(dim), "PNG"))).max() <= 4


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0.0, 0.5, 1.0], np.float32), [0, 128, 255]),
        (np.array([0.0, 128.0, 255.0], np.float32), [0, 128, 255]),
        (np.array([-10.0, 0.0, 10.0], np.float32), [0, 128, 255]),
        (np.array([np.nan, 0.5, 1.0], np.float32), [0, 128, 255]),
        (np.array([0, 128, 255], np.int32), [0, 128, 255]),
        (np.array([0, 32896, 65535], np.int32), [0, 128, 255]),
        (np.array([0, 500_000, 1_000_000], np.int32), [0, 128, 255]),
        (np.array([7.0, 7.0, 7.0], np.float32), [7, 7, 7]),
    ],
)
def test_32_bits_are_scaled_by_range(values, expected):
    pixels = np.asarray(load_rgb(saved(Image.fromarray(values[None]), "TIFF")))
    assert pixels[0, :, 0].tolist() == expected


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_animations_give_their_first_frame(format):
    other = Image.new("RGB", (120, 80), (0, 255, 0))
    content = saved(drawn(), format, save_all=True, append_images=[other, drawn().rotate(180)], duration=100)
    assert difference(load_rgb(content), drawn()) < 6


def test_draft_is_smaller_but_never_too_small():
    content = saved(drawn(1600, 1200), "JPEG")
    small = load_rgb(content, at_least=150)
    assert small.size == (200, 150)
    assert load_rgb(content, at_least=151).height >= 151
    assert difference(small, drawn(1600, 1200).resize((200, 150))) < 3


# === Problems ===


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"I am a text file named .jpg\n", "not-an-image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not-an-image"),
        (bytes(range(256)) * 4, "not-an-image"),
        (b"\xff\xd8\xff\xe0", "truncated"),
    ],
)
def test_files_that_are_no_images(content, kind):
    assert problem(content) == kind


HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_heic_is_named_and_what_reads_it(monkeypatch):
    swap(monkeypatch, images, "reads_heic", lambda: False)
    with pytest.raises(ImageProblem, match="not-an-image: a HEIC image: `pip install pillow-heif` reads it"):
        load_rgb(HEIC_HEAD)


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    image = drawn(64, 48)
    heif.from_pillow(image).save(tmp_path / "IMG_0001.HEIC", quality=95)
    content = (tmp_path / "IMG_0001.HEIC").read_bytes()
    decoded = load_rgb(content)
    assert decoded.size == image.size
    assert difference(decoded, image) < 6
    assert problem(HEIC_HEAD) == problem(content[: len(content) // 2]) == "truncated"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
def test_files_cut_short(format):
    if format in ("WEBP", "AVIF") and not features.check(format.lower()):
        pytest.skip(f"this Pillow has no {format}")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8))
    content = saved(noise, format)
    assert problem(content[: len(content) // 2]) == "truncated"


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (14_000, 13_000), (60_000, 60_000)])
def test_bombs_are_refused_before_they_are_decoded(width, height):
    image = Image.new("1", (16, 16))
    content = bytearray(saved(image, "PNG"))
    content[16:24] = width.to_bytes(4) + height.to_bytes(4)
    content[29:33] = __import__("zlib").crc32(bytes(content[12:29])).to_bytes(4)
    assert problem(bytes(content)) == "bomb"


def test_paths_that_cannot_be_read(tmp_path):
    assert problem(tmp_path / "nothing.jpg") == "unreadable"
    assert problem(tmp_path) == "unreadable"


def outcome(content: bytes) -> str:
    try:
        return load_rgb(content).mode
    except ImageProblem as problem:
        return problem.kind


@given(st.binary(max_size=400), st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"]), st.data())
def test_no_bytes_at_all_crash(noise, format, data):
    """Any damage gives pixels or an ImageProblem: never another exception, never a warning."""
    content = bytearray(saved(drawn(24, 16), format))
    place = data.draw(st.integers(0, len(content)))
    content[place : place + len(noise) // 2] = noise
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for damaged in (bytes(content), noise):
            assert outcome(damaged) in {"RGB", "empty", "not-an-image", "truncated", "bomb", "unreadable"}


def test_no_warning_escapes_from_threads():
    directory = ImageFileDirectory_v2()
    directory[0x0112] = 1
    corrupt_exif = saved(drawn(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0corrupt")
    palette = saved(transparent("P"), "PNG", transparency=b"\0\xff")
    failures = []

    def work():
        try:
            for content in (corrupt_exif, palette) * 20:
                load_rgb(content)
        except BaseException as error:
            failures.append(error)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


# === Squares ===


@pytest.mark.parametrize("size", [(120, 80), (80, 120), (64, 64), (1, 300), (500, 7)])
@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
def test_squares_are_square(size, resize):
    square = fit_square(drawn(*size), 64, resize, (1, 2, 3))
    assert square.shape == (64, 64, 3)
    assert square.dtype == np.uint8


def test_what_each_resize_shows():
    wide = Image.new("RGB", (300, 100), (0, 0, 0))
    wide.paste((255, 255, 255), (100, 0, 200, 100))
    crop = fit_square(wide, 60, "crop", (9, 9, 9))
    stretch = fit_square(wide, 60, "stretch", (9, 9, 9))
    pad = fit_square(wide, 60, "pad", (9, 9, 9))
    assert crop[:, 2:-2].min() > 250
    assert stretch[30, 5].tolist() == [0, 0, 0]
    assert stretch[30, 30].tolist() == [255, 255, 255]
    assert pad[5, 30].tolist() == [9, 9, 9]
    assert pad[30, 30].tolist() == [255, 255, 255]
    assert pad[30, 5].tolist() == [0, 0, 0]


def test_downscaling_is_antialiased():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    square = fit_square(Image.fromarray(stripes), 64, "crop", (0, 0, 0))
    assert np.abs(square.astype(int) - 127).max() <= 3


def test_decode_reads_files(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(saved(drawn(), "JPEG"))
    square = decode(tmp_path / "photo.jpg", DataConfig(image_size=32))
    assert square.shape == (32, 32, 3)
    assert square[28, 16, 2] > 150 > square[28, 16, 0]
