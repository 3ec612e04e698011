"""The page of an evaluation, from records made by hand."""

import html
import json
import re

import pytest
from handmade import HOSTILE, make_evaluation
from test_pages import DATE, Parsed, strings_of

from doubles import swap
from kit.errors import StorageError
from kit.files import read_json, write_json
from kit.significance import newcombe_interval
from reports import drawing, text
from reports.drawing import draw, kind_of, page_of, render, write_report
from reports.elements import Table
from reports.evaluation.facts import evaluation_facts

CLASSES = ("daisy", "roses", "tulips")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Pages without the 4.8 MB of plotly.js, which these tests would read through again and again."""
    swap(monkeypatch, drawing, "_plotly", lambda: "")


def words_of(folder) -> str:
    """What a reader of the page sees, in one line."""
    page = render(page_of(folder), DATE)
    body = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def metric(folder, name):
    """Value and sentence of one number of the summary box."""
    found = {one.name: one for one in page_of(folder).summary_box.metrics}
    return (found[name].value, found[name].says) if name in found else None


def table_of(folder, section, caption) -> Table:
    elements = next(one.elements for one in page_of(folder).sections if one.id == section)
    return next(one for one in elements if isinstance(one, Table) and one.caption == caption)


def test_the_summary_says_whether_chance_explains_the_difference(tmp_path):
    worse = make_evaluation(tmp_path / "worse", per_class=60, sure=(1.0, 2.5))
    metrics = read_json(worse / "metrics.json")
    new, test = metrics["new"], metrics["test"]
    low, high = newcombe_interval(new["accuracy"], 180, test["accuracy"], 180)
    value, says = metric(worse, "Beside test")
    assert value == text.points(new["accuracy"] - test["accuracy"])
    assert "the new images are harder for it, by more than chance explains" in says
    assert f"{text.points(low, 0)} to {text.points(high, 0)}" in says
    assert f"Its own test gave {test['accuracy']:.1%} on 180 images" in says
    box = page_of(worse).summary_box
    assert (box.name, box.value) == ("Accuracy on new images", f"{new['accuracy']:.1%}")
    assert text.share(new["accuracy_interval"][0]) in box.says
    assert f"On test: {test['calibration_error']:.1%}" in metric(worse, "Calibration error")[1]
    assert metric(worse, "Median confidence") == ("71.0%", "On test: 94.0%.")
    better = make_evaluation(tmp_path / "better", per_class=60, sure=(2.5, 1.0))
    assert "easier for it, by more than chance explains" in metric(better, "Beside test")[1]
    same = make_evaluation(tmp_path / "same")
    assert "within chance, but so few images may hide one that matters (95%" in metric(same, "Beside test")[1]
    many = make_evaluation(tmp_path / "many", per_class=200)
    assert "the difference is within chance (95%" in metric(many, "Beside test")[1]


def test_each_class_stands_beside_test(tmp_path):
    worse = make_evaluation(tmp_path / "worse", per_class=60, sure=(1.0, 2.5))
    metrics = read_json(worse / "metrics.json")
    rows = {row[0]: row[1:] for row in table_of(worse, "recall", "Recall and precision of each class").rows}
    assert set(rows) == set(CLASSES)
    for name, row in rows.items():
        new, test = metrics["new"]["per_class"][name], metrics["test"]["per_class"][name]
        expected = ("60", f"{new['recall']:.0%}", f"{new['precision']:.0%}", "60", f"{test['recall']:.0%}")
        assert row[:5] == expected
        assert row[-1] == "lower"
    facts = evaluation_facts(metrics, CLASSES)
    assert [row.difference for row in facts.classes] == sorted(row.difference for row in facts.classes)
    assert "adjusted for 3 classes" in words_of(worse)


def test_classes_are_judged_together(tmp_path):
    """Each at 95% by itself, one of a hundred classes that are as they were would differ in most evaluations."""
    names = tuple(f"class {k:03d}" for k in range(100))
    metrics = read_json(make_evaluation(tmp_path / "many", names, 10, sure=(3.0, 3.0)) / "metrics.json")
    assert not any(row.clear for row in evaluation_facts(metrics, names).classes)
    single = [
        newcombe_interval(row.recall, row.n, row.own_recall, row.own_n)
        for row in evaluation_facts(metrics, names).classes
    ]
    assert any(not low <= 0 <= high for low, high in single)


def test_another_mix_of_classes_is_told_from_harder_images(tmp_path):
    """With test images weighed as the new ones are, the accuracy is that of the classes that were given."""
    folder = make_evaluation(tmp_path / "two", per_class=60, given=("daisy", "roses"), sure=(1.0, 1.0))
    metrics = read_json(folder / "metrics.json")
    for name, recall in (("daisy", 0.5), ("roses", 0.7), ("tulips", 0.9)):
        metrics["test"]["per_class"][name]["recall"] = recall
    write_json(folder / "metrics.json", metrics)
    assert evaluation_facts(metrics, CLASSES).expected == pytest.approx(0.6)
    assert metric(folder, "At the same mix of classes")[0] == "60.0%"
    words = words_of(folder)
    assert "The model also knows classes of which no image was given: tulips." in words
    assert "not all of them are here" in words


def test_one_class_is_compared_with_its_own_recall(tmp_path):
    folder = make_evaluation(tmp_path / "one", per_class=12, given=("roses",))
    test = read_json(folder / "metrics.json")["test"]["per_class"]["roses"]
    assert page_of(folder).summary_box.name == "Recall of roses on new images"
    assert f"Its own test gave {test['recall']:.0%} on 12 images" in metric(folder, "Beside test")[1]
    assert metric(folder, "Macro F1") is None
    assert "On test" not in metric(folder, "Calibration error")[1]
    words = words_of(folder)
    assert "All of these images are of roses." in words
    rows = {row[0]: row for row in table_of(folder, "recall", "Recall and precision of each class").rows}
    assert rows["roses"][3] == rows["daisy"][2] == rows["daisy"][3] == rows["tulips"][-1] == "–"


def test_what_differs_is_said_in_words(tmp_path):
    words = words_of(make_evaluation(tmp_path / "drift"))
    assert "darker (brightness 0.31, test 0.52)" in words
    assert "smaller (shorter side in pixels 240, test 1,080)" in words
    assert "answered with less confidence (71.0%, test 94.0%)" in words
    assert "spread otherwise in width : height, by more than chance" in words
    rows = {row[0]: row[1:] for row in table_of(tmp_path / "drift", "drift", "New images beside test").rows}
    assert rows["warmth (red - blue)"] == ("0.10", "−0.02", "0.10", "1", "may be chance")
    metrics = read_json(tmp_path / "drift" / "metrics.json")
    calm = [row | {"p_value": 0.5} for row in metrics["drift"]]
    write_json(tmp_path / "drift" / "metrics.json", metrics | {"drift": calm})
    assert "differ from those of the test in nothing that was measured, but by chance" in words_of(tmp_path / "drift")


def test_images_that_the_run_has_itself_stay_out_of_the_comparison(tmp_path):
    mixed = make_evaluation(
        tmp_path / "mixed", origins=("new", "test"), images={"left_out": 2, "train": 7, "validation": 3}
    )
    metrics = read_json(mixed / "metrics.json")
    assert (metrics["all"]["n"], metrics["new"]["n"]) == (36, 18)
    words = words_of(mixed)
    assert "of 18 right, all new to the run" in words
    assert "of all new images," in words
    table = table_of(mixed, "images", "The images by what the run knows of them")
    counts = {row[0]: row[1:3] for row in table.rows}
    assert counts == {
        "new to the run": ("18", "18"),
        "the run was trained on": ("7", "0"),
        "the run was validated with": ("3", "0"),
        "the run was tested on": ("18", "18"),
        "left out": ("2", "0"),
    }
    assert table.note == "Left out: 2 truncated. `transferkit inspect other/photos` names the files."
    assert "The parts above are of the new ones alone." in words


def test_where_nothing_is_new_nothing_is_compared(tmp_path):
    seen = make_evaluation(tmp_path / "seen", origins=("train",), options={"include_seen": True})
    words = words_of(seen)
    assert "None of these images is new to the run" in words
    assert metric(seen, "Beside test") is None
    assert "With 95% confidence" not in words
    assert "scored as well, and flatter the model" in words
    assert "transferkit evaluate first other/photos --include-seen" in words


@pytest.mark.parametrize("own", ["out-of-fold", ""])
def test_a_run_without_test_images(tmp_path, own):
    folder = make_evaluation(tmp_path / "evaluation", own=own)
    if own:
        assert "Its own cross-validation gave" in metric(folder, "Beside cross-validation")[1]
    else:
        assert "there is nothing to compare with" in metric(folder, "Beside the run's own")[1]
        assert "The run has no test images to compare with." in words_of(folder)


def test_hostile_names_stay_text(tmp_path):
    folder = make_evaluation(tmp_path / "evaluation", HOSTILE)
    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", manifest | {"data": HOSTILE[0], "run": HOSTILE[1], "name": HOSTILE[4]})
    page = render(page_of(folder), DATE)
    page.encode("utf-8")  # no lone surrogate is left
    parsed = Parsed(page)
    assert sum(tag == "script" and not attrs for tag, attrs in parsed.tags) == 7
    assert not [a for tag, a in parsed.tags if tag == "img" and not a["src"].startswith("data:image/jpeg")]
    assert not [a for _, a in parsed.tags if any(name.startswith("on") for name in a)]
    assert "\u202e" not in page
    for figure in parsed.figures:
        strings = list(strings_of(figure["data"])) + list(strings_of(figure["layout"]))
        assert not [one for one in strings if "<script" in one or "<img" in one or "<b>" in one]


def test_the_command_redraws_it_and_a_copy_gives_the_same(tmp_path, run_cli):
    folder = make_evaluation(tmp_path / "evaluation")
    assert kind_of(folder) == "evaluation"
    first = draw(folder).read_text(encoding="utf-8")
    done = run_cli("report", folder, "--grid", "4", "--json")
    assert json.loads(done.stdout) == {"page": str(folder / "report.html")}
    again = (folder / "report.html").read_text(encoding="utf-8")
    assert "32 images drawn at random" in first
    assert "4 images drawn at random" in again
    with pytest.raises(StorageError, match="the record of an evaluation"):
        write_report([folder, tmp_path])


def test_an_evaluation_that_did_not_end_says_how_to_go_on(tmp_path):
    folder = make_evaluation(tmp_path / "evaluation")
    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", manifest | {"status": "running"})
    with pytest.raises(StorageError, match="did not end") as caught:
        page_of(folder)
    assert "`transferkit evaluate /runs/first other/photos`" in caught.value.hint
    write_json(folder / "manifest.json", manifest)
    (folder / "metrics.json").write_bytes(b"\x00damaged")
    with pytest.raises(StorageError, match=r"metrics\.json"):
        page_of(folder)
