"""What a person does on the page of several runs, in headless Chromium."""

import pytest
from handmade import make_run

from reports.drawing import write_report

pytestmark = pytest.mark.xdist_group("comparison-page")
FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
NAMES = ("first", "second", "third")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Three runs on the same images, and the page that compares them."""
    home = tmp_path_factory.mktemp("pages")
    write_report([make_run(home / name, FLOWERS, 60, seed=k) for k, name in enumerate(NAMES)], home / "comparison.html")
    return home


@pytest.fixture(scope="module")
def right(home):
    """Path -> which runs got a test image right."""
    from kit.run import Run

    tables = [Run.open(home / name).predictions for name in NAMES]
    tables = [table[table["split"] == "test"] for table in tables]
    hits = [(table["label"] == table["predicted"]).tolist() for table in tables]
    return dict(zip(tables[0]["path"].tolist(), zip(*hits, strict=True), strict=True))


@pytest.fixture(scope="module")
def opened(home, show_page):
    """The page, opened once."""
    return show_page(home / "comparison.html")


@pytest.fixture
def images(opened):
    """The image browser as it is at first."""
    opened.locator("dialog[open]").evaluate_all("dialogs => dialogs.forEach(dialog => dialog.close())")
    opened.get_by_role("button", name="Reset", exact=True).click()
    return opened.locator(".browser")


def test_the_matrix_shows_every_difference_with_its_interval(opened, right):
    figure = opened.locator("#differences-figure")
    figure.scroll_into_view_if_needed()
    cells = [cell for cell in figure.locator(".heatmap-label").all_text_contents() if cell]
    assert len(cells) == 6  # of three pairs, both ways round
    n = len(right)
    difference = 100 * sum(hits[0] - hits[1] for hits in right.values()) / n
    shown = f"{difference:+.1f}".replace("-", "−") if round(difference, 1) else "0.0"
    assert any(cell.startswith(shown) and " to " in cell for cell in cells)
    opened.locator("#disagreements summary").first.click()
    table = opened.locator("#disagreements table")
    assert table.locator("tbody tr").count() == 3
    assert "Holm" in opened.locator("#disagreements details").first.inner_text()


def test_images_are_filtered_by_which_run_got_them_right(images, right):
    split = [hits for hits in right.values() if len(set(hits)) > 1]
    counted = images.locator("[data-count]")
    assert counted.inner_text() == f"24 shown of {len(split)} images."
    images.locator("[name=right]").select_option("second")
    images.locator("[name=wrong]").select_option("first")
    found = [hits for hits in split if hits[1] and not hits[0]]
    assert counted.inner_text().startswith(f"{min(24, len(found))} shown of {len(found)} that match")
    for item in images.locator("li").all():
        lines = item.locator(".line").all_inner_texts()
        assert lines[1].startswith("✗ first:")
        assert lines[2].startswith("✓ second:")
    images.locator("[name=label]").select_option("roses")
    assert all(item.locator(".line").first.inner_text() == "is roses" for item in images.locator("li").all())


def test_an_image_is_enlarged_with_what_each_run_says(opened, images):
    images.locator("[name=sort]").select_option("most")
    images.locator("li button").first.focus()
    opened.keyboard.press("Enter")
    large = opened.get_by_role("dialog")
    said = large.locator("[data-top] li").all_inner_texts()
    assert [line.split()[1].rstrip(":") for line in said] == list(NAMES)
    assert all(line.endswith("%") for line in said)
    place = large.locator("[data-place]").inner_text()
    opened.keyboard.press("ArrowRight")
    assert large.locator("[data-place]").inner_text() != place
    opened.keyboard.press("Escape")
    assert not large.is_visible()


def test_without_javascript_the_most_evenly_split_stay(home, show_page):
    plain = show_page(home / "comparison.html", java_script_enabled=False)
    assert plain.locator(".browser li img").count() == 24
    assert not plain.locator(".filters").is_visible()


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.full), "dark"])
def test_the_page_has_no_barrier(home, show_page, axe, scheme):
    page = show_page(home / "comparison.html", 390, color_scheme=scheme)
    page.locator("html[data-drawn]").wait_for()
    assert axe(page) == []
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
