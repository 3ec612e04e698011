"""Files of torch, written by hand here: tensors are read as they were saved, anything else is refused unrun."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from kit.errors import WeightsError
from kit.model.torch_file import read_tensors
from torch_files import KINDS, Storage, Tensor, saved


def read(folder: Path, content: bytes) -> dict[str, np.ndarray]:
    path = folder / "weights.pth"
    path.write_bytes(content)
    return read_tensors(path)


@st.composite
def views(draw) -> tuple[np.ndarray, np.ndarray]:
    """Numbers in a row, and a part of them as an array: axes in any order, some steps skipped."""
    kind = draw(st.sampled_from(sorted(KINDS, key=str)))
    shape = draw(some.array_shapes(max_dims=4, max_side=5))
    before, behind = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    count = int(np.prod(shape))
    numbers = np.random.default_rng(count).integers(-1000, 1000, before + count + behind).astype(kind)
    view = numbers[before : before + count].reshape(shape).transpose(draw(st.permutations(range(len(shape)))))
    return numbers, view[tuple(slice(None, None, draw(st.integers(1, 2))) for _ in shape)]


@given(st.lists(views(), min_size=1, max_size=3))
def test_tensors_are_read_as_they_were_saved(tmp_path_factory, found):
    """Strides, offsets and all; as contiguous arrays transposed ones would be scrambled."""
    content: OrderedDict[str, Tensor] = OrderedDict()
    for number, (numbers, view) in enumerate(found):
        storage = Storage(numbers)
        content[f"part.{number}"] = Tensor.of(view, storage)
        content[f"whole.{number}"] = Tensor.of(numbers, storage)  # one storage, two tensors
    content._metadata = {"version": 1}  # type: ignore[attr-defined]  # torch keeps the versions of modules there
    tensors = read(tmp_path_factory.mktemp("torch"), saved(content))
    assert list(tensors) == list(content)
    for number, (numbers, view) in enumerate(found):
        np.testing.assert_array_equal(tensors[f"part.{number}"], view)
        np.testing.assert_array_equal(tensors[f"whole.{number}"], numbers)
        assert tensors[f"part.{number}"].dtype == numbers.dtype


def test_a_transposed_matrix_is_not_the_matrix(tmp_path):
    storage = Storage(np.arange(6, dtype=np.float32))
    found = read(tmp_path, saved({"kernel": Tensor(storage, 0, (3, 2), (1, 3))}))
    assert found["kernel"].tolist() == [[0, 3], [1, 4], [2, 5]]


# === What is refused ===


class Runs:
    """What a hostile file would do: call a function while it is read."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def five() -> Storage:
    return Storage(np.arange(5, dtype=np.float32))


HOSTILE = {
    "a command": (lambda: {"a": Runs(os.system, "touch escaped.txt")}, r"it holds (posix|nt).system"),
    "an expression": (lambda: {"a": Runs(eval, "open('escaped.txt', 'w')")}, "it holds __builtin__.eval"),
    "a file": (lambda: {"a": Runs(open, "escaped.txt", "w")}, r"it holds (io|_io).open"),
    "an object": (lambda: {"a": Path("escaped.txt")}, "it holds pathlib"),
    "an attribute": (lambda: {"a": Runs(getattr, OrderedDict, "mro")}, "it holds __builtin__.getattr"),
    "another storage": (lambda: {"a": Tensor(Storage(np.zeros(4, np.int8)), 0, (4,), (1,))}, "it holds torch.Char"),
    "a view of a storage": (
        lambda: {"a": Tensor(Storage(np.zeros(4, np.float32), view=("1", 0, 2)), 0, (4,), (1,))},
        "something else than storages",
    ),
    "more than the storage": (lambda: {"a": Tensor(five(), 2, (2, 2), (2, 1))}, "damaged"),
    "what lies before it": (lambda: {"a": Tensor(five(), -1, (2,), (1,))}, "damaged"),
    "backwards beyond it": (lambda: {"a": Tensor(five(), 1, (3,), (-1,))}, "damaged"),
    "a vast tensor": (lambda: {"a": Tensor(five(), 0, (1 << 40,), (1,))}, "damaged"),
    "a claim": (
        lambda: {"a": Tensor(Storage(np.zeros(4, np.float32), claimed=5), 0, (5,), (1,))},
        "has 4 numbers, not",
    ),
    "no storage": (lambda: {"a": Tensor(OrderedDict(), 0, (1,), (1,))}, "without a storage"),  # type: ignore[arg-type]
    "other values": (lambda: {"a": [1, 2]}, "no dictionary of tensors"),
    "no dictionary": (lambda: [1, 2], "no dictionary of tensors"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_anything_but_tensors_is_refused_and_nothing_is_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, told = HOSTILE[name]
    with pytest.raises(WeightsError, match=told) as caught:
        read(tmp_path, saved(make()))
    assert str(tmp_path / "weights.pth") in caught.value.what
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pth"]


def test_a_hostile_beginning_is_refused_too(tmp_path, monkeypatch):
    """Each of the pickles in a file is read by the same rules."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"system, which is no tensor"):
        read(tmp_path, pickle.dumps(Runs(os.system, "touch escaped.txt")))
    assert not (tmp_path / "escaped.txt").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>please log in</html>",
        b"PK\x03\x04" + bytes(100),
        pickle.dumps({"a": 1}),
        saved({}, little_endian=False),
    ],
    ids=["nothing", "a page", "an archive", "another pickle", "another byte order"],
)
def test_other_files_are_no_weights(tmp_path, content):
    with pytest.raises(WeightsError, match=r"weights.pth .* is damaged"):
        read(tmp_path, content)


@given(st.data())
def test_a_file_cut_short_is_damaged(tmp_path_factory, data):
    whole = saved({"a": Tensor(five(), 0, (5,), (1,)), "b": Tensor(five(), 1, (2, 2), (2, 1))})
    with pytest.raises(WeightsError, match="damaged"):
        read(tmp_path_factory.mktemp("torch"), whole[: data.draw(st.integers(0, len(whole) - 1))])
