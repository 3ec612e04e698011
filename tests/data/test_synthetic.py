"""Drawn flowers: the same from the same seed, different where they should be, and data sets that survive a kill."""

import itertools
import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from in_process import _loud, command, refused  # noqa: F401  # fixtures
from kit import synthetic
from kit.config import DataConfig
from kit.data.audit import audit
from kit.data.sources import load_samples
from kit.errors import ConfigError, StorageError
from kit.synthetic import DemoData, draw_flower, species_names, write_data_set
from kit.synthetic.blossoms import Pose, draw_head
from kit.synthetic.catalogue import find_species

REAL = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
SMALL = DemoData(per_class=3, classes=2, size=32)


def contents(data_set) -> dict[str, bytes]:
    return {file.relative_to(data_set).as_posix(): file.read_bytes() for file in sorted(data_set.rglob("*.jpg"))}


def head(number: int, draw: int = 0, side: int = 32) -> np.ndarray:
    """A head of a species as it is seen from above, on green: float (side, side, 3)."""
    species, random = find_species(number), np.random.default_rng(draw)
    bloom, picture = species.blooms[0], Image.new("RGB", (2 * side, 2 * side), (60, 90, 50))
    pose = Pose(0.7, np.radians(species.tilt[0]), np.array([0.0, 0.6, 0.8]))
    shape = draw_head(bloom, bloom.palettes[0], pose, 1, random)
    shape.placed(np.array([side, side]), 0.8 * side).paint(ImageDraw.Draw(picture, "RGBA"))
    return np.asarray(picture.reduce(2), float)


# === One image ===


@settings(max_examples=25)
@given(st.integers(16, 96), st.integers(0, 2**32 - 1), st.integers(0, 9_999), st.integers(0, 999_999))
def test_any_image_can_be_drawn_and_drawn_again(size, seed, species, index):
    image = draw_flower(species, index, seed, size)
    assert (image.mode, image.size) == ("RGB", (size, size))
    assert np.asarray(image).std() > 2
    assert draw_flower(species, index, seed, size).tobytes() == image.tobytes()


def test_seed_species_and_index_each_change_the_image():
    cases = [("tulips", 0, 0), ("tulips", 0, 1), ("tulips", 1, 0), ("roses", 0, 0), ("species-0007", 0, 0)]
    images = {draw_flower(*case, size=32).tobytes() for case in cases}
    assert len(images) == len(cases)


def test_a_species_has_a_name_and_a_number():
    assert species_names(7) == (*REAL, "species-0005", "species-0006")
    for number in (0, 4, 6):
        by_name = draw_flower(species_names(7)[number], 3, size=32)
        assert draw_flower(number, 3, size=32).tobytes() == by_name.tobytes()


@pytest.mark.parametrize("name", ["rose", "species-5", "species-0004", "species-", "species-99999999", "Daisy", ""])
def test_an_unknown_species_is_refused(name):
    with pytest.raises(ConfigError, match="There is no species") as error:
        draw_flower(name, 0)
    assert "daisy, dandelion, roses" in str(error.value)


@pytest.mark.parametrize(
    "numbers",
    [{"index": -1}, {"seed": -1}, {"seed": 2**32}, {"size": 15}, {"size": 2000}, {"species": -1}, {"size": 32.0}],
)
def test_numbers_out_of_range_are_refused(numbers):
    with pytest.raises(ConfigError, match=f"{next(iter(numbers))} must be a whole number from"):
        draw_flower(**{"species": 0, "index": 0, **numbers})


# === Species ===


def test_heads_look_more_like_their_own_species_than_like_any_other():
    numbers = range(12)
    means = np.array([np.mean([head(number, draw) for draw in range(8)], 0) for number in numbers])
    for number, draw in itertools.product(numbers, (100, 101)):
        distances = np.abs(means - head(number, draw)).mean((1, 2, 3))
        assert distances.argmin() == number


def test_a_thousand_species_are_a_thousand_different_plants():
    assert len(set(species_names(1000))) == 1000
    heads = np.array([head(number, side=12).ravel() for number in range(1000)])
    squares = (heads**2).sum(1)
    distances = squares[:, None] + squares - 2 * heads @ heads.T + np.diag(np.full(1000, np.inf))
    assert np.sqrt(distances.min() / heads.shape[1]) > 2  # grey levels, over all pixels


def test_dandelions_are_yellow_heads_and_white_seed_heads():
    yellow, seeds = find_species(1).blooms
    assert yellow.rings
    assert seeds.globe
    images = [np.asarray(draw_flower("dandelion", index, size=32), float) for index in range(40)]
    strongest = [(image[..., 0] - image[..., 2]).max() for image in images]  # yellow is red without blue
    assert max(strongest) > 150


def test_an_image_is_drawn_with_few_polygons(monkeypatch):
    """What it costs, without a clock: most of the time goes into polygons."""
    drawn = []
    polygon = ImageDraw.ImageDraw.polygon

    def counted(self, *args, **options):
        drawn.append(1)
        return polygon(self, *args, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "polygon", counted)
    for number, index in itertools.product(range(10), range(8)):
        draw_flower(number, index, size=128)
    assert 100 < len(drawn) / 80 < 2000


# === Data sets ===


def test_images_do_not_depend_on_how_many_are_drawn_or_in_which_order(tmp_path):
    write_data_set(tmp_path / "small", SMALL)
    write_data_set(tmp_path / "large", DemoData(per_class=5, classes=3, size=32))
    small, large = contents(tmp_path / "small"), contents(tmp_path / "large")
    assert set(small) == {f"{name}/{index:05d}.jpg" for name in ("daisy", "dandelion") for index in range(3)}
    assert len(large) == 15
    assert small.items() <= large.items()
    backwards = [synthetic.image_bytes(1, index, SMALL) for index in (2, 1, 0)]
    assert backwards[::-1] == [small[f"dandelion/{index:05d}.jpg"] for index in range(3)]
    with Image.open(tmp_path / "small/daisy/00000.jpg") as image:
        assert (image.mode, image.size) == ("RGB", (32, 32))


def test_a_smaller_data_set_grows_and_keeps_what_is_there(tmp_path):
    assert write_data_set(tmp_path, SMALL) == 6
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.jpg")}
    assert write_data_set(tmp_path, SMALL) == 0
    assert write_data_set(tmp_path, DemoData(per_class=4, classes=3, size=32)) == 6
    assert before.items() <= {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.jpg")}.items()
    record = json.loads((tmp_path / synthetic.RECORD).read_text())
    assert (record["kind"], record["status"], record["per_class"]) == ("demo-data", "finished", 4)


def test_what_is_damaged_or_missing_is_drawn_again(tmp_path):
    write_data_set(tmp_path, SMALL)
    whole = contents(tmp_path)
    (tmp_path / "daisy/00001.jpg").write_bytes(whole["daisy/00001.jpg"][:400])
    (tmp_path / "dandelion/00000.jpg").write_bytes(b"")
    (tmp_path / "dandelion/00002.jpg").unlink()
    (tmp_path / "daisy/.tmp-1.00002.jpg").write_bytes(b"half")
    assert write_data_set(tmp_path, SMALL) == 3
    assert contents(tmp_path) == whole
    assert not list(tmp_path.rglob(".tmp-*"))


KILLED = """
import os, pathlib, signal, sys
from kit import synthetic
from kit.synthetic import DemoData, write_data_set

def replace(source, target):
    if target.name == "00002.jpg":
        os.kill(os.getpid(), signal.SIGKILL)
    move(source, target)

move, os.replace = os.replace, replace
write_data_set(pathlib.Path(sys.argv[1]), DemoData(per_class=6, classes=2, size=32))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="has no SIGKILL")
def test_a_killed_draw_run_again_ends_with_the_same_images(tmp_path, run_python):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert run_python("-c", KILLED, killed).returncode == -signal.SIGKILL
    assert len(list(killed.glob("daisy/0000?.jpg"))) == 2
    assert json.loads((killed / synthetic.RECORD).read_text())["status"] == "running"
    wanted = DemoData(per_class=6, classes=2, size=32)
    assert write_data_set(killed, wanted) == 10
    write_data_set(whole, wanted)
    assert contents(killed) == contents(whole)
    assert not list(killed.rglob(".tmp-*"))


def test_two_at_once_share_the_work(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        drawn = list(pool.map(write_data_set, [tmp_path, tmp_path], [SMALL, SMALL]))
    assert sorted(drawn) == [0, 6]
    assert len(contents(tmp_path)) == 6


def test_the_audit_finds_nothing_odd(tmp_path):
    write_data_set(tmp_path, DemoData(per_class=20, classes=6, size=64))
    samples = load_samples(str(tmp_path))
    assert samples.classes == ("daisy", "dandelion", "roses", "species-0005", "sunflowers", "tulips")
    assert len(samples.samples) == 120
    assert audit(samples, DataConfig(path=str(tmp_path)), 2).findings == ()


@pytest.mark.parametrize("other", [{"seed": 1}, {"size": 33}, {"per_class": 2}, {"drawing": 0}])
def test_other_demo_data_are_not_mixed_in(tmp_path, other):
    write_data_set(tmp_path, SMALL)
    before = contents(tmp_path)
    with pytest.raises(StorageError, match="holds other demo data"):
        write_data_set(tmp_path, DemoData(**{"per_class": 3, "classes": 2, "size": 32, **other}))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("settings", [{"per_class": 0}, {"classes": 1}, {"classes": 10_001}, {"size": 8}, {"seed": -1}])
def test_a_data_set_that_cannot_be_is_refused(settings):
    with pytest.raises(ConfigError, match="must be a whole number from"):
        DemoData(**settings)


# === The command ===


def test_the_command_says_what_it_drew(command, tmp_path):  # noqa: F811
    arguments = ("demo-data", tmp_path / "flowers", "--per-class", "2", "--size", "32")
    first = command(*arguments)
    assert (first.status, first.err) == (0, "")
    assert f"{tmp_path / 'flowers'}: 10 images in 5 classes.\n" in first.out
    assert "10 images in 5 classes (10 were there)." in command(*arguments).out
    record = json.loads(command(*arguments, "--classes", "6", "--json").out)
    assert record == {
        "folder": str(tmp_path / "flowers"),
        "photos": 12,
        "drawn": 2,
        "per_class": 2,
        "classes": [*REAL, "species-0005"],
        "size": 32,
        "seed": 0,
    }


def test_the_command_refuses_a_name_that_is_too_long(refused):  # noqa: F811
    assert "cannot be written: File name too long" in refused("demo-data", "x" * 300)


@pytest.mark.skipif(sys.platform != "linux", reason="has no /proc")
def test_the_command_refuses_a_place_that_takes_no_folders(refused):  # noqa: F811
    assert "/proc/flowers cannot be" in refused("demo-data", "/proc/flowers")


def test_the_command_refuses_folders_of_other_things(refused, tmp_path):  # noqa: F811
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday/beach.jpg").write_bytes(b"precious")
    message = refused("demo-data", tmp_path / "holiday")
    assert f"{tmp_path / 'holiday'} is not empty and holds no demo data." in message
    assert "Name a new or an empty folder." in message
    assert "a file is in its place" in refused("demo-data", tmp_path / "holiday/beach.jpg")
    (tmp_path / "holiday" / synthetic.RECORD).write_text('{"seed": "x"}')
    assert "is no record of demo data" in refused("demo-data", tmp_path / "holiday")
    (tmp_path / "holiday" / synthetic.RECORD).write_text("{")
    assert "is not a readable JSON record" in refused("demo-data", tmp_path / "holiday")
    assert (tmp_path / "holiday/beach.jpg").read_bytes() == b"precious"
