"""Pixels of images: each file decoded once for all its views, several at a time, and kept in the cache."""

import hashlib
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kit import progress
from kit.cache import CachedArray, Store, writing
from kit.config import RunConfig
from kit.data.images import ImageProblem, load_image, read_file
from kit.data.views import render_views, view_key
from kit.errors import DataError
from kit.machine import available_threads

BATCH = 32


def pixel_store(view: int, config: RunConfig) -> Store:
    """Store of one view: uint8 (image_size, image_size, 3), 0-255, by the SHA-256 of the file's bytes."""
    size = config.data.image_size
    return Store("pixels", view_key(config.data, config.views, config.seed, view), (size, size, 3), np.uint8)


def cached_pixels(
    files: Sequence[Path], keys: Sequence[str], views: Sequence[int], config: RunConfig
) -> list[CachedArray]:
    """Pixels of images, decoding those that are not in the cache.

    Args:
        files: n images.
        keys: SHA-256 (64 hex digits) of each file's bytes.
        views: Numbers of different views; 0 is the image as it is.
        config: Its data, views, seed and threads count.

    Returns:
        For each view: uint8 (n, image_size, image_size, 3), 0-255, in the order of `files`.

    Raises:
        DataError: If a file cannot be decoded, or changed since its key was computed.
        StorageError: If the cache cannot be written.
    """
    file_of = dict(zip(keys, files, strict=True))
    with writing([pixel_store(view, config) for view in views], keys) as writer:
        missing = writer.missing
        with progress.track("decoding", len(missing)) as advance:
            for batch, pixels in decode_views([file_of[key] for key in missing], missing, views, config):
                writer.write(batch, pixels)
                advance(len(batch))
    return writer.arrays


def decode_views(
    files: Sequence[Path], keys: Sequence[str], views: Sequence[int], config: RunConfig, batch_size: int = BATCH
) -> Generator[tuple[list[str], list[np.ndarray]], None, None]:
    """Decode images in the order given, without storing them; arguments and errors as for `cached_pixels`.

    Yields:
        Keys of a batch, and for each view uint8 (batch, image_size, image_size, 3), 0-255. The next batch is decoded
        in background threads meanwhile, and no more.
    """

    def render(file: Path, key: str) -> np.ndarray:
        return _render(file, key, tuple(views), config)

    with ThreadPoolExecutor(config.threads or available_threads(), thread_name_prefix="decode") as pool:
        submitted: deque[Future[np.ndarray]] = deque()
        try:
            for start in range(0, len(files), batch_size):
                ahead = slice(start + len(submitted), start + 2 * batch_size)
                submitted.extend(map(pool.submit, [render] * len(files[ahead]), files[ahead], keys[ahead]))
                batch = list(keys[start : start + batch_size])
                yield batch, list(np.stack([submitted.popleft().result() for _ in batch], axis=1))
        finally:
            for future in submitted:  # the consumer stopped or an image failed: what has not begun need not begin
                future.cancel()


def _render(file: Path, key: str, views: tuple[int, ...], config: RunConfig) -> np.ndarray:
    """All views of one image, uint8 (views, image_size, image_size, 3)."""
    try:
        content = read_file(file)
        # Arrays are found by content: pixels of other bytes under this key would mislead every later run.
        if hashlib.sha256(content).hexdigest() != key:
            raise DataError(f"{file} changed after it was inspected.", "Run the command again.")
        return render_views(load_image(content, config.data), key, views, config.data, config.views, config.seed)
    except ImageProblem as problem:
        raise DataError(
            f"{file} cannot be decoded ({problem.kind}): {problem.detail}.",
            "It could be read when the images were inspected: check the disk, or take the image out.",
        ) from problem
