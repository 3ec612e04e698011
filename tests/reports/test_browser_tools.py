"""What a person does on any page, in headless Chromium: sort and filter tables, save them and figures."""

import csv
import re
from dataclasses import replace

import pytest
from handmade import make_study

from reports.drawing import draw
from search.records import StudyRecord

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
    assert len({"e" in rate for rate in rates}) == 2  # 5e-05 and 0.0002
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    down = [float(cell) for cell in column(table, "phases.1.learning_rate") if cell != "–"]
    assert down == sorted(down, reverse=True)
    assert column(table, "phases.1.learning_rate")[-1] == "–"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert column(table, "phases.1.learning_rate") == recorded


def test_times_are_sorted_by_their_length_with_the_keyboard(opened, table, study):
    head = table.get_by_role("columnheader", name="took").get_by_role("button")
    head.focus()
    opened.keyboard.press("Enter")
    opened.keyboard.press("Enter")
    longest = sorted(study.trials, key=lambda trial: -(trial.seconds or 0.0))
    assert column(table, "trial") == [str(trial.number) for trial in longest]
    took = column(table, "took")
    assert took[0] == "2 min 9 s"
    assert took[-1] == "40 s"


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
    record.write_trials()
    page = show_page(draw(study.path))
    with page.expect_download() as saved:
        page.locator("#table").get_by_role("button", name="Save as CSV").click()
    saved.value.save_as(tmp_path / "table.csv")
    row = next(csv.DictReader((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert row["error"] == '\'=HYPERLINK("x"), "quoted"'
