"""Pages in a real browser: headless Chromium, from disk, with no network.

Needs the packages of the extra `browser`, Chromium (CHROMIUM names it, else it is looked for on PATH) and axe-core's
axe.min.js (AXE_CORE names it); the session `browser` of nox sees to all three. Skips plainly where one is missing.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from handmade import HOSTILE, make_evaluation, make_inspection, make_run, make_study

from reports.compare import compare_page
from reports.drawing import draw, write_page

AXE = os.environ.get("AXE_CORE", "")
FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
OWNED = "document.title.includes('owned')"
# Elements wider than the window that are not in a box that scrolls by itself.
SIDEWAYS = "document.documentElement.scrollWidth > window.innerWidth"


# kind -> what is recorded in a folder, of which the page is drawn
RECORDS: dict[str, Callable[[Path], object]] = {
    "run": lambda folder: make_run(folder, FLOWERS, backend="jax"),
    "hostile": lambda folder: make_run(folder, HOSTILE),
    "interrupted": lambda folder: make_run(folder, status="interrupted", splits=("train",)),
    "inspection": make_inspection,
    "evaluation": lambda folder: make_evaluation(folder, HOSTILE),
    "study": make_study,
    "pareto": lambda folder: make_study(folder, objectives=("accuracy", "parameters")),
}


def of(kind: str, *more: object):
    """Parameters of a test of a kind's page; `--dist loadgroup` gives those of a kind to one worker, which draws it."""
    return pytest.param(kind, *more, marks=pytest.mark.xdist_group(kind))


KINDS = [of(kind) for kind in (*RECORDS, "comparison")]


def schemes(shorter: str) -> list:
    """Each kind's page, light and dark: all are marked `full` but those named in `shorter`."""

    def one(kind: str, scheme: str, marks: list):
        return pytest.param(kind, scheme, marks=marks if f"{kind}-{scheme}" in shorter else [*marks, pytest.mark.full])

    return [one(*kind.values, scheme, [*kind.marks]) for kind in KINDS for scheme in ("light", "dark")]


class Seen:
    """A page that was opened, what it logged and what it asked for."""

    def __init__(self, chromium, path: Path, width: int, scheme: str):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = context.new_page()
        self.log: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.log.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.log.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-drawn]", timeout=60_000)
        self.page.evaluate("document.querySelectorAll('.fold').forEach((fold) => { fold.open = true; })")


@pytest.fixture(scope="module")
def page_of(tmp_path_factory) -> Callable[[str], Path]:
    """The page of a kind, drawn when it is first asked for."""
    home = tmp_path_factory.mktemp("pages")

    @cache
    def draw_page(kind: str) -> Path:
        if kind == "comparison":
            runs = [
                make_run(home / name, FLOWERS, backend=name, seed=k) for k, name in enumerate(("jax", "tensorflow"))
            ]
            return write_page(compare_page([run.path for run in runs]), home / "comparison.html")
        RECORDS[kind](home / kind)
        return draw(home / kind)

    return draw_page


@pytest.fixture
def open_page(chromium, page_of):
    """Opens a page: `open_page(kind, width, scheme)`; closes it after the test."""
    opened = []

    def open_it(kind: str, width: int = 1280, scheme: str = "light") -> Seen:
        opened.append(Seen(chromium, page_of(kind), width, scheme))
        return opened[-1]

    yield open_it
    for one in opened:
        one.page.context.close()


@pytest.mark.parametrize(
    ("kind", "scheme"), schemes("run-dark hostile-light inspection-light evaluation-light study-light comparison-light")
)
def test_a_page_opens_from_disk_quietly_and_draws_every_figure(open_page, page_of, kind, scheme):
    seen = open_page(kind, scheme=scheme)
    assert seen.log == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [page_of(kind).as_uri()]
    figures = seen.page.locator(".figure")
    for place in range(figures.count()):
        box = figures.nth(place).locator(".main-svg").first.bounding_box()
        assert box is not None
        assert box["width"] > 300
        assert box["height"] > 100
    assert not seen.page.evaluate(OWNED)
    assert seen.page.locator(".modebar").count() == 0  # and so no button that shares


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_scrolls_sideways_on_a_telephone(open_page, kind):
    seen = open_page(kind, 360)
    assert seen.log == []
    assert not seen.page.evaluate(SIDEWAYS)


@pytest.mark.xdist_group("run")
def test_a_page_uses_a_wide_screen_without_scrolling_sideways(open_page):
    assert not open_page("run", 3840).page.evaluate(SIDEWAYS)


@pytest.mark.parametrize(
    ("kind", "figure"),
    [of("run", "reliability-figure"), of("hostile", "classes-figure"), of("study", "history-figure")],
)
def test_tooltips_work_and_say_names_as_text(open_page, kind, figure):
    seen = open_page(kind)
    target = seen.page.locator(f"#{figure} .points path").first
    target.scroll_into_view_if_needed()
    box = target.bounding_box()
    at = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seen.page.mouse.move(at[0] + 1, at[1] + 1)
    seen.page.mouse.move(*at)
    tip = seen.page.locator(f"#{figure} .hoverlayer .hovertext")
    tip.first.wait_for(timeout=10_000)
    said = tip.first.text_content()
    assert said
    assert "%{" not in said or kind == "hostile"
    assert seen.log == []
    assert not seen.page.evaluate(OWNED)


@pytest.mark.xdist_group("run")
def test_colours_follow_the_system(open_page):
    seen = open_page("run")
    colour = "getComputedStyle(document.querySelector('#curves-figure .xtick text')).fill"
    light = seen.page.evaluate(colour)
    seen.page.emulate_media(color_scheme="dark")
    for _ in range(100):  # not wait_for_function: it evaluates text, which the page's policy forbids
        if seen.page.evaluate(colour) != light:
            break
        seen.page.wait_for_timeout(50)
    assert seen.page.evaluate(colour) != light
    assert seen.log == []


@pytest.mark.parametrize(
    ("kind", "scheme"), schemes("run-dark hostile-light inspection-light evaluation-dark study-light comparison-dark")
)
@pytest.mark.skipif(not AXE, reason="AXE_CORE does not name axe-core's axe.min.js")
def test_axe_finds_no_serious_violation(open_page, kind, scheme):
    seen = open_page(kind, scheme=scheme)
    seen.page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    found = seen.page.evaluate("axe.run()")
    grave = [rule for rule in found["violations"] if rule["impact"] in ("serious", "critical")]
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in grave] == []


@pytest.mark.xdist_group("study")
def test_every_table_behind_a_figure_can_be_reached_by_keyboard(open_page):
    seen = open_page("study")
    summary = seen.page.locator("summary").first
    summary.focus()
    seen.page.keyboard.press("Enter")
    assert seen.page.locator("details[open] table").first.is_visible()
