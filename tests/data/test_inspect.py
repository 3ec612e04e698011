"""`transferkit inspect`: what it prints, what it records, how it refuses."""

import csv
import io
import json
import os
import shutil

import pytest

from image_files import make_images
from kit.data.sources import load_samples


@pytest.fixture
def data(tmp_path):
    folder = make_images(tmp_path / "garden", ("daisy", "rose"), 12)
    shutil.copy(folder / "rose/0000.jpg", folder / "rose/copy.jpg")
    (folder / "daisy/notes.txt").write_text("no image")
    return folder


@pytest.fixture
def inspect(run_cli, tmp_path):
    return lambda *args, **options: run_cli("inspect", *args, cwd=tmp_path, **options)


def test_text(inspect, data, tmp_path):
    result = inspect(data)
    assert result.returncode == 0, result.stderr
    assert "25 images in 2 classes, largest class 1.08 x the smallest" in result.stdout
    assert "error: not-an-image (1)\n  daisy/notes.txt" in result.stdout
    assert "warning: duplicate (1)\n  rose/0000.jpg, rose/copy.jpg" in result.stdout
    assert "warning: Fewer than 10 test images of daisy (2), rose (2): with 2, 90% right would mean" in result.stdout
    (record,) = (tmp_path / "inspections").iterdir()
    assert record.name.startswith("garden-")
    shown = record.relative_to(tmp_path)
    assert result.stdout.endswith(f"\nPage: {shown / 'report.html'}\nRecord: {shown}\n")
    assert (record / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_without_its_page(inspect, data, tmp_path):
    result = inspect(data, "--no-report")
    assert result.returncode == 0, result.stderr
    assert "Page:" not in result.stdout
    (record,) = (tmp_path / "inspections").iterdir()
    assert (record / "manifest.json").exists()
    assert not (record / "report.html").exists()


@pytest.mark.parametrize("flag", ["--json", "--csv"])
def test_what_goes_to_another_program_leaves_no_folder(inspect, data, tmp_path, flag):
    result = inspect(data, flag)
    assert (result.returncode, result.stderr) == (0, "")
    assert not (tmp_path / "inspections").exists()
    if flag == "--json":
        assert (json.loads(result.stdout)["record"], json.loads(result.stdout)["page"]) == (None, None)


def test_json_is_one_object_and_agrees_with_the_record(inspect, data, tmp_path):
    result = inspect(data, "--json", "--out", tmp_path / "record")
    content = json.loads(result.stdout)
    assert content["images"] == 25
    assert content["files"] == 26
    assert [(entry["label"], entry["images"]) for entry in content["classes"]] == [("daisy", 12), ("rose", 13)]
    for entry in content["classes"]:
        assert entry["train"] + entry["validation"] + entry["test"] == entry["images"]
    assert content["sizes"]["width"] == {"min": 96, "p10": 96, "median": 96, "p90": 96, "max": 96}
    assert content["training_refuses"] is None
    manifest = json.loads((tmp_path / "record/manifest.json").read_text())
    assert (manifest["schema_version"], manifest["kind"], manifest["status"]) == (1, "inspection", "finished")
    assert manifest["data_fingerprint"] == content["data_fingerprint"]
    findings = json.loads((tmp_path / "record/findings.json").read_text())
    assert findings == content["findings"]
    assert {finding["kind"] for finding in findings} == {"not-an-image", "duplicate"}
    assert content["record"] == str(tmp_path / "record")
    assert content["page"] == str(tmp_path / "record" / "report.html")
    assert (tmp_path / "record" / "report.html").is_file()


def test_csv_has_a_row_for_each_file_and_is_what_is_recorded(inspect, data, tmp_path):
    result = inspect(data, "--csv", "--out", tmp_path / "record", "--no-report")
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(result.stdout))}
    assert set(rows) == {sample.path for sample in load_samples(str(data)).samples}
    assert rows["daisy/notes.txt"]["finding"] == "not-an-image"
    assert rows["rose/copy.jpg"]["finding"] == "duplicate"
    assert rows["rose/copy.jpg"]["group"] == rows["rose/0000.jpg"]["group"]
    assert rows["rose/copy.jpg"]["split"] == rows["rose/0000.jpg"]["split"] != ""
    assert (tmp_path / "record/samples.csv").read_text() == result.stdout
    assert result.stderr.endswith(f"Record: {tmp_path / 'record'}\n")
    assert "Page:" not in result.stderr


def test_cells_that_a_spreadsheet_would_run_are_escaped(inspect, tmp_path):
    folder = make_images(tmp_path / "data", ("=cmd()", "plain"), 3)
    result = inspect(folder, "--csv")
    assert {row["label"] for row in csv.DictReader(io.StringIO(result.stdout))} == {"'=cmd()", "plain"}


def test_names_cannot_steer_the_terminal(inspect, tmp_path):
    folder = make_images(tmp_path / "data", ("\x1b[31m[red]", "plain"), 3)
    result = inspect(folder)
    assert result.returncode == 0
    assert "\x1b" not in result.stdout
    assert "[31m[red]" in result.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows names are Unicode")
def test_names_that_are_not_utf_8(inspect, data):
    try:
        os.rename(data / "rose/copy.jpg", os.fsencode(data / "rose") + b"/\xe9.jpg")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    for flags in ([], ["--json"], ["--csv"]):
        result = inspect(data, *flags, errors="surrogateescape")
        assert result.returncode == 0, result.stderr
    assert "rose/\udce9.jpg" in result.stdout


def test_what_training_would_refuse_is_said(inspect, data):
    shutil.copy(data / "rose/0001.jpg", data / "daisy/wrong.jpg")
    result = inspect(data)
    assert result.returncode == 0
    assert "Training would refuse these data" in result.stdout
    assert "--conflicts drop" in result.stdout


def test_nothing_readable_is_no_crash(inspect, tmp_path):
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "1.jpg").write_bytes(b"")
    result = inspect(tmp_path / "data")
    assert result.returncode == 0, result.stderr
    assert "0 images in 2 classes" in result.stdout


def test_a_record_is_replaced_and_anything_else_is_not(inspect, data, tmp_path):
    assert inspect(data, "--out", tmp_path / "record").returncode == 0
    assert inspect(data, "--out", tmp_path / "record").returncode == 0
    for other in (data, data / "rose/0000.jpg"):
        result = inspect(data, "--out", other)
        assert result.returncode == 2
        assert "--out" in result.stderr
        assert "Traceback" not in result.stderr
    assert not (data / "manifest.json").exists()


@pytest.mark.parametrize("args", [["nowhere"], ["DATA", "--json", "--csv"], ["DATA", "--split-seed", "-1"], []])
def test_bad_input_is_one_message(inspect, data, args):
    result = inspect(*(data if arg == "DATA" else arg for arg in args))
    assert result.returncode == 2
    assert result.stderr
    assert "Traceback" not in result.stderr
