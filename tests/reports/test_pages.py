"""Whole pages from records made by hand: what they promise, whatever the records hold."""

import base64
import hashlib
import html
import json
import os
import random
import re
import shutil
import sys
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from handmade import HOSTILE, ONNX, make_evaluation, make_inspection, make_run, make_study

from kit.config import RunConfig
from kit.errors import ConfigError, StorageError, UserError
from kit.files import read_json, write_json
from kit.insights import Insights
from kit.run_writer import RunWriter
from kit.settings import from_toml, override, to_toml
from kit.training.history import EpochRecord, History
from reports import text
from reports.compare import compare_page
from reports.drawing import draw, kind_of, page_of, render, write_report
from reports.index_page import index_page
from search.records import write_spec, write_trials

DATE = datetime(2026, 1, 2, tzinfo=UTC)


class Parsed(HTMLParser):
    """Tags with their attributes, and the text of scripts."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.in_script = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.in_script = True
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.in_script = self.in_script and tag != "script"

    def handle_data(self, data):
        if self.in_script:
            self.scripts[-1] += data
        self.words.append(data)

    def of(self, wanted: str) -> list[tuple[str, dict]]:
        return [(tag, attrs) for tag, attrs in self.tags if tag == wanted]

    @property
    def figures(self) -> list[dict]:
        kinds = [attrs for tag, attrs in self.tags if tag == "script"]
        return [json.loads(t) for t, attrs in zip(self.scripts, kinds, strict=True) if "data-figure" in attrs]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole run; never write into it."""
    return make_run(tmp_path_factory.mktemp("runs") / "whole").path


@pytest.fixture(scope="module")
def run_html(run):
    """Its page."""
    return html_of(run)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of 20 trials; never write into it."""
    return make_study(tmp_path_factory.mktemp("studies") / "study")


@pytest.fixture(scope="module")
def study_html(study):
    """Its page."""
    return html_of(study.path)


def digest_of(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def html_of(folder, **options) -> str:
    return render(page_of(folder, **options), DATE)


# === What every page promises ===


def test_the_same_records_give_the_same_bytes_but_for_the_date(run, run_html, study, study_html):
    assert html_of(study.path) == study_html
    other = render(page_of(run), datetime(2027, 5, 6, tzinfo=UTC))
    assert run_html != other
    assert run_html.replace("2026-01-02 00:00 UTC", "") == other.replace("2027-05-06 00:00 UTC", "")


def test_the_date_can_be_fixed_from_outside(run, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert "1970-01-02 00:00 UTC" in render(page_of(run))


def test_a_date_that_is_none_is_refused(run, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH"):
        render(page_of(run))


def test_a_page_allows_its_own_scripts_and_nothing_from_elsewhere(run_html):
    parsed = Parsed(run_html)
    policy = next(a["content"] for t, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    own = [script for script, (_, attrs) in zip(parsed.scripts, parsed.of("script"), strict=True) if not attrs]
    assert rules["script-src"].split() == [f"'sha256-{digest_of(script)}'" for script in own]
    assert rules["img-src"] == "data:"
    sources = [a[name] for _, a in parsed.tags for name in ("src", "href", "srcset", "action") if a.get(name)]
    assert [source for source in sources if not source.startswith(("data:image/jpeg;base64,", "data:,", "#"))] == []
    # an element that is run has no attribute; what has one is data, and no handler stands in a tag
    # the theme, plotly, the figures, tables, the images, the matrix, the threshold, the map, the review
    assert len(own) == 9
    assert [a for _, a in parsed.tags if any(name.startswith("on") for name in a)] == []


def test_every_figure_says_what_to_see_and_has_its_numbers_as_a_table(run_html):
    parsed = Parsed(run_html)
    charts = [a for _, a in parsed.tags if a.get("class") == "panels"]
    boxes = [a for _, a in parsed.tags if a.get("class") == "figure"]
    assert len(charts) == run_html.count("as a table</summary>") == 8
    assert all(chart["role"] == "img" and len(chart["aria-label"]) > 40 for chart in charts)
    assert len(boxes) == len(parsed.figures) == 9  # sizes and shapes stand side by side
    assert len({box["id"] for box in boxes}) == 9
    assert ("html", {"lang": "en"}) in parsed.tags


def test_pictures_and_sections_of_a_whole_run(run_html):
    for heading in ("Test accuracy", "Fine-tuning", "Validation minus test", "Calibration error"):
        assert heading in run_html
    for section in ("curves", "predictions", "confusion", "calibration", "doubts", "learning", "data"):
        assert f'<section id="{section}"' in run_html
    assert 'class="note missing"' not in run_html
    assert '<span class="absent">' not in run_html
    assert "transferkit train --config whole/config.toml" in run_html


def test_exports_are_shown_beside_the_original(tmp_path):
    run = make_run(tmp_path / "run").path
    assert 'id="exports"' not in html_of(run)
    write_json(run / "exports" / "onnx" / "export.json", ONNX)
    write_json(run / "exports" / "other" / "export.json", {"kind": "something else"})
    page = html_of(run)
    row = re.search(r"<tr>.{0,60}>onnx<.*?</tr>", page, re.DOTALL)
    assert row is not None
    for cell in ("ONNX Runtime 1.32.0", "8.6 MiB", "6.5 ms", "210 ms", "100.00%", "2.5e-06", "93.0%"):
        assert f">{cell}</bdi>" in row[0]
    assert "the original&#39;s accuracy there is 93.0%" in page


def test_formats_that_were_measured_are_shown_the_quickest_first(tmp_path):
    run = make_run(tmp_path / "run").path
    assert 'id="formats"' not in html_of(run)
    slow = {n: {"median": ms, "p95": 2 * ms, "passes": 9} for n, ms in (("1", 6.5), ("8", 44.0), ("32", 210.0))}
    quick = {n: {**one, "median": one["median"] / 2} for n, one in slow.items()}
    common = {"runtime": "R 1", "bytes": 9_000_000, "images_per_second": 152.4, "gate": ONNX["gate"]}
    formats = [
        {"format": "onnx", "precision": "float32", "latency_ms": slow, "peak_memory": 3 * 2**28, **common},
        {"format": "litert", "precision": "int8", "latency_ms": quick, "peak_memory": None, **common},
    ]
    machine = {"processor": "A <b>fast</b> one", "threads": 2}
    left_out = {"web, float32": "The format web needs playwright, not installed here."}
    record = {"kind": "benchmark", "machine": machine, "formats": formats, "left_out": left_out}
    write_json(run / "benchmark.json", record)
    page = html_of(run)
    assert "One image takes litert, int8 3.25 ms, the least of 2 forms of the model." in page
    assert page.index(">litert, int8</bdi>") < page.index(">onnx</bdi>")
    row = re.search(r"<tr>.{0,60}>onnx<.*?</tr>", page, re.DOTALL)
    assert row is not None
    for cell in ("8.6 MiB", "6.5 ms", "44 ms", "210 ms", "13 ms", "152", "768.0 MiB", "100.00%", "93.0%"):
        assert f">{cell}</bdi>" in row[0]
    assert "A &lt;b&gt;fast&lt;/b&gt; one, 2 threads" in page
    assert "Not measured: web, float32." in page


def test_the_grid_has_the_size_asked_for(run):
    grid = re.search(r">(\d+) images drawn at random", html_of(run, grid=5))
    assert grid is not None
    assert grid[1] == "5"


def test_a_page_works_on_a_copy_without_the_images(run, run_html, tmp_path):
    copied = shutil.copytree(run, tmp_path / "whole")
    assert html_of(copied) == run_html


# === Hostile names ===


def test_hostile_names_stay_text(tmp_path):
    folder = make_run(tmp_path / "run", HOSTILE).path
    page = html_of(folder)
    page.encode("utf-8")  # no lone surrogate is left
    parsed = Parsed(page)
    assert len(parsed.figures) == 9
    assert sum(tag == "script" and not attrs for tag, attrs in parsed.tags) == 9
    assert not [a for tag, a in parsed.tags if tag == "img" and not a["src"].startswith("data:image/jpeg")]
    assert not [a for _, a in parsed.tags if any(name.startswith("on") for name in a)]
    assert "{{ 7 * 7 }}" in page  # not 49
    assert "\u202e" not in page
    for figure in parsed.figures:
        strings = list(strings_of(figure["data"])) + list(strings_of(figure["layout"]))
        assert not [one for one in strings if "<script" in one or "<img" in one or "<b>" in one]
        # what came from a name never stands where plotly reads a template
        templates = [trace.get("hovertemplate", "") + trace.get("texttemplate", "") for trace in figure["data"]]
        assert not [one for one in templates if "$x" in one or "7 * 7" in one or "%{x} %{customdata[0]}<" in one]


def strings_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("hovertemplate", "texttemplate"):
                yield from strings_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_of(inner)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (None, "–"),
        ("", "–"),
        ("roses", "roses"),
        ("a\nb\tc", "a b c"),
        ("a\x00\x1b[31mb", "a��[31mb"),
        ("bytes\udcff", "bytes�"),
        ("\u202eabc", "�abc"),
        ("x" * 100, "x" * 39 + "…" + "x" * 20),
        ("שלום", "\u2068שלום\u2069"),
    ],
)
def test_names_become_one_printable_line(given, shown):
    assert text.name(given) == shown


def test_labels_of_a_figure_are_escaped_and_stay_different():
    long = ["n" * 50 + "a" + "n" * 50, "n" * 50 + "b" + "n" * 50]
    assert text.label("<b>& $x$") == "&lt;b&gt;&amp; &#36;x&#36;"
    assert len(set(text.labels(long))) == 2


# === Degenerate records ===


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"splits": ("train", "validation")}, "there is no test split"),
        ({"splits": ("train",)}, "The model has not been scored."),
        ({"epochs": (1,)}, "Epoch 1 of 1 is the one that is kept"),
        ({"epochs": ()}, "No epoch was recorded."),
        ({"classes": ("only",)}, "only"),
        ({"insights": False}, "This record holds no pictures."),
        ({"status": "failed"}, "The run failed"),
        ({"per_class": 1}, "Test accuracy"),
    ],
)
@pytest.mark.filterwarnings("ignore:A single label was found")  # scikit-learn, as the record of one class is made
def test_a_degenerate_run_still_gives_a_page(tmp_path, options, said):
    assert said in html_of(make_run(tmp_path / "run", **options).path)


def test_a_run_that_was_killed_at_its_start_says_what_is_missing(tmp_path):
    run = RunWriter.create(tmp_path / "run", RunConfig())
    page = html_of(run.path)
    for sentence in ("The run has not ended", "No epoch was recorded.", "No image was scored."):
        assert sentence in page
    for sentence in ("recorded no doubted labels", "of the audit were not recorded", "was not so far"):
        assert sentence in page
    for untrue in ("No label is doubted", "Nothing odd was found", "0 images in 0 classes"):
        assert untrue not in page
    (run.path / "config.toml").unlink()
    assert "No epoch was recorded." in html_of(run.path)


def test_a_page_tells_nothing_of_the_authors_disk(tmp_path):
    run = make_run(tmp_path / "run", status="failed")
    with run.lock():
        run.update_manifest(warnings=["/home/me/photos/a.jpg is torn"], error="No room in /home/me/cache.")
    page = html_of(run.path)
    assert "…/a.jpg is torn" in page
    assert "/home/me" not in page
    evaluated = html_of(make_evaluation(tmp_path / "evaluation"))
    assert "transferkit evaluate first other/photos" in evaluated
    assert "/runs/first" not in evaluated


def with_paths(config: RunConfig, number: int = 0) -> RunConfig:
    """A configuration that names files all over a disk."""
    values = {"data.path": "/home/me/photos", "model.weights": f"/home/me/weights/{number}.h5"}
    return override(config, values | {"plugin": f"/home/me/parts-{number}.py"}, "the test")


def test_the_page_of_a_study_tells_nothing_of_the_authors_disk(tmp_path):
    study = make_study(tmp_path / "study")
    trials = [
        replace(one, error="The plugin /home/me/parts.py fails.") if one.state == "failed" else one
        for one in study.trials
    ]
    config, storage = tomllib.loads(to_toml(with_paths(RunConfig()))), "sqlite:////home/me/studies/flowers/optuna.db"
    study = replace(study, config=config, storage=storage, trials=tuple(trials))
    write_spec(study)
    write_trials(study)
    page = html_of(study.path)
    assert "/home/me" not in page
    for shown in ("sqlite:///…/optuna.db", "The plugin …/parts.py fails.", "&#34;…/photos&#34;"):
        assert shown in page
    (study.path / "best").mkdir()
    (study.path / "best/config.toml").write_text(to_toml(with_paths(RunConfig())), encoding="utf-8")
    assert "/home/me" not in html_of(study.path)


def test_a_comparison_and_an_index_tell_nothing_of_the_authors_disk(tmp_path):
    runs = [make_run(tmp_path / name).path for name in ("a", "b")]
    for number, run in enumerate(runs):
        (run / "config.toml").write_text(to_toml(with_paths(RunConfig(), number)), encoding="utf-8")
    page = render(compare_page(runs), DATE)
    assert "…/1.h5" in page
    assert "/home/me" not in page
    (runs[1] / "metrics.json").write_text("{")
    page = render(index_page(tmp_path, tmp_path / "index.html"), DATE)
    assert "…/metrics.json" in page
    assert str(tmp_path) not in page


def test_the_comparison_names_the_epoch_that_the_run_kept(tmp_path):
    """Of epochs of equal validation accuracy that with the lower validation loss; it named the first one."""
    runs = [make_run(tmp_path / name).path for name in ("a", "b")]
    rows = [EpochRecord(n, "head", 1.0, 1e-3, 0.5, 0.9, loss, 0.8) for n, loss in enumerate((0.5, 0.4, 0.6), 1)]
    for run in runs:
        RunWriter.open(run).write_history(History(tuple(rows)))
    assert "is that of a at epoch 2." in render(compare_page(runs), DATE)
    assert "Epoch 2 of 3 is the one that is kept" in html_of(runs[0])


def test_the_comparison_keeps_epochs_by_what_each_run_monitors(tmp_path):
    """A run that monitored the loss kept epoch 1; the comparison named that of the highest accuracy, 2."""
    runs = [make_run(tmp_path / name).path for name in ("a", "b")]
    rows = [EpochRecord(n, "head", 1.0, 1e-3, 0.5, 0.9, loss, 0.7 + n / 10) for n, loss in enumerate((0.5, 0.6), 1)]
    config = replace(RunConfig(), training=replace(RunConfig().training, monitor="val_loss"))
    for run in runs:
        RunWriter.open(run).write_history(History(tuple(rows)))
        (run / "config.toml").write_text(to_toml(config), encoding="utf-8")
    assert "is that of a at epoch 1." in render(compare_page(runs), DATE)
    assert "Epoch 1 of 2 is the one that is kept" in html_of(runs[0])


def test_an_interrupted_run_shows_its_epochs(tmp_path):
    run = make_run(tmp_path / "run", status="interrupted")
    for name in ("metrics.json", "predictions.csv"):
        (run.path / name).unlink()
    page = html_of(run.path)
    assert "The run was interrupted" in page
    assert "Accuracy and loss" in page


@pytest.mark.parametrize("name", ["metrics.json", "predictions.csv", "history.csv", "insights/thumbnails.zip"])
def test_a_damaged_record_is_named(tmp_path, name):
    run = make_run(tmp_path / "run")
    (run.path / name).write_bytes(b"\x00damaged")
    with pytest.raises(StorageError, match=name.rpartition("/")[2]):
        page_of(run.path)


def test_the_kind_of_a_folder(tmp_path, run, study):
    assert (kind_of(run), kind_of(study.path), kind_of(tmp_path)) == ("run", "study", None)
    assert draw(tmp_path) is None
    with pytest.raises(StorageError, match="not a record of transferkit"):
        page_of(tmp_path)
    with pytest.raises(StorageError, match="is not a folder"):
        page_of(tmp_path / "nothing")


# === Studies, comparisons, inspections ===


@pytest.mark.parametrize(("trials", "figures"), [(0, 0), (1, 8), (2, 8)])  # a panel for each of the four settings
def test_a_small_study_gives_a_page(tmp_path, trials, figures):
    make_study(tmp_path / "study", trials)
    assert len(Parsed(html_of(tmp_path / "study")).figures) == figures


@pytest.mark.parametrize(
    ("trials", "figures", "said"),
    [
        (18, 8, "14 complete trials: too few to say which setting mattered"),
        (20, 10, "from 15 complete trials, a hint"),
    ],
)
def test_few_trials_have_no_importances_and_no_contour_and_say_so(tmp_path, trials, figures, said):
    study = make_study(tmp_path / "study", trials)
    page = html_of(study.path)
    assert len(Parsed(page).figures) == figures
    assert said in page


def test_a_contour_takes_trials_that_have_both_settings(tmp_path):
    made = make_study(tmp_path / "study")
    params = {name: value for name, value in made.trials[0].params.items() if name != "phases.1.learning_rate"}
    write_trials(replace(made, trials=(replace(made.trials[0], params=params), *made.trials[1:])))
    page = html_of(made.path)
    assert len(Parsed(page).figures) == 9
    assert "fewer than 15 complete trials have phases.1.unfreeze_depth and phases.1.learning_rate" in page


def test_the_contour_is_of_the_phase_that_the_space_searches(tmp_path):
    """Hard-wired to the second phase, it was missing for schedules of one phase or three."""
    made = make_study(tmp_path / "study", 30)
    renamed = [
        replace(trial, params={name.replace("phases.1", "phases.2"): value for name, value in trial.params.items()})
        for trial in made.trials
    ]
    space = {name.replace("phases.1", "phases.2"): value for name, value in made.space.items()}
    space["phases.0.learning_rate"] = space["phases.2.learning_rate"]
    config = {**made.config, "phases": [*made.config["phases"], made.config["phases"][-1]]}
    moved = replace(made, space=space, trials=tuple(renamed), config=config)
    write_spec(moved)
    write_trials(moved)
    drawn = {trace["type"] for figure in Parsed(html_of(made.path)).figures for trace in figure["data"]}
    assert "contour" in drawn


def test_what_counts_as_trained_is_what_is_trained(tmp_path):
    """The axis `parameters trained` showed all parameters of the network."""
    for objective, axis in (("parameters", "parameters of the network"), ("trained_parameters", "parameters trained")):
        study = make_study(tmp_path / objective, 5, objectives=("accuracy", objective))
        titles = [
            figure["layout"]["xaxis"].get("title", {}).get("text") for figure in Parsed(html_of(study.path)).figures
        ]
        assert axis in titles


def test_a_study_shows_its_best_run_and_what_failed(tmp_path):
    make_study(tmp_path / "study")
    run = make_run(tmp_path / "study" / "best")
    draw(run.path)
    page = html_of(tmp_path / "study")
    assert 'href="best/report.html"' in page
    assert "Test accuracy" in page
    assert "[[phases]]" in page
    assert "&lt;b&gt;diverged&lt;/b&gt;" in page


def test_a_studys_summary_takes_scores_by_name(tmp_path):
    """A best run of one phase has no fine-tuning to tell of; its page's scores then lie elsewhere in the box."""
    study = make_study(tmp_path / "study")
    run = make_run(study.path / "best")
    for phases in (run.metrics["phases"], run.metrics["phases"][:1]):
        run.write_metrics({**run.metrics, "phases": phases})
        names = [metric.name for metric in page_of(study.path).summary_box.metrics]
        assert names[-2:] == ["Validation minus test", "Calibration error"]


def test_the_best_configuration_is_whole_before_it_was_trained_again(study, study_html):
    written = re.search(r"<pre[^>]*><code>(.*?)</code>", study_html, re.DOTALL)
    assert written is not None
    chosen = {"phases.1.weight_decay": 0.0, **study.trial(study.best_trial).params}
    assert from_toml(html.unescape(written[1])) == override(RunConfig(), chosen, "the test")


def test_what_the_space_fixes_is_said_and_not_drawn(study_html):
    parsed = Parsed(study_html)
    assert "0, fixed" in parsed.words
    titles = [figure["layout"]["xaxis"].get("title", {}).get("text") for figure in parsed.figures]
    assert "training.optimizer" in titles
    assert "phases.1.weight_decay" not in titles


def test_slices_hold_your_own_configuration_though_the_space_does_not(tmp_path):
    mine = make_study(tmp_path / "study", 30)
    own, *others = mine.trials
    own = replace(own, params={**own.params, "model.head_units": 8, "training.optimizer": "<b>mine</b>"})
    write_trials(replace(mine, trials=(own, *others)))
    figures = [figure for figure in Parsed(html_of(mine.path)).figures if "title" in figure["layout"]["xaxis"]]
    first = {figure["layout"]["xaxis"]["title"]["text"]: figure["data"][0] for figure in figures}
    assert 8 in first["model.head_units"]["x"]
    assert "&lt;b&gt;mine&lt;/b&gt;" in first["training.optimizer"]["x"]
    assert first["learning rate"]["type"] == "contour"


def test_a_setting_that_no_complete_trial_has_gets_no_slice(tmp_path):
    some = make_study(tmp_path / "study", 6)
    rate = "phases.1.learning_rate"
    trials = [
        replace(trial, params={name: value for name, value in trial.params.items() if name != rate})
        if trial.state == "complete"
        else replace(trial, params={**trial.params, rate: 1e-4})
        for trial in some.trials
    ]
    write_trials(replace(some, trials=tuple(trials)))
    figures = Parsed(html_of(some.path)).figures
    titles = [figure["layout"]["xaxis"].get("title", {}).get("text") for figure in figures]
    assert "model.head_units" in titles
    assert rate not in titles


def test_two_objectives_have_a_front(tmp_path):
    make_study(tmp_path / "study", objectives=("accuracy", "parameters"))
    assert "Pareto front" in html_of(tmp_path / "study")


def test_parallel_coordinates_need_no_eval(study_html):
    drawn = {trace["type"] for figure in Parsed(study_html).figures for trace in figure["data"]}
    assert drawn <= {"scatter", "bar", "heatmap", "contour"}
    assert "unsafe-eval" not in study_html.partition("<title>")[0]


def test_runs_are_compared(tmp_path):
    runs = [make_run(tmp_path / name, backend=name, seed=k).path for k, name in enumerate(("jax", "tensorflow"))]
    page = render(compare_page(runs), DATE)
    assert "the same configuration on two backends" in page
    assert "None leads: jax and tensorflow are equally accurate, 83%." in page
    assert "Right for some, wrong for others" in page
    assert len(Parsed(page).figures) == 4  # accuracy and loss stand side by side


def test_runs_of_one_name_are_told_apart(tmp_path):
    runs = [make_run(tmp_path / name / "run").path for name in ("a", "b")]
    page = render(compare_page(runs), DATE)
    assert "a/run" in page
    assert "b/run" in page


def test_only_runs_are_compared(run, study):
    with pytest.raises(StorageError, match="the record of a study"):
        write_report([run, study.path])


@pytest.mark.parametrize(
    ("folders", "out", "said"),
    [
        (["nothing"], None, "nothing is not a folder."),
        (["."], None, "is not a record of transferkit"),
        (["{run}", "{run}"], None, "The same folder was given twice."),
        (["{run}"], ".", "is a folder."),
    ],
)
def test_what_cannot_be_drawn_is_refused(run, tmp_path, monkeypatch, folders, out, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        write_report([folder.format(run=run) for folder in folders], out)


def test_an_inspection_gives_a_page(tmp_path):
    make_inspection(tmp_path)
    page = html_of(tmp_path)
    assert "2 images in 2 classes; 1 file left out" in page
    assert "Training would refuse these data as they are: No." in page
    assert "twice" in page
    assert page.count("data:image/jpeg") == 4
    assert len(Parsed(page).figures) == 4
    assert "photos/: 2 class folders\n  a/, b/&lt;i&gt;: 3 files</code>" in page


def test_an_old_inspection_without_its_tree_gives_a_page(tmp_path):
    make_inspection(tmp_path)
    manifest = read_json(tmp_path / "manifest.json")
    del manifest["summary"]["tree"]
    write_json(tmp_path / "manifest.json", manifest)
    assert "How it was read" not in html_of(tmp_path)


# === Size, memory, imports ===


def test_a_study_of_20_trials_and_a_run_of_3_000_images_stay_small(tmp_path):
    make_study(tmp_path / "study")
    run = make_run(tmp_path / "study" / "best", tuple("abcde"), 600)
    insights = Insights(run.insights)
    size = 5200  # of a thumbnail of real images, on average
    insights.write_album("thumbnails", {path: random.Random(0).randbytes(size) for path in run.samples["path"][:480]})
    assert draw(run.path).stat().st_size < 8e6
    assert draw(tmp_path / "study").stat().st_size < 8e6


def test_a_thousand_classes_stay_readable(tmp_path):
    names = tuple(f"class {k:04d}" for k in range(1000))
    page = html_of(make_run(tmp_path / "run", names, 3).path)
    assert len(page) < 8e6
    assert page.count('<th scope="row"><button') == 100
    assert "Shown are the 100 classes with the most errors." in page
    assert "further classes are left out" in page


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory of Linux")
def test_100_000_predictions_take_less_than_500_mb_and_no_backend(tmp_path, run_python):
    run = make_run(tmp_path / "run", tuple("abcde"), 20_000)
    code = (
        "import sys; from pathlib import Path; from reports.drawing import draw; draw(Path(sys.argv[1]))\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) * 1024, *({'keras', 'jax', 'tensorflow', 'torch', 'optuna'} & set(sys.modules)))"
    )
    done = run_python("-c", code, run.path)
    assert done.returncode == 0, done.stderr
    peak, *backends = done.stdout.split()
    assert backends == []
    assert int(peak) < 500e6
    assert os.path.getsize(run.report_path) < 8e6


def test_a_benchmark_says_what_drawing_costs(run, tmp_path, run_python):
    make_study(tmp_path / "study", 5)
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "pages.py"
    done = run_python(script, run, tmp_path / "study", "--rounds", "1", "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    found = read_json(tmp_path / "results" / "pages.json")["pages"]
    assert set(found) == {str(run), str(tmp_path / "study")}
    for one in found.values():
        assert one["seconds"] > 0
        assert 4e6 < one["page_bytes"] < 8e6
    assert done.stdout.startswith("page of")
    refused = run_python(script, tmp_path / "nothing", "--results", tmp_path / "results")
    assert refused.returncode == 2
    assert "is not the folder of a run" in refused.stderr
