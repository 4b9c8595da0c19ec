"""From a file to the model's input."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from beholder.errors import ImageMissing, ImagePixelsTooMany, ImageSizeUnsupported, ImageTruncated
from beholder.model.decode.limits import ImageLimits
from beholder.model.port import Preprocessing, PreprocessingKind
from beholder.model.prepare import prepare

CROP = Preprocessing(size=224, crop_fraction=0.875)
STRETCH = Preprocessing(kind=PreprocessingKind.STRETCH, size=224, crop_fraction=0.875)
AS_IS = Preprocessing(kind=PreprocessingKind.AS_IS, size=None)


def photo(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [127 + 120 * np.sin(columns / 9 + c) * np.cos(rows / (7 + c)) for c in range(3)]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "size", [(8, 8), (30, 20), (224, 224), (225, 301), (500, 375), (1_300, 900), (9, 2_000)]
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_size_becomes_the_models(size: tuple[int, int], kind: str) -> None:
    pixels = prepare(encoded(photo(*size), kind), CROP)

    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize(
    ("size", "method"),
    [((500, 375), cv2.INTER_CUBIC), ((640, 512), cv2.INTER_CUBIC), ((700, 515), cv2.INTER_AREA)],
)
def test_the_square_is_centred_and_scaled_by_the_measured_method(size: tuple[int, int], method: int) -> None:
    image = photo(*size)
    side = int(0.875 * size[1])
    top, left = (size[1] - side + 1) // 2, (size[0] - side + 1) // 2

    square = np.asarray(image)[top : top + side, left : left + side]

    assert np.array_equal(prepare(encoded(image), CROP), cv2.resize(square, (224, 224), interpolation=method))


@pytest.mark.parametrize(("size", "method"), [((500, 375), cv2.INTER_CUBIC), ((700, 300), cv2.INTER_AREA)])
def test_the_whole_image_or_its_centre_is_stretched(size: tuple[int, int], method: int) -> None:
    image = photo(*size)
    columns, rows = (int(0.875 * side) for side in size)
    top, left = (size[1] - rows + 1) // 2, (size[0] - columns + 1) // 2

    part = np.asarray(image)[top : top + rows, left : left + columns]

    expected = cv2.resize(part, (224, 224), interpolation=method)
    assert np.array_equal(prepare(encoded(image), STRETCH), expected)


@pytest.mark.parametrize("taken", [CROP, STRETCH], ids=["crop", "stretch"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(301, 222), (300, 221), (222, 301), (460, 601)])
def test_turning_after_scaling_equals_turning_before(
    orientation: int, size: tuple[int, int], taken: Preprocessing
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = encoded(photo(*size), exif=exif, compress_level=1)
    upright = Image.fromarray(prepare(stored, AS_IS))

    turned = prepare(stored, taken).astype(int)

    assert np.abs(turned - prepare(encoded(upright, compress_level=1), taken)).max() <= 1


def test_a_large_jpeg_is_decoded_small_and_looks_the_same() -> None:
    image = photo(300, 225).resize((2_400, 1_800))

    scaled = prepare(encoded(image, "JPEG", quality=95), CROP).astype(int)
    exact = prepare(encoded(image, "PNG", compress_level=1), CROP)

    assert np.abs(scaled - exact).mean() < 3


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_image_below_the_models_smallest_is_refused_as_it_stands_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = encoded(photo(20, 30), exif=exif)
    fits = Preprocessing(kind=PreprocessingKind.AS_IS, size=None, height_min=30, width_min=20)

    if orientation == 1:
        assert prepare(stored, fits).shape == (30, 20, 3)
    else:
        with pytest.raises(ImageSizeUnsupported, match="30 x 20 pixels; the smallest it runs is 20 x 30"):
            prepare(stored, fits)


def test_as_is_leaves_the_size_alone_and_turns_the_image_upright() -> None:
    exif = Image.Exif()
    exif[274] = 6

    pixels = prepare(encoded(photo(30, 20), exif=exif), AS_IS)

    assert np.array_equal(pixels, np.rot90(np.asarray(photo(30, 20)), -1))
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


def test_what_cannot_be_prepared_is_refused() -> None:
    with pytest.raises(ImageMissing):
        prepare(b"", CROP)
    with pytest.raises(ImagePixelsTooMany):
        prepare(encoded(photo(30, 20)), CROP, ImageLimits(image_pixels_max=599))
    with pytest.raises(ImageTruncated):
        prepare(encoded(photo(30, 20), "JPEG")[:-9], CROP)
