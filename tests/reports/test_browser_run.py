"""What a person does on a run's page, in headless Chromium: click, type, key."""

import pytest
from handmade import make_run

from reports.drawing import draw

pytestmark = pytest.mark.xdist_group("run-page")
FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")


@pytest.fixture(scope="module")
def page(tmp_path_factory, show_page):
    """The page of a run of 100 test images."""
    folder = tmp_path_factory.mktemp("pages") / "run"
    return show_page(draw(make_run(folder, FLOWERS, 60).path))


# === What to do next ===


def test_a_line_of_advice_leads_to_its_place(page):
    steps = page.locator("#next li")
    assert 1 <= steps.count() <= 5
    assert steps.first.locator("strong").inner_text() == "±9 points"
    for place in range(steps.count()):
        link = steps.nth(place).get_by_role("link")
        link.click()
        assert page.locator(f"section{link.get_attribute('href')}").is_visible()
    assert page.url.endswith(link.get_attribute("href"))
