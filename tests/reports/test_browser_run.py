"""What a person does on a run's page, in headless Chromium: click, type, key."""

import pytest
from handmade import make_run

from reports.drawing import draw

pytestmark = pytest.mark.xdist_group("run-page")
FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 100 test images, with its page."""
    made = make_run(tmp_path_factory.mktemp("pages") / "run", FLOWERS, 60)
    draw(made.path)
    return made


@pytest.fixture(scope="module")
def page(run, show_page):
    """Its page, opened."""
    return show_page(run.report_path)


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


# === The image browser ===


@pytest.fixture
def images(page):
    """The image browser as it is at first."""
    page.locator("dialog").evaluate("dialog => dialog.close()")
    page.get_by_role("button", name="Reset", exact=True).click()
    return page.locator(".browser")


@pytest.fixture(scope="module")
def said(run):
    """What the model said of the test images."""
    table = run.predictions
    return table[table["split"] == "test"]


def captions(images):
    """Predicted class, confidence and, of mistakes, label."""
    return [
        " ".join(words.all_inner_texts())
        for words in (item.locator(".line") for item in images.locator("li.thumbnail").all())
    ]


def counted(images):
    return images.locator("[data-count]").inner_text()


def test_without_javascript_the_grid_of_32_stays(page, images, run, show_page):
    plain = show_page(run.report_path, java_script_enabled=False)
    assert plain.locator(".browser li img").count() == 32
    assert not plain.locator(".filters").is_visible()
    assert captions(plain.locator(".browser")) == captions(images)


def test_images_are_filtered_by_what_a_person_asks_for(images, said):
    assert counted(images).startswith("32 shown of 100 images")
    images.locator("[name=label]").select_option("roses")
    images.locator("[name=answer]").select_option("wrong")
    images.locator("[name=low]").fill("50")
    wrong = said[(said["label"] == "roses") & (said["predicted"] != "roses") & (said["confidence"] >= 0.5)]
    assert 0 < len(wrong) < 15
    assert counted(images).startswith(f"{len(wrong)} shown of {len(wrong)} that match")
    assert images.locator("li.wrong").count() == images.locator("li").count() == len(wrong)
    images.get_by_role("button", name="Reset", exact=True).click()
    images.locator("[name=text]").fill(said["path"].tolist()[40].upper())
    assert images.locator("li").count() == 1


def test_images_are_sorted_and_more_are_shown(images, said):
    images.locator("[name=sort]").select_option("least")
    images.get_by_role("button", name="Show 68 more").click()
    shown = [int(caption.split()[1].rstrip("%")) for caption in captions(images)]
    assert shown == sorted(shown)
    assert len(shown) == 100
    assert abs(shown[0] - 100 * said["confidence"].min()) < 1


def test_the_mistakes_are_one_click_away(images, said):
    images.get_by_role("button", name="Show the mistakes").click()
    wrong = said[said["label"] != said["predicted"]]
    assert counted(images).endswith(f"{len(wrong)} of them wrong.")
    surest = wrong.sort_values("confidence", ascending=False)["path"].tolist()[0]
    assert images.locator("li button").first.get_attribute("title") == surest


def test_an_image_is_enlarged_and_its_neighbours_follow_by_the_arrow_keys(page, images, said):
    images.locator("[name=answer]").select_option("wrong")
    images.locator("[name=sort]").select_option("path")
    images.locator("li button").first.focus()
    page.keyboard.press("Enter")
    large = page.get_by_role("dialog")
    assert large.is_visible()
    path = large.locator("[data-path]").inner_text()
    row = said[said["path"] == path].iloc[0]
    top = [text.split() for text in large.locator("[data-top] li").all_inner_texts()]
    expected = sorted(((row[f"p_{name}"], name) for name in FLOWERS), reverse=True)[:3]
    assert [(name, share) for name, share in top] == [(name, f"{share:.1%}") for share, name in expected]
    alts = [image.get_attribute("alt") for image in large.locator("img").all()]
    assert len(alts) == 3  # the image, the evidence for what was predicted and for the label
    assert all(row["label"] in alt and row["predicted"] in alt for alt in alts)
    page.keyboard.press("ArrowRight")
    assert large.locator("[data-place]").inner_text().startswith("2 of ")
    page.keyboard.press("ArrowLeft")
    assert large.locator("[data-path]").inner_text() == path
    page.keyboard.press("ArrowLeft")  # round to the last
    page.keyboard.press("Escape")
    assert not large.is_visible()
    assert page.evaluate("document.activeElement === document.querySelector('.browser ul').lastElementChild.firstChild")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_browser_has_no_barrier(page, images, axe, scheme):
    page.emulate_media(color_scheme=scheme)
    assert axe(page) == []
    images.locator("li button").first.click()
    assert axe(page) == []


def test_on_a_telephone_nothing_is_cut(run, show_page):
    small = show_page(run.report_path, 360)
    small.locator(".browser li button").first.click()
    assert not small.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    box = small.get_by_role("dialog").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
