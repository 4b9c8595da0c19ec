"""Compare an imported ResNet-18 with torch's own arithmetic; run by a Python that has torch.

Usage: python tests/torch_resnet.py FOLDER, with beholder[torch,onnxruntime] installed or on PYTHONPATH.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from beholder.model.importing import import_model
from beholder.model.onnx_runtime import OnnxRuntimeClassifier
from beholder.model.sources.source import Description
from resnet_reference import random_state

SIZES = ((64, 64), (97, 61))
TOLERANCE = 1e-4


def main(folder: Path) -> None:
    """Write a random checkpoint in both formats, import each, and compare on images of two sizes."""
    state = {name: torch.from_numpy(values) for name, values in random_state(classes=1000).items()}
    state["bn1.num_batches_tracked"] = torch.tensor(3)
    for is_zip in (True, False):
        checkpoint = folder / f"resnet18-{'zip' if is_zip else 'older'}.pth"
        torch.save(state, checkpoint, _use_new_zipfile_serialization=is_zip)
        spec = import_model(
            checkpoint,
            folder / checkpoint.stem,
            Description("resnet18"),
            load=OnnxRuntimeClassifier,
            tell=print,
        )
        classifier = OnnxRuntimeClassifier(spec)
        for height, width in SIZES:
            image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
            found = classifier.classify([image])[0]
            expected = probabilities(state, image)
            difference = float(np.abs(found - expected).max())
            print(f"{checkpoint.name} {height} x {width}: differs by {difference:.1e} at most")
            if difference > TOLERANCE or found.argmax() != expected.argmax():
                raise SystemExit("the imported graph is not the checkpoint's network")


def probabilities(state: dict[str, torch.Tensor], image: np.ndarray) -> np.ndarray:
    """Return what the class project computed: ToTensor, ResNet-18, softmax."""
    value = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    value = functional.relu(norm(state, "bn1", conv(state, "conv1", value, 2, 3)))
    value = functional.max_pool2d(value, 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            value = residual(state, f"layer{stage}.{block}", value, 2 if stage > 1 and block == 0 else 1)
    value = functional.adaptive_avg_pool2d(value, 1).flatten(1)
    return functional.linear(value, state["fc.weight"], state["fc.bias"]).softmax(dim=1)[0].numpy()


def residual(state: dict[str, torch.Tensor], name: str, value: torch.Tensor, stride: int) -> torch.Tensor:
    """Return one block of two convolutions and its shortcut."""
    inner = functional.relu(norm(state, f"{name}.bn1", conv(state, f"{name}.conv1", value, stride, 1)))
    inner = norm(state, f"{name}.bn2", conv(state, f"{name}.conv2", inner, 1, 1))
    if f"{name}.downsample.0.weight" in state:
        value = norm(state, f"{name}.downsample.1", conv(state, f"{name}.downsample.0", value, stride, 0))
    return functional.relu(inner + value)


def conv(
    state: dict[str, torch.Tensor], name: str, value: torch.Tensor, stride: int, padding: int
) -> torch.Tensor:
    """Return a convolution without bias."""
    return functional.conv2d(value, state[f"{name}.weight"], stride=stride, padding=padding)


def norm(state: dict[str, torch.Tensor], name: str, value: torch.Tensor) -> torch.Tensor:
    """Return a batch normalisation as it is after training."""
    parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return functional.batch_norm(value, *parts, training=False)


if __name__ == "__main__":
    with torch.no_grad():
        main(Path(sys.argv[1]))
