"""Stores: every row computed once; no damaged or half-written row is ever read."""

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kit
from doubles import swap
from kit.cache import CachedArray, Store, chunks, writing
from kit.errors import StorageError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def row(name: str, shape: tuple[int, ...], dtype: str, salt: int = 0) -> np.ndarray:
    """What a producer computes for a key: any function of the key will do."""
    seed = int(name[:8], 16) + salt
    return np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


class Producer:
    """Computes rows block by block and remembers what it was asked for."""

    def __init__(self, store: Store, block: int = 4, salt: int = 0):
        self.store, self.block, self.salt = store, block, salt
        self.asked: list[list[str]] = []

    def __call__(self, missing):
        self.asked.append(list(missing))
        for start in range(0, len(missing), self.block):
            names = missing[start : start + self.block]
            yield names, self.expected(names)

    def expected(self, names) -> np.ndarray:
        rows = [row(name, self.store.shape, self.store.dtype.str, self.salt) for name in names]
        return np.array(rows, self.store.dtype).reshape(len(names), *self.store.shape)


def ensure(store: Store, names, produce) -> CachedArray:
    """The rows of these keys; `produce` is given the missing ones and yields blocks of keys and their rows."""
    with writing([store], names) as writer:
        if writer.missing:
            for block, rows in produce(writer.missing):
                writer.write(block, [rows])
    return writer.arrays[0]


def forget_checks():
    """As a new process would: nothing verified, nothing mapped."""
    chunks._verified.clear()
    chunks._maps = chunks._Maps()


def chunk_files(store: Store) -> list[Path]:
    return sorted(store.folder.glob("*.chunk"))


def folder_bytes(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.folder.iterdir()}


# === Rows come back ===


@given(
    shape=st.lists(st.integers(1, 3), max_size=3).map(tuple),
    dtype=st.sampled_from(["uint8", "float16", "float32", "int64"]),
    requests=st.lists(st.lists(st.integers(0, 30), max_size=12), min_size=1, max_size=4),
    block=st.integers(1, 5),
    chunk_bytes=st.integers(1, 200),
)
def test_every_key_is_computed_once_and_its_row_comes_back(shape, dtype, requests, block, chunk_bytes):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_CACHE", folder)
        produce = Producer(Store("test", {}, shape, dtype, chunk_bytes), block)
        for numbers in requests:
            names = [key(number) for number in numbers]
            rows = ensure(Store("test", {}, shape, dtype, chunk_bytes), names, produce)
            assert rows.shape == (len(names), *shape)
            assert rows.dtype == dtype
            np.testing.assert_array_equal(rows[:], produce.expected(names))
        computed = [name for asked in produce.asked for name in asked]
        assert len(computed) == len(set(computed))
        assert set(computed) == {key(number) for numbers in requests for number in numbers}


@given(st.lists(st.integers(-20, 19), max_size=40))
def test_gather_is_numpy_indexing(indices):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_CACHE", folder)
        store = Store("test", {}, (2, 3), "float16", chunk_bytes=60)
        produce = Producer(store)
        names = [key(number) for number in range(20)]
        rows, expected = ensure(store, names, produce), produce.expected(names)
        wanted = np.array(indices, int)
        np.testing.assert_array_equal(rows.gather(indices), expected[wanted])
        np.testing.assert_array_equal(rows.take(wanted)[:], expected[wanted])
        out = np.empty((len(indices), 2, 3), "float16")
        assert rows.gather(wanted, out) is out
        np.testing.assert_array_equal(out, expected[wanted])
        doubled = CachedArray.concatenate([rows, rows.take(wanted)])
        np.testing.assert_array_equal(doubled[:], np.concatenate([expected, expected[wanted]]))


def test_rows_index_like_an_array_and_refuse_what_an_array_refuses():
    store = Store("test", {}, (2,), "int64")
    names = [key(number) for number in range(6)]
    produce = Producer(store)
    rows, expected = ensure(store, names, produce), produce.expected(names)
    np.testing.assert_array_equal(rows[-1], expected[-1])
    np.testing.assert_array_equal(rows[5:1:-2], expected[5:1:-2])
    assert (len(rows), rows.nbytes) == (6, 6 * 16)
    with pytest.raises(IndexError):
        rows.gather([6])
    with pytest.raises(ValueError, match="C-contiguous int64"):
        rows.gather([0], out=np.empty((1, 2), "float32"))
    with pytest.raises(TypeError, match="gather"):
        np.asarray(rows)
    with pytest.raises(ValueError, match="one shape"):
        CachedArray.concatenate([])


def test_missing_and_read_before_and_after():
    store = Store("test", {}, (1,), "uint8")
    names = [key(2), key(0), key(2), key(1)]
    assert store.missing(names) == [key(2), key(0), key(1)]
    assert not store.folder.exists()
    with pytest.raises(KeyError, match="lacks 3 of 3 keys"):
        store.read(names)
    ensure(store, [key(0)], Producer(store))
    assert store.missing(names) == [key(2), key(1)]
    assert len(chunk_files(store)) == 1


def test_another_recipe_shape_or_dtype_is_another_store():
    settings = [("a", {"v": 1}, (2,), "uint8"), ("a", {"v": 2}, (2,), "uint8"), ("a", {"v": 1}, (3,), "uint8")]
    settings += [("a", {"v": 1}, (2,), "int8"), ("b", {"v": 1}, (2,), "uint8")]
    assert len({Store(*each).folder for each in settings}) == len(settings)


def test_names_and_files_on_disk_are_those_of_earlier_versions():
    """So that what they left in the cache is found."""
    store = Store("features", {"cut": "block_13", "pixels": {"view": 1}}, (2, 3), "float16")
    names = [f"{number:064x}" for number in range(3)]
    ensure(store, names, lambda missing: [(missing, np.arange(18, dtype=np.float16).reshape(3, 2, 3))])
    assert store.name == "features-4d6fca5bf5c3a149501a3fb8"
    assert hashlib.sha256((store.folder / "000001.chunk").read_bytes()).hexdigest() == (
        "1d9da6ed51a5202b2f1add69dc76866ff34871524957818ec5556910756bef43"
    )


def test_one_pass_fills_several_stores_and_each_keeps_what_it_lacks():
    first, second = Store("first", {}, (3,), "uint8"), Store("second", {}, (2, 2), "float32")
    one, two = Producer(first), Producer(second, salt=7)
    ensure(first, [key(0), key(1), key(2)], one)
    ensure(second, [key(2), key(3)], two)
    with writing([second, first], [key(number) for number in (3, 2, 1, 0)]) as writer:
        assert writer.missing == [key(3), key(1), key(0)]
        writer.write(writer.missing, [two.expected(writer.missing), one.expected(writer.missing)])
    names, rows = [key(number) for number in (3, 2, 1, 0)], writer.arrays
    np.testing.assert_array_equal(rows[0][:], two.expected(names))
    np.testing.assert_array_equal(rows[1][:], one.expected(names))
    assert [sum(chunks.Chunk.open(path).rows for path in chunk_files(store)) for store in (first, second)] == [4, 4]


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([([key(0)], np.zeros((1, 2), "uint8"))], "1 of 2 missing keys were not written"),
        ([([key(9)], np.zeros((1, 2), "uint8"))], "not missing"),
        ([([key(0), key(0)], np.zeros((2, 2), "uint8"))], "twice"),
        ([([key(0)], np.zeros((1, 2), "float32"))], "takes uint8"),
        ([([key(0)], np.zeros((2, 2), "uint8"))], "takes uint8"),
    ],
)
def test_what_does_not_fit_is_refused(blocks, message):
    store = Store("test", {}, (2,), "uint8")
    with pytest.raises(ValueError, match=message):
        ensure(store, [key(0), key(1)], lambda missing: blocks)


@pytest.mark.parametrize("bad", ["", "x" * 65, "ü", "a\0"])
def test_keys_that_could_not_be_told_apart_are_refused(bad):
    with pytest.raises(ValueError, match="a key must be"):
        Store("test", {}, (2,), "uint8").missing([bad])


# === Errors on the way ===


def test_an_error_in_the_block_passes_through_and_finished_chunks_stay():
    store = Store("test", {}, (4,), "uint8", chunk_bytes=16)
    names = [key(number) for number in range(12)]
    good = Producer(store)

    def breaks(missing):
        for number, block in enumerate(good(missing)):
            if number == 2:
                raise PermissionError(errno.EACCES, "image 9 may not be read")
            yield block

    with pytest.raises(PermissionError, match="image 9"):
        ensure(store, names, breaks)
    assert [path.name for path in store.folder.iterdir() if path.name.startswith(".tmp")] == []
    ensure(store, names, good)
    assert good.asked == [names, names[8:]]


def test_a_disk_too_small_is_said_before_anything_is_computed(monkeypatch):
    swap(monkeypatch, "kit.files", "free_bytes", lambda path: 1000)
    store = Store("test", {}, (100,), "float32")
    produce = Producer(store)
    with pytest.raises(StorageError, match=r"stores is full: 4,640 bytes are needed, 1,000 bytes are free"):
        ensure(store, [key(number) for number in range(10)], produce)
    assert produce.asked == []


def test_a_disk_that_fills_up_is_one_message_and_keeps_what_was_finished(monkeypatch):
    left = [60]

    class SmallDisk(io.FileIO):
        def write(self, content):
            if left[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            count = min(left[0], len(content))
            left[0] -= count
            return super().write(content[:count])

    store = Store("test", {}, (4,), "uint8", chunk_bytes=16)
    names = [key(number) for number in range(12)]
    ensure(store, names[:4], Producer(store))
    known = {path: chunks.Chunk.open(path) for path in chunk_files(store)}
    monkeypatch.setattr(chunks, "open", lambda path, mode, **_: SmallDisk(path, mode), raising=False)
    swap(monkeypatch, chunks.Chunk, "open", lambda path, size: known[path])
    with pytest.raises(StorageError, match=r"000002\.chunk is full: 544 bytes are needed") as error:
        ensure(store, names, Producer(store))
    assert "cache prune" in error.value.hint
    monkeypatch.undo()
    assert [path.name for path in sorted(store.folder.iterdir())] == ["000001.chunk", "recipe.json"]


@contextmanager
def without_privileges():
    """Root may write anywhere: for as long as this lasts, be nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_read_only_cache_serves_what_it_has_and_says_what_it_cannot_do(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setenv("TRANSFERKIT_CACHE", folder)
        store = Store("test", {}, (2,), "uint8")
        produce = Producer(store)
        ensure(store, [key(0)], produce)
        stores = store.folder.parent
        for path in (*store.folder.iterdir(), *stores.glob("*.lock")):
            path.chmod(0o444)
        for path in (store.folder, stores, Path(folder)):
            path.chmod(0o555)
        forget_checks()
        try:
            with without_privileges():
                served = ensure(store, [key(0)], produce)[:]
            with pytest.raises(StorageError, match="cannot be written"), without_privileges():
                ensure(store, [key(0), key(1)], produce)
        finally:
            for path in (Path(folder), stores, store.folder):
                path.chmod(0o755)
        np.testing.assert_array_equal(served, produce.expected([key(0)]))


# === Damage ===


def small_store() -> tuple[Store, Producer, list[str]]:
    store = Store("test", {"small": True}, (2,), "uint16")
    produce, names = Producer(store), [key(0), key(1), key(2)]
    ensure(store, names, produce)
    return store, produce, names


def test_a_flipped_byte_anywhere_is_found_said_and_rebuilt(capsys):
    store, produce, names = small_store()
    (path,) = chunk_files(store)
    whole = path.read_bytes()
    assert len(whole) == 3 * (4 + 64) + 28
    for position in range(len(whole)):
        (path,) = chunk_files(store)
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        forget_checks()
        asked = len(produce.asked)
        np.testing.assert_array_equal(ensure(store, names, produce)[:], produce.expected(names))
        assert produce.asked[asked:] == [names], position
        assert f"{path} is damaged" in capsys.readouterr().err
        assert [file.read_bytes() for file in chunk_files(store)] == [whole]


@given(st.data())
def test_a_chunk_cut_short_or_grown_is_found_and_rebuilt(data):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_CACHE", folder)
        store, produce, names = small_store()
        (path,) = chunk_files(store)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole) - 1) | st.just(None))
        path.write_bytes(whole + b"\0" if cut is None else whole[:cut])
        forget_checks()
        assert store.missing(names) == names
        np.testing.assert_array_equal(ensure(store, names, produce)[:], produce.expected(names))


def test_damage_costs_only_the_rows_of_its_chunk():
    store = Store("test", {}, (4,), "uint8", chunk_bytes=16)
    names = [key(number) for number in range(12)]
    produce = Producer(store)
    ensure(store, names, produce)
    second = chunk_files(store)[1]
    content = bytearray(second.read_bytes())
    content[3] ^= 4
    second.write_bytes(content)
    forget_checks()
    assert store.missing(names) == names[4:8]
    np.testing.assert_array_equal(ensure(store, names, produce)[:], produce.expected(names))
    assert produce.asked == [names, names[4:8]]


def test_a_checksum_is_read_once_a_process(monkeypatch):
    store, produce, names = small_store()
    forget_checks()
    read = []
    check = chunks.Chunk._checksum_fits
    swap(monkeypatch, chunks.Chunk, "_checksum_fits", lambda chunk: read.append(chunk.path) or check(chunk))
    for _ in range(3):
        ensure(store, names, produce)
    assert read == chunk_files(store)


def test_a_damaged_recipe_and_leftovers_of_a_killed_process_are_put_right():
    store, produce, names = small_store()
    whole = folder_bytes(store)
    (store.folder / "recipe.json").write_text("{")
    (store.folder / ".tmp-0123.000002.chunk").write_bytes(b"half")
    ensure(store, [*names, key(3)], produce)
    assert sorted(folder_bytes(store)) == ["000001.chunk", "000002.chunk", "recipe.json"]
    assert folder_bytes(store)["recipe.json"] == whole["recipe.json"]


# === Maps ===


def test_rows_stay_readable_when_pruned_after_use_and_say_so_when_pruned_before():
    store = Store("test", {}, (4,), "uint8", chunk_bytes=16)
    names = [key(number) for number in range(8)]
    produce = Producer(store)
    rows = ensure(store, names, produce)
    rows.gather([0])
    for path in chunk_files(store):
        path.unlink()
    np.testing.assert_array_equal(rows[:4], produce.expected(names[:4]))
    with pytest.raises(StorageError, match=r"000002\.chunk was removed"):
        rows.gather([4])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_many_chunks_do_not_exhaust_open_files(monkeypatch):
    monkeypatch.setattr(chunks, "_maps", chunks._Maps(limit=3))
    store = Store("test", {}, (4,), "uint8", chunk_bytes=1)
    names = [key(number) for number in range(40)]
    produce = Producer(store, block=1)
    before = len(os.listdir("/proc/self/fd"))
    rows = ensure(store, names, produce)
    assert len(chunk_files(store)) == 40
    np.testing.assert_array_equal(rows[:], produce.expected(names))
    assert len(os.listdir("/proc/self/fd")) <= before + 3


# === Processes ===

# argv: rows, bytes a row, block, chunk bytes, log file, block to stop at (-1: none). Logs every key it computes.
WORKER = """
import sys, time
import numpy as np
from kit.cache import Store
from test_store import ensure, key, row
count, width, block, chunk_bytes = map(int, sys.argv[1:5])
log, stop = open(sys.argv[5], "a", buffering=1), int(sys.argv[6])
store = Store("test", {"of": "worker"}, (width,), "uint8", chunk_bytes)

def produce(missing):
    for number, start in enumerate(range(0, len(missing), block)):
        names = missing[start : start + block]
        if number == stop:
            print("here", flush=True)
            time.sleep(600)
        time.sleep(0.002)
        log.write("".join(name + "\\n" for name in names))
        yield names, np.array([row(name, store.shape, "uint8") for name in names])

rows = ensure(store, [key(number) for number in range(count)], produce)
print(rows[:].tobytes().hex())
"""


def worker(cache: Path, *arguments, code: str = WORKER) -> subprocess.Popen:
    path = os.pathsep.join([str(Path(kit.__file__).parents[1]), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path, "TRANSFERKIT_CACHE": str(cache)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_processes_that_build_one_store_at_once_share_the_work(tmp_path, cache):
    log = tmp_path / "log"
    workers = [worker(cache, 400, 50, 4, 1000, log, -1) for _ in range(3)]
    results = [process.communicate(timeout=60) for process in workers]
    assert [process.returncode for process in workers] == [0, 0, 0], results
    names = [key(number) for number in range(400)]
    store = Store("test", {"of": "worker"}, (50,), "uint8", 1000)
    expected = Producer(store).expected(names)
    assert {out.strip() for out, _ in results} == {expected.tobytes().hex()}
    assert log.read_text().split() == names
    np.testing.assert_array_equal(store.read(names)[:], expected)


def test_whoever_waits_is_told_so_once(tmp_path, cache):
    first = worker(cache, 8, 5, 4, 20, tmp_path / "log", 1)
    assert first.stdout.readline() == "here\n"
    second = worker(cache, 8, 5, 4, 20, tmp_path / "log", -1)
    name = Store("test", {"of": "worker"}, (5,), "uint8").name
    assert second.stderr.readline() == f"waiting for another process that builds {name}\n"
    first.kill()
    first.communicate(timeout=60)
    out, err = second.communicate(timeout=60)
    assert (second.returncode, err) == (0, "")
    assert len(out.strip()) == 8 * 5 * 2


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
@pytest.mark.parametrize("stop", [0, 3, 7])
def test_after_kill_9_the_rest_is_computed_and_the_store_is_the_same_to_the_byte(tmp_path, stop):
    arguments = (40, 50, 4, 400)  # ten blocks of four rows, two blocks a chunk
    killed = worker(tmp_path / "killed", *arguments, tmp_path / "log", stop)
    assert killed.stdout.readline() == "here\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    (tmp_path / "log").unlink()
    for cache, log in (("killed", "log"), ("whole", "other")):
        process = worker(tmp_path / cache, *arguments, tmp_path / log, -1)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    finished = stop // 2 * 8
    assert (tmp_path / "log").read_text().split() == [key(number) for number in range(finished, 40)]
    killed_files, whole_files = (
        {path.relative_to(tmp_path / cache): path.read_bytes() for path in (tmp_path / cache).rglob("*.chunk")}
        for cache in ("killed", "whole")
    )
    assert killed_files == whole_files


MEMORY = """
import sys
import numpy as np
from kit.cache import Store
from test_store import ensure, key
peak = 0

def look():
    global peak
    with open("/proc/self/status") as file:
        anonymous = next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))
    peak = max(peak, anonymous)

def produce(missing):
    for start in range(0, len(missing), 50):
        names = missing[start : start + 50]
        look()
        yield names, np.full((len(names), 8192), start % 256, "uint8")

names = [key(number) for number in range(int(sys.argv[1]))]
rows = ensure(Store("test", {}, (8192,), "uint8"), names, produce)
order = np.random.default_rng(0).permutation(len(rows))
for start in range(0, len(rows), 50):
    rows.gather(order[start : start + 50])
    look()
print(peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads RssAnon in /proc")
def test_anonymous_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    peaks = []
    for count in (1_000, 10_000):
        for _ in ("computed", "read again and verified"):
            process = worker(tmp_path / str(count), count, code=MEMORY)
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            peaks.append(int(out) * 1024)
    assert (
        max(peaks[2:]) - min(peaks[:2]) < 12 * 2**20
    )  # 9,000 more rows are 70 MiB; keys and index take under 1 KiB a row
