"""Activations that the stored type cannot hold: never clipped, never silent, and the same whatever the cache holds."""

import re
from dataclasses import replace

import numpy as np
import pytest
from small import fit, open_session, reach_beyond_float16, small_toy, weights_of

from doubles import swap
from kit.config import PhaseConfig
from kit.errors import DataError
from kit.pipeline import train
from kit.run_scores import evaluate
from kit.training import extraction
from kit.training.extraction import Activations, Extractor, extract
from kit.training.session import Session

pytestmark = pytest.mark.backend

TAIL = PhaseConfig(name="tail", epochs=1, unfreeze_depth=1, learning_rate=1e-3)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


def unbounded(images, times: float = 1e6, **training) -> Session:
    session = open_session(small_toy(images, TAIL, training={"store_dtype": "float16", **training}))
    reach_beyond_float16(session, times)
    return session


def greatest(activations: Activations) -> float:
    return float(np.abs(activations.plain[1][:].astype(np.float32)).max())


def test_what_float16_cannot_hold_is_stored_as_float32_and_said(images, capsys):
    narrow = extract(unbounded(images, times=1.0))
    assert narrow.dtype == "float16"
    assert capsys.readouterr().err.count("float32") == 0
    wide = extract(unbounded(images))
    assert (wide.dtype, wide.plain[1].dtype) == ("float32", np.float32)
    assert greatest(wide) == pytest.approx(1e6 * greatest(narrow), rel=1e-2)
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"activations of .*\.jpg.* at block_3 reach [\d,]+, beyond what float16 holds \(65,504\)", said)
    size = 72 * np.prod(wide.plain[1].shape[1:]) * 4 / 2**20
    assert f"stored as float32, {size:,.0f} MiB instead of {size / 2:,.0f} MiB" in said


def test_the_next_run_computes_nothing_and_decides_the_same(images, capsys):
    extract(unbounded(images))
    again = extract(unbounded(images))
    assert (again.dtype, again.computed) == ("float32", {})
    assert "beyond what float16 holds" in capsys.readouterr().err


def test_where_float32_exceeds_the_limit_the_type_is_bfloat16(images, capsys):
    session = unbounded(images)
    cut = session.base
    limit = session.stored_bytes([cut], "float32") * 0.75 / 2**30
    config = session.config
    session = replace(session, config=replace(config, training=replace(config.training, store_limit_gib=limit)))
    activations = extract(session)
    assert activations.dtype == "bfloat16"
    assert activations.plain[1].nbytes == session.stored_bytes([cut])
    assert greatest(activations) == pytest.approx(greatest(extract(unbounded(images, store_dtype="float32"))), rel=0.01)
    assert "stored as bfloat16, which has fewer digits" in " ".join(capsys.readouterr().err.split())


def test_bfloat16_trains(images, tmp_path):
    session = unbounded(images, times=1.0, store_dtype="bfloat16")
    before = weights_of(session)
    history = fit(session, extract(session), tmp_path)
    assert np.isfinite([record.loss for record in history.records]).all()
    assert any((one != other).any() for one, other in zip(before, weights_of(session), strict=True))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_whose_activations_are_no_numbers_is_named(images, monkeypatch, value):
    original = Extractor.forward

    def spoilt(self, batch, start, ends):
        outputs = [one.copy() for one in original(self, batch, start, ends)]
        outputs[0][3, 0, 0, 0] = value
        return outputs

    swap(monkeypatch, extraction.Extractor, "forward", spoilt)
    session = unbounded(images, times=1.0)
    with pytest.raises(DataError, match="infinite or not a number, as are those of 1 of the 32 images") as error:
        extract(session)
    assert str(session.dataset.files[3]) in error.value.what


def test_a_run_is_scored_again_as_it_was_even_where_the_cache_is_gone(images, tmp_path, monkeypatch):
    """Only an augmented view went beyond float16; scoring reads plain views alone, and takes float32 all the same."""
    original, calls = Extractor.forward, []

    def beyond(self, batch, start, ends):
        outputs = [np.array(one) for one in original(self, batch, start, ends)]
        calls.append(len(batch))
        outputs[0][0, 0, 0, 0] = 1e5 if len(calls) == 4 else outputs[0][0, 0, 0, 0]  # after the 72 plain images
        return outputs

    swap(monkeypatch, extraction.Extractor, "forward", beyond)
    config = small_toy(images, replace(TAIL, epochs=2), training={"store_dtype": "float16"}, views={"count": 2})
    run = train(config, tmp_path / "run")
    assert run.manifest["network"]["store_dtype"] == "float32"
    assert run.config.training.store_dtype == "float16"
    monkeypatch.undo()
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "another"))
    assert evaluate(run)["test"] == run.metrics["test"]
