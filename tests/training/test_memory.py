"""The memory of a whole run does not grow with the number of images: pixels and activations are memory-mapped."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kit import settings
from kit.config import DataConfig, ModelConfig, PhaseConfig, RunConfig, TrainingConfig, ViewsConfig

pytestmark = [
    pytest.mark.backend,
    pytest.mark.full,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads RssAnon from /proc, as Linux has it"),
]

FEW, MANY = 1_000, 10_000
SIZE = 64
# Held in memory, 9,000 more images would take 111 MB as pixels and 46 MB as activations of the two cuts. What grows by
# right are names, keys, labels and probabilities, about 1 kB an image; and until some thousand images, buffers fill:
# batches that wait for JAX, what allocators keep. Seen: 15 MB on TensorFlow, 16 MB on JAX (at 48 px up to 51), and from
# 10,000 to 30,000 images no more than 8 MB.
ALLOWED_BYTES = 80e6

CHILD = """
import json, sys, threading
from pathlib import Path

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

peak, stop = [0], threading.Event()
def watch():
    while not stop.wait(0.01):
        peak[0] = max(peak[0], anonymous())
watcher = threading.Thread(target=watch)
watcher.start()
try:
    from kit import settings
    from kit.pipeline import train
    run = train(settings.load_config(file=Path(sys.argv[1])), Path(sys.argv[2]))
finally:
    stop.set()
    watcher.join()
print(json.dumps({"peak": peak[0], "photos": run.manifest["data"]["photos"]}))
"""


def draw(folder: Path, count: int) -> Path:
    """Noise in two tints, `count` images in all: quick to write, and no two alike."""
    for index, name in enumerate(("blue", "red")):
        (folder / name).mkdir(parents=True)
        for number in range(index, count, 2):
            pixels = np.random.default_rng(number).integers(0, 200, (SIZE, SIZE, 3), dtype=np.uint8)
            pixels[..., 2 * (1 - index)] += 55
            Image.fromarray(pixels).save(folder / name / f"{number:05d}.jpg", quality=80)
    return folder


@pytest.fixture(scope="module")
def peaks(run_python, tmp_path_factory) -> dict[int, int]:
    """Peak RssAnon in bytes of a run on so many images."""
    home = tmp_path_factory.mktemp("memory")

    def measure(count: int) -> int:
        config = RunConfig(
            data=DataConfig(path=str(draw(home / f"images{count}", count)), image_size=SIZE, near_duplicate_bits=0),
            views=ViewsConfig(count=1),
            model=ModelConfig(alpha=0.35, weights="none", head_units=16),
            training=TrainingConfig(batch_size=100),
            phases=(PhaseConfig(epochs=1), PhaseConfig(epochs=1, unfreeze_depth=1)),
        )
        (home / f"{count}.toml").write_text(settings.to_toml(config))
        done = run_python(
            "-c",
            CHILD,
            home / f"{count}.toml",
            home / f"run{count}",
            env={"TRANSFERKIT_CACHE": home / f"cache{count}"},
        )
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        assert sum(result["photos"].values()) == count
        return result["peak"]

    with ThreadPoolExecutor(2) as pool:
        return dict(zip((FEW, MANY), pool.map(measure, (FEW, MANY)), strict=True))


def test_peak_memory_does_not_grow_with_the_number_of_images(peaks):
    print(f"peak RssAnon: {peaks[FEW] / 1e6:.0f} MB for {FEW} images, {peaks[MANY] / 1e6:.0f} MB for {MANY}")
    assert peaks[FEW] > 50e6, "less than a backend takes: the measure is wrong"
    assert peaks[MANY] - peaks[FEW] <= ALLOWED_BYTES
