"""How much memory an import of a large graph takes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

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
    options = ["--name", "large", "--labels", tmp_path / "names.txt", "--preprocessing", "torchvision"]
    command = ["models", "import", tmp_path / "large.onnx", *options, "--data-dir", tmp_path / "data"]
    # when
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, command)], capture_output=True, check=True, text=True
    )
    # then
    peak_bytes = json.loads(done.stdout.splitlines()[-1])
    print(f"{peak_bytes / 1e6:.0f} MB for a graph of {len(content) / 1e6:.0f} MB")
    assert peak_bytes < PEAK_BYTES_MAX
