"""What a person does to review labels and findings, in headless Chromium: keys, clicks, a download, training on it."""

import csv
import json
import shutil

import pytest
from handmade import HOSTILE, jpeg, make_inspection, make_run

from image_files import make_images
from kit.csv_tables import make_table
from kit.data.corrections import FILE
from kit.data.sources import load_samples
from kit.insights import Insights
from reports.drawing import draw

pytestmark = pytest.mark.xdist_group("review")
CLASSES = ("daisy", "roses", "tulips")
NO_STORAGE = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('none here'); } });"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with three doubted labels of daisies, which look like tulips; its page; and the images it names."""
    folder = tmp_path_factory.mktemp("review")
    made = make_run(folder / "run", CLASSES)
    for path in made.samples["path"]:
        (folder / "images" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / path).write_bytes(jpeg())
    draw(made.path)
    return made


@pytest.fixture
def opened(run, show_page):
    """The labels to review, on a page of a browser that has seen none before."""
    return show_page(run.report_path).locator("#doubts .review")


def progress(review):
    return review.locator("[data-progress]").inner_text()


def marks(review):
    return review.locator(".verdict").all_inner_texts()


def downloaded(review, tmp_path):
    """File and rows of a download."""
    with review.page.expect_download() as started:
        review.get_by_role("button", name="Download").click()
    assert started.value.suggested_filename == "corrections.csv"
    started.value.save_as(tmp_path / "corrections.csv")
    with open(tmp_path / "corrections.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "label", "action", "new_label"]
    return tmp_path / "corrections.csv", [tuple(row) for row in rows]


# === Labels that a run doubts ===


def test_labels_are_judged_by_key_and_what_is_downloaded_is_applied(run, opened, tmp_path):
    page = opened.page
    assert progress(opened) == "0 of 3 reviewed: 0 kept, 0 relabelled, 0 dropped."
    assert not opened.get_by_role("button", name="Download").is_enabled()
    opened.get_by_role("button", name="Review", exact=True).focus()
    page.keyboard.press("Enter")
    dialog = opened.get_by_role("dialog")
    assert dialog.locator(".path").inner_text() == "daisy/00000.jpg"
    assert dialog.get_by_role("combobox").input_value() == "tulips"  # what it looks like is proposed
    page.keyboard.press("k")
    assert dialog.locator(".path").inner_text() == "daisy/00001.jpg"
    page.keyboard.press("r")
    page.keyboard.press("d")
    assert dialog.locator("[data-place]").inner_text().endswith("all reviewed")
    page.keyboard.press("Escape")
    assert marks(opened) == ["kept", "→ tulips", "dropped"]
    assert page.evaluate("document.activeElement.className") == "verdict"
    assert progress(opened) == "3 of 3 reviewed: 1 kept, 1 relabelled, 1 dropped."
    file, rows = downloaded(opened, tmp_path)
    assert rows == [
        ("daisy/00000.jpg", "daisy", "keep", ""),
        ("daisy/00001.jpg", "daisy", "relabel", "tulips"),
        ("daisy/00002.jpg", "daisy", "drop", ""),
    ]
    source = load_samples(str(run.path.parent / "images"), corrections=str(file))
    labels = {sample.path: sample.label for sample in source.samples}
    assert labels["daisy/00000.jpg"] == "daisy"
    assert labels["daisy/00001.jpg"] == "tulips"
    assert "daisy/00002.jpg" not in labels
    assert opened.locator("pre code").inner_text() == "transferkit train DATA --corrections corrections.csv"


def test_labels_are_judged_by_click_to_any_class_and_undone(opened, tmp_path):
    opened.locator("li img").nth(1).click()
    dialog = opened.get_by_role("dialog")
    dialog.get_by_role("combobox").select_option("roses")
    dialog.get_by_role("button", name="Relabel").click()
    dialog.get_by_role("button", name="Drop").click()
    dialog.get_by_role("button", name="Close").click()
    assert marks(opened) == ["to review", "→ roses", "dropped"]
    opened.locator(".verdict").nth(2).click()
    dialog.get_by_role("button", name="Undo").click()
    dialog.get_by_role("button", name="Next").click()  # round to the first
    assert dialog.locator("[data-place]").inner_text() == "1 of 3, 1 reviewed"
    dialog.get_by_role("button", name="Close").click()
    assert marks(opened) == ["to review", "→ roses", "to review"]
    assert downloaded(opened, tmp_path)[1] == [("daisy/00001.jpg", "daisy", "relabel", "roses")]


def test_a_letter_typed_to_choose_a_class_is_no_verdict(opened):
    opened.get_by_role("button", name="Review", exact=True).click()
    select = opened.get_by_role("dialog").get_by_role("combobox")
    select.focus()
    opened.page.keyboard.press("d")
    assert select.input_value() == "daisy"
    assert progress(opened).startswith("0 of 3")


def test_verdicts_stay_in_the_browser_for_this_page_alone(run, opened, show_page, tmp_path):
    opened.get_by_role("button", name="Review", exact=True).click()
    opened.page.keyboard.press("d")
    opened.page.reload()
    assert marks(opened) == ["dropped", "to review", "to review"]
    assert "kept in this browser" in opened.locator("[data-stored]").inner_text()
    assert opened.get_by_role("button", name="Go on reviewing").is_visible()
    moved = shutil.copytree(run.path, tmp_path / "moved")  # the same record elsewhere is the same page
    opened.page.goto(draw(moved).as_uri())
    assert marks(opened) == ["dropped", "to review", "to review"]
    other = make_run(tmp_path / "other", CLASSES, backend="tensorflow")
    opened.page.goto(draw(other.path).as_uri())
    assert marks(opened) == ["to review"] * 3


def test_without_storage_they_last_until_the_page_is_closed_and_it_says_so(run, show_page, tmp_path):
    page = show_page(run.report_path)
    page.add_init_script(NO_STORAGE)
    page.reload()
    review = page.locator("#doubts .review")
    assert "keeps nothing" in review.locator("[data-stored]").inner_text()
    review.get_by_role("button", name="Review", exact=True).click()
    page.keyboard.press("k")
    page.keyboard.press("Escape")
    assert marks(review)[0] == "kept"
    assert downloaded(review, tmp_path)[1] == [("daisy/00000.jpg", "daisy", "keep", "")]


def test_without_javascript_the_images_stay(run, show_page):
    review = show_page(run.report_path, java_script_enabled=False).locator("#doubts .review")
    assert review.locator("li img").count() == 3
    assert not review.locator(".work").is_visible()


def test_corrections_made_before_are_in_the_next_file(run, show_page, tmp_path):
    """A run that was made with corrections: its page says what stands, and its file replaces the earlier one."""
    made = make_run(tmp_path / "run", CLASSES)
    doubted = made.samples.iloc[[0, 1, 13]]  # the second was relabelled: it is a daisy no more
    table = {name: doubted[name].tolist() for name in ("path", "split", "label")}
    table["label"][1] = "roses"
    columns = table | {"predicted": ["tulips"] * 3, "p_label": [0.1] * 3, "p_predicted": [0.9] * 3}
    Insights(made.insights).write_table("doubted", make_table(columns))
    (made.path / FILE).write_text(
        "path,label,action,new_label\ndaisy/00000.jpg,daisy,keep,\ndaisy/00001.jpg,daisy,relabel,roses\n"
        "tulips/00030.jpg,tulips,drop,\n"
    )
    review = show_page(draw(made.path)).locator("#doubts .review")
    assert review.locator("li .path").first.inner_text().endswith(table["path"][2][-9:])  # what is new comes first
    assert marks(review) == ["to review", "kept", "kept"]
    review.locator(".verdict").nth(2).click()
    review.page.keyboard.press("r")
    review.page.keyboard.press("Escape")
    assert downloaded(review, tmp_path)[1] == [
        ("daisy/00000.jpg", "daisy", "keep", ""),
        ("daisy/00001.jpg", "daisy", "relabel", "tulips"),
        ("tulips/00030.jpg", "tulips", "drop", ""),
    ]
    review.locator(".verdict").nth(2).click()
    review.get_by_role("dialog").get_by_role("combobox").select_option("daisy")
    review.get_by_role("dialog").get_by_role("button", name="Relabel").click()
    review.page.keyboard.press("Escape")
    assert ("daisy/00001.jpg", "daisy", "keep", "") in downloaded(review, tmp_path)[1]


def test_names_of_any_kind_come_through_the_download(show_page, tmp_path):
    made = make_run(tmp_path / "run", HOSTILE)
    issues = made.samples.iloc[::12]
    names = {name: issues[name].tolist() for name in ("path", "split", "label")}
    columns = names | {"predicted": names["label"][1:] + names["label"][:1]}
    columns |= {"p_label": [0.1] * len(HOSTILE), "p_predicted": [0.9] * len(HOSTILE)}
    Insights(made.insights).write_table("doubted", make_table(columns))
    Insights(made.insights).write_album("thumbnails", {path: jpeg() for path in names["path"]})
    review = show_page(draw(made.path)).locator("#doubts .review")
    review.get_by_role("button", name="Review", exact=True).click()
    for _ in HOSTILE:
        review.page.keyboard.press("r")
    review.page.keyboard.press("Escape")
    file, _ = downloaded(review, tmp_path)
    from kit.data.corrections import read_corrections

    found = {row.path: (row.label, row.action, row.new_label) for row in read_corrections(file)}
    expected = zip(columns["label"], columns["predicted"], strict=True)
    assert found == {
        path: (label, "relabel", other) for path, (label, other) in zip(columns["path"], expected, strict=True)
    }


# === Findings of an inspection ===


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspected") / "inspection"
    make_inspection(folder)
    return draw(folder)


def test_of_copies_one_is_kept_or_all_get_one_label(inspected, show_page, tmp_path):
    review = show_page(inspected).locator("#findings .review")
    review.get_by_role("button", name="Review", exact=True).click()
    dialog = review.get_by_role("dialog")
    assert dialog.locator("figure img").count() == 2
    review.page.keyboard.press("2")
    assert dialog.locator("figure strong").all_inner_texts() == ["dropped", "kept"]
    dialog.get_by_role("button", name="Close").click()
    assert marks(review) == ["1 kept, 1 dropped"]
    kept = [("a/1.jpg", "a", "drop", ""), ("b/1.jpg", "b", "keep", "")]
    assert downloaded(review, tmp_path)[1] == kept
    review.locator("li img").first.click()
    dialog.get_by_role("button", name="Keep only this").first.click()
    dialog.get_by_role("combobox").select_option("b")
    dialog.get_by_role("button", name="Label all").click()
    dialog.get_by_role("button", name="Close").click()
    assert marks(review) == ["→ b"]
    assert downloaded(review, tmp_path)[1] == [("a/1.jpg", "a", "relabel", "b"), ("b/1.jpg", "b", "keep", "")]


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.full), "dark"])
def test_reviewing_has_no_barrier(run, inspected, show_page, axe, scheme):
    for path, place in ((run.report_path, "#doubts"), (inspected, "#findings")):
        page = show_page(path, 390, color_scheme=scheme)
        review = page.locator(f"{place} .review")
        page.locator(".fold").evaluate_all("folds => folds.forEach((fold) => { fold.open = true; })")
        assert axe(page) == []
        review.get_by_role("button", name="Review", exact=True).click()
        page.keyboard.press("k")
        assert axe(page) == []
        assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        box = review.get_by_role("dialog").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


# === From the images to the page and back ===


@pytest.mark.backend
@pytest.mark.once(backend="jax")
def test_a_conflict_is_judged_on_the_page_and_training_goes_on(toy_weights, run_cli, show_page, tmp_path):
    images = make_images(tmp_path / "images", ("blue", "red"), 10, size=48)
    shutil.copy(images / "red/0003.jpg", images / "blue/copy.jpg")
    small = ("--backbone", "toy", "--weights", toy_weights, "--image-size", "32", "--views", "1", "--head-epochs", "2")
    train = ("train", images, *small, "--unfreeze-depth", "0", "--out", tmp_path / "run")
    refused = run_cli(*train)
    assert refused.returncode == 2
    assert "--corrections" in refused.stderr
    assert run_cli("inspect", images, "--out", tmp_path / "inspection").returncode == 0
    review = show_page(draw(tmp_path / "inspection")).locator("#findings .review").first
    review.get_by_role("button", name="Review", exact=True).click()
    assert "red/0003.jpg" in review.get_by_role("dialog").locator("figure").nth(1).inner_text()
    review.page.keyboard.press("2")
    review.page.keyboard.press("Escape")
    file, rows = downloaded(review, tmp_path)
    assert ("blue/copy.jpg", "blue", "drop", "") in rows
    done = run_cli(*train, "--corrections", file)
    assert done.returncode == 0, done.stderr
    applied = json.loads((tmp_path / "run/manifest.json").read_text())["data"]["corrections"]
    assert (applied["dropped"], applied["kept"]) == (1, 1)
    page = show_page(tmp_path / "run/report.html")
    page.locator("#provenance summary").first.click()
    assert page.get_by_role("row", name="corrections SHA-256").inner_text().endswith(applied["sha256"])
