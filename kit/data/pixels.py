"""Cached pixels of images: each file is decoded once for all its views, several at a time."""

import hashlib
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kit import progress
from kit.backends.recipes import recipe
from kit.cache import CachedArray, Store, writing
from kit.config import RunConfig
from kit.data.images import ImageProblem, load_image, read_file
from kit.data.views import render_views, view_key
from kit.errors import DataError
from kit.machine import available_threads

BATCH = 32


def pixel_store(view: int, config: RunConfig) -> Store:
    """Store of one view: uint8 (image_size, image_size, 3), 0-255, by SHA-256 of the file's bytes."""
    size = config.data.image_size
    settings = view_key(config.data, config.views, config.seed, view, config.parts)
    return Store("pixels", recipe("pixels", settings), (size, size, 3), np.uint8)


def cached_pixels(
    files: Sequence[Path], keys: Sequence[str], views: Sequence[int], config: RunConfig
) -> list[CachedArray]:
    """Pixels for each view, in the order of `files`: uint8 (n, image_size, image_size, 3), 0-255.

    Files that are not in the cache are decoded. `keys` are SHA-256 digests (64 hex digits) of their bytes; `views` are
    distinct, 0 is the plain image. Of `config`, data, views, seed and threads are used.

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
    """Yield keys and pixels of batches in order, storing nothing; arguments and errors as for `cached_pixels`.

    Pixels are uint8 (batch, image_size, image_size, 3), 0-255, for each view. Only the next batch is prefetched, in
    background threads.
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
            for future in submitted:  # where the consumer stopped or an image failed
                future.cancel()


def _render(file: Path, key: str, views: tuple[int, ...], config: RunConfig) -> np.ndarray:
    """All views of one image, uint8 (views, image_size, image_size, 3)."""
    try:
        content = read_file(file)
        # Pixels of other bytes under this key would mislead every later run.
        if hashlib.sha256(content).hexdigest() != key:
            raise DataError(f"{file} changed after it was inspected.", "Run the command again.")
        image = load_image(content, config.data)
        return render_views(image, key, views, config.data, config.views, config.seed, config.parts)
    except ImageProblem as problem:
        raise DataError(
            f"{file} cannot be decoded ({problem.kind}): {problem.detail}.",
            "It could be read when the images were inspected: check the disk, or take the image out.",
        ) from problem
