"""Tensors of a file that `torch.save` wrote, without torch.

Such a file is a pickle, which could run anything. Here it can name five kinds of storage, OrderedDict, and the
function that puts a storage and strides together; whatever else it names is refused before it is called.
"""

import io
import pickle
import struct
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kit.errors import WeightsError

# How torch began its files before version 1.6 (torch/serialization.py, _legacy_save).
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read-only arrays of a state dictionary, by name; strides and offsets as saved.

    Raises WeightsError if the file is damaged, of another format, or holds anything but tensors.
    """
    content = path.read_bytes()
    try:
        return _read(path, io.BytesIO(content))
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle fails in many ways
        first = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise WeightsError(f"The weights file {path} ({len(content):,} bytes) is damaged: {first}.") from None


@dataclass(frozen=True)
class _Storage:
    """Numbers that lie further back in the file, under a key."""

    kind: np.dtype
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides count its elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, content: bytes) -> np.ndarray:
        """NumPy's array of it, which checks that the view lies within the content."""
        kind = self.storage.kind
        strides = [stride * kind.itemsize for stride in self.strides]
        return np.ndarray(self.shape, kind, content, self.offset * kind.itemsize, strides)


class _Unpickler(pickle.Unpickler):
    """Unpickler of tensors alone."""

    def __init__(self, path: Path, file: BinaryIO):
        super().__init__(file)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return np.dtype(STORAGES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise WeightsError(f"The weights file {self.path} is refused: it holds {module}.{name}, which is no tensor.")

    def persistent_load(self, pid: Any) -> _Storage:
        marker, kind, key, _, count, view = pid
        if marker != "storage" or not isinstance(kind, np.dtype) or view is not None:
            raise ValueError("it holds something else than storages")
        return _Storage(kind, str(key), int(count))


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """What torch._utils._rebuild_tensor_v2 is called with; gradients and hooks are left aside."""
    if not isinstance(storage, _Storage):
        raise ValueError("it holds a tensor without a storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _read(path: Path, file: BinaryIO) -> dict[str, np.ndarray]:
    def load() -> Any:
        return _Unpickler(path, file).load()

    if (load(), load()) != (MAGIC, PROTOCOL) or load().get("little_endian") is not True:
        raise ValueError("it is no file of torch before version 1.6")
    tensors = load()
    if not isinstance(tensors, dict) or not all(isinstance(one, _Tensor) for one in tensors.values()):
        raise ValueError("it is no dictionary of tensors")
    storages = {one.storage.key: one.storage for one in tensors.values()}
    contents = {}
    for key in load():
        (count,) = struct.unpack("<q", file.read(8))
        storage = storages[key]
        if count != storage.count:
            raise ValueError(f"storage {key} has {count:,} numbers, not {storage.count:,}")
        contents[key] = file.read(count * storage.kind.itemsize)
    return {name: one.array(contents[one.storage.key]) for name, one in tensors.items()}
