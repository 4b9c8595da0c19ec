"""Images as callers have them: paths, addresses, bytes, open files, and folders of files."""

import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from beholder.client.errors import ServiceUnreachable
from beholder.errors import BeholderError, ConfigError, Unauthorized
from beholder.job import Label

__all__ = [
    "IMAGE_TYPES",
    "STDIN",
    "FileResult",
    "Image",
    "ImageBody",
    "failed",
    "find_images",
    "name_of",
    "read_image",
]

Image = str | os.PathLike[str] | bytes | BinaryIO
"""A file's path, an address (http, https, s3), the bytes of a file, or a file open for reading bytes."""

STDIN = "-"
IMAGE_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jif": "image/jpeg",
    ".jfif": "image/jpeg",
    ".pjpeg": "image/jpeg",
    ".pjp": "image/jpeg",
    ".mpo": "image/jpeg",
    ".png": "image/png",
    ".apng": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".bmp": "image/bmp",
    ".dib": "image/bmp",
}


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one image: its labels, best first, or the error.

    Args:
        file: The path or address as it was given; the name of an open file; empty for bytes.
        labels: What the image shows.
        error: Why there are no labels.
    """

    file: str
    labels: tuple[Label, ...] = ()
    error: BeholderError | None = None


@dataclass(frozen=True, slots=True)
class ImageBody:
    """The body of a request with an image.

    Args:
        content: The image's bytes, or a JSON document with its address.
        content_type: Which of both.
        file_name: A name for the image; empty for none.
    """

    content: bytes
    content_type: str
    file_name: str


def name_of(image: Image) -> str:
    """Return what a result calls an image."""
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    name = "" if isinstance(image, bytes) else getattr(image, "name", "")
    return name if isinstance(name, str) else ""


def read_image(image: Image) -> ImageBody:
    """Return the body that sends an image.

    Raises:
        OSError: The file cannot be read.
    """
    if isinstance(image, str) and image.startswith(("http://", "https://", "s3://")):
        member = "s3" if image.startswith("s3://") else "url"
        return ImageBody(json.dumps({member: image}).encode(), "application/json", "")
    if isinstance(image, bytes):
        content = image
    elif isinstance(image, str | os.PathLike):
        content = Path(image).read_bytes()
    else:
        content = image.read()
    # A name on disk may be no valid text.
    file_name = os.path.basename(name_of(image)).encode("utf-8", "replace").decode()  # noqa: PTH119
    return ImageBody(content, "application/octet-stream", file_name)


def find_images(paths: Sequence[str]) -> list[str]:
    """Return the image files that paths, folders (with all below them), globs and '-' stand for.

    A file given by its path may have any name; in a folder, files with an image's suffix are found. Hidden
    folders inside a folder are skipped, because programs keep thumbnails and the like there.

    Raises:
        ConfigError: Paths are empty or lead to no image; the error names all of them.
    """
    found: list[str] = []
    problems = []
    for path in paths:
        here = Path(path)
        if not path:
            # Path("") is the current folder; an empty path is more likely an unset variable.
            problems.append(
                "a path is empty; give a file, a folder or a pattern, or . for the current folder"
            )
        elif path == STDIN or here.is_file():
            found.append(path)
        elif here.is_dir():
            inside = sorted(str(one) for one in _walk(here))
            found.extend(inside)
            if not inside:
                problems.append(f"{path} holds no image ({', '.join(sorted(IMAGE_TYPES))})")
        elif matching := sorted(one for one in glob.iglob(path, recursive=True) if Path(one).is_file()):  # noqa: PTH207 -- Path.glob takes no absolute pattern
            found.extend(matching)
        else:
            problems.append(f"{path} is neither a file, a folder nor a pattern that matches one")
    if problems:
        raise ConfigError(problems)
    return list(dict.fromkeys(found))


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for one in (Path(parent, name) for name in files):
            if one.suffix.lower() in IMAGE_TYPES and one.is_file():
                yield one


def failed(image: Image, error: Exception) -> FileResult:
    """Return the result of an image that failed.

    Raises:
        ConfigError: The address is not that of a service of beholder.
        ServiceUnreachable: The service does not answer.
        Unauthorized: The service refuses the API key.
    """
    # These would befall every other image, too.
    if isinstance(error, ConfigError | ServiceUnreachable | Unauthorized):
        raise error
    if isinstance(error, BeholderError):
        return FileResult(name_of(image), error=error)
    return FileResult(
        name_of(image), error=ConfigError(f"cannot be read: {getattr(error, 'strerror', error)}")
    )
