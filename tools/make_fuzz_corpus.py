"""Make the seeds of the decoders' fuzz test, `tests/corpus`: generated pictures in every format and mode.

    python tools/make_fuzz_corpus.py

The seeds are kept in the repository, so that the fuzz test mutates the same bytes whatever encoders write on
the day. They show a computed pattern and nothing else.
"""

import io
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()
CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
ROWS, COLUMNS = np.mgrid[0:40, 0:56]
COLOUR = Image.fromarray(np.stack([COLUMNS * 4, ROWS * 5, (COLUMNS * ROWS) % 256], -1).astype(np.uint8))
GREY = COLOUR.convert("L")
PALETTE = COLOUR.quantize(64)
CLEAR = COLOUR.copy()
CLEAR.putalpha(GREY)
DEEP = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)
EXIF = Image.Exif()
EXIF[274] = 6
ICC = b"\0\0\0\x90" + b"x" * 140
ANIMATED = {"save_all": True, "append_images": [COLOUR.rotate(180)]}
SEEDS: dict[str, tuple[Image.Image, dict[str, object]]] = {
    "exif.jpeg": (COLOUR, {"exif": EXIF, "icc_profile": ICC}),
    "progressive.jpeg": (COLOUR, {"progressive": True, "subsampling": 0}),
    "progressive-restarts.jpeg": (COLOUR, {"progressive": True, "restart_marker_rows": 1}),
    "restarts.jpeg": (COLOUR, {"restart_marker_blocks": 2}),
    "grey.jpeg": (GREY, {}),
    "cmyk.jpeg": (COLOUR.convert("CMYK"), {}),
    "more.mpo": (COLOUR, {**ANIMATED, "exif": EXIF}),
    "exif.png": (COLOUR, {"exif": EXIF, "icc_profile": ICC}),
    "alpha.png": (CLEAR, {}),
    "palette.png": (PALETTE, {"transparency": 3}),
    "two-bits.png": (COLOUR.quantize(4), {"bits": 2}),
    "deep.png": (DEEP, {}),
    "bits.png": (GREY.convert("1"), {}),
    "animated.png": (COLOUR, ANIMATED),
    "exif.webp": (COLOUR, {"exif": EXIF, "icc_profile": ICC}),
    "alpha.webp": (CLEAR, {}),
    "lossless.webp": (CLEAR, {"lossless": True}),
    "animated.webp": (COLOUR, ANIMATED),
    "animated-lossless.webp": (CLEAR, {**ANIMATED, "lossless": True}),
    "plain.gif": (PALETTE, {"comment": b"a comment"}),
    "interlaced.gif": (PALETTE, {"interlace": 1}),
    "animated.gif": (PALETTE, {"save_all": True, "append_images": [PALETTE.rotate(180)], "transparency": 3}),
    "colour.bmp": (COLOUR, {}),
    "palette.bmp": (PALETTE, {}),
    "bits.bmp": (GREY.convert("1"), {}),
    "exif.tiff": (COLOUR, {"exif": EXIF}),
    "strips.tiff": (COLOUR, {"tiffinfo": {278: 7}}),
    "lzw.tiff": (COLOUR, {"compression": "tiff_lzw", "tiffinfo": {278: 7, 317: 2}}),
    "deflate.tiff": (CLEAR, {"compression": "tiff_adobe_deflate"}),
    "packbits.tiff": (PALETTE, {"compression": "packbits"}),
    "deep.tiff": (DEEP, {}),
    "exif.avif": (COLOUR, {"exif": EXIF, "icc_profile": ICC}),
    "alpha.avif": (CLEAR, {}),
    "animated.avif": (COLOUR, ANIMATED),
    "exif.heif": (COLOUR, {"exif": EXIF.tobytes(), "icc_profile": ICC}),
    "alpha.heif": (CLEAR, {}),
    "grid.heif": (COLOUR.resize((120, 80)), {"tile_size": 64}),
    "zstd.tiff": (COLOUR, {"compression": "zstd", "tiffinfo": {278: 7}}),
    "big.tiff": (COLOUR, {"big_tiff": True, "exif": EXIF, "tiffinfo": {278: 7}}),
    "float.tiff": (GREY.convert("F"), {"compression": "tiff_adobe_deflate"}),
}


def run_length_bmp() -> bytes:
    """Write what Pillow cannot: runs, pixels one by one, a jump, and ends of lines."""
    rows = (b"\x1c\x05\0\x04\1\2\3\4\x18\x07\0\0", b"\0\2\x08\0\x30\x09\0\0", b"\x38\x0b\0\0")
    codes = b"".join(rows[row % 3] for row in range(40)) + b"\0\1"
    palette = b"".join(bytes([one * 16, 255 - one * 16, one, 0]) for one in range(16))
    info = (40, 56, 40, 1 | 8 << 16, 1, len(codes), 0, 0, 16, 0)
    start = 14 + 40 + len(palette)
    head = b"BM" + (start + len(codes)).to_bytes(4, "little") + b"\0" * 4 + start.to_bytes(4, "little")
    return head + b"".join(one.to_bytes(4, "little") for one in info) + palette + codes


def main() -> None:
    """Write every seed."""
    CORPUS.mkdir(exist_ok=True)
    for name, (image, options) in SEEDS.items():
        file = io.BytesIO()
        image.save(file, name.rpartition(".")[2].upper(), **options)
        (CORPUS / name).write_bytes(file.getvalue())
    (CORPUS / "run-length.bmp").write_bytes(run_length_bmp())


if __name__ == "__main__":
    main()
