"""Quality of images: blurred, dark, bright, of little information, grey among colour, of an odd size or shape.

`measure` is of one image, in the audit's single decoding. `odd_images` compares the images of a set: an image is odd
that is beyond a bound and beyond the rest of its set (Tukey's fence), for what is dark among holiday photos is usual
under a fixed camera. The bounds were chosen on four sets and held on four others (benchmarks/quality.py).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from kit.data.facts import ImageFacts

LINES = 16  # of pixels, each way, along which edges are measured
STEP = 128  # a step is the shorter side's 128th part
APART = 4  # steps over which a blurred edge rises
LEAST_RISE = 2.0  # in grey levels: less is noise
FENCE = 1.5  # interquartile ranges beyond the quartiles (Tukey 1977, Exploratory data analysis)
BELOW = 1.25  # the median by that, at least: where images are much alike a fence is near

BLURRED, EVEN_SLOPE = 0.4, 0.3  # no set is so smooth that the second is usual, unless many images are
DARK = 80.0
BRIGHT = 200.0
LITTLE, FLAT = 3.4, 16.0  # few levels may make a picture, on a black ground: they must be near each other too
GREY = 3.0
EXCEPTIONS = 0.2  # share of a set above which grey, flat or evenly sloped images are none
TIMES_LONGER = 2.0
TIMES_LARGER = 4.0

NEAREST = Image.Resampling.NEAREST
_FEW, _MOST = 32**2 * 5 // 100, 32**2 * 99 // 100


class Quality(NamedTuple):
    """Measured quality of one image.

    Attributes:
        sharpness: Rise of the steepest edges over a 128th of the shorter side, as a share of that over four times as
            much, in the blurrier of both directions: 0.25 (an even slope: blurred) to 1.
        darkest: Level, 0-255, which the weakest channel exceeds in 95% of the 32 x 32 image.
        brightest: Level, 0-255, which the strongest channel does not exceed in 99% of it.
        contrast: Grey levels between its 5th and its 99th percentile, 0-255.
        information: Entropy of its grey levels, 0 to 8 bits.
        colour: Difference between red, green and blue which 99% of it do not exceed, 0-255.
    """

    sharpness: float = 1.0
    darkest: int = 0
    brightest: int = 255
    contrast: int = 255
    information: float = 8.0
    colour: int = 255


def measure(image: Image.Image, small: Image.Image) -> Quality:
    """Quality of an RGB image, of which `small` is a copy of 32 x 32."""
    red, green, blue = np.frombuffer(small.tobytes(), np.uint8).reshape(-1, 3).T.copy()
    strongest, weakest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    grey = small.convert("L")
    levels = np.partition(np.frombuffer(grey.tobytes(), np.uint8), (_FEW, _MOST))
    return Quality(
        sharpness=_sharpness(image),
        darkest=int(np.partition(weakest, _FEW)[_FEW]),
        brightest=int(np.partition(strongest, _MOST)[_MOST]),
        contrast=int(levels[_MOST]) - int(levels[_FEW]),
        information=round(grey.entropy(), 2),
        colour=int(np.partition(strongest - weakest, _MOST)[_MOST]),
    )


def _sharpness(image: Image.Image) -> float:
    if min(image.size) >= 2 * STEP:
        image = image.reduce(min(image.size) // STEP)
    width, height = image.size
    step = max(1, round(min(width, height) / STEP))
    if min(width, height) <= APART * step:
        return 1.0
    # a resize without smoothing picks lines, at a tenth of the cost of all pixels
    rows, columns = _green(image.resize((width, LINES), NEAREST)), _green(image.resize((LINES, height), NEAREST)).T
    slopes = (_rise(lines, step) / _rise(lines, APART * step) for lines in (rows, np.ascontiguousarray(columns)))
    return round(min(1.0, *slopes), 3)


def _green(image: Image.Image) -> np.ndarray:
    """Green channel: most of the brightness, without a conversion."""
    return np.frombuffer(image.tobytes(), np.uint8)[1::3].reshape(image.height, image.width)


def _rise(lines: np.ndarray, apart: int) -> float:
    """Mean over the lines of the greatest difference within each: what is sharp anywhere counts."""
    one, other = lines[:, apart:], lines[:, :-apart]
    rises = np.maximum(one, other) - np.minimum(one, other)
    return max(LEAST_RISE, sum(np.maximum.reduce(rises, axis=1).tolist()) / LINES)


# === In a set ===


def odd_images(facts: "Sequence[ImageFacts]") -> list[tuple[str, int, str]]:
    """Kind, index and description of each odd image, by kind, the oddest first.

    An image has one finding of its light and sharpness: what is nearly black is not said to be blurred too. Files that
    are no images are passed over.
    """
    measured = [(index, fact, fact.quality) for index, fact in enumerate(facts) if fact.quality is not None]
    if not measured:
        return []
    indices = [index for index, _, _ in measured]
    sharpness, darkest, brightest, contrast, information, colour = (
        np.array([getattr(quality, name) for _, _, quality in measured]) for name in Quality._fields
    )
    widths, heights = np.array([(fact.width, fact.height) for _, fact, _ in measured], float).T
    size_of = [f"{width:.0f} x {height:.0f}" for width, height in zip(widths, heights, strict=True)].__getitem__
    found: list[tuple[str, int, str]] = []
    taken: set[int] = set()

    def add(kind: str, odd: np.ndarray, order: np.ndarray, says: Callable[[int], str], alone: bool = True) -> None:
        for place in sorted(np.flatnonzero(odd).tolist(), key=lambda place: (order[place], place)):
            if not (alone and place in taken):
                found.append((kind, indices[place], says(place)))
                taken.update([place] if alone else [])

    middle = np.median(brightest)
    add(
        "dark",
        brightest < min(DARK, _low_fence(brightest)),
        brightest,
        lambda k: f"is dark: 99% of it lies below {brightest[k]:.0f} of 255 (median of the images: {middle:.0f})",
    )
    light, usual = 255 - darkest, np.median(darkest)
    add(
        "bright",
        light < min(255 - BRIGHT, _low_fence(light)),
        light,
        lambda k: f"is bright: 95% of it lies above {darkest[k]:.0f} of 255 (median of the images: {usual:.0f})",
    )
    bits = np.median(information)
    add(
        "low-information",
        _exceptions((information < LITTLE) & (contrast < FLAT)),
        information,
        lambda k: f"has little information: entropy {information[k]:.1f} of 8 bits (median: {bits:.1f})",
    )
    typical = np.median(sharpness)
    add(
        "blurred",
        (sharpness < min(BLURRED, _low_fence(sharpness))) | _exceptions(sharpness < EVEN_SLOPE),
        sharpness,
        lambda k: f"is blurred: sharpness {sharpness[k]:.2f} of 1 (median: {typical:.2f})",
    )
    grey = colour <= GREY
    others = f"{np.count_nonzero(~grey):,} of {len(grey):,} images have colour"
    add(
        "grey",
        _exceptions(grey),
        colour,
        lambda k: f"is grey: red, green and blue differ by {colour[k]:.0f} ({others})",
        False,
    )
    longer = np.log(np.maximum(widths, heights) / np.minimum(widths, heights))
    away, ratio = _beyond(longer, np.log(TIMES_LONGER)), np.exp(np.median(longer))
    add(
        "odd-aspect",
        away > 0,
        -away,
        lambda k: f"has an odd shape: {size_of(k)}, {np.exp(longer[k]):.1f} to 1 (median: {ratio:.1f} to 1)",
        False,
    )
    size = np.log(widths * heights) / 2
    away, side = _beyond(size, np.log(TIMES_LARGER)), np.exp(np.median(size))
    add(
        "odd-size",
        away > 0,
        -away,
        lambda k: f"has an odd size: {size_of(k)} (median: about {side:.0f} pixels a side)",
        False,
    )
    return found


def _exceptions(odd: np.ndarray) -> np.ndarray:
    """Which images are odd; none where many are."""
    return odd & (odd.mean() <= EXCEPTIONS)


def _low_fence(values: np.ndarray) -> float:
    """Value below which an image is beyond the rest, by ratios."""
    first, median, third = np.quantile(np.log(np.maximum(values, 0.01)), (0.25, 0.5, 0.75))
    return float(min(np.exp(first - FENCE * (third - first)), np.exp(median) / BELOW))


def _beyond(values: np.ndarray, least: float) -> np.ndarray:
    """How far each value is from the median, where that is more than `least` and outside both fences; else 0."""
    first, median, third = np.quantile(values, (0.25, 0.5, 0.75))
    reach = FENCE * (third - first)
    outside = (values < first - reach) | (values > third + reach)
    away = np.abs(values - median)
    return np.where(outside & (away > least), away, 0.0)
