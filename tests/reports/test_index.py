"""`transferkit report --all`: one page of all records under a folder, as a person uses it in headless Chromium."""

import json
import re
import shutil

import pytest
from handmade import HOSTILE, jpeg, make_evaluation, make_inspection, make_run, make_study

from kit.errors import UserError
from kit.files import read_json, write_json
from reports import write_index, write_report
from reports.index_page import record_facts

FLOWERS = ("daisy", "roses", "tulips")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder as work leaves it: two runs, one without a page, a broken one, one that was killed, and the rest."""
    home = tmp_path_factory.mktemp("work")
    first, second = (
        make_run(home / "runs" / name, FLOWERS, 30, seed=seed) for seed, name in enumerate(("first", "b&b"))
    )
    write_report(first, None)
    killed = make_run(home / "runs" / "killed", FLOWERS, 12).path
    write_json(killed / "manifest.json", {**read_json(killed / "manifest.json"), "status": "running"})
    for name in ("metrics.json", "predictions.csv"):
        (killed / name).unlink()
    broken = make_run(home / "runs" / "broken", FLOWERS, 12).path
    (broken / "metrics.json").write_text("{")
    torn = make_run(home / "runs" / "torn", FLOWERS, 12).path
    (torn / "manifest.json").write_text('{"kind": "ru')
    make_study(home / "studies" / "search", 4)
    write_report(home / "studies" / "search", None)
    make_inspection(home / "inspections" / "photos")
    write_report(home / "inspections" / "photos", None)
    make_evaluation(home / "evaluations" / "garden")
    write_report([first, second], home / "comparison.html")
    for path, content in (("photos/a/1.jpg", jpeg()), ("site/manifest.json", b"{"), ("site/page.html", b"<title>x")):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(content)
    return home


@pytest.fixture(scope="module")
def index(home, run_cli):
    done = run_cli("report", "--all", cwd=home)
    assert (done.returncode, done.stdout) == (0, "Page: index.html\n"), done.stderr
    return home / "index.html"


@pytest.fixture
def page(index, show_page):
    return show_page(index)


def shown(page) -> list[str]:
    """Names of the records that are seen, in order."""
    return page.locator("tbody tr:visible th").all_inner_texts()


def test_every_record_is_listed_with_what_is_known_of_it(home):
    found = {str(one.path.relative_to(home)): one for one in record_facts(home)}
    assert {name: (one.kind, one.state) for name, one in found.items()} == {
        "runs/first": ("run", "finished"),
        "runs/b&b": ("run", "finished"),
        "runs/killed": ("run", "running"),
        "runs/broken": ("run", "damaged"),
        "runs/torn": ("run", "damaged"),
        "studies/search": ("study", found["studies/search"].state),
        "inspections/photos": ("inspection", "finished"),
        "evaluations/garden": ("evaluation", "finished"),
        "comparison.html": ("comparison", "finished"),
    }
    first, scores = found["runs/first"], read_json(home / "runs/first/metrics.json")["test"]
    assert (first.score, list(first.interval), first.n) == (
        scores["accuracy"],
        scores["accuracy_interval"],
        scores["n"],
    )
    assert first.size == sum(file.stat().st_size for file in (home / "runs/first").rglob("*") if file.is_file())
    assert "metrics.json" in found["runs/broken"].note
    assert found["comparison.html"].note == "2 runs compared: first, b&b"


def test_a_person_opens_a_page_from_the_list_and_sees_what_has_none(home, page):
    row = page.locator("tbody tr", has=page.get_by_role("link", name="runs/first"))
    accuracy = read_json(home / "runs/first/metrics.json")["test"]["accuracy"]
    assert f"{accuracy:.0%}" in row.inner_text() or f"{accuracy:.1%}" in row.inner_text()
    assert re.search(r"\d+(\.\d)?% to \d+", row.inner_text())
    shares = re.findall(r"\d+(?:\.\d+)?%", page.locator("[data-records] table").inner_text())
    assert len({share.partition(".")[2] == "" for share in shares}) == 1, "one number format a column"
    assert "test accuracy" in row.inner_text()
    bare = page.locator("tbody tr", has_text="runs/b&b")
    assert bare.get_by_role("link").count() == 0
    assert "No page yet: transferkit report runs/b&b" in bare.inner_text()
    torn = page.locator("tbody tr", has_text="runs/torn")
    assert "damaged" in torn.inner_text()
    assert "manifest.json" in torn.inner_text()
    row.get_by_role("link").click()
    page.wait_for_url("**/runs/first/report.html")
    assert "a trained classifier" in page.title()


def test_filters_by_kind_state_and_words(page):
    assert len(shown(page)) == 9
    assert page.locator("[data-count]").inner_text() == "9 records"
    page.get_by_label("kind").select_option("run")
    assert len(shown(page)) == 5
    page.get_by_label("state").select_option("damaged")
    assert sorted(shown(page)) == ["runs/broken", "runs/torn"]
    assert page.locator("[data-count]").inner_text() == "2 of 9 records"
    page.get_by_label("state").select_option("not finished")
    assert shown(page) == ["runs/killed"]
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("state").select_option("without a page")
    assert "evaluations/garden" in shown(page)
    assert "runs/first" not in shown(page)
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("words").fill("first compared")
    assert shown(page) == ["comparison.html"]


def test_sorts_by_score_and_by_name_with_mouse_and_keyboard(home, page):
    page.get_by_role("button", name="score").click()
    assert page.locator("th[aria-sort]").inner_text().startswith("score")
    values = page.locator("tbody tr td:nth-child(3)").evaluate_all("all => all.map(one => one.dataset.value)")
    given = [float(value) for value in values if value]
    assert len(given) >= 3
    assert given == sorted(given, reverse=True)
    assert values[len(given) :] == [""] * (len(values) - len(given))
    recorded = shown(page)
    for order in ("ascending", None):
        page.get_by_role("button", name="score").click()
        assert page.get_by_role("columnheader", name="score").get_attribute("aria-sort") == order
    assert sorted(shown(page)) == sorted(recorded)
    page.get_by_role("button", name="record", exact=True).focus()
    page.keyboard.press("Enter")
    assert shown(page) == sorted(shown(page))
    page.keyboard.press("Enter")
    assert shown(page) == sorted(shown(page), reverse=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_axe_is_content(index, show_page, axe, width, scheme):
    page = show_page(index, width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe(page) == []


def test_it_is_small_offline_and_the_same_each_time(index, home, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    pages = [write_index(home, home / "again.html").read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]
    assert len(pages[0]) < 100_000
    assert b"Content-Security-Policy" in pages[0]
    (home / "again.html").unlink()


def test_links_are_relative_to_where_the_page_lies(home, tmp_path):
    page = write_index(home / "runs", home / "elsewhere" / "all.html")
    assert 'href="../runs/first/report.html"' in page.read_text(encoding="utf-8")
    shutil.rmtree(home / "elsewhere")


def test_hostile_names_are_text(tmp_path, show_page):
    for name in HOSTILE[1:3]:
        make_run(tmp_path / name.replace("/", ""), FLOWERS, 6)
        write_report(tmp_path / name.replace("/", ""), None)
    page = show_page(write_index(tmp_path))
    assert page.title() != "owned"
    assert page.locator("tbody a").count() == 2
    page.locator("tbody a").first.click()
    page.wait_for_url("**/report.html")


def test_an_empty_folder_says_so(tmp_path):
    page = write_index(tmp_path).read_text(encoding="utf-8")
    assert "There is no run, study, inspection, evaluation or comparison" in page


def test_what_cannot_be_listed_is_refused(tmp_path, run_cli):
    with pytest.raises(UserError, match="is not a folder"):
        write_index(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is a folder"):
        write_index(tmp_path, tmp_path)
    for arguments, said in ((("--all", "a", "b"), "several were given"), ((), "No record was given")):
        done = run_cli("report", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("error: ")) == (2, "", 1)
        assert said in done.stderr


def test_json_names_the_page(home, run_cli, tmp_path):
    done = run_cli("report", "--all", home, "--out", tmp_path / "all.html", "--json")
    assert json.loads(done.stdout) == {"page": str(tmp_path / "all.html")}
