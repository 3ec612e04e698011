"""What a notebook shows of runs and studies: figures by name, and a summary without a script."""

import xml.etree.ElementTree as ElementTree

import plotly.graph_objects as go
import pytest
from handmade import HOSTILE, make_run, make_study

import kit
from kit.errors import ConfigError
from reports.notebook import Figures, summary_html


def test_every_figure_of_the_page_is_there_by_name(tmp_path):
    run = kit.load_run(make_run(tmp_path / "run"))
    assert {"curves", "confusion", "reliability", "abstention", "classes", "map"} <= set(run.figures)
    for name in run.figures:
        figures = run.figures[name]()
        assert all(isinstance(one, go.Figure) for one in (figures if isinstance(figures, list) else [figures]))
    accuracies = [list(trace.y) for trace in run.figures.curves().data if trace.name == "training"]
    assert accuracies == [[record.accuracy for record in run.history]]
    assert "curves" in dir(run.figures)
    # each call gives a figure of its own
    run.figures.curves().update_layout(title="mine")
    assert run.figures.curves().layout.title.text is None


def test_the_confusion_matrix_holds_the_counts_of_the_record(tmp_path):
    run = kit.load_run(make_run(tmp_path / "run"))
    (heat,) = run.figures.confusion().data
    assert [list(row) for row in heat.text] == run.metrics["test"]["confusion"]


def test_the_map_is_a_figure_with_a_trace_for_each_class_and_its_mistakes_ringed(tmp_path):
    run = kit.load_run(make_run(tmp_path / "run"))
    ringed, *classes = run.figures.map().data
    said = run.predictions[run.predictions["split"] == "test"]
    wrong = said[said["label"] != said["predicted"]]
    assert {text.split(":")[0] for text in ringed.hovertext} == set(wrong["path"])
    assert {trace.name: len(trace.x) for trace in classes} == said["label"].value_counts().to_dict()


def test_a_figure_that_is_not_there_is_told_beside_those_that_are(tmp_path):
    figures = Figures(make_run(tmp_path / "run").path)
    with pytest.raises(ConfigError, match=r"no figure 'parallel'\.\nIt has .*curves"):
        figures.parallel()
    study = make_study(tmp_path / "study")
    assert isinstance(study.figures.history(), go.Figure)


def test_the_summary_says_what_the_page_says_and_needs_no_script(tmp_path):
    run = kit.load_run(make_run(tmp_path / "run"))
    shown = run._repr_html_()
    scores = run.metrics["test"]
    assert f"{round(scores['accuracy'] * scores['n'])} of {scores['n']:,} right" in shown
    assert "<script" not in shown
    assert "<svg" in shown
    assert "<table" in shown
    ElementTree.fromstring(shown)  # well-formed: an output that is not breaks the cells after it
    assert f"test accuracy {scores['accuracy']:.3f}" in repr(run)
    study = make_study(tmp_path / "study")
    assert "accuracy" in study._repr_html_()


def test_names_of_classes_are_text(tmp_path):
    folder = make_run(tmp_path / "run", classes=HOSTILE[:3]).path
    shown = summary_html(folder)
    assert "<script" not in shown
    assert "<img" not in shown
    ElementTree.fromstring(shown)


@pytest.mark.parametrize("missing", ["metrics.json", "history.csv", "predictions.csv", "config.toml", "manifest.json"])
def test_a_damaged_record_never_breaks_a_cell(tmp_path, missing):
    run = kit.load_run(make_run(tmp_path / "run"))
    (run.path / missing).unlink()
    assert isinstance(repr(run), str)
    shown = run._repr_html_()
    assert (shown is None) == (missing == "manifest.json")
