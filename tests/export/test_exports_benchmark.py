"""benchmarks/exports.py: one row an export, and what cannot be had is told."""

import json
import sys
from pathlib import Path

import pytest

from doubles import swap
from kit.errors import ExportError

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import exports

    yield exports
    for name in ("exports", "common"):
        sys.modules.pop(name, None)


def test_a_table_of_every_format_that_can_be_had(benchmark, answers, own_run, run, tmp_path, capsys, monkeypatch):
    def export_run(folder, name, out, *, precision, allowed_loss):
        if name == "onnx":
            raise ExportError("The format onnx needs tf2onnx, not installed here.")
        return real(folder, name, out, precision=precision, allowed_loss=allowed_loss)

    real = benchmark.export_run
    swap(monkeypatch, benchmark, "export_run", export_run)
    benchmark.exports([own_run], "keras,onnx", tmp_path / "results")
    printed = capsys.readouterr().out
    header, rule, *rows = (tmp_path / "results" / "exports.md").read_text().splitlines()
    assert {line.count(" | ") for line in (header, rule, *rows)} == {len(benchmark.HEADER) - 1}
    (row,) = rows
    name = run.config.backend
    assert row.startswith(f"| {name} | keras | float32 | keras 1.0 | 0.0 | 1.5 | 20.2 | 100.0% of 11 | 0.0e+00 | ")
    assert row in printed
    assert "left out, own: onnx, float32: The format onnx needs tf2onnx" in printed
    assert "left out, own: onnx, int8: The format onnx needs tf2onnx" in printed
    recorded = json.loads((tmp_path / "results" / "exports.json").read_text())
    assert [one["format"] for one in recorded["exports"]] == ["keras"]
    assert recorded["machine"]["backend"] == name
