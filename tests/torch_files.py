"""Files as `torch.save` wrote them before version 1.6, made without torch: tests read them."""

import io
import pickle
import sys
from collections import OrderedDict
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kit.model.torch_file import MAGIC, PROTOCOL, STORAGES

KINDS = {np.dtype(kind): name for name, kind in STORAGES.items()}


class Storage:
    """Numbers that several tensors may share; `claimed` is how many it says it has."""

    def __init__(self, numbers: np.ndarray, claimed: int | None = None, view: Any = None):
        self.numbers, self.view = numbers, view
        self.claimed = len(numbers) if claimed is None else claimed


class Tensor:
    """A view of a storage, offset and strides counted in its elements."""

    def __init__(self, storage: Storage, offset: int, shape: tuple, strides: tuple):
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())

    @classmethod
    def of(cls, view: np.ndarray, storage: Storage) -> "Tensor":
        start = view.__array_interface__["data"][0] - storage.numbers.__array_interface__["data"][0]
        strides = tuple(stride // view.itemsize for stride in view.strides)
        return cls(storage, start // view.itemsize, view.shape, strides)

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Pickler(pickle.Pickler):
    """Names storages and leaves their numbers for the end of the file."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file, protocol=2)
        self.storages: dict[str, Storage] = {}

    def persistent_id(self, one: Any) -> Any:
        if not isinstance(one, Storage):
            return None
        self.storages[str(id(one))] = one
        kind = getattr(sys.modules["torch"], KINDS.get(one.numbers.dtype, "CharStorage"))
        return "storage", kind, str(id(one)), "cpu", one.claimed, one.view


def rebuild() -> None:
    """Only its name gets into the file."""


rebuild.__module__, rebuild.__qualname__, rebuild.__name__ = "torch._utils", "_rebuild_tensor_v2", "_rebuild_tensor_v2"


def saved(content: Any, *, little_endian: bool = True) -> bytes:
    """The bytes that torch before version 1.6 saves something as."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for name in (*STORAGES, "CharStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    utils._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        file = io.BytesIO()
        for start in (MAGIC, PROTOCOL, {"protocol_version": PROTOCOL, "little_endian": little_endian}):
            pickle.dump(start, file, protocol=2)
        pickler = Pickler(file)
        pickler.dump(content)
        pickle.dump(sorted(pickler.storages), file, protocol=2)
        for _, one in sorted(pickler.storages.items()):
            file.write(len(one.numbers).to_bytes(8, "little") + one.numbers.tobytes())
    return file.getvalue()
