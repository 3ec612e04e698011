"""What a person does on a study's page, in headless Chromium: ranges, hover, a study that runs."""

import re
import time
from dataclasses import replace

import pytest
from handmade import make_study

from reports.drawing import draw
from search.records import LIVE, write_trials

pytestmark = pytest.mark.xdist_group("study-page")
PAPER = {"light": "#fbfbfa", "dark": "#14171a"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of 20 trials, with its page."""
    made = make_study(tmp_path_factory.mktemp("pages") / "study")
    draw(made.path)
    return made


@pytest.fixture(scope="module")
def opened(study, show_page):
    """Its page, opened once."""
    page = show_page(study.path / "report.html")
    page.locator("html[data-drawn]").wait_for()
    return page


@pytest.fixture
def ranges(opened):
    """The parallel coordinates, without a range."""
    chart = opened.locator(".chart", has=opened.locator("#parallel-figure"))
    chart.scroll_into_view_if_needed()
    reset = chart.get_by_role("button", name="Reset ranges")
    if reset.is_visible():
        reset.click()
    return chart


def measured(study):
    return [trial for trial in study.trials if trial.state in ("complete", "pruned")]


def test_a_range_is_set_with_the_keyboard(opened, ranges, study):
    handle = ranges.get_by_role("slider", name="training.optimizer, at least")
    handle.focus()
    opened.keyboard.press("ArrowUp")
    assert handle.get_attribute("aria-valuetext") == "sgd"
    sgd = sum(trial.params["training.optimizer"] == "sgd" for trial in measured(study))
    assert (
        ranges.locator("[data-ranges]").inner_text() == f"{sgd} of {len(measured(study))} trials lie within the ranges."
    )
    faded = opened.evaluate("document.getElementById('parallel-figure').data.filter((one) => one.opacity < 0.1).length")
    assert faded == len(measured(study)) - sgd
    ranges.get_by_role("button", name="Reset ranges").click()
    assert ranges.locator("[data-ranges]").inner_text() == ""


def test_a_range_is_dragged(opened, ranges, study):
    handle = ranges.get_by_role("slider", name="phases.1.unfreeze_depth, at least")
    box = handle.bounding_box()
    top = ranges.get_by_role("slider", name="phases.1.unfreeze_depth, at most").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    height = box["y"] - top["y"] - 30  # the handles stand beside their values
    opened.mouse.move(x, y)
    opened.mouse.down()
    opened.mouse.move(x, y - height * 0.3)
    opened.mouse.move(x, y - height * 0.56)  # between the depths 4 and 5 of 8
    opened.mouse.up()
    deep = sum(trial.params["phases.1.unfreeze_depth"] >= 5 for trial in measured(study))
    assert ranges.locator("[data-ranges]").inner_text().startswith(f"{deep} of {len(measured(study))} trials")
    assert 0 < deep < len(measured(study))


def test_ranges_stay_when_the_colours_change(opened, ranges):
    ranges.get_by_role("slider", name="training.optimizer, at least").focus()
    opened.keyboard.press("ArrowUp")
    faded = "document.getElementById('parallel-figure').data.filter((one) => one.opacity < 0.1).length"
    before = opened.evaluate(faded)
    opened.locator("[data-theme]").select_option("dark")
    opened.wait_for_timeout(1000)
    assert opened.evaluate(faded) == before > 0
    opened.locator("[data-theme]").select_option("")


def test_hover_says_which_trial_it_is(opened, ranges, study):
    point = ranges.locator(".points path").last  # of the best trial, on top
    box = point.bounding_box()
    opened.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + box["height"] / 2)
    opened.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = ranges.locator(".hoverlayer .hovertext")
    tip.first.wait_for()
    said = tip.first.text_content()
    assert re.search(r"trial \d+, (complete|pruned): [\d.]+%", said)
    assert "model.head_units" in said


def test_axes_have_ticks_with_their_values(ranges):
    ticks = ranges.locator(".annotation-text").all_text_contents()
    for tick in ("adam", "sgd", "100", "1e-5", "8"):
        assert tick in ticks, ticks


def test_pruned_trials_are_dashed(opened, ranges, study):
    dashes = opened.evaluate(
        "document.getElementById('parallel-figure').data.filter((one) => one.line.dash === 'dash').length"
    )
    assert dashes == sum(trial.state == "pruned" for trial in study.trials) > 0


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("figure", ["parallel-figure", "epochs-figure"])
def test_every_trial_is_seen_in_both_themes(opened, figure, scheme):
    """Lines have a contrast of 3:1 with the page (WCAG 2.2, 1.4.11), the poor ones too."""
    lines = opened.evaluate(
        f"document.getElementById('{figure}').data.map((one) => [one.line.color, one.opacity ?? 1])"
    )
    assert len(lines) > 10
    for colour, opacity in lines:
        bright, dark = sorted((luminance(colour), luminance(PAPER[scheme])), reverse=True)
        assert opacity == 1
        assert (bright + 0.05) / (dark + 0.05) >= 3


def test_on_a_telephone_the_axes_scroll_by_themselves(study, show_page, axe):
    page = show_page(study.path / "report.html", 390)
    page.locator("html[data-drawn]").wait_for()
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    assert axe(page) == []


# === A study that runs ===


def test_the_page_of_a_study_that_runs_follows_it(tmp_path, show_page):
    study = make_study(tmp_path / "study", 6)
    (study.path / LIVE).write_text("")
    page = show_page(draw(study.path))
    assert page.locator("#table tbody tr").count() == 6
    more = make_study(tmp_path / "more", 8)
    write_trials(replace(more, path=study.path))
    draw(study.path)
    page.locator("#table tbody tr").nth(7).wait_for()  # without a key or a click
    page.get_by_role("checkbox", name="stand still").check()
    (study.path / LIVE).unlink()
    write_trials(replace(study, path=study.path))
    draw(study.path)
    page.wait_for_timeout(5000)
    assert page.locator("#table tbody tr").count() == 8
    page.get_by_role("checkbox", name="stand still").uncheck()
    deadline = time.monotonic() + 20
    while page.locator("[data-live]").count() and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    assert page.locator("[data-live]").count() == 0
    assert page.locator("#table tbody tr").count() == 6
