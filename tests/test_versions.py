"""Versions raised by hand: whoever changes what is cached, and not its version, is told by numbers kept here.

`python tests/test_versions.py` writes the numbers of this backend to tests/fixtures/versions.json again.
"""

import hashlib
import json
import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.backend

KEPT = Path(__file__).with_name("fixtures") / "versions.json"


def write_images(folder: Path) -> dict[str, Path]:
    """Images of noise that NumPy draws, which no other library has touched."""
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (60, 90, 4), dtype=np.uint8)
    grey = random.integers(0, 4096, (60, 90), dtype=np.uint16)
    smooth = np.add.outer(np.arange(60), np.arange(90)).astype(np.uint8)
    images = {
        "colours.png": Image.fromarray(rgb[..., :3]),
        "cut-out.png": Image.fromarray(rgb),
        "deep.png": Image.fromarray(grey),
        "deep.tif": Image.fromarray(grey),
        "floating.tif": Image.fromarray(grey.astype(np.float32) / 5000),
        "smooth.png": Image.fromarray(smooth),
    }
    for name, image in images.items():
        content = BytesIO()
        image.save(content, "TIFF" if name.endswith("tif") else "PNG")
        (folder / name).write_bytes(content.getvalue())
    return {name: folder / name for name in images}


def decoder(folder: Path):
    """To the bit: whole numbers all the way."""
    from kit.config import DataConfig, ViewsConfig
    from kit.data.images import DECODER_VERSION, decode, load_image
    from kit.data.views import render_views

    digests = {}
    for name, file in write_images(folder).items():
        for resize in ("crop", "stretch", "pad"):
            data = DataConfig(image_size=32, resize=resize, background=(10, 200, 30), grey_range=(0, 4095))
            digests[f"{name} {resize}"] = hashlib.sha256(decode(file, data).tobytes()).hexdigest()[:16]
        view = render_views(load_image(file, data), "0" * 64, (1,), data, ViewsConfig(), 0)
        digests[f"{name} view"] = [round(float(one), 1) for one in view.mean(axis=(0, 1, 2))]
    return DECODER_VERSION, digests


def facts(folder: Path):
    from kit.data.facts import FACTS_VERSION, read_facts

    files = write_images(folder)
    found = read_facts(list(files.values()), (255, 255, 255), 1)
    return FACTS_VERSION, {
        name: [
            *(one.width, one.height, one.mode, f"{one.phash:016x}"),
            *map(list, (one.values or (), one.mean_colour, one.quality)),
        ]
        for name, one in zip(files, found, strict=True)
    }


def kernels(folder: Path):
    """Activations of the toy network, own kernels, weights that NumPy drew."""
    import toy

    from kit.backends.kernels import KERNELS_VERSION
    from kit.model.backbones import build_backbone
    from kit.model.classifier import Classifier, build_head
    from kit.training.forward import compile_from_pixels

    backbone, random = build_backbone(toy.use(), 32, 1.0), np.random.default_rng(0)
    for weight in backbone.model.weights:
        drawn = random.normal(0.3, 0.3, weight.shape).astype(np.float32)
        weight.assign(np.abs(drawn) if weight.path.endswith("variance") else drawn)
    classifier = Classifier(backbone, build_head(32, 3, 0, 0.0, 0), "own")
    pixels = random.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    outputs = compile_from_pixels(classifier, (backbone.cut(1), backbone.cut(2)))(pixels)
    return KERNELS_VERSION, [[float(f"{value:.6g}") for value in one.reshape(-1)[::97][:8]] for one in outputs]


def heads(folder: Path):
    """Losses of a head on three clouds of points: what it is drawn from, and how it is trained."""
    from kit import backends
    from kit.cache import Store, writing
    from kit.config import PhaseConfig, TrainingConfig
    from kit.data.batches import Batches
    from kit.model.classifier import build_head, without_softmax
    from kit.training.checkpoints import VERSION
    from kit.training.history import History
    from kit.training.loop import PhaseLoop
    from kit.training.schedule import Phase

    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 60)
    rows = (2 * np.eye(3, 6)[labels] + random.standard_normal((60, 6))).astype(np.float32)
    keys = [f"{number:064d}" for number in range(60)]
    with writing([Store("features", {"test": "versions"}, (6,), np.float32)], keys) as writer:
        if writer.missing:
            writer.write(keys, [rows])
    settings = TrainingConfig(batch_size=16)
    phase = Phase(0, PhaseConfig(epochs=3, learning_rate=0.01, schedule="cosine", weight_decay=0.01), 0, 0)
    batches = Batches(writer.arrays[0], labels, 16, np.ones(60, np.float32))
    loop = PhaseLoop(phase, without_softmax(build_head(6, 3, 8, 0.0, 0)), batches, batches, settings)
    history = loop.run(History(), 0, lambda history: None, folder)
    losses = [[float(f"{one.loss:.6g}"), float(f"{one.val_loss:.6g}")] for one in history.records]
    return VERSION, {backends.current_name(): losses}


CACHED = {
    "decoder": (decoder, "DECODER_VERSION in kit/data/images.py"),
    "facts": (facts, "FACTS_VERSION in kit/data/facts.py"),
    "kernels": (kernels, "KERNELS_VERSION in kit/backends/kernels.py"),
    "heads": (heads, "VERSION in kit/training/checkpoints.py"),
}


def agrees(found, kept) -> bool:
    """Texts and whole numbers exactly, others to a thousandth: processors and backends round."""
    if isinstance(found, dict):
        return all(name in kept and agrees(value, kept[name]) for name, value in found.items())
    if isinstance(found, list):
        return len(found) == len(kept) and all(map(agrees, found, kept))
    return bool(np.isclose(found, kept, rtol=1e-3, atol=1e-5)) if isinstance(found, float) else found == kept


@pytest.mark.parametrize("name", CACHED)
def test_what_is_cached_changes_with_its_version_alone(name, tmp_path):
    from kit import backends

    backends.start()
    compute, constant = CACHED[name]
    version, numbers = compute(tmp_path)
    kept = json.loads(KEPT.read_text())[name]
    renew = "then run `python tests/test_versions.py` on each backend, which keeps the new numbers"
    assert version == kept["version"], f"{constant} was changed: {renew}"
    assert agrees(numbers, kept["numbers"]), f"cached numbers changed, their version did not: raise {constant}; {renew}"


def test_the_comparison_sees_a_change():
    assert agrees({"a": [1.0, "x", 3]}, {"a": [1.0005, "x", 3], "b": 1})
    assert not agrees({"a": [1.0]}, {"a": [1.01]})
    assert not agrees({"a": ["x"]}, {"a": ["y"]})
    assert not agrees({"a": 1}, {})


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).with_name("children")))
    os.environ["TRANSFERKIT_CACHE"] = tempfile.mkdtemp()
    from kit import backends

    backends.start()
    content = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name, (compute, _) in CACHED.items():
        version, numbers = compute(Path(tempfile.mkdtemp()))
        before = content.get(name, {})
        if name == "heads" and before.get("version") == version:  # each backend draws its own
            numbers = before["numbers"] | numbers
        content[name] = {"version": version, "numbers": numbers}
    KEPT.write_text(json.dumps(content, indent=1) + "\n")
