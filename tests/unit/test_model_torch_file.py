"""Files of torch.save are read without torch, and nothing that they ask for is run."""

import collections
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beholder.errors import ConfigError, ModelInvalid
from beholder.model.checkpoint import read_checkpoint
from beholder.model.torch_file import TorchTensor, read_torch_file
from helpers.torch_files import Tensor, state_file, torch_file

pytestmark = pytest.mark.pure

STATE = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "conv.half": np.array([0.5, -2], np.float16),
    "norm.double": np.array([1e-3, 3.0]),
    "norm.steps": np.array(7),
    "norm.empty": np.zeros((0, 3), np.float32),
    "norm.flags": np.array([True, False]),
}


@pytest.mark.parametrize("is_older", [False, True])
@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict", "net", "model_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model."])
def test_a_state_dict_is_found_and_its_prefix_left_out(
    tmp_path: Path, key: str | None, prefix: str, *, is_older: bool
) -> None:
    tensors = collections.OrderedDict((f"{prefix}{name}", Tensor(values)) for name, values in STATE.items())
    more = {"epoch": 90, "lr": 0.1, "arch": "resnet18", "betas": (0.9, 0.99), "steps": [1, None, True]}
    saved = tensors if key is None else {**more, key: tensors}

    found = read_checkpoint(torch_file(tmp_path / "it.pth", saved, is_older=is_older))

    assert list(found) == list(STATE)
    for name, values in STATE.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], values.astype(np.float32))


@pytest.mark.parametrize("is_older", [False, True])
def test_views_of_one_storage_are_read_and_not_copied(tmp_path: Path, *, is_older: bool) -> None:
    storage = np.arange(12, dtype=np.float32)
    tensors = {
        "turned": Tensor(storage.reshape(3, 4).T, storage),
        "part": Tensor(storage[4:10:2], storage, offset=4),
    }

    found = read_checkpoint(torch_file(tmp_path / "it.pth", tensors, is_older=is_older))

    np.testing.assert_array_equal(found["turned"], storage.reshape(3, 4).T)
    assert found["part"].tolist() == [4, 6, 8]
    assert not any(values.flags.owndata for values in found.values())


def test_names_without_a_common_prefix_are_left_alone(tmp_path: Path) -> None:
    state = {name: np.zeros(1, np.float32) for name in ("fc.weight", "fc.bias", "conv1.weight")}

    assert list(read_checkpoint(state_file(tmp_path / "it.pth", state))) == list(state)


@pytest.mark.parametrize(
    "saved", [{"model": "not a tensor"}, [1, 2], {}, {"state_dict": {"a": 1}, "epoch": 3}, 3]
)
def test_what_has_no_state_dict_is_refused(tmp_path: Path, saved: object) -> None:
    with pytest.raises(ModelInvalid, match=r"is no state dict; save model\.state_dict\(\), not the model"):
        read_checkpoint(torch_file(tmp_path / "it.pth", saved))


def test_a_checkpoint_must_have_the_hash_in_its_name(tmp_path: Path) -> None:
    damaged = tmp_path / "resnet18-5c106cde.pth"
    damaged.write_bytes(b"cut short")

    with pytest.raises(ModelInvalid, match="its name says 5c106cde; the file is damaged"):
        read_checkpoint(damaged)
    with pytest.raises(ConfigError, match="No such file"):
        read_checkpoint(tmp_path / "nothing.pth")


# --- hostile files ------------------------------------------------------------------------------------------


class Call:
    """Makes a pickle that calls a function."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("is_older", [False, True])
def test_a_pickle_that_calls_a_function_is_refused(tmp_path: Path, protocol: int, *, is_older: bool) -> None:
    mark = tmp_path / "it was run"
    hostile = pickle.dumps({"a": Call(os.mkdir, str(mark))}, protocol=protocol)
    path = tmp_path / "it.pth"
    if is_older:
        heads = [pickle.dumps(one, protocol=2) for one in (0x1950A86A20F9469CFC6C, 1001)]
        path.write_bytes(b"".join([*heads, pickle.dumps({"little_endian": True}, protocol=2), hostile]))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", hostile)

    with pytest.raises(ModelInvalid, match=r"no checkpoint of plain tensors: .*save model\.state_dict\(\)"):
        read_checkpoint(path)

    assert not mark.exists()


def test_a_whole_model_is_refused_by_the_name_of_its_class(tmp_path: Path) -> None:
    path = tmp_path / "it.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02ctorch.nn.modules.linear\nLinear\n.")

    with pytest.raises(ModelInvalid, match=r"holds torch\.nn\.modules\.linear\.Linear, which is not read"):
        read_checkpoint(path)


def load(content: bytes, **numbers: bytes) -> Any:
    """Read a pickle in a zip file, and the tensor that it makes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        for key, values in numbers.items():
            archive.writestr(f"archive/data/{key}", values)
    saved, array = read_torch_file(memoryview(file.getvalue()), Path("it.pth"))
    return array(saved) if isinstance(saved, TorchTensor) else saved


GLOBAL = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\3\0\0\0cpuK\x04tQ"


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (b"K\1", b"K\4\x85", b"K\1\x85"),  # from behind the beginning to behind the end
        (b"J\xff\xff\xff\xff", b"K\4\x85", b"K\1\x85"),
        (b"K\0", b"J\xff\xff\xff\xff\x85", b"K\1\x85"),
        (b"K\0", b"J\xff\xff\xff\x7f\x85", b"K\0\x85"),  # a small file, and a large tensor
        (b"K\3", b"K\4\x85", b"J\xff\xff\xff\xff\x85"),
        (b"K\0", b"K\2K\2\x86", b"K\1\x85"),
        (b"K\0", b"K\5\x85", b"K\1\x85"),
        (b"K\0", b"K\0\x8a\x10" + b"\x7f" * 16 + b"\x86", b"K\1K\1\x86"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(offset: bytes, shape: bytes, strides: bytes) -> None:
    rest = b"\x89ccollections\nOrderedDict\n)RtR."
    whole = b"\x80\2" + GLOBAL + b"(" + STORAGE + b"K\0K\4\x85K\1\x85" + rest
    assert load(whole, a=bytes(16)).tolist() == [0] * 4

    with pytest.raises(ModelInvalid):
        load(b"\x80\2" + GLOBAL + b"(" + STORAGE + offset + shape + strides + rest, a=bytes(16))
    with pytest.raises(ModelInvalid):
        load(whole, a=bytes(12))
    with pytest.raises(ModelInvalid):
        load(whole, b=bytes(16))


MALFORMED = [
    b"",
    b".",
    b"\x80\2(" + b"(" * 100_000,
    b"\x80\2]]s.",
    # Opcodes that reserve memory by a number, or make objects.
    b"\x80\5\x96" + b"\xff" * 7 + b"\x0f.",
    b"\x80\4\x95" + b"\xff" * 8 + b".",
    b"\x80\2c__builtin__\nexec\n(X\4\0\0\0passtR.",
    b"(i__builtin__\nexec\n.",
    b"\x80\2\x82\1.",
    b"\x80\2" + GLOBAL + b")R.",
    b"\x80\2" + GLOBAL + b"(K\1K\1K\1K\1tR.",
    b"\x80\2(X\7\0\0\0storageK\1K\1K\1K\1tQ.",
    b"\x80\2K\1Q.",
]


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_a_malformed_pickle_is_refused(number: int) -> None:
    with pytest.raises(ModelInvalid):
        load(MALFORMED[number])


def test_a_number_in_the_file_reserves_no_memory() -> None:
    assert load(b"\x80\2}r\xff\xff\xff\x7f.") == {}


def test_the_function_that_makes_tensors_keeps_its_attributes() -> None:
    # BUILD would set them, for all files that this process reads later.
    function = load(b"\x80\2" + GLOBAL + b"N}X\x0c\0\0\0__defaults__)s\x86b.")

    assert function.__defaults__ is None


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("files")
    return [state_file(folder / f"{old}.pth", STATE, is_older=old).read_bytes() for old in (False, True)]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(files: list[bytes], data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(files)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(len(content) // 2, len(content)))

    try:
        saved, array = read_torch_file(memoryview(bytes(content[:cut])), Path("it.pth"))
        for tensor in saved.values() if isinstance(saved, dict) else ():
            if isinstance(tensor, TorchTensor):
                array(tensor)
    except ModelInvalid:
        pass
