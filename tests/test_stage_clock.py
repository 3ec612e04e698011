"""Seconds and peak memory of stages."""

import json
import time
from pathlib import Path

import pytest

from kit.config import RunConfig
from kit.run_writer import RunWriter
from kit.stage_clock import StageClock


@pytest.fixture
def run(tmp_path) -> RunWriter:
    return RunWriter.create(tmp_path / "run", RunConfig())


def test_stages_add_up_and_fit_the_manifest(run):
    clock = StageClock()
    with clock.stage("decode"):
        time.sleep(0.01)
    with pytest.raises(KeyError), clock.stage("decode"):
        raise KeyError
    with clock.stage("train"):
        pass
    assert list(clock.stages) == ["decode", "train"]
    assert 0.01 <= clock.stages["decode"]["seconds"] < 10
    peak = clock.stages["train"]["peak_memory_bytes"]
    assert peak is None or 10**6 < clock.stages["decode"]["peak_memory_bytes"] <= peak < 10**12
    run.update_manifest(stages=clock.stages)
    assert json.loads((run.path / "manifest.json").read_text())["stages"] == clock.stages


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="elsewhere getrusage is all there is")
def test_peak_memory_is_not_that_of_the_process_that_started_this_one(run_python):
    held = bytes(range(256)) * (400 << 12)  # 400 MiB; getrusage of a child would begin there
    done = run_python("-c", "from kit.stage_clock import peak_memory; print(peak_memory())")
    assert 10**6 < int(done.stdout) < len(held)
