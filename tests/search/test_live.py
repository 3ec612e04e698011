"""`study run --live`: the page while a study runs."""

import pytest
from studies import make

from search import live
from search.live import live_page
from search.records import LIVE
from search.workers import run_trials

pytestmark = pytest.mark.full


def test_the_page_is_drawn_while_trials_run_and_stands_still_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "EVERY", 0.0)
    study = make(tmp_path / "study")
    page = study.record.path / "report.html"
    seen = []
    with live_page(study.record.path) as show:

        def watch(record):
            show(record)
            content = page.read_text(encoding="utf-8")
            seen.append(("data-live" in content, f"{record.counts.finished} finished trial" in content))

        run_trials(study, 4, objective="objectives:Short", watch=watch)
    assert seen
    assert set(seen) == {(True, True)}  # each time as the record then was
    assert "data-live" not in page.read_text(encoding="utf-8")
    assert not (study.record.path / LIVE).exists()


def test_a_record_that_has_not_changed_is_not_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "EVERY", 0.0)
    drawn = []
    monkeypatch.setattr(live, "draw_page", drawn.append)
    record = make(tmp_path / "study").record
    with live_page(record.path) as show:
        show(record)
        show(record)
    assert len(drawn) == 2  # once while it ran, once at its end


def test_an_interrupt_leaves_a_page_that_stands_still(tmp_path):
    record = make(tmp_path / "study").record

    def interrupted():
        with live_page(record.path) as show:
            show(record)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "data-live" not in (record.path / "report.html").read_text(encoding="utf-8")
