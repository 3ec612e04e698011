"""ICC profiles made by hand, as cameras and scanners embed them (ICC.1:2010): Display P3, Adobe RGB, CMYK, grey."""

import struct

import numpy as np
from PIL import Image, ImageCms

_D50 = (0.9642, 1.0, 0.8249)
# Colorants adapted to D50: columns red, green, blue of https://www.color.org/chardata/rgb/
_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
_ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


def display_p3() -> bytes:
    srgb_curve = b"para" + struct.pack(">IHH", 0, 3, 0) + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return _matrix_profile(_P3, srgb_curve)


def adobe_rgb() -> bytes:
    return _matrix_profile(_ADOBE_RGB, _gamma(563 / 256))


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def grey(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(_D50), b"kTRC": _gamma(gamma)})


def cmyk() -> bytes:
    """A press whose inks are not the complements of red, green and blue: cyan prints as a dark blue."""
    inks = {"c": (20, 60, 140), "m": (180, 40, 90), "y": (240, 220, 60), "k": (40, 40, 40)}
    corners = []
    for index in range(16):  # grid of two points a channel, the last channel fastest
        on = [name for place, name in enumerate("cmyk") if index >> (3 - place) & 1]
        corners.append(np.prod([np.array(inks[name]) / 255 for name in on], axis=0) if on else np.ones(3))
    rgb = Image.fromarray((np.array(corners) * 255).astype(np.uint8)[None])
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = np.asarray(to_lab.apply(rgb))[0].astype(np.uint8) ^ np.array([0, 128, 128], np.uint8)  # a, b are signed
    ramp = bytes(range(256))
    identity = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + 4 * ramp + lab.tobytes() + 3 * ramp
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(_D50), b"A2B0": table})


def _matrix_profile(colorants, curve: bytes) -> bytes:
    tags = {b"wtpt": _xyz(_D50)}
    for name, values in zip((b"r", b"g", b"b"), colorants, strict=True):
        tags |= {name + b"XYZ": _xyz(values), name + b"TRC": curve}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = "test".encode("utf-16-be")
    words = b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    tags = {b"desc": words, b"cprt": words, **tags}
    table, content = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", start + len(content), len(value))
        content += padded
    size = start + len(content)
    head = struct.pack(">I4sI4s4s4s", size, b"", 0x04200000, kind, space, connection) + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + _fixed(*_D50)
    return head.ljust(128, b"\0") + table + content


def _gamma(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256))


def _xyz(values) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
