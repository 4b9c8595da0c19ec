"""How much memory an import of a large graph takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from helpers.torch_files import state_file
from resnet_reference import random_state
from tiny_models import graph_file

# Four layers of this width have 301 MB.
WIDTH = 4336
LAYERS = 4
# What the interpreter and the libraries take, and one form of the weights, twice as large as the file.
PEAK_BYTES_MAX = 600_000_000

# Of this program alone: ru_maxrss is at least what the process had that started it, such as a test process
# after a thousand tests.
PROGRAM = """
import re, sys
from pathlib import Path
from beholder.cli.main import beholder
beholder(sys.argv[1:], standalone_mode=False)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.alone
def test_an_import_of_300_mb_takes_600_mb_of_memory(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = {"first": random.standard_normal((WIDTH, 3), np.float32)}
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "first"], ["x0"], transB=1),
    ]
    for layer in range(LAYERS):
        weights[f"w{layer}"] = random.standard_normal((WIDTH, WIDTH), np.float32) / 64
        nodes.append(helper.make_node("Gemm", [f"x{layer}", f"w{layer}"], [f"x{layer + 1}"], transB=1))
    content = graph_file(
        nodes, inputs={"image": ["n", 3, 32, 32]}, outputs={f"x{LAYERS}": ["n", WIDTH]}, weights=weights
    )
    assert len(content) > 300_000_000
    (tmp_path / "large.onnx").write_bytes(content)
    (tmp_path / "names.txt").write_text("\n".join(f"c{number}" for number in range(WIDTH)), encoding="utf-8")
    options = ["--labels", tmp_path / "names.txt", "--preprocessing", "torchvision"]
    # when
    peak_bytes = peak_of_import(tmp_path / "large.onnx", options, tmp_path / "data")
    # then
    print(f"{peak_bytes / 1e6:.0f} MB for a graph of {len(content) / 1e6:.0f} MB")
    assert peak_bytes < PEAK_BYTES_MAX


@pytest.mark.slow
@pytest.mark.alone
def test_an_import_of_a_checkpoint_of_250_mb_takes_600_mb_of_memory(tmp_path: Path) -> None:
    # given a resnet152 of torchvision, with more classes
    classes = 2_000
    state = random_state(classes=classes, depths=(3, 8, 36, 3), bottleneck=(1, 64))
    size_bytes = state_file(tmp_path / "large.pth", state).stat().st_size
    assert size_bytes > 249_000_000
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(classes))), encoding="utf-8")
    options = ["--labels", tmp_path / "names.txt", "--preprocessing", "torchvision"]
    # when
    peak_bytes = peak_of_import(tmp_path / "large.pth", options, tmp_path / "data")
    # then
    print(f"{peak_bytes / 1e6:.0f} MB for a checkpoint of {size_bytes / 1e6:.0f} MB")
    assert peak_bytes < PEAK_BYTES_MAX


def peak_of_import(file: Path, options: list[object], data_dir: Path) -> int:
    """Return the most memory that `beholder models import` has at once, in bytes."""
    command = ["models", "import", file, "--name", "large", *options, "--data-dir", data_dir]
    # Random networks of a hundred layers answer otherwise in bf16.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, command)],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "BEHOLDER_PRECISION": "fp32"},
    )
    return int(json.loads(done.stdout.splitlines()[-1]))
