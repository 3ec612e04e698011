"""The drawn images keep what other tests rely on."""

from itertools import combinations

import numpy as np
from PIL import Image

from image_files import make_images


def difference_hash(path) -> np.ndarray:
    """64 bits: whether each pixel of a 9 x 8 grayscale miniature is darker than its right neighbour."""
    small = np.asarray(Image.open(path).convert("L").resize((9, 8), Image.LANCZOS), dtype=int)
    return (small[:, :-1] < small[:, 1:]).ravel()


def test_no_two_images_are_near_duplicates(images):
    hashes = [difference_hash(path) for path in sorted(images.rglob("*.jpg"))]
    assert len(hashes) == 72
    assert min(int((a != b).sum()) for a, b in combinations(hashes, 2)) > 8


def test_mean_colour_alone_tells_the_classes_apart(images):
    def means(name):
        return np.array([np.asarray(Image.open(path)).mean((0, 1)) for path in sorted((images / name).iterdir())])

    centres = {name: means(name).mean(0) for name in ("blue", "green", "red")}
    for name in centres:
        nearest = [min(centres, key=lambda other: np.abs(centres[other] - mean).sum()) for mean in means(name)]
        assert nearest == [name] * 24


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    first, again, other = (
        make_images(tmp_path / name, ["a", "b"], 3, size=40, seed=seed)
        for name, seed in [("first", 1), ("again", 1), ("other", 2)]
    )

    def contents(folder):
        return [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]

    assert contents(first) == contents(again)
    assert not set(contents(first)) & set(contents(other))
    with Image.open(first / "a" / "0000.jpg") as image:
        assert image.size == (40, 40)
