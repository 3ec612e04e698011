"""What a person does on a run's page, in headless Chromium: click, type, key."""

import csv
import math
import re
import shutil

import pytest
from handmade import jpeg, make_run
from PIL import Image

from kit.files import write_json
from kit.insights import Insights
from kit.significance import wilson_interval
from kit.thresholds import Thresholds
from reports.charts import SERIES
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
def opened(run, show_page):
    """Its page, opened once for all tests."""
    return show_page(run.report_path)


@pytest.fixture
def page(opened):
    """Its page, no image enlarged: a dialog that the test before left open takes all clicks."""
    opened.locator("dialog[open]").evaluate_all("dialogs => dialogs.forEach(dialog => dialog.close())")
    return opened


# === What to do next ===


def test_a_line_of_advice_leads_to_its_place(page):
    steps = page.locator("#next li")
    assert 1 <= steps.count() <= 5
    assert steps.first.locator("strong").inner_text() == "±9 points"
    for place in range(steps.count()):
        link = steps.nth(place).get_by_role("link").first
        link.click()
        assert page.locator(f"section{link.get_attribute('href')}").is_visible()
    assert page.url.endswith(link.get_attribute("href"))


def test_a_line_of_advice_shows_the_images_that_it_is_about(show_page, tmp_path):
    page = show_page(draw(make_run(tmp_path / "three", FLOWERS[:3], 60).path))
    step = page.locator("#next li", has_text="errors mix up")
    count, pair = re.search(r"(\d+) of \d+\s+errors mix up (\w+ and \w+):", step.inner_text()).groups()
    step.get_by_role("link", name="these errors").click()
    images = page.locator(".browser")
    assert images.locator("[data-count]").inner_text().split(" shown of ")[1].startswith(f"{count} that match")
    for words in captions(images):
        assert set(re.findall("daisy|dandelion|roses", words)) == set(pair.split(" and "))
    images.get_by_role("button", name=f"Forget the {count} of {pair}").click()
    assert "that match" not in images.locator("[data-count]").inner_text()


# === The image browser ===


@pytest.fixture
def images(page):
    """The image browser as it is at first."""
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


PIXEL = """(image, [x, y]) => {
  const size = { width: image.naturalWidth, height: image.naturalHeight };
  const canvas = Object.assign(document.createElement("canvas"), size);
  const paper = canvas.getContext("2d");
  paper.drawImage(image, 0, 0);
  return [...paper.getImageData(x * canvas.width, y * canvas.height, 1, 1).data].slice(0, 3);
}"""


def test_the_evidence_is_seen_over_right_answers_too(page, images):
    from playwright.sync_api import expect

    images.locator("[name=answer]").select_option("right")
    images.locator("li button").first.click()
    large = page.get_by_role("dialog")
    large.locator("img[data-evidence]").nth(1).wait_for()
    assert [text.split(" for ")[0] for text in large.locator("figcaption").all_inner_texts()] == [
        "the image",
        *["evidence"] * 2,
    ]
    strongest = large.locator("img[data-evidence]").first
    assert strongest.get_attribute("alt").startswith("evidence for ")
    grey = strongest.evaluate(PIXEL, [0.1, 0.1])
    assert max(grey) - min(grey) < 5  # no evidence: the image, in grey
    red, _, blue = strongest.evaluate(PIXEL, [0.9, 0.9])
    assert red > 180 > 100 > blue  # the strongest: yellow
    page.keyboard.press("Escape")
    images.get_by_role("checkbox", name="evidence over the images").check()
    lit = images.locator("li.thumbnail img[data-evidence]")
    expect(lit).to_have_count(images.locator("li.thumbnail").count())
    images.get_by_role("button", name="Reset", exact=True).click()
    expect(lit).to_have_count(0)


def test_an_older_run_shows_the_pictures_that_it_recorded(run, show_page, tmp_path):
    old = shutil.copytree(run.path, tmp_path / "old")
    (old / "insights" / "evidence.json").unlink()
    table = run.predictions
    wrong = table[(table["split"] == "test") & (table["label"] != table["predicted"])]["path"].tolist()
    for name in ("activation-predicted", "activation-label"):
        Insights(old / "insights").write_album(name, {path: jpeg((200, 20, 20)) for path in wrong[:8]})
    page = show_page(draw(old))
    page.locator("[name=text]").fill(wrong[0])
    page.locator(".browser li button").first.click()
    large = page.get_by_role("dialog")
    assert large.locator("img").count() == 3
    red, green, _ = large.locator("img").last.evaluate(PIXEL, [0.5, 0.5])
    assert red > 150 > 60 > green


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.full), "dark"])
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


@pytest.mark.parametrize("width", [390, 1280])
def test_the_start_and_the_suffix_of_a_file_name_are_seen(run, show_page, width):
    page = show_page(run.report_path, width)
    for place, item in enumerate(page.locator(".browser li.thumbnail").all()[:8]):
        name = item.locator(".cut")
        start, end = (half.bounding_box() for half in name.locator("span").all())
        room = item.bounding_box()
        assert name.text_content() == name.get_attribute("title")  # whole for a reader and for the clipboard
        assert end["x"] + end["width"] <= room["x"] + room["width"] + 1
        assert start["width"] > 10
        assert end["height"] < 24  # one line
        assert name.locator("span").last.inner_text().endswith(".jpg"), place


def test_a_picture_says_label_and_prediction_to_those_who_do_not_see_it(images, said):
    shown = images.locator("li").all()[:10]
    rows = {row["path"]: row for _, row in said.iterrows()}
    for item in shown:
        row = rows[item.locator(".cut").get_attribute("title")]
        expected = f"{row['label']}, predicted as {row['predicted']}, {row['confidence']:.0%}"
        assert item.locator("img").get_attribute("alt") == expected


# === The confusion matrix ===


def cell(page, label, predicted):
    """Button of a cell of the matrix of the flowers; its place, counted from 0."""
    row = page.locator(".matrix tbody tr").nth(FLOWERS.index(label))
    return row.locator("td").nth(FLOWERS.index(predicted)).locator("button")


def test_a_cell_and_a_class_show_their_images(page, images, said):
    wrong = said[(said["label"] == "roses") & (said["predicted"] == "tulips")]
    button = cell(page, "roses", "tulips")
    assert button.inner_text() == str(len(wrong))
    button.click()
    assert counted(images).startswith(f"{len(wrong)} shown of {len(wrong)} that match")
    assert captions(images)[0].endswith("is roses")
    page.locator(".matrix thead").get_by_role("button", name="daisy").click()
    predicted = said[said["predicted"] == "daisy"]
    assert counted(images).startswith(f"{len(predicted)} shown of {len(predicted)} that match")


def test_cells_show_counts_or_shares_of_the_row_or_the_column(page, said):
    wrong = ((said["label"] == "roses") & (said["predicted"] == "tulips")).sum()
    button = cell(page, "roses", "tulips")
    for kind, of in (("% of the label", "label"), ("% of the predicted", "predicted")):
        whole = (said[of] == ("roses" if of == "label" else "tulips")).sum()
        page.get_by_role("radio", name=kind).check()
        assert button.inner_text() == f"{math.floor(100 * wrong / whole + 0.5)}%"
    page.get_by_role("radio", name="images").check()
    assert button.inner_text() == str(wrong)


def test_the_matrix_is_walked_by_arrow_keys(page):
    cell(page, "daisy", "daisy").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith(("dandelion predicted as", "daisy predicted as"))
    assert page.locator(".matrix button[tabindex='0']").count() == 1


def test_few_errors_are_seen_in_both_themes(page, run, show_page):
    """A share of 3% in the matrix differs from an empty cell by 1.3 : 1 or more."""
    shades = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        target = page.locator(".matrix td.miss").first
        target.evaluate("cell => cell.style.setProperty('--share', 0.03)")
        seen = target.evaluate("cell => getComputedStyle(cell).backgroundColor")
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades.append(contrast(*(numbers_of(colour) for colour in (seen, paper))))
    page.emulate_media(color_scheme="light")
    assert min(shades) >= 1.3


def numbers_of(colour):
    """Red, green, blue, 0 to 1, and alpha of a computed colour."""
    parts = [float(part) for part in re.findall(r"[\d.]+", colour)]
    return [*(part / 255 for part in parts[:3]), *(parts[3:] or [1.0])]


def contrast(colour, paper):
    """Contrast of a colour on paper with the paper (WCAG 2.2)."""
    alpha = colour[3]
    shown = [alpha * one + (1 - alpha) * other for one, other in zip(colour[:3], paper[:3], strict=True)]
    bright, dark = sorted((luminance(shown), luminance(paper)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("classes", [25, 100])
def test_many_classes_stay_readable(tmp_path, show_page, axe, classes):
    names = tuple(f"species number {k}" for k in range(classes))
    page = show_page(draw(make_run(tmp_path / "run", names, 6, insights=False).path))
    assert page.locator(".matrix tbody tr").count() == classes
    button = page.locator(".matrix td.hit button").last
    button.scroll_into_view_if_needed()
    shown, heads = button.bounding_box(), page.locator(".matrix tbody th button")
    assert shown["width"] >= 18
    assert shown["height"] >= 18
    assert float(button.evaluate("button => getComputedStyle(button).fontSize").removesuffix("px")) >= 10
    left = page.locator(".matrix .scroll").bounding_box()["x"]
    assert abs(heads.last.bounding_box()["x"] - left) < 12  # stays in sight where the cells scroll
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    if classes < 100:  # axe-core takes a minute for 10,000 cells
        assert axe(page) == []


# === The map ===


@pytest.fixture
def field(page, images):
    """The drawing of the map, nothing chosen."""
    drawing = page.locator(".field > svg")
    drawing.evaluate("field => field.scrollIntoView({ behavior: 'instant', block: 'center' })")
    return drawing


def spot(field, path, run):
    """Where the point of an image is on the screen."""
    place = [row["path"] for row in field.evaluate("() => imageBrowser.images")].index(path)
    box = field.locator(f"[data-place='{place}'] path").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_brushed_images_of_the_map_are_those_of_the_browser(page, images, field, said, run):
    assert field.locator("[data-place]").count() == 100
    assert field.locator("circle").count() == (said["label"] != said["predicted"]).sum()
    places = Insights(run.insights).map
    left = places[places["x"] < 0.1]  # those of one label
    box = field.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.move(box["x"] + 0.15 * box["width"], box["y"] + box["height"] - 2)
    page.mouse.up()
    assert counted(images).startswith(f"{len(left)} shown of {len(left)} that match")
    assert page.locator(".map [data-says]").inner_text().startswith(f"{len(left)} chosen, ")
    page.get_by_role("button", name="Show them").click()
    assert page.evaluate("document.activeElement === document.querySelector('.browser h3')")
    shown = {item.get_attribute("title") for item in images.locator("li button").all()}
    assert shown == set(left["path"])
    images.locator("[name=answer]").select_option("wrong")  # other filters apply beside it
    wrong = said[said["path"].isin(left["path"]) & (said["label"] != said["predicted"])]
    assert counted(images).startswith(f"{len(wrong)} shown of ")
    images.get_by_role("button", name="Reset", exact=True).click()
    assert counted(images).startswith("32 shown of 100 images")
    assert not page.locator(".brush").count()


def test_the_map_shows_an_image_under_the_pointer_and_by_the_arrow_keys(page, images, field, said, run):
    row = said.iloc[3]
    page.mouse.move(*spot(field, row["path"], run))
    tip = page.locator(".tip")
    tip.locator("img").wait_for()
    assert f"{row['label']}, predicted as {row['predicted']}" in tip.inner_text()
    field.focus()
    page.mouse.move(0, 0)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert tip.is_visible()
    assert "predicted as" in page.locator(".map [data-says]").inner_text()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    chosen = int(page.locator(".map [data-says]").inner_text().split()[0])
    assert chosen >= 1
    assert counted(images).split(" of ")[1].split()[0] == str(chosen)
    page.keyboard.press("Escape")
    assert counted(images).startswith("32 shown of 100 images")
    assert not tip.is_visible()


def test_a_class_of_the_map_is_marked_and_a_finger_chooses_only_when_asked(page, field, run, show_page):
    legend = page.locator(".legend").get_by_role("button", name="roses")
    legend.click()
    assert field.locator("g.dim").count() == 80
    legend.click()
    assert field.locator("g.dim").count() == 0
    phone = show_page(run.report_path, 390, has_touch=True, is_mobile=True)
    drawing = phone.locator(".field > svg")
    action = "field => getComputedStyle(field).touchAction"
    assert drawing.evaluate(action) == "pan-y pinch-zoom"
    phone.get_by_role("button", name="Select by touch").tap()
    assert drawing.evaluate(action) == "none"
    assert not phone.evaluate("document.documentElement.scrollWidth > window.innerWidth")


def test_a_tap_shows_an_image_of_the_map_and_covers_no_button(run, said, show_page):
    phone = show_page(run.report_path, 390, has_touch=True, is_mobile=True)
    drawing = phone.locator(".field > svg")
    drawing.evaluate("field => field.scrollIntoView({ behavior: 'instant', block: 'center' })")
    tip, paths = phone.locator(".tip"), said["path"].tolist()
    for path in (paths[0], paths[6], paths[-1], paths[-5]):  # at the left and at the right, from the top down
        phone.touchscreen.tap(*spot(drawing, path, run))
        tip.locator("img").wait_for()
        shown, room = tip.bounding_box(), drawing.bounding_box()
        assert room["y"] - 1 <= shown["y"]
        assert shown["y"] + shown["height"] <= room["y"] + room["height"] + 1
        assert shown["x"] >= 0
        assert shown["x"] + shown["width"] <= 390
    words = phone.locator(".map [data-says]")
    assert "predicted as" in tip.inner_text()
    phone.touchscreen.tap(room["x"] + 3 * room["width"] / 8, room["y"] + room["height"] / 2)  # no image there
    assert not tip.is_visible()
    assert words.inner_text() == ""


def test_the_map_is_saved_as_png_and_csv(page, field, said, run, tmp_path):
    box = page.locator("#map .map")
    with page.expect_download() as saved:
        box.get_by_role("button", name="Save as PNG: Map").click()
    assert saved.value.suggested_filename == "map.png"
    saved.value.save_as(tmp_path / "map.png")
    picture = Image.open(tmp_path / "map.png").convert("RGB")
    assert abs(picture.width - 2 * (field.bounding_box()["width"] + 16)) <= 2
    colours = {colour: count for count, colour in picture.getcolors(1 << 20)}
    assert colours[(251, 251, 250)] > 10_000  # the page
    assert colours[(179, 71, 0)] > 200  # rings
    assert all(colours[(int(hue[1:3], 16), int(hue[3:5], 16), int(hue[5:], 16))] > 200 for hue in SERIES[:5])
    with page.expect_download() as saved:
        box.get_by_role("button", name="Save as CSV: Map").click()
    assert saved.value.suggested_filename == "map.csv"
    saved.value.save_as(tmp_path / "map.csv")
    rows = {row["path"]: row for row in csv.DictReader((tmp_path / "map.csv").read_text(encoding="utf-8").splitlines())}
    places = Insights(run.insights).map.set_index("path")
    assert set(rows) == set(places.index)
    for one in said.to_dict("records"):
        row = rows[one["path"]]
        assert (row["label"], row["predicted"]) == (one["label"], one["predicted"])
        assert float(row["confidence"]) == pytest.approx(one["confidence"], abs=1e-6)
        assert [float(row["x"]), float(row["y"])] == pytest.approx(places.loc[one["path"]].tolist(), abs=2e-3)


def test_a_run_that_recorded_no_map_says_so(run, show_page, tmp_path):
    old = shutil.copytree(run.path, tmp_path / "old")
    (old / "insights" / "map.csv").unlink()
    page = show_page(draw(old))
    assert "recorded no map" in page.locator("#map").inner_text()
    assert page.locator(".browser li").count() == 32


# === The threshold ===


def test_one_slider_tells_what_a_threshold_gives(page, run, said):
    box = page.locator(".threshold")
    slider = box.get_by_role("slider")
    slider.fill("60")
    slider.press("ArrowRight")
    box.locator("output", has_text="0.61").wait_for()  # Chromium moves a slider after the key is down
    sure = said[said["confidence"] >= 0.61]
    right = (sure["label"] == sure["predicted"]).sum()
    assert box.locator("[data-share]").inner_text() == f"{len(sure) / len(said):.1%}"
    assert box.locator("[data-accuracy]").inner_text() == f"{right / len(sure):.1%}"
    low, high = wilson_interval(right, len(sure))
    assert box.locator("[data-interval]").inner_text() == f"95% interval {low:.1%} to {high:.1%}"
    assert box.locator("[data-errors]").inner_text() == f"{100 * (len(sure) - right) / len(said):.1f}"
    assert box.locator("[data-command]").inner_text() == "transferkit predict run path/to/images --threshold 0.61"
    row = box.get_by_role("row", name="roses").locator("td").all_inner_texts()
    roses = sure[sure["label"] == "roses"]
    assert row[:4] == ["20", str(len(roses)), str(20 - len(roses)), str((roses["predicted"] != "roses").sum())]
    slider.press("End")
    assert box.locator("[data-accuracy]").inner_text() == "–"


def test_the_slider_begins_at_the_runs_own_threshold_and_goes_back_to_it(tmp_path, show_page):
    run = make_run(tmp_path / "run")
    limits = Thresholds(0.61234, 0.4, 0.99, 0, 0.95, "validation", 60, 60.0, 50, 49, (0.9, 1.0), 3)
    write_json(run.path / "abstention.json", limits.to_dict())
    page = show_page(draw(run.path))
    box = page.locator(".threshold")
    assert box.locator("output").inner_text() == "0.6123"
    assert "unlike" in box.inner_text()
    box.get_by_role("slider").press("End")
    box.locator("output", has_text="1.00").wait_for()
    box.get_by_role("slider").press("ArrowLeft")
    box.locator("output", has_text="0.999").wait_for()
    box.get_by_role("button", name="the run's own: 0.6123").click()
    assert box.locator("[data-command]").inner_text().endswith("--threshold 0.6123")


def test_the_reliability_diagram_has_an_interval_at_every_point(page):
    figure = page.locator("#reliability-figure")
    points = figure.locator(".points path.point").count()
    assert points > 3
    assert figure.locator(".errorbars path.yerror").count() == points


# === The whole page ===


def test_sections_come_by_worth_and_those_of_inspections_are_folded(page):
    titles = page.locator("main > section > h2, main .fold h2").all_inner_texts()
    assert titles[:4] == ["What to do next", "Images", "Classes", "Confidence"]
    assert page.locator("nav a").all_inner_texts() == titles
    page.locator("#data summary").first.evaluate("summary => { summary.parentElement.open = false; }")
    figure = page.locator("#classes-figure .main-svg").first
    assert not figure.is_visible()
    page.locator("nav").get_by_role("link", name="Data", exact=True).click()
    figure.wait_for()
    room = page.locator("#classes-figure").bounding_box()
    page.wait_for_timeout(300)
    assert abs(figure.bounding_box()["width"] - room["width"]) < 2


def test_the_navigation_stays_and_shows_where_one_is(page):
    page.locator("#curves").scroll_into_view_if_needed()
    page.locator("#curves h2").evaluate("heading => heading.scrollIntoView({ behavior: 'instant' })")
    current = page.locator("nav a[aria-current]")
    page.wait_for_timeout(100)
    assert current.all_inner_texts() == ["Training"]
    assert page.locator("nav").bounding_box()["y"] == 0
    assert current.bounding_box()["x"] >= 0


def test_a_command_is_copied(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    block = page.locator(".threshold .copyable")
    block.get_by_role("button").click()
    block.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == block.locator("code").inner_text()
    page.locator("#next li").first.get_by_role("button", name="Copy").click()
    page.locator("#next").get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "transferkit train DATA --folds 5"


def test_a_figure_is_zoomed_with_the_shift_key_alone_and_reset(page):
    figure = page.locator("#reliability-figure")
    figure.scroll_into_view_if_needed()
    box = figure.locator(".nsewdrag").first.bounding_box()
    ends = [(box["x"] + part * box["width"], box["y"] + part * box["height"]) for part in (0.3, 0.4, 0.7)]
    reset = page.locator("#calibration .unzoom").first

    def drag():
        page.mouse.move(*ends[0])
        page.mouse.move(*ends[0])
        page.mouse.down()
        page.mouse.move(*ends[1])
        page.mouse.move(*ends[2])
        page.mouse.up()
        page.wait_for_timeout(200)

    drag()
    assert not reset.is_visible()
    page.keyboard.down("Shift")
    drag()
    page.keyboard.up("Shift")
    reset.wait_for()
    reset.click()
    assert not reset.is_visible()


def test_a_finger_on_a_figure_scrolls_the_page(run, show_page):
    phone = show_page(run.report_path, 390, has_touch=True, is_mobile=True)
    figure = phone.locator("#reliability-figure")
    phone.locator("html[data-drawn]").wait_for()
    figure.evaluate("figure => figure.scrollIntoView({ behavior: 'instant', block: 'center' })")
    box, before = figure.bounding_box(), phone.evaluate("scrollY")
    fingers = phone.context.new_cdp_session(phone)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for step in range(12):
        kind = {0: "touchStart", 11: "touchEnd"}.get(step, "touchMove")
        points = [] if kind == "touchEnd" else [{"x": x, "y": y - 20 * step}]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        phone.wait_for_timeout(16)
    phone.wait_for_timeout(200)
    assert phone.evaluate("scrollY") > before + 100


def test_on_paper_it_takes_eight_sheets_at_most(run, show_page):
    paper = show_page(run.report_path)
    paper.locator("html[data-drawn]").wait_for()
    paper.emulate_media(media="print")
    for shown in (cell(paper, "roses", "tulips"), paper.locator(".browser img").first, paper.locator(".threshold pre")):
        assert shown.is_visible()
    for tool in ("nav", ".filters", ".switch", ".slider"):
        assert not paper.locator(tool).is_visible()
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", paper.pdf(format="A4", print_background=False))) <= 8
