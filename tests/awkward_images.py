"""Images as people have them that simple code decodes otherwise than transferkit: name -> bytes of the file."""

import io

import numpy as np
from PIL import Image

import icc_profiles

GREY_RANGE = (0, 4095)  # of the 16-bit images


def _saved(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _scene(seed: int, width: int = 90, height: int = 60) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def _make() -> dict[str, bytes]:
    cut_out, turned = _scene(1), Image.Exif()
    cut_out.putalpha(Image.fromarray(np.tile(np.uint8([0, 255]).repeat(45), (60, 1))))
    turned[0x0112] = 6
    palette = Image.new("P", (60, 60), 0)
    palette.putpalette([255, 0, 0, 0, 200, 0])
    palette.paste(1, (30, 0, 60, 60))
    grey = np.asarray(_scene(2).convert("L"), np.uint16)
    return {
        "plain.jpg": _saved(_scene(0), "JPEG"),
        "large.jpg": _saved(_scene(0, 900, 700), "JPEG"),
        "cut-out.png": _saved(cut_out),
        "palette.png": _saved(palette, transparency=0),
        "12-bit.png": _saved(Image.fromarray(grey * 16)),
        "12-bit.tif": _saved(Image.fromarray(grey[::-1] * 16), "TIFF"),
        "floating.tif": _saved(Image.fromarray((grey / 300).astype(np.float32)), "TIFF"),
        "turned.jpg": _saved(_scene(3), "JPEG", exif=turned),
        "inks.jpg": _saved(_scene(4).convert("CMYK"), "JPEG"),
        "press.tif": _saved(_scene(5).convert("CMYK"), "TIFF", icc_profile=icc_profiles.cmyk()),
        "phone.jpg": _saved(_scene(6), "JPEG", icc_profile=icc_profiles.display_p3(), exif=turned),
        "camera.png": _saved(_scene(7), icc_profile=icc_profiles.adobe_rgb()),
        "broken-profile.png": _saved(_scene(8), icc_profile=b"no profile"),
    }


IMAGES = _make()
