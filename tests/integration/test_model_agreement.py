"""The built-in model on real photos: both runtimes agree, and a worker's memory stays in its budget."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from beholder.model.onnx_runtime import OnnxRuntimeClassifier
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.port import ModelSpec
from beholder.model.prepare import prepare
from beholder.model.registry import BUILTIN_MODEL, ModelRegistry

PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "labelled"
# What one more worker costs: pages of its own. The clean pages of the libraries' files, 75 MiB or more, are
# shared by all workers and not counted: how many are resident depends on how the page cache holds the files.
# Freshly installed ones come in larger pieces: 171 instead of 153 MiB in all, with one and the same Python.
WORKER_OWN_MIB_MAX = 90


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return ModelRegistry().find(BUILTIN_MODEL)


def photos() -> list[Path]:
    """Return the labelled photos."""
    if not (PHOTOS / "labels.csv").exists():
        pytest.skip("the labelled photos are not beside the repository (../shared/data/labelled)")
    with (PHOTOS / "labels.csv").open(encoding="utf-8", newline="") as file:
        return [PHOTOS / row["file"] for row in csv.DictReader(file)]


@pytest.mark.pure
def test_both_runtimes_name_every_photo_alike(spec: ModelSpec) -> None:
    images = [prepare(path.read_bytes(), spec.preprocessing) for path in photos()]

    openvino = OpenVinoClassifier(spec, precision="fp32").classify(images)
    onnxruntime = OnnxRuntimeClassifier(spec).classify(images)

    assert len(images) == 100
    assert (openvino.argmax(axis=1) == onnxruntime.argmax(axis=1)).all()
    np.testing.assert_allclose(openvino, onnxruntime, atol=1e-4)
    np.testing.assert_allclose(openvino.sum(axis=1), 1.0, atol=1e-5)


def test_labels_are_those_of_the_photos_own_list(spec: ModelSpec) -> None:
    photos()
    with (PHOTOS / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    assert [spec.labels[int(row["index"])] for row in rows] == [row["name"] for row in rows]


def test_a_batch_is_the_same_as_its_images_one_by_one(spec: ModelSpec) -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (224, 224, 3), np.uint8) for _ in range(11)]
    classifier = OpenVinoClassifier(spec, precision="fp32")

    together = classifier.classify(images)

    alone = np.concatenate([classifier.classify([image]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="memory of its own is read from Linux's /proc"
)
def test_a_workers_memory_stays_in_its_budget() -> None:
    program = """
from beholder.model import prepare
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.registry import BUILTIN_MODEL, ModelRegistry
import numpy as np
classifier = OpenVinoClassifier(ModelRegistry().find(BUILTIN_MODEL), precision="fp32")
classifier.warm_up()
classifier.classify([np.zeros((224, 224, 3), np.uint8)] * 8)
with open("/proc/self/smaps_rollup") as file:
    print(next(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)

    assert float(done.stdout) <= WORKER_OWN_MIB_MAX, f"{done.stdout.strip()} MiB of its own"
