"""`transferkit benchmark`: every format of a run, measured side by side."""

import json

import numpy as np
import pytest

from doubles import swap
from kit.errors import ConfigError, ExportError
from kit.export import benchmark_run, formats
from kit.export.formats import FORMATS
from kit.export.worker import times_ms
from kit.run import Run

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]


@pytest.fixture
def installed(monkeypatch):
    """Whatever a format needs, but for what the page of the format web does."""
    swap(monkeypatch, formats, "find_spec", lambda name: None if name == "playwright" else name)


def test_all_that_can_be_measured_is_in_the_record(own_run, answers, installed):
    record = benchmark_run(Run.open(own_run))
    measured = [(one["format"], one["precision"]) for one in record["formats"]]
    assert measured == [(one.name, precision) for one in FORMATS if one.name != "web" for precision in one.precisions]
    assert list(record["left_out"]) == ["web, float32"]
    assert "playwright" in record["left_out"]["web, float32"]
    first = record["formats"][0]
    assert (first["bytes"], first["peak_memory"], first["images_per_second"]) == (10, 3 * 2**20, 1000)
    assert first["latency_ms"]["8"] == {"median": 8.0, "p95": 12.0, "passes": 9}
    assert first["gate"]["agreement"] == 1
    assert record == json.loads((own_run / "benchmark.json").read_text())
    assert not (own_run / "exports").exists()


def test_a_format_that_fails_is_left_out_with_the_reason(own_run, answers, installed):
    answers["off"] = np.nan
    with pytest.raises(ExportError, match="No format could be measured: The keras model does not answer as"):
        benchmark_run(Run.open(own_run), ["keras"])
    assert not (own_run / "benchmark.json").exists()


def test_only_what_is_asked_for_is_measured(own_run, answers, installed):
    record = benchmark_run(Run.open(own_run), ["onnx", "tflite"], ["int8"])
    assert [(one["format"], one["precision"]) for one in record["formats"]] == [("onnx", "int8"), ("litert", "int8")]
    with pytest.raises(ConfigError, match="'int4'"):
        benchmark_run(Run.open(own_run), ["onnx"], ["int4"])
    with pytest.raises(ConfigError, match="--format must be one of"):
        benchmark_run(Run.open(own_run), ["floppy"])


def test_passes_are_timed_until_there_are_enough_or_time_is_up(monkeypatch):
    seen = []
    assert len(times_ms(lambda pixels: seen.append(pixels), np.zeros(3), 7)) == 7
    assert len(seen) == 9  # two warm up


def test_the_whole_way(command, refused, own_run):
    """The run's own format, really timed."""
    done = command("benchmark", own_run, "--format", "keras")
    assert done.status == 0, done.err
    head, row = (line.split("  ") for line in done.out.splitlines()[:2])
    assert (head[0], row[0].strip()) == ("format", "keras")
    (one,) = json.loads((own_run / "benchmark.json").read_text())["formats"]
    assert set(one["latency_ms"]) == {"1", "8", "32"}
    assert all(0 < each["median"] <= each["p95"] * 1.001 and each["passes"] >= 3 for each in one["latency_ms"].values())
    assert one["peak_memory"] > 50 * 2**20
    assert f"{one['gate']['accuracy']:.3f}" in done.out
    assert "--format must be one of" in refused("benchmark", own_run, "--format", "floppy")
