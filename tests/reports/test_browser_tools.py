"""What a person does on any page, in headless Chromium: sort and filter tables, save figures, follow links."""

import csv
import re
from dataclasses import replace

import pytest
from handmade import make_run, make_study, records_that_belong_together
from PIL import Image

from reports.drawing import draw
from search.records import StudyRecord, write_trials

pytestmark = pytest.mark.xdist_group("page-tools")
TRIALS = 90


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of 90 trials, with its page."""
    made = make_study(tmp_path_factory.mktemp("pages") / "study", TRIALS)
    draw(made.path)
    return made


@pytest.fixture(scope="module")
def opened(study, show_page):
    """Its page, opened once for all tests."""
    return show_page(study.path / "report.html")


@pytest.fixture
def table(opened):
    """The table of all trials, in the order recorded and without a filter."""
    section = opened.locator("#table")
    section.get_by_role("searchbox").fill("")
    if section.locator("th[aria-sort]").count():
        section.locator("th[aria-sort]").evaluate("head => { head.ariaSort = 'descending'; }")
        section.locator("th[aria-sort] button").click()
    return section


def column(table, name):
    """Cells of a column that are shown, from the top down."""
    heads = [text.strip() for text in table.locator("thead th").all_inner_texts()]
    place = [re.sub(r" [↑↓]$", "", head) for head in heads].index(name)
    rows = table.locator("tbody tr:visible")
    return rows.evaluate_all("(rows, place) => rows.map((row) => row.cells[place].textContent)", place)


def test_a_click_on_a_heading_sorts_by_numbers_and_back(table):
    head = table.get_by_role("columnheader", name="phases.1.learning_rate")
    recorded = column(table, "phases.1.learning_rate")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    up = column(table, "phases.1.learning_rate")
    rates = [cell for cell in up if cell != "–"]
    assert up == rates + ["–"] * (TRIALS - len(rates))  # a trial without one comes last, in both directions
    assert [float(rate) for rate in rates] == sorted(float(rate) for rate in rates)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    down = [float(cell) for cell in column(table, "phases.1.learning_rate") if cell != "–"]
    assert down == sorted(down, reverse=True)
    assert column(table, "phases.1.learning_rate")[-1] == "–"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert column(table, "phases.1.learning_rate") == recorded


def test_a_table_is_sorted_with_the_keyboard(opened, table):
    head = table.get_by_role("columnheader", name="took").get_by_role("button")
    head.focus()
    opened.keyboard.press("Enter")
    opened.keyboard.press("Enter")
    took = column(table, "took")
    assert [float(cell.split()[0]) for cell in took] == sorted((float(cell.split()[0]) for cell in took), reverse=True)
    assert took[0] == "2.1 min"
    assert took[-1] == "0.7 min"


def test_numbers_of_any_unit_are_sorted_by_what_they_say(opened):
    """Numbers before words, a dash last; in a table of its own, for no page holds all units."""
    cells = ("2 min", "90 s", "5 ms", "1 h 2 min", "–", "less than 0.001", "−3 s", "1,200 s", "b10", "b9")
    order = opened.evaluate(
        """cells => {
            const table = document.querySelector("#table table").cloneNode(true);
            const row = table.tBodies[0].rows[0];
            table.tBodies[0].replaceChildren(...cells.map((text) => {
                const made = row.cloneNode(true);
                made.cells[0].textContent = text;
                return made;
            }));
            for (const head of table.tHead.querySelectorAll("th")) head.replaceChildren(head.textContent);
            document.body.append(table);
            sortable(table);
            table.tHead.querySelector("button").click();
            const found = [...table.tBodies[0].rows].map((one) => one.cells[0].textContent);
            table.remove();
            return found;
        }""",
        cells,
    )
    assert order == ["−3 s", "less than 0.001", "5 ms", "90 s", "2 min", "1,200 s", "1 h 2 min", "b9", "b10", "–"]


def test_a_long_table_is_filtered_by_words(table, study):
    pruned = [str(trial.number) for trial in study.trials if trial.state == "pruned"]
    table.get_by_role("searchbox").fill("PRUNED")
    assert column(table, "trial") == pruned
    assert table.locator(".tools .quiet").inner_text() == f"{len(pruned)} of {TRIALS} rows"
    table.get_by_role("columnheader", name="trial").get_by_role("button").click()
    table.get_by_role("columnheader", name="trial").get_by_role("button").click()
    assert column(table, "trial") == pruned[::-1]
    table.get_by_role("searchbox").fill("pruned sgd")
    assert 0 < len(column(table, "trial")) < len(pruned)


def test_a_table_is_saved_as_csv_as_it_is_shown(opened, table, study, tmp_path):
    table.get_by_role("searchbox").fill("failed")
    with opened.expect_download() as saved:
        table.get_by_role("button", name="Save as CSV").click()
    assert saved.value.suggested_filename == "every-trial.csv"
    saved.value.save_as(tmp_path / "table.csv")
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()))
    failed = [trial for trial in study.trials if trial.state == "failed"]
    assert [(row["trial"], row["error"]) for row in rows] == [
        (str(trial.number), "ValueError: <b>diverged</b>") for trial in failed
    ]


def test_a_saved_table_holds_no_formula(tmp_path, show_page):
    study = make_study(tmp_path / "study", 3)
    trial = replace(study.trials[0], error='=HYPERLINK("x"), "quoted"', state="failed", values=())
    record = StudyRecord(**{**vars(study), "trials": (trial, *study.trials[1:])})
    write_trials(record)
    page = show_page(draw(study.path))
    with page.expect_download() as saved:
        page.locator("#table").get_by_role("button", name="Save as CSV").click()
    saved.value.save_as(tmp_path / "table.csv")
    row = next(csv.DictReader((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert row["error"] == '\'=HYPERLINK("x"), "quoted"'


# === Figures ===


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with its page."""
    made = make_run(tmp_path_factory.mktemp("pages") / "run")
    draw(made.path)
    return made


@pytest.fixture(scope="module")
def run_view(run, show_page):
    """Its page."""
    page = show_page(run.report_path)
    page.locator("html[data-drawn]").wait_for()
    return page


def saved_picture(page, button, path):
    """Picture that a click on a button saves."""
    with page.expect_download() as saved:
        button.click()
    saved.value.save_as(path)
    return saved.value.suggested_filename, Image.open(path).convert("RGB")


def test_a_figure_is_saved_as_png_in_the_colours_of_the_page(run_view, tmp_path):
    chart = run_view.locator("#curves .chart").first
    button = chart.get_by_role("button", name="Save as PNG")
    name, picture = saved_picture(run_view, button, tmp_path / "light.png")
    assert name == "accuracy-and-loss.png"
    room = chart.locator(".panels").bounding_box()
    assert abs(picture.width - 2 * room["width"]) <= 2
    assert picture.getpixel((2, 2)) == (251, 251, 250)
    colours = picture.getcolors(1 << 20) or ()
    assert sum(count for count, (r, _, b) in colours if b > r + 60) > 500  # the curve of validation
    run_view.locator("[data-theme]").select_option("dark")
    _, dark = saved_picture(run_view, button, tmp_path / "dark.png")
    run_view.locator("[data-theme]").select_option("")
    assert dark.getpixel((2, 2)) == (20, 23, 26)


def test_panels_side_by_side_are_one_picture(run_view, tmp_path):
    run_view.evaluate("document.querySelectorAll('.fold').forEach((fold) => { fold.open = true; })")
    run_view.wait_for_timeout(500)
    chart = run_view.locator("#data .chart").nth(1)
    assert chart.locator(".figure").count() == 2
    _, picture = saved_picture(run_view, chart.get_by_role("button", name="Save as PNG"), tmp_path / "sizes.png")
    for half in ((0, 0, picture.width // 2, picture.height), (picture.width // 2, 0, picture.width, picture.height)):
        assert len(picture.crop(half).getcolors(1 << 20) or ()) > 10


def test_the_numbers_of_a_figure_are_saved_as_csv(run_view, run, tmp_path):
    with run_view.expect_download() as saved:
        run_view.locator("#curves .chart > .tools").get_by_role("button", name="Save as CSV").click()
    saved.value.save_as(tmp_path / "curves.csv")
    rows = list(csv.DictReader((tmp_path / "curves.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["epoch"] for row in rows] == [str(record.epoch) for record in run.history]
    assert rows[0]["accuracy"] == f"{run.history.records[0].accuracy:.1%}"


def test_the_confusion_matrix_is_saved_as_it_is_seen(run_view, run, tmp_path):
    matrix = run_view.locator(".matrix")
    _, picture = saved_picture(run_view, matrix.get_by_role("button", name="Save as PNG"), tmp_path / "matrix.png")
    colours = {colour for _, colour in picture.getcolors(1 << 20)}
    assert any(b > r + 40 for r, _, b in colours)  # right answers
    assert any(r > b + 40 for r, _, b in colours)  # mistakes
    with run_view.expect_download() as saved:
        matrix.get_by_role("button", name="Save as CSV").click()
    saved.value.save_as(tmp_path / "matrix.csv")
    rows = list(csv.reader((tmp_path / "matrix.csv").read_text(encoding="utf-8").splitlines()))
    counts = run.metrics["test"]["confusion"]
    assert [[int(cell or 0) for cell in row[1:]] for row in rows[1:]] == counts


# === Light and dark ===


def paper_of(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def ink_of(page):
    """Colour of the figures' text, once they are drawn anew."""
    page.wait_for_timeout(200)
    page.locator("html[data-drawn]").wait_for()
    return page.evaluate("getComputedStyle(document.querySelector('#curves-figure .xtick text')).fill")


def test_light_or_dark_is_chosen_and_remembered(run, show_page):
    page = show_page(run.report_path, color_scheme="light")
    page.locator("html[data-drawn]").wait_for()
    light, ink = paper_of(page), ink_of(page)
    switch = page.locator("[data-theme]")
    switch.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert switch.input_value() == "dark"
    assert paper_of(page) != light
    assert ink_of(page) != ink
    page.reload()
    page.locator("html[data-drawn]").wait_for()
    assert switch.input_value() == "dark"
    assert paper_of(page) != light
    assert ink_of(page) != ink
    switch.select_option("light")
    page.emulate_media(color_scheme="dark")
    assert paper_of(page) == light  # chosen, whatever the system says
    switch.select_option("")
    assert paper_of(page) != light
    page.emulate_media(color_scheme="light")
    assert paper_of(page) == light


def test_a_change_of_colours_while_figures_are_drawn_reaches_all_of_them(run, show_page):
    page = show_page(run.report_path, color_scheme="light")
    page.locator("html[data-drawn]").wait_for()
    inks = "[...document.querySelectorAll('.figure .xtick text')].map((text) => getComputedStyle(text).fill)"
    light = page.evaluate(inks)
    choose = """(theme) => {
        const field = document.querySelector('[data-theme]');
        field.value = theme;
        field.dispatchEvent(new Event('change'));
        return document.documentElement.dataset.drawn ?? null;
    }"""
    page.evaluate(choose, "light")
    assert page.evaluate(choose, "dark") is None  # while the figures are drawn for light
    page.locator("html[data-drawn]").wait_for()
    assert set(page.evaluate(inks)).isdisjoint(light)


def test_the_first_figure_is_shown_before_the_last_is_made(run, show_page):
    page = show_page(run.report_path)
    page.add_init_script("""
        const count = () => document.querySelectorAll('.js-plotly-plot').length;
        new MutationObserver((changes, watch) => {
          if (!document.querySelector('.figure .main-svg')) return;
          watch.disconnect();
          requestAnimationFrame(() => setTimeout(() => { globalThis.shown = count(); }));
        }).observe(document, { subtree: true, childList: true });
    """)
    page.reload()
    page.locator("html[data-drawn]").wait_for()
    assert 0 < page.evaluate("shown") < page.locator(".figure").count()


def test_without_javascript_the_colours_follow_the_system(run, show_page):
    papers = {paper_of_plain(show_page, run, scheme) for scheme in ("light", "dark")}
    assert len(papers) == 2


def paper_of_plain(show_page, run, scheme):
    page = show_page(run.report_path, java_script_enabled=False, color_scheme=scheme)
    assert not page.locator(".theme").is_visible()
    return paper_of(page)


# === Links to other records ===


def test_a_person_goes_from_a_run_to_what_belongs_to_it_and_back(tmp_path, show_page):
    home = records_that_belong_together(tmp_path)
    page = show_page(home / "runs" / "first" / "report.html")
    for words, heading in (
        ("Data of photos", "photos: what is in the data"),
        ("Evaluation other", "photos, scored by the model of first"),
        ("Comparison comparison.html", "2 runs compared"),
    ):
        page.locator("[data-links]").get_by_role("link", name=words).click()
        assert page.locator("h1").inner_text() == heading
        page.locator("[data-links]").get_by_role("link", name="Run first").click()
        assert page.locator("h1").inner_text() == "flowers: a trained classifier"
