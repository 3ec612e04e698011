"""Time to the first figure of a run's page in Chromium, and the page's size."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import common
import typer

from kit.errors import ConfigError, UserError
from kit.export.browser import find_program
from kit.insights import Evidence, Insights
from kit.insights.thumbnails import LARGEST, SIDE, thumbnail
from kit.synthetic import draw_flower
from reports.drawing import page_of, write_page

ROOT = common.HERE.parent
DRAWN = 60  # flowers, which take turns
GRID = (7, 7)  # of MobileNetV2's evidence at 224 pixels
# When the first figure is shown, and when all are drawn, in milliseconds since the navigation began.
WATCH = """
new MutationObserver((changes, watch) => {
  if (globalThis.seen === undefined && document.querySelector(".figure .main-svg .xtick")) {
    globalThis.seen = true;
    // a task that follows a frame: the frame was shown
    requestAnimationFrame(() => setTimeout(() => { globalThis.first = performance.now(); }));
  }
  if (!document.documentElement.dataset.drawn) return;
  globalThis.all = performance.now();
  watch.disconnect();
}).observe(document, { subtree: true, childList: true, attributes: true });
"""
MIB = 2**20


def first_figure(
    runs: Annotated[
        str, typer.Option(help="Images x classes of each run, with commas between.")
    ] = "150x5,500x5,3000x5",
    rounds: Annotated[int, typer.Option(min=1, help="How often to open each page, in turns.")] = 5,
    results: common.Results = common.RESULTS,
) -> None:
    """How long does a run's page take in Chromium until its first figure is drawn, and how large is it?

    The runs are made by hand, as the tests make them, with drawn flowers for thumbnails: no model is trained. Each page
    is opened from disk in headless Chromium, each time by a context of its own. Beside it stands the same page without
    any script, which is what parsing and showing its text and images take.
    """
    from playwright.sync_api import sync_playwright

    program = find_program()
    if not program:
        raise UserError("There is no Chromium on this machine.", "Install it, or let CHROMIUM name its program.")
    found = {}
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        folder = Path(scratch)
        sandbox = () if getattr(os, "geteuid", lambda: 1)() else ("--no-sandbox",)
        chromium = driver.chromium.launch(executable_path=program, args=["--disable-gpu", *sandbox])
        for number, asked in enumerate(runs.split(",")):
            pages = _pages(_numbers(asked), folder / str(number))
            sides = common.alternate({name: _opening(chromium, name, page) for name, page in pages.items()}, rounds)
            found[asked] = {
                name: {"page_bytes": page.stat().st_size}
                | {what: median(one[what] for one in sides[name]) for what in sides[name][0]}
                for name, page in pages.items()
            }  # fmt: skip
        version = chromium.version
        chromium.close()
    rows = [
        [
            asked,
            f"{one['now']['page_bytes'] / MIB:.1f}",
            f"{one['bare']['shown']:.0f}",
            f"{one['now']['first']:.0f}",
            f"{one['now']['first'] / one['bare']['shown']:.1f}",
            f"{one['now']['all']:.0f}",
        ]
        for asked, one in found.items()
    ]
    head = ("images x classes", "page, MiB", "no script, ms", "first figure, ms", "to no script", "all figures, ms")
    common.show(rows, head)
    common.record(results, "first_figure", {"chromium": version}, {"pages": found})


def _numbers(asked: str) -> tuple[int, int]:
    try:
        images, classes = map(int, asked.split("x"))
    except ValueError:
        raise ConfigError(f"A run is images x classes, such as 500x5, not {asked!r}.") from None
    return images, classes


def _pages(asked: tuple[int, int], folder: Path) -> dict[str, Path]:
    """Page of one run, to be opened with its scripts and without."""
    page = write_page(page_of(_make_run(folder, *asked)), folder / "page.html")
    return {"now": page, "bare": page}


def _make_run(folder: Path, images: int, classes: int) -> Path:
    """Run made by hand, with as many thumbnails as a run keeps."""
    sys.path.insert(0, str(ROOT / "tests" / "reports"))
    from handmade import make_run

    names: tuple[str, ...] = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    if classes != len(names):
        names = tuple(f"species {number:04d}" for number in range(classes))
    run = make_run(folder / "run", names, -(-images // classes), probabilities=images * classes < 1e6)
    insights = Insights(run.insights)
    table = run.samples.sort_values("split", key=lambda splits: splits != "test", kind="stable")
    paths = table["path"].tolist()[:LARGEST]
    drawn = [thumbnail(draw_flower(number % 5, number // 5, size=SIDE)) for number in range(min(DRAWN, len(paths)))]
    insights.write_album("thumbnails", {path: drawn[place % len(drawn)] for place, path in enumerate(paths)})
    levels = bytes(range(0, 245, 5))
    maps = {path: [(0, levels), (1, levels[::-1])] for path in paths if path in insights.evidence.images}
    insights.write_evidence(Evidence(GRID, maps))
    return run.path


def _opening(chromium: Any, name: str, page: Path) -> Callable[[], dict[str, float]]:
    """Opens a page and tells its times in milliseconds."""

    def opened() -> dict[str, float]:
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, java_script_enabled=name != "bare")
        view = context.new_page()
        if name == "bare":
            seconds = common.timed(lambda: view.goto(page.as_uri()))
            context.close()
            return {"shown": 1000 * seconds}
        view.add_init_script(WATCH)
        view.goto(page.as_uri())
        view.locator("html[data-drawn]").wait_for(timeout=120_000)
        view.wait_for_timeout(100)  # until a frame has shown a figure that was the last as well
        times: dict[str, float] = json.loads(view.evaluate("JSON.stringify({ first, all })"))
        context.close()
        return times

    return opened


if __name__ == "__main__":
    common.start(first_figure)
