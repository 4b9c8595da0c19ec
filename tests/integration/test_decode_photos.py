"""Real photos, and the largest image that is allowed."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beholder.model.decode.decode import decode
from beholder.model.decode.header import read_header
from beholder.model.decode.limits import ImageLimits
from beholder.model.port import Preprocessing
from beholder.model.prepare import prepare

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT.parent / "shared" / "data"
SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))
LIMITS = ImageLimits()
# Eight bytes a pixel: what Pillow holds, what is returned, and a band in between.
BYTES_PER_PIXEL_MAX = 8


@pytest.mark.parametrize("folder", ["labelled", "imagenet-100"])
def test_every_photo_decodes_as_pillow_decodes_it(folder: str) -> None:
    photos = sorted((PHOTOS / folder).glob("*.JPEG"))
    if not photos:
        pytest.skip(f"../shared/data/{folder} is absent: the test photos are not part of the repository")

    for photo in photos:
        data = photo.read_bytes()
        pixels = decode(data, read_header(data, LIMITS)).astype(np.int16)
        with Image.open(io.BytesIO(data)) as image:
            assert np.abs(pixels - np.asarray(image.convert("RGB"))).mean() < 1, photo.name
        assert prepare(data, Preprocessing()).shape == (224, 224, 3)


def test_the_samples_are_small_and_decode() -> None:
    assert len(SAMPLES) >= 6
    listed = (ROOT / "samples" / "README.md").read_text()
    for sample in SAMPLES:
        data = sample.read_bytes()
        header = read_header(data, LIMITS)
        assert len(data) <= 150_000
        assert max(header.width, header.height) <= 640
        assert prepare(data, Preprocessing()).shape == (224, 224, 3)
        assert f"`{sample.name}`" in listed


MEASURE = """
import sys
from pathlib import Path
from beholder.model.port import Preprocessing, PreprocessingKind
from beholder.model.prepare import prepare
data = Path(sys.argv[1]).read_bytes()
def peak():
    # ru_maxrss of a child begins at its parent's; the peak of its own address space does not.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1_024
before = peak()
print(prepare(data, Preprocessing(kind=PreprocessingKind.AS_IS, size=None)).shape[:2])
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "JPEG", {"quality": 50}),
        ("RGB", "JPEG", {"quality": 50, "progressive": True}),
        ("RGBA", "PNG", {"compress_level": 1}),
        ("P", "GIF", {}),
        ("RGBA", "WEBP", {"quality": 10, "method": 0}),
        ("F", "TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_the_largest_image_decodes_in_bounded_memory(
    mode: str, kind: str, options: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "large"
    Image.linear_gradient("L").resize((8_000, 8_000)).convert(mode).save(path, kind, **options)
    assert path.stat().st_size < LIMITS.image_bytes_max

    # In a process of its own, as the peak of a process never falls.
    run = [sys.executable, "-c", MEASURE, str(path)]
    shape, peak = subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()

    assert shape == "(8000, 8000)"
    assert int(peak) < LIMITS.image_pixels_max * BYTES_PER_PIXEL_MAX
