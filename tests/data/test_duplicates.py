"""Near duplicates are copies, as their pixels show; a fixed camera's images are not, and nothing large is joined."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from image_files import draw_image, make_images
from kit.config import DataConfig, RunConfig
from kit.data import SPLITS
from kit.data.audit import audit
from kit.data.dataset import build_dataset
from kit.data.duplicates import look_alikes, near_pairs
from kit.data.facts import ImageFacts
from kit.data.likeness import SIDE, details
from kit.data.sources import load_samples


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


def sizes(folder, **settings) -> list[int]:
    """Sizes of the groups of more than one image."""
    groups = audit(load_samples(str(folder)), DataConfig(**settings), threads=2).groups
    return sorted(count for count in Counter(groups).values() if count > 1)


def film(folder, scenes=1, per_class=40, side=96, names=("good", "dent", "scratch")):
    """Images of a fixed camera: new noise and light in each, the class a defect of a few pixels anywhere."""
    random = np.random.default_rng(5)
    places = [np.asarray(draw_image(k, 4, side, side, np.random.default_rng(k)), float) for k in range(scenes)]
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = places[number % scenes] * random.uniform(0.95, 1.05)
            left, top = random.integers(0, side - 8, 2)
            if label:
                pixels[top : top + (7, 2)[label - 1], left : left + (2, 7)[label - 1]] *= 0.4
            pixels += random.normal(0, 6, pixels.shape)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number:03d}.png")
    return folder


# === Fixed cameras ===


@pytest.mark.parametrize("scenes", [1, 2])
def test_images_of_a_fixed_camera_are_not_copies_and_fill_every_split(tmp_path, scenes):
    folder = film(tmp_path / "line", scenes)
    dataset = build_dataset(load_samples(str(folder)), RunConfig())
    assert len(set(dataset.groups)) > 115
    filled = Counter(zip(dataset.labels.tolist(), dataset.splits.tolist(), strict=True))
    assert all(filled[label, split] for label in range(3) for split in SPLITS)
    (said, *_) = [warning for warning in dataset.warnings if "look nearly the same" in warning]
    assert f"{120 // scenes} of 120 images" in said
    assert "dent/000.png" in said
    assert "--near-duplicates off" in said


def test_a_copy_among_the_images_of_a_fixed_camera_is_found(tmp_path):
    folder = film(tmp_path / "line")
    with Image.open(folder / "dent/003.png") as image:
        image.save(folder / "dent/again.jpg", quality=90)
    samples = load_samples(str(folder))
    groups = audit(samples, DataConfig(), threads=2).groups
    group = dict(zip((sample.path for sample in samples.samples), groups, strict=True))
    assert group["dent/003.png"] == group["dent/again.jpg"]
    assert len(set(groups)) > 115


def test_given_groups_leave_nothing_to_be_said_of_a_scene(tmp_path):
    folder = film(tmp_path / "line", per_class=12)
    assert audit(load_samples(str(folder)), DataConfig(), 2).warnings
    assert audit(load_samples(str(folder)), DataConfig(group_by=r"\d+(?=\.png)"), 2).warnings == ()


# === Copies ===

TREATMENTS = {
    "scaled": lambda image: image.resize((70, 60)),
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "warmer": lambda image: Image.merge(
        "RGB", [c.point(lambda v, k=k: int(v * k)) for c, k in zip(image.split(), (1, 0.8, 0.5), strict=True)]
    ),
    "cropped": lambda image: image.crop((2, 2, 94, 78)),
}


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_copies_are_found(tmp_path, treatment):
    folder = make_images(tmp_path / "data", ("cat", "dog"), 6)
    for number in range(6):
        with Image.open(folder / f"cat/{number:04d}.jpg") as image:
            TREATMENTS[treatment](image).save(folder / f"cat/copy{number}.jpg", quality=70)
    found = sizes(folder)
    assert set(found) == {2}
    assert len(found) >= (3 if treatment == "cropped" else 6)  # the hash of a crop may be too far away
    assert sizes(folder, near_duplicates="off") == []


def test_copies_of_a_copy_are_one_group(tmp_path):
    folder = make_images(tmp_path / "data", ("cat", "dog"), 12)
    with Image.open(folder / "cat/0000.jpg") as image:
        for number, side in enumerate((80, 64, 48)):
            image = image.resize((side, side))
            image.save(folder / f"cat/copy{number}.jpg", quality=70)
    assert sizes(folder) == [4]


def test_two_labels_are_evidence_against_a_copy(tmp_path):
    folder = make_images(tmp_path / "data", ("cat", "dog"), 6)
    with Image.open(folder / "cat/0000.jpg") as image:
        image.save(folder / "dog/copy.jpg", quality=80)
    with Image.open(folder / "cat/0001.jpg") as image:
        changed = image.copy()
        changed.paste(image.crop((0, 0, 20, 20)).rotate(90), (40, 40))
        changed.save(folder / "dog/other.png")
        changed.save(folder / "cat/same.png")
    (folder / "cat/same.png").unlink()
    assert sizes(folder) == [2]
    (folder / "dog/other.png").rename(folder / "cat/other.png")
    assert sizes(folder) == [2, 2]


# === Hashes and pixels given ===


def pattern(*seeds: int) -> np.ndarray:
    """A thumbnail: the mean of random ones, so that those that share seeds are alike."""
    drawn = [
        np.random.default_rng(seed).integers(0, 256, (SIDE // 4, SIDE // 4)).repeat(4, 0).repeat(4, 1) for seed in seeds
    ]
    return np.mean(drawn, axis=0).astype(np.uint8)


def joined(hashes, thumbnails, labels=None, bits=4) -> list[list[int]]:
    """Sets that look_alikes joins among many other images."""
    others = np.random.default_rng(0).integers(1, 2**63, 60, dtype=np.uint64)
    facts = [
        ImageFacts(f"{index:064x}", 1, 9, 9, "JPEG", "RGB", int(phash), (90.0, 90.0, 90.0))
        for index, phash in enumerate([*hashes, *others])
    ]
    labels = [*(labels or ["a"] * len(hashes)), *["a"] * len(others)]
    return look_alikes(facts, labels, lambda k: np.stack([thumbnails[i] for i in k]), bits).clusters.members()


def test_equal_hashes_and_colours_alone_join_nothing():
    assert joined([7, 7, 7], [pattern(1), pattern(2), pattern(3)], bits=0) == []
    assert joined([7, 7, 7], [pattern(1), pattern(2), pattern(1)], bits=0) == [[0, 2]]


def test_there_are_no_chains():
    """The first is alike to the second, and that to the third, but not the first to the third."""
    chain = [pattern(1, 2, 3, 4, 5), pattern(2, 3, 4, 5, 6), pattern(3, 4, 5, 6, 7)]
    scores = (vectors := details(np.stack(chain))) @ vectors.T
    assert min(scores[0, 1], scores[1, 2]) > 0.75 > scores[0, 2]
    (found,) = joined([7, 7, 7], chain)
    assert len(found) == 2


def test_a_crowd_of_equal_images_is_not_joined_but_said():
    facts = [
        ImageFacts(f"{index:064x}", 1, 9, 9, "JPEG", "RGB", 7 if index < 40 else 2**index, (90.0, 90.0, 90.0))
        for index in range(63)
    ]
    found = look_alikes(facts, ["a"] * 63, lambda k: np.stack([pattern(1)] * len(k)), 0)
    assert found.clusters.members() == []
    assert found.scenes == (tuple(range(40)),)


def test_many_hashes_and_many_equal_hashes():
    """20,000 hashes, 2,000 of them one and the same."""
    hashes = np.random.default_rng(0).integers(1, 2**63, 20_000, dtype=np.uint64)
    hashes[:2_000] = hashes[0]
    hashes[15_000] = hashes[15_001] ^ np.uint64(0b1111)
    facts = [ImageFacts(f"{k:064x}", 1, 9, 9, "JPEG", "RGB", int(phash)) for k, phash in enumerate(hashes)]
    noise = np.random.default_rng(1).integers(0, 256, (2_000, SIDE, SIDE), dtype=np.uint8)

    def read(indices):
        return noise[indices] if len(indices) > 2 else noise[[0, 0]]

    assert look_alikes(facts, ["a"] * 20_000, read, 4).clusters.members() == [[15_000, 15_001]]


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.sets(st.integers(0, 63), max_size=9)), max_size=12),
    st.integers(0, 16),
)
def test_near_pairs_are_exactly_the_near_pairs(base, changes, bits):
    hashes = list(base)
    for index, flips in changes:
        if index < len(base):
            hashes.append(base[index] ^ sum(1 << bit for bit in flips))
    pairs = set()
    for first, second in near_pairs(np.array(hashes, np.uint64), bits):
        pairs |= {(min(a, b), max(a, b)) for a, b in zip(first.tolist(), second.tolist(), strict=True)}
    expected = {(a, b) for b in range(len(hashes)) for a in range(b) if (hashes[a] ^ hashes[b]).bit_count() <= bits}
    assert pairs == expected
