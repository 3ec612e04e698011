"""Pixels of images: each file opened and decoded once for all its views, several at a time, and kept in stores."""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kit import progress
from kit.backend import available_threads
from kit.cache import Rows, Store, ensure_all
from kit.config import DataConfig, ViewsConfig
from kit.data.images import ImageProblem, load_image, read_file
from kit.data.views import render_views, view_key
from kit.errors import DataError

BLOCK = 32


def pixel_store(view: int, data: DataConfig, views: ViewsConfig, seed: int) -> Store:
    """The store of one view: uint8 (image_size, image_size, 3), 0-255, by the SHA-256 of the file's bytes."""
    return Store("pixels", view_key(data, views, seed, view), (data.image_size, data.image_size, 3), np.uint8)


def ensure_pixels(
    files: Sequence[Path],
    keys: Sequence[str],
    wanted_views: tuple[int, ...],
    data: DataConfig,
    views: ViewsConfig,
    seed: int,
    threads: int = 0,
) -> list[Rows]:
    """The pixels of every image, decoding what no earlier run has.

    Args:
        files: The images.
        keys: SHA-256 (64 hex digits) of each file's bytes.
        wanted_views: Numbers of different views; 0 is the plain image.
        data: How an image becomes pixels.
        views: What the augmented views do.
        seed: Draws the augmented views.
        threads: Images decoded at a time; 0 means one for each core.

    Returns:
        For each view wanted, uint8 (n, image_size, image_size, 3), 0-255, in the order of `files`.

    Raises:
        DataError: If a file cannot be decoded, or changed since its key was computed.
        StorageError: If the cache cannot be written.
    """
    file_of = dict(zip(keys, files, strict=True))

    def produce(missing: list[str]) -> Iterator[tuple[list[str], list[np.ndarray]]]:
        wanted_files = [file_of[key] for key in missing]
        with progress.track("decoding", len(missing)) as advance:
            for block in decode_views(wanted_files, missing, wanted_views, data, views, seed, threads):
                yield block
                advance(len(block[0]))

    return ensure_all([pixel_store(view, data, views, seed) for view in wanted_views], keys, produce)


def decode_views(
    files: Sequence[Path],
    keys: Sequence[str],
    wanted_views: tuple[int, ...],
    data: DataConfig,
    views: ViewsConfig,
    seed: int,
    threads: int = 0,
    block: int = BLOCK,
) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Decodes images in the order given, without keeping them; arguments as in `ensure_pixels`.

    Yields:
        Blocks of `block` images (the last may have fewer): their keys, and for each view wanted
        uint8 (n, image_size, image_size, 3), 0-255. The next block is decoded while this one is used, and no more.
    """

    def render(file: Path, key: str) -> np.ndarray:
        return _render(file, key, wanted_views, data, views, seed)

    with ThreadPoolExecutor(threads or available_threads(), thread_name_prefix="decode") as pool:
        ahead: deque[Future[np.ndarray]] = deque()
        try:
            for start in range(0, len(files), block):
                submitted = start + len(ahead)
                for file, key in zip(
                    files[submitted : start + 2 * block], keys[submitted : start + 2 * block], strict=True
                ):
                    ahead.append(pool.submit(render, file, key))
                names = list(keys[start : start + block])
                rendered = np.stack([ahead.popleft().result() for _ in names], axis=1)
                yield names, list(rendered)
        finally:
            for future in ahead:  # the consumer stopped or an image failed: what has not begun need not begin
                future.cancel()


def _render(
    file: Path, key: str, wanted_views: tuple[int, ...], data: DataConfig, views: ViewsConfig, seed: int
) -> np.ndarray:
    """All views of one image, uint8 (views, image_size, image_size, 3)."""
    try:
        content = read_file(file)
        # Rows are found by content: pixels of other bytes under this key would mislead every later run.
        if hashlib.sha256(content).hexdigest() != key:
            raise DataError(f"{file} changed after it was inspected.", "Run the command again.")
        return render_views(load_image(content, data), key, wanted_views, data, views, seed)
    except ImageProblem as problem:
        raise DataError(
            f"{file} cannot be decoded ({problem.kind}): {problem.detail}.",
            "It could be read when the images were inspected: check the disk, or take the image out.",
        ) from problem
