"""Write missing arrays to stores, one process at a time."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from kit import progress
from kit.cache.array import CachedArray
from kit.cache.chunks import KEY_BYTES, Appender
from kit.cache.stores import Store, encode_keys
from kit.files import require_space, storage_errors


@contextmanager
def writing(stores: Sequence[Store], keys: Sequence[str]) -> Iterator["Writer"]:
    """Open stores to write missing arrays; other processes that miss some wait meanwhile.

        with writing(stores, keys) as writer:
            for batch in batched(writer.missing, 32):
                writer.write(batch, compute(batch))
        writer.arrays

    An error in the block passes through; finished chunks stay. If nothing is missing, no lock is taken: reading neither
    waits nor needs permission to write. `keys` have 1 to 64 ASCII characters and may repeat.

    Raises:
        StorageError: If the disk is full or the cache cannot be written.
        ValueError: If a store is given twice, or the block ends normally without having written every missing key.
    """
    if len({store.name for store in stores}) != len(stores):
        raise ValueError("the same store is given twice")
    if (arrays := _read_all(stores, keys)) is not None:
        writer = Writer((), (), ExitStack())
        yield writer
        writer.arrays = arrays
        return
    with ExitStack() as locks:
        for store in sorted(stores, key=lambda store: store.name):  # one order, so that processes cannot deadlock
            locks.enter_context(_locked(store))
        with ExitStack() as files:
            writer = Writer(stores, keys, files)
            yield writer
            writer.finish()
        writer.arrays = [store.read(keys) for store in stores]


def _read_all(stores: Sequence[Store], keys: Sequence[str]) -> list[CachedArray] | None:
    try:
        return [store.read(keys) for store in stores]
    except KeyError:
        return None


class Writer:
    """Appends arrays to stores; each store keeps those it misses.

    `missing` are the keys that any store misses, each once, in the order given to `writing`. `arrays` holds all given
    keys of each store, once the `with` block has ended.
    """

    arrays: list[CachedArray]

    def __init__(self, stores: Sequence[Store], keys: Sequence[str], files: ExitStack):
        keys = list(dict.fromkeys(keys))
        self._stores = stores
        self._lacking = [set(store.prepare(keys)) for store in stores]
        self.missing = [key for key in keys if any(key in lacking for lacking in self._lacking)]
        self._left = set(self.missing)
        if self.missing:
            sizes = [
                len(lacking) * (store.row_bytes + KEY_BYTES)
                for store, lacking in zip(stores, self._lacking, strict=True)
            ]
            require_space(stores[0].folder.parent, sum(sizes))
            self._appenders = [
                files.enter_context(Appender(store.folder, store.row_bytes, size, store.chunk_bytes))
                for store, size in zip(stores, sizes, strict=True)
            ]
            self._thread: Executor = files.enter_context(ThreadPoolExecutor(1, thread_name_prefix="cache"))
        self._pending: Future | None = None

    def write(self, keys: Sequence[str], arrays: Sequence[np.ndarray]) -> None:
        """Append a batch in a background thread, once the batch before it is written.

        `keys` are n missing ones; `arrays` has for each store (n, *shape) of its dtype, not to be changed afterwards.
        Raises ValueError for keys that are not missing or were written and for another shape or dtype, StorageError if
        the batch before could not be written.
        """
        if not self._left.issuperset(keys) or len(set(keys)) != len(keys):
            raise ValueError("a key was written that is not missing, or twice")
        for store, array in zip(self._stores, arrays, strict=True):
            if array.shape != (len(keys), *store.shape) or array.dtype != store.dtype:
                expected = f"{store.dtype} {(len(keys), *store.shape)}"
                raise ValueError(f"{store.name} takes {expected}, not {array.dtype} {array.shape}")
        self._left.difference_update(keys)
        self._wait()
        self._pending = self._thread.submit(self._append, list(keys), arrays)

    def finish(self) -> None:
        """Wait for the last batch; raises ValueError if missing keys were not written."""
        self._wait()
        if self._left:
            raise ValueError(f"{len(self._left)} of {len(self.missing)} missing keys were not written")

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()

    def _append(self, keys: list[str], arrays: Sequence[np.ndarray]) -> None:
        for appender, lacking, array in zip(self._appenders, self._lacking, arrays, strict=True):
            kept = np.array([key in lacking for key in keys], bool)
            appender.add(encode_keys(keys)[kept], array if kept.all() else array[kept])


@contextmanager
def _locked(store: Store) -> Iterator[None]:
    lock = FileLock(lock_path(store.folder))
    with storage_errors(store.folder):
        store.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.say(f"waiting for another process that builds {store.name}")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def lock_path(folder: Path) -> Path:
    """Lock file of a store: beside its folder, which pruning removes while it holds the lock."""
    return folder.with_name(f"{folder.name}.lock")
