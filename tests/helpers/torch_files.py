"""Files as torch.save writes them, made without torch; `tests/torch_resnet.py` compares with torch itself."""

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = {"<f4": "Float", "<f2": "Half", "<f8": "Double", "<i8": "Long", "<i4": "Int", "|b1": "Bool"}


class Tensor:
    """An array that is saved as a tensor; `storage` is where its numbers stand, by default its own."""

    def __init__(self, values: NDArray[Any], storage: NDArray[Any] | None = None, offset: int = 0) -> None:
        self.values = values
        self.storage = np.ascontiguousarray(values) if storage is None else storage
        self.offset = offset

    def __reduce__(self) -> Any:
        strides = tuple(step // self.values.itemsize for step in self.values.strides)
        place = (self.storage_of(), self.offset, self.values.shape, strides, False, OrderedDict())
        return sys.modules["torch._utils"]._rebuild_tensor_v2, place

    def storage_of(self) -> "Storage":
        return Storage(self.storage)


class Storage:
    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values


def torch_file(path: Path, saved: object, *, is_older: bool = False) -> Path:
    """Write what torch.save would of nested dicts and lists with `Tensor` in them."""
    storages: dict[str, NDArray[Any]] = {}
    with _names_of_torch():
        main = _pickled(saved, storages, is_older=is_older)
    if not is_older:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", main)
            archive.writestr("archive/byteorder", "little")
            for key, values in storages.items():
                archive.writestr(f"archive/data/{key}", values.tobytes())
        return path
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    heads = [pickle.dumps(one, protocol=2) for one in (0x1950A86A20F9469CFC6C, 1001, info)]
    numbers = [struct.pack("<q", values.size) + values.tobytes() for values in storages.values()]
    path.write_bytes(b"".join([*heads, main, pickle.dumps(list(storages), protocol=2), *numbers]))
    return path


def state_file(path: Path, state: Mapping[str, NDArray[Any]], *, is_older: bool = False) -> Path:
    """Write a state dict."""
    tensors = OrderedDict((name, Tensor(values)) for name, values in state.items())
    return torch_file(path, tensors, is_older=is_older)


def _pickled(saved: object, storages: dict[str, NDArray[Any]], *, is_older: bool) -> bytes:
    keys: dict[int, str] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, one: object) -> object:
            if not isinstance(one, Storage):
                return None
            values = one.values
            key = keys.setdefault(id(values), str(len(keys)))
            storages[key] = values
            kind = getattr(sys.modules["torch"], f"{_KINDS[values.dtype.str]}Storage")
            view = (None,) if is_older else ()
            return ("storage", kind, key, "cpu", values.size, *view)

    file = io.BytesIO()
    Pickler(file, protocol=2).dump(saved)
    return file.getvalue()


@contextmanager
def _names_of_torch() -> Iterator[None]:
    """Let a pickle name what torch has."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in _KINDS.values():
        setattr(torch, f"{kind}Storage", type(f"{kind}Storage", (), {"__module__": "torch"}))

    def rebuild(*_: object) -> None: ...

    rebuild.__name__ = rebuild.__qualname__ = "_rebuild_tensor_v2"
    rebuild.__module__ = "torch._utils"
    utils._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
