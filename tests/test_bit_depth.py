"""Runs on images of 12 bits in files of 16: as good as of 16, and decoded alike wherever the model is used."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kit
from kit.config import PhaseConfig, RunConfig
from kit.seeds import train_seeds

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]


def write_textures(folder: Path, bits: int) -> Path:
    """Dark and bright grey noise: two bits' difference, which 16 grey levels of 256 hardly show."""
    for label, darkest in (("bright", 0.4), ("dark", 0.0)):
        (folder / label).mkdir(parents=True)
        for number in range(20):
            noise = np.random.default_rng([int(10 * darkest), number]).uniform(0, 0.6, (6, 6)).astype(np.float32)
            grey = np.asarray(Image.fromarray(noise).resize((48, 48), Image.Resampling.BICUBIC)).clip(0, 0.6)
            values = np.rint((grey + darkest) * 65535).astype(np.uint16) >> (16 - bits)
            Image.fromarray(values).save(folder / label / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def config(toy_weights) -> RunConfig:
    values = {"data.image_size": 32, "model.backbone": "toy", "views.count": 1, "training.batch_size": 8}
    made = kit.configure("", weights=str(toy_weights), head_units=16, **values)
    return replace(made, phases=(PhaseConfig(name="head", epochs=20, learning_rate=1e-2),))


@pytest.fixture(scope="module")
def runs(config, tmp_path_factory) -> dict[int, kit.Run]:
    folder = tmp_path_factory.mktemp("textures")
    return {
        bits: kit.train(
            replace(config, data=replace(config.data, path=str(write_textures(folder / f"{bits} bits", bits)))),
            folder / f"run-{bits}",
        )
        for bits in (12, 16)
    }


@pytest.mark.full
def test_12_bits_train_as_16_do(runs):
    few, full = (runs[bits].metrics for bits in (12, 16))
    assert full["train"]["accuracy"] >= 0.9
    for split in ("train", "validation", "test"):
        assert few[split]["accuracy"] == full[split]["accuracy"]
        assert few[split]["log_loss"] == pytest.approx(full[split]["log_loss"], abs=0.03)


def test_the_run_records_its_range_and_every_use_of_the_model_takes_it(runs, tmp_path):
    run = runs[12]
    data = Path(run.config.data.path)
    assert run.config.data.grey_range == (0, 4095)
    assert runs[16].config.data.grey_range == (0, 65535)
    recorded = run.predicted.set_index("path")["predicted"]
    predicted = {Path(one.path).relative_to(data).as_posix(): one.label for one in run.predict([data])}
    assert predicted == recorded.to_dict()
    assert kit.evaluate(run)["test"] == run.metrics["test"]
    # images that are all darker than those of the run keep its scale
    dim = write_textures(tmp_path / "dim", 8)
    probabilities = np.array([one.probabilities for one in run.predict([dim])])
    assert np.ptp(probabilities, axis=0).max() < 0.1, "dim images were scaled by a range of their own"


@pytest.mark.full
def test_seeds_go_on_where_they_stopped(config, tmp_path):
    data = replace(config.data, path=str(write_textures(tmp_path / "data", 10)))
    short = replace(config, data=data, phases=(replace(config.phases[0], epochs=1),))
    folder, first = train_seeds(short, 1, tmp_path / "seeds")
    assert kit.load_run(folder / "seed-0").config.data.grey_range == (0, 1023)
    assert train_seeds(short, 1, folder)[1] == first
