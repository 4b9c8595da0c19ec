"""Reads what torch.save wrote, without torch and without running what a pickle asks for.

A pickle is a program that may call any function by its name. This reader knows a handful of names, each of
which makes a description of plain data; every other name, and every opcode that data does not need, is
refused. Weights are views of the mapped file.

Source: torch/serialization.py, torch/_utils.py and torch/_weights_only_unpickler.py, 2.13; read 2026-11-29.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from beholder.errors import ModelInvalid

__all__ = ["TorchTensor", "read_torch_file"]

# Of the pickle, which has names, shapes and what else was saved, but no weights.
_PICKLE_BYTES_MAX = 16_000_000
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_ZIP_HEAD_BYTES = 30
_TYPES = {
    "Double": "<f8",
    "Float": "<f4",
    "Half": "<f2",
    # numpy has none; it is the upper half of a float32.
    "BFloat16": "<u2",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "u1",
}
# Protocol 2, which torch.save uses; the others make objects, or reserve memory by a number in the file.
_OPCODES = (
    "PROTO STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL REDUCE BINPERSID EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS"
)
# What the unpickler raises in a damaged file.
_DAMAGED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)


# Where the numbers of each key begin and end.
_Places = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Storage:
    """Numbers in the file, by the key under which they stand."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True, slots=True)
class TorchTensor:
    """A tensor of the file, whose numbers were not read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(content: memoryview, file: Path) -> tuple[Any, Callable[[TorchTensor], NDArray[Any]]]:
    """Return what was saved, with a description in the place of each tensor, and what reads one.

    The reader gives float32; for a float32 it copies nothing.

    Args:
        content: The file, in torch's zip form or its older one.
        file: Its path, for messages.

    Raises:
        ModelInvalid: It is damaged, is TorchScript, or holds other objects than tensors, texts and numbers in
            lists and dicts. The reader raises it too.
    """
    try:
        is_zip = bytes(content[:2]) == b"PK"
        saved, places = _read_zip(content, file) if is_zip else _read_older(content)
    except (*_DAMAGED, RecursionError) as error:
        raise _refused(file, error) from error

    def array(tensor: TorchTensor) -> NDArray[Any]:
        try:
            return _array(content, places, tensor)
        except _DAMAGED as error:
            raise _refused(file, ValueError(f"a tensor of shape {tensor.shape} lies outside it")) from error

    return saved, array


def _refused(file: Path, error: Exception) -> ModelInvalid:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return ModelInvalid(f"{file} is no checkpoint of plain tensors: {reason}; save model.state_dict() alone")


def _read_zip(content: memoryview, file: Path) -> tuple[Any, _Places]:
    """Return what was saved, and where the numbers of each key begin."""
    with zipfile.ZipFile(_View(content)) as archive:
        members = {one.filename: one for one in archive.infolist()}
        if any(name.partition("/")[2].startswith("code/") for name in members):
            raise ModelInvalid(
                f"{file} is TorchScript, a program; export it where torch is installed, and import the "
                f"ONNX file: python -c \"import torch; m = torch.jit.load('{file.name}').eval(); "
                "torch.onnx.export(m, torch.zeros(1, 3, 224, 224), 'model.onnx', dynamo=False)\""
            )
        (main,) = [name for name in members if name.endswith("/data.pkl")]
        folder = main.removesuffix("data.pkl")
        order = members.get(f"{folder}byteorder")
        if order is not None and archive.read(order) != b"little":
            raise ValueError("its numbers are big-endian; save it on another machine")
        places: _Places = {}
        for name, member in members.items():
            if not name.startswith(f"{folder}data/"):
                continue
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError("its members are compressed")
            head = content[member.header_offset : member.header_offset + _ZIP_HEAD_BYTES]
            lengths = struct.unpack("<HH", head[-4:])
            start = member.header_offset + _ZIP_HEAD_BYTES + sum(lengths)
            places[name.removeprefix(f"{folder}data/")] = (start, start + member.file_size)
        if members[main].file_size > _PICKLE_BYTES_MAX:
            raise ValueError("its list of tensors is too long")
        return _load(io.BytesIO(archive.read(main))), places


def _read_older(content: memoryview) -> tuple[Any, _Places]:
    """Return the same of the form before torch 1.6: pickles, then each storage behind its length."""
    file = io.BytesIO(content[:_PICKLE_BYTES_MAX])
    if (_load(file), _load(file)) != (_MAGIC, _PROTOCOL):
        raise ValueError("it is no file of torch.save")
    if _load(file).get("little_endian") is not True:
        raise ValueError("its numbers are big-endian; save it on another machine")
    storages: dict[str, _Storage] = {}
    saved, keys = _load(file, storages), _load(file)
    places: _Places = {}
    at = file.tell()
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(content[at : at + 8], "little")
        if count != storage.count:
            raise ValueError("its list of tensors contradicts their lengths")
        start, at = at + 8, at + 8 + count * np.dtype(_TYPES[storage.kind]).itemsize
        places[key] = (start, at)
    return saved, places


def _load(file: io.BytesIO, storages: dict[str, _Storage] | None = None) -> Any:
    return _Unpickler(file, {} if storages is None else storages).load()


def _array(content: memoryview, places: _Places, tensor: TorchTensor) -> NDArray[Any]:
    storage, kind = tensor.storage, np.dtype(_TYPES[tensor.storage.kind])
    start, end = places[storage.key]
    flat = np.frombuffer(content[start:end], kind)
    last = tensor.offset + sum(
        (size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True)
    )
    numbers = (tensor.offset, storage.count, *tensor.shape, *tensor.strides)
    # A stride of 0 would make a small file large.
    is_inside = min(numbers) >= 0 and last < len(flat) and math.prod(tensor.shape) <= len(flat)
    if not math.prod(tensor.shape):
        return np.zeros(tensor.shape, np.float32)
    if len(flat) != storage.count or not is_inside:
        raise ValueError(tensor)
    steps = [step * kind.itemsize for step in tensor.strides]
    values = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps, writeable=False)
    if storage.kind == "BFloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TorchTensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or any(type(one) is not int for one in numbers):
        raise pickle.UnpicklingError("a tensor is malformed")
    return TorchTensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _mapping(*_: Any) -> OrderedDict[Any, Any]:
    # Its items follow; a list of items as its argument is older than torch.
    return OrderedDict()


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _mapping,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", f"{kind}Storage"): kind for kind in _TYPES},
}


# In Python: the one in C reserves as many bytes for its memo as a number in the file says.
_Python: Any = pickle._Unpickler  # noqa: SLF001


class _Unpickler(_Python):  # type: ignore[misc]
    """Makes plain data, and descriptions of tensors."""

    def __init__(self, file: io.BytesIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(
                f"it holds {module}.{name}, which is not read because that may run code"
            )
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        what, kind, key, _, count, *view = pid
        if what != "storage" or kind not in _TYPES or type(count) is not int or any(view):
            raise pickle.UnpicklingError("a storage is malformed")
        return self._storages.setdefault(str(key), _Storage(kind, str(key), count))

    def load_build(self) -> None:
        """Leave out attributes of objects, such as the versions of modules beside a state dict."""
        self.stack.pop()

    dispatch: ClassVar[dict[int, Any]] = {
        **{code: _Python.dispatch[code] for code in (getattr(pickle, one)[0] for one in _OPCODES.split())},
        pickle.BUILD[0]: load_build,
    }


class _View(io.RawIOBase):
    """A file in memory that is not copied."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, (0, self._at, len(self._content))[whence] + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = len(self._content) if size is None or size < 0 else self._at + size
        found = bytes(self._content[self._at : end])
        self._at += len(found)
        return found
