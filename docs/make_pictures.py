"""Take the pictures of docs/reports.md: `python docs/make_pictures.py transferkit-demo`, after `transferkit demo`.

It draws the demo's pages anew and photographs them in headless Chromium (extra `web`): docs/report.png, and a picture
of each figure in docs/pictures/.
"""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from kit.export.browser import find_program
from reports.drawing import draw

HERE = Path(__file__).resolve().parent
HEIGHT = 1520  # of docs/report.png, in pixels
COLOURS = 256


def _enlarged(page: Any) -> Any:
    """A mistake with its evidence."""
    page.get_by_role("button", name="Show the mistakes").click()
    page.locator(".browser .enlarge").first.click()
    page.wait_for_timeout(500)
    return page.locator("dialog[open]")


def _chosen(page: Any) -> Any:
    """The map, the images in its lower left half chosen and one looked at."""
    field = page.locator(".field > svg")
    field.evaluate("field => field.scrollIntoView({ behavior: 'instant', block: 'center' })")
    page.mouse.move(*_inside(field, 0.02, 0.5))
    page.mouse.down()
    page.mouse.move(*_inside(field, 0.2, 0.8), steps=3)
    page.mouse.move(*_inside(field, 0.42, 0.98), steps=3)
    page.mouse.up()
    box = field.locator("g:has(circle) path").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    return page.locator(".map")


def _inside(field: Any, across: float, down: float) -> tuple[float, float]:
    box = field.bounding_box()
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def _element(selector: str) -> Callable[[Any], Any]:
    return lambda page: page.locator(selector).first


# name -> record in the demo's folder, and what is to be seen of its page
PICTURES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "next-steps": ("run", _element("#next")),
    "evidence": ("run", _enlarged),
    "confusion": ("run", _element(".matrix .scroll")),
    "threshold": ("run", _element(".threshold [data-live]")),
    "reliability": ("run", _element(".chart:has(#reliability-figure)")),
    "map": ("run", _chosen),
    "curves": ("run", _element(".chart:has(#curves-figure)")),
    "learning": ("run", _element(".chart:has(#learning-figure)")),
    "study": ("study", _element(".chart:has(#parallel-figure)")),
}


def make(demo: Path) -> None:
    """Draw the pages of a demo and take all pictures."""
    from playwright.sync_api import sync_playwright

    for name in ("run", "study"):
        draw(demo / name)
    folder = HERE / "pictures"
    folder.mkdir(exist_ok=True)
    sandbox = () if getattr(os, "geteuid", lambda: 1)() else ("--no-sandbox",)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=find_program() or None, args=["--disable-gpu", *sandbox])
        top = _opened(chromium, demo / "run", 1280, 1)
        clip = {"x": 0, "y": 0, "width": 1280, "height": HEIGHT}
        taken = Image.open(io.BytesIO(top.screenshot(clip=clip, full_page=True))).convert("RGB")
        taken.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(HERE / "report.png", optimize=True)
        opened = {record: _opened(chromium, demo / record, 860, 1.25) for record in ("run", "study")}
        for name, (record, found) in PICTURES.items():
            picture = Image.open(io.BytesIO(found(opened[record]).screenshot())).convert("RGB")
            picture.save(folder / f"{name}.webp", quality=70, method=6)
            opened[record].keyboard.press("Escape")  # closes what was enlarged
        chromium.close()


def _opened(chromium: Any, record: Path, width: int, scale: float) -> Any:
    page = chromium.new_context(
        viewport={"width": width, "height": 1000}, device_scale_factor=scale, color_scheme="light"
    ).new_page()
    page.goto((record / "report.html").absolute().as_uri())
    page.locator("html[data-drawn]").wait_for()
    page.add_style_tag(content="nav { position: static !important; } * { scroll-behavior: auto !important; }")
    return page


if __name__ == "__main__":
    make(Path(sys.argv[1]))
