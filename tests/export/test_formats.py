"""The table of formats says the truth about pyproject.toml, and refuses in one sentence."""

import tomllib
from pathlib import Path

import pytest

from doubles import swap
from kit.errors import ConfigError, ExportError
from kit.export import formats
from kit.export.formats import FORMATS, find_format, require_installed
from kit.machine import install_command

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


@pytest.mark.parametrize("chosen", FORMATS, ids=lambda chosen: chosen.name)
def test_the_extra_that_a_format_names_installs_all_that_it_needs(chosen):
    listed = {line.partition(">")[0].replace("-", "_") for line in EXTRAS.get(chosen.extra, [])}
    assert set(chosen.needs) <= listed


@pytest.mark.parametrize("chosen", FORMATS, ids=lambda chosen: chosen.name)
def test_what_is_missing_is_named_with_the_command_that_installs_it(chosen, monkeypatch):
    swap(monkeypatch, formats, "find_spec", lambda name: None)
    if not chosen.needs:
        require_installed(chosen)
        return
    with pytest.raises(ExportError) as told:
        require_installed(chosen)
    assert all(name in told.value.what for name in chosen.needs)
    assert install_command(chosen.extra) in told.value.hint


def test_only_what_is_missing_is_named(monkeypatch):
    swap(monkeypatch, formats, "find_spec", lambda name: None if name == "tf2onnx" else name)
    with pytest.raises(ExportError, match=r"The format onnx needs tf2onnx, not installed here\."):
        require_installed(find_format("onnx"))


def test_an_unknown_format_is_told_the_known_ones():
    with pytest.raises(
        ConfigError, match="one of keras, saved_model, onnx, litert, openvino, keras-hub, web, not 'pickle'"
    ):
        find_format("pickle")


def test_a_format_is_found_by_what_it_is_called_elsewhere():
    assert find_format("tflite") is find_format("litert")
    assert find_format("savedmodel").name == "saved_model"
