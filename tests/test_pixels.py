"""Pixels: each image decoded once for all views, in order, on any number of threads."""

import hashlib
import shutil
import time

import numpy as np
import pytest

from kit.config import DataConfig, ViewsConfig
from kit.data import pixels
from kit.data.images import decode, load_image
from kit.data.pixels import decode_views, ensure_pixels, pixel_store
from kit.data.views import render_views
from kit.errors import DataError

DATA = DataConfig(image_size=32)
VIEWS = ViewsConfig(count=3)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def files(images):
    return sorted(images.rglob("*.jpg"))


def keys_of(files) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


@pytest.fixture
def loaded(monkeypatch):
    """The contents decoded, in the order decoding began."""
    contents = []
    monkeypatch.setattr(
        pixels, "load_image", lambda content, data: contents.append(content) or load_image(content, data)
    )
    return contents


def test_pixels_are_those_of_decode_and_render_views(files):
    keys = keys_of(files)
    plain, second = ensure_pixels(files, keys, (0, 2), DATA, VIEWS, seed=5)
    assert plain.shape == second.shape == (len(files), 32, 32, 3)
    assert plain.dtype == np.uint8
    for i in (0, 40, -1):
        np.testing.assert_array_equal(plain[i], decode(files[i], DATA))
        expected = render_views(load_image(files[i], DATA), keys[i], (2,), DATA, VIEWS, 5)[0]
        np.testing.assert_array_equal(second[i], expected)
    assert (plain[:] != second[:]).any(axis=(1, 2, 3)).all()


def test_each_file_is_decoded_once_for_all_views_and_never_again(files, loaded):
    keys = keys_of(files)
    ensure_pixels(files, keys, (0, 1, 2), DATA, VIEWS, seed=0)
    assert len(loaded) == len(set(keys)) == len(files)
    ensure_pixels(files[::-1], keys[::-1], (2, 0), DATA, VIEWS, seed=0)
    assert len(loaded) == len(files)
    ensure_pixels(files[:5], keys[:5], (0, 3), DATA, VIEWS, seed=0)
    assert sorted(loaded[len(files) :]) == sorted(file.read_bytes() for file in files[:5])


def test_copies_of_an_image_share_a_row(files, tmp_path, loaded):
    copy = tmp_path / "copy.jpg"
    shutil.copy(files[0], copy)
    both = [files[0], files[1], copy]
    (rows,) = ensure_pixels(both, keys_of(both), (0,), DATA, VIEWS, seed=0)
    assert len(loaded) == 2
    np.testing.assert_array_equal(rows[0], rows[2])


@pytest.mark.parametrize(("threads", "block"), [(1, 7), (4, 7), (0, 1), (3, 1000)])
def test_blocks_are_the_same_on_any_number_of_threads(files, threads, block):
    keys = keys_of(files)
    blocks = list(decode_views(files, keys, (0, 1), DATA, VIEWS, 0, threads, block))
    sizes = [len(names) for names, _ in blocks]
    assert sizes[:-1] == [block] * (len(sizes) - 1)
    assert [name for names, _ in blocks for name in names] == keys
    for view in (0, 1):
        together = np.concatenate([arrays[view] for _, arrays in blocks])
        expected = [
            render_views(load_image(f, DATA), k, (view,), DATA, VIEWS, 0)[0] for f, k in zip(files, keys, strict=True)
        ]
        np.testing.assert_array_equal(together, np.stack(expected))


def test_decoding_runs_one_block_ahead_and_no_further(files, loaded):
    blocks = decode_views(files, keys_of(files), (0,), DATA, VIEWS, 0, threads=2, block=8)
    for number in (1, 2, 3):
        next(blocks)
        deadline = time.monotonic() + 10
        while len(loaded) < (number + 1) * 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(loaded) == (number + 1) * 8
    blocks.close()


def test_nothing_is_decoded_for_no_images():
    assert list(decode_views([], [], (0,), DATA, VIEWS, 0)) == []
    (rows,) = ensure_pixels([], [], (0,), DATA, VIEWS, seed=0)
    assert rows.shape == (0, 32, 32, 3)


def test_the_plain_view_shares_its_store_between_augmentations_and_the_others_do_not():
    other = ViewsConfig(count=9, rotation=3.0)
    assert pixel_store(0, DATA, VIEWS, 1).name == pixel_store(0, DATA, other, 2).name
    assert pixel_store(1, DATA, VIEWS, 1).name != pixel_store(1, DATA, other, 1).name
    assert pixel_store(1, DATA, VIEWS, 1).name != pixel_store(1, DATA, VIEWS, 2).name
    assert pixel_store(1, DATA, VIEWS, 1).name != pixel_store(2, DATA, VIEWS, 1).name
    assert pixel_store(0, DATA, VIEWS, 1).name != pixel_store(0, DataConfig(image_size=64), VIEWS, 1).name


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.write_bytes(file.read_bytes() + b"more"), "changed after it was inspected"),
        (lambda file: file.unlink(), r"cannot be decoded \(unreadable\)"),
        (lambda file: file.write_bytes(b""), "changed after it was inspected"),
    ],
)
def test_an_image_that_fails_now_is_named_and_spoils_no_store(files, tmp_path, spoil, message):
    copies = [tmp_path / file.name for file in files[:3]]
    for file, copy in zip(files, copies, strict=False):
        shutil.copy(file, copy)
    keys = keys_of(copies)
    whole = copies[1].read_bytes()
    spoil(copies[1])
    with pytest.raises(DataError, match=message) as error:
        ensure_pixels(copies, keys, (0,), DATA, VIEWS, seed=0)
    assert str(copies[1]) in error.value.what
    copies[1].write_bytes(whole)
    (rows,) = ensure_pixels(copies, keys, (0,), DATA, VIEWS, seed=0)
    np.testing.assert_array_equal(rows[1], decode(copies[1], DATA))


def test_an_image_cut_short_is_named_with_its_problem(files, tmp_path):
    file = tmp_path / "half.jpg"
    file.write_bytes(files[0].read_bytes()[:1000])
    with pytest.raises(DataError, match=r"half\.jpg cannot be decoded \(truncated\)"):
        ensure_pixels([file], keys_of([file]), (0,), DATA, VIEWS, seed=0)


@pytest.mark.real
def test_real_images_come_back_as_decoded(real_data):
    data = DataConfig()
    files = sorted((real_data / "flowers").rglob("*.jpg"))[::200]
    plain, view = ensure_pixels(files, keys_of(files), (0, 1), data, VIEWS, seed=0)
    for i, file in enumerate(files):
        np.testing.assert_array_equal(plain[i], decode(file, data))
    assert (plain[:] != view[:]).any(axis=(1, 2, 3)).all()
