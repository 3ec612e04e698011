"""Links between pages of records that belong together."""

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
from handmade import make_run, make_study, records_that_belong_together

from reports.drawing import draw, write_report
from reports.links import _is_near


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run with an inspection, an evaluation and a comparison; never write into it."""
    return records_that_belong_together(tmp_path_factory.mktemp("home"))


def links_in(page):
    """Text -> file that a page links to in its header."""
    header = page.read_text(encoding="utf-8").partition("<header>")[2].partition("</header>")[0]
    found = re.findall(r'<a href="([^"]+)"><bdi>(.+?)</bdi></a>', header)
    return {text: (page.parent / unquote(href)).resolve() for href, text in found}


def test_records_link_to_each_other_both_ways_whichever_was_drawn_first(home):
    first = home / "runs" / "first" / "report.html"
    assert links_in(first) == {
        "Data of photos": home / "inspections" / "photos" / "report.html",
        "Evaluation other": home / "evaluations" / "other" / "report.html",
        "Comparison comparison.html": home / "comparison.html",
    }
    for page in links_in(first).values():
        assert links_in(page)["Run first"] == first
    assert list(links_in(home / "runs" / "second" / "report.html")) == ["Comparison comparison.html"]  # other images


def test_links_are_relative_so_that_records_may_move_together(home, tmp_path):
    moved = shutil.copytree(home, tmp_path / "elsewhere")
    assert str(home) not in (moved / "comparison.html").read_text(encoding="utf-8")
    for page in (moved / "runs" / "first" / "report.html", moved / "comparison.html"):
        assert all(target.is_file() and moved in target.parents for target in links_in(page).values())


def test_a_link_to_a_page_that_is_gone_goes_with_the_next_drawing(home, tmp_path):
    moved = shutil.copytree(home, tmp_path / "elsewhere")
    shutil.rmtree(moved / "inspections")
    (moved / "comparison.html").unlink()
    draw(moved / "runs" / "first")
    assert (
        list(links_in(moved / "runs" / "first" / "report.html")) == []
    )  # the evaluation names the run that was copied


def test_a_study_and_the_run_it_kept(tmp_path):
    study = make_study(tmp_path / "studies" / "näme #1", 3)
    best = make_run(study.path / "best").path
    draw(best)
    draw(study.path)
    page = study.path / "report.html"
    assert links_in(best / "report.html") == {"Study näme #1, which kept this run": page.resolve()}
    assert links_in(page) == {"Run best": (best / "report.html").resolve()}


def test_drawing_one_page_leaves_all_but_the_links_of_another(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    run = make_run(tmp_path / "runs" / "first").path
    write_report(run, grid=5)
    before = (run / "report.html").read_text(encoding="utf-8")
    other = make_run(tmp_path / "runs" / "second").path
    write_report([run, other], tmp_path / "both.html")
    after = (run / "report.html").read_text(encoding="utf-8")
    assert links_in(run / "report.html") == {"Comparison both.html": (tmp_path / "both.html").resolve()}
    assert re.sub(r"<!--links-->.*?<!--/links-->", "<!--links--><!--/links-->", after) == before


def test_a_neighbour_that_is_damaged_is_passed_over(tmp_path):
    run = make_run(tmp_path / "runs" / "first").path
    for name, content in (("a", "{"), ("b", "[]"), ("c", '{"kind": "evaluation"}')):
        (tmp_path / "evaluations" / name).mkdir(parents=True)
        (tmp_path / "evaluations" / name / "manifest.json").write_text(content)
    draw(run)
    assert links_in(run / "report.html") == {}


def test_a_link_tells_nothing_of_the_authors_disk():
    """A page far from the record would name each folder on the way there."""
    start = Path("/home/me/work/evaluations/other")
    assert _is_near(Path("/home/me/work/runs/first/report.html"), start)
    assert not _is_near(Path("/srv/secret/runs/first/report.html"), start)
    assert not _is_near(Path("/home/me/report.html"), start / "a" / "b")
