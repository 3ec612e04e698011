"""Pixels: each image decoded once for all views, in order, on any number of threads."""

import hashlib
import shutil
import threading
import time
from dataclasses import replace
from unittest.mock import create_autospec

import numpy as np
import pytest

from doubles import swap
from kit.cache.chunks import Appender
from kit.config import DataConfig, RunConfig, ViewsConfig
from kit.data import pixels
from kit.data.images import decode, load_image
from kit.data.pixels import cached_pixels, decode_views, pixel_store
from kit.data.views import render_views
from kit.errors import DataError, StorageError

DATA = DataConfig(image_size=32)
VIEWS = ViewsConfig(count=3)
CONFIG = RunConfig(data=DATA, views=VIEWS)


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
    swap(monkeypatch, pixels, "load_image", lambda content, data: contents.append(content) or load_image(content, data))
    return contents


def test_pixels_are_those_of_decode_and_render_views(files):
    keys = keys_of(files)
    plain, second = cached_pixels(files, keys, (0, 2), replace(CONFIG, seed=5))
    assert plain.shape == second.shape == (len(files), 32, 32, 3)
    assert plain.dtype == np.uint8
    for i in (0, 40, -1):
        np.testing.assert_array_equal(plain[i], decode(files[i], DATA))
        expected = render_views(load_image(files[i], DATA), keys[i], (2,), DATA, VIEWS, 5)[0]
        np.testing.assert_array_equal(second[i], expected)
    assert (plain[:] != second[:]).any(axis=(1, 2, 3)).all()


def test_each_file_is_decoded_once_for_all_views_and_never_again(files, loaded):
    keys = keys_of(files)
    cached_pixels(files, keys, (0, 1, 2), CONFIG)
    assert len(loaded) == len(set(keys)) == len(files)
    cached_pixels(files[::-1], keys[::-1], (2, 0), CONFIG)
    assert len(loaded) == len(files)
    cached_pixels(files[:5], keys[:5], (0, 3), CONFIG)
    assert sorted(loaded[len(files) :]) == sorted(file.read_bytes() for file in files[:5])


def test_copies_of_an_image_share_a_row(files, tmp_path, loaded):
    copy = tmp_path / "copy.jpg"
    shutil.copy(files[0], copy)
    both = [files[0], files[1], copy]
    (rows,) = cached_pixels(both, keys_of(both), (0,), CONFIG)
    assert len(loaded) == 2
    np.testing.assert_array_equal(rows[0], rows[2])


@pytest.mark.parametrize(("threads", "block"), [(1, 7), (4, 7), (0, 1), (3, 1000)])
def test_blocks_are_the_same_on_any_number_of_threads(files, threads, block):
    keys = keys_of(files)
    blocks = list(decode_views(files, keys, (0, 1), replace(CONFIG, threads=threads), block))
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
    blocks = decode_views(files, keys_of(files), (0,), replace(CONFIG, threads=2), 8)
    for number in (1, 2, 3):
        next(blocks)
        deadline = time.monotonic() + 10
        while len(loaded) < (number + 1) * 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(loaded) == (number + 1) * 8
    blocks.close()


def test_decoding_has_ended_when_the_error_that_stops_it_arrives(files, monkeypatch):
    monkeypatch.setattr(Appender, "add", create_autospec(Appender.add, side_effect=StorageError("full")))
    with pytest.raises(StorageError, match="full"):
        cached_pixels(files, keys_of(files), (0,), CONFIG)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("decode", "cache"))]


def test_nothing_is_decoded_for_no_images():
    assert list(decode_views([], [], (0,), CONFIG)) == []
    (rows,) = cached_pixels([], [], (0,), CONFIG)
    assert rows.shape == (0, 32, 32, 3)


def test_the_plain_view_shares_its_store_between_augmentations_and_the_others_do_not():
    def name(view: int, **changes) -> str:
        return pixel_store(view, replace(CONFIG, **{"seed": 1, **changes})).name

    other = ViewsConfig(count=9, rotation=3.0)
    assert name(0) == name(0, views=other, seed=2)
    assert name(1) != name(1, views=other)
    assert name(1) != name(1, seed=2)
    assert name(1) != name(2)
    assert name(0) != name(0, data=DataConfig(image_size=64))


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
        cached_pixels(copies, keys, (0,), CONFIG)
    assert str(copies[1]) in error.value.what
    copies[1].write_bytes(whole)
    (rows,) = cached_pixels(copies, keys, (0,), CONFIG)
    np.testing.assert_array_equal(rows[1], decode(copies[1], DATA))


def test_an_image_cut_short_is_named_with_its_problem(files, tmp_path):
    file = tmp_path / "half.jpg"
    file.write_bytes(files[0].read_bytes()[:1000])
    with pytest.raises(DataError, match=r"half\.jpg cannot be decoded \(truncated\)"):
        cached_pixels([file], keys_of([file]), (0,), CONFIG)


@pytest.mark.real
def test_real_images_come_back_as_decoded(real_data):
    data = DataConfig()
    files = sorted((real_data / "flowers").rglob("*.jpg"))[::200]
    plain, view = cached_pixels(files, keys_of(files), (0, 1), RunConfig(views=VIEWS))
    for i, file in enumerate(files):
        np.testing.assert_array_equal(plain[i], decode(file, data))
    assert (plain[:] != view[:]).any(axis=(1, 2, 3)).all()
