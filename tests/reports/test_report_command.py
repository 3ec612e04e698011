"""`transferkit report`, as a person would run it."""

import json

import pytest
from handmade import make_run, make_study


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run; never write into it."""
    return make_run(tmp_path_factory.mktemp("runs") / "one").path


@pytest.fixture
def report(run_cli):
    """Runs the command."""
    return lambda *args, **options: run_cli("report", *args, **options)


def test_a_run_gets_its_page(tmp_path, report):
    run = make_run(tmp_path / "run").path
    done = report(run)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Page: {run / 'report.html'}\n"
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_page_goes_where_it_is_wanted(run, tmp_path, report):
    done = report(run, "--out", tmp_path / "new" / "page.html", "--grid", "4", "--json")
    assert json.loads(done.stdout) == {"page": str(tmp_path / "new" / "page.html")}
    assert (tmp_path / "new" / "page.html").is_file()
    assert not (run / "report.html").exists()


def test_several_runs_are_compared(run, tmp_path, report):
    other = make_run(tmp_path / "two", seed=1).path
    done = report(run, other, cwd=tmp_path)
    assert done.stdout == "Page: comparison.html\n"
    assert "2 runs compared" in (tmp_path / "comparison.html").read_text(encoding="utf-8")


def test_a_study_gets_its_page(tmp_path, report):
    make_study(tmp_path / "study", 3)
    assert report(tmp_path / "study").returncode == 0
    assert (tmp_path / "study" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "nothing is not a folder."),
        (["."], "is not a record of transferkit"),
        (["{run}", "{run}"], "The same folder was given twice."),
        (["{run}", "nothing"], "nothing is not a folder."),
        (["{run}", "--out", "."], "is a folder."),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_one_message(run, tmp_path, report, arguments, said):
    done = report(*(argument.format(run=run) for argument in arguments), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("error: ")) == (2, "", 1)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
