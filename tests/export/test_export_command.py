"""`transferkit export`, as it is typed."""

import json
import shutil

import pytest

from doubles import swap
from kit.export import formats

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]


def test_the_whole_way(command, run, tmp_path):
    done = command("export", run.path, "--format", "keras", "--out", tmp_path / "out")
    assert done.status == 0
    assert "Comparing it with the original on 11 test images" in done.err
    assert f"Export: {tmp_path / 'out'}" in done.out
    accuracy = run.metrics["test"]["accuracy"]
    assert f"accuracy (test)  {accuracy:.3f}" in done.out
    assert "Of 11 test images 100.0% get the same class" in done.out
    assert (tmp_path / "out" / "model.keras").read_bytes() == run.model_path.read_bytes()


def test_json_is_the_record(command, run, answers, tmp_path):
    done = command("export", run.path, "--format", "keras", "--out", tmp_path / "out", "--json")
    assert (done.status, done.err) == (0, "")
    said = json.loads(done.out)
    assert said.pop("export") == str(tmp_path / "out")
    assert said == json.loads((tmp_path / "out" / "export.json").read_text())


def test_the_precision_is_named(command, run, answers, tmp_path, monkeypatch):
    swap(monkeypatch, formats, "find_spec", lambda name: name)
    asked = ("--format", "litert", "--float16", "--tolerance-accuracy", 0.05, "--out", tmp_path / "out")
    done = command("export", run.path, *asked)
    assert (done.status, done.out.split()[1:3]) == (0, ["litert,", "float16"])
    assert "(0.05 of accuracy may be lost)." in done.out


def test_images_that_have_moved(command, refused, own_run, images, answers, tmp_path):
    """`--data` names where they lie now; the export is compared on them."""
    config = own_run / "config.toml"
    text = config.read_text(encoding="utf-8").replace(str(images), str(tmp_path / "gone"))
    config.unlink()  # a link
    config.write_text(text, encoding="utf-8")
    moved = shutil.copytree(images, tmp_path / "moved")
    wanted = ("export", own_run, "--format", "keras", "--out", tmp_path / "out")
    assert "--data FOLDER" in refused(*wanted)
    done = command(*wanted, "--data", moved)
    assert done.status == 0
    assert "Of 11 test images 100.0% get the same class" in done.out
    next((moved / "green").iterdir()).unlink()
    assert "no longer those of" in refused(*wanted, "--data", moved)


def test_bad_input_is_one_message(refused, run, tmp_path, monkeypatch):
    assert "--format must be one of keras, " in refused("export", run.path, "--format", "pickle")
    assert "is not a folder" in refused("export", tmp_path / "none", "--format", "keras")
    (tmp_path / "letter.txt").write_text("mine")
    told = refused("export", run.path, "--format", "keras", "--out", tmp_path)
    assert "is not empty and holds more than an export" in told
    told = refused("export", run.path, "--format", "keras", "--out", run.path)
    assert "is not empty and holds more than an export" in told
    assert "Give one." in refused("export", run.path, "--format", "onnx", "--int8", "--float16")
    assert "int8 is for onnx, litert, openvino." in refused("export", run.path, "--format", "keras", "--int8")
    swap(monkeypatch, formats, "find_spec", lambda name: None)
    assert "'tf2onnx>=" in refused("export", run.path, "--format", "litert")
