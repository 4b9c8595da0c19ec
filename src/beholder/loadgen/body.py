"""The bytes of each request's body, built once per image before the first request is sent."""

from pathlib import Path
from typing import NamedTuple

from beholder.client.images import IMAGE_TYPES

__all__ = ["Bodies", "Body", "multipart_body"]

# Bodies beyond this many bytes are read anew for each request: slower, but the folder may have any size.
_KEPT_BYTES_MAX = 1 << 29


class Body(NamedTuple):
    """A request's body and the headers that belong to it."""

    content: bytes
    headers: dict[str, str]


class Bodies:
    """The bodies for a list of images.

    Args:
        images: The files.
        is_raw: Whether the file is sent as it is, with its image type, or as the multipart field `myfile`.
        boundary: Separates the parts of a multipart body; no image may contain it.
    """

    def __init__(self, images: tuple[Path, ...], *, is_raw: bool, boundary: str) -> None:
        self._images = images
        self._is_raw = is_raw
        self._boundary = boundary
        self._kept: dict[int, Body] = {}

    def preload(self, image_count: int) -> None:
        """Read the first `image_count` images, as far as they fit in memory.

        Raises:
            OSError: A file cannot be read.
        """
        kept_bytes = 0
        for image in range(min(image_count, len(self._images))):
            body = self._build(image)
            kept_bytes += len(body.content)
            if kept_bytes > _KEPT_BYTES_MAX:
                return
            self._kept[image] = body

    def of(self, image: int) -> Body:
        """Return the body for the image of this number.

        Raises:
            OSError: The file is not kept in memory and cannot be read.
        """
        return self._kept.get(image) or self._build(image)

    def _build(self, image: int) -> Body:
        path = self._images[image]
        content = path.read_bytes()
        if self._is_raw:
            return Body(content, {"Content-Type": IMAGE_TYPES.get(path.suffix.lower(), "image/jpeg")})
        form = multipart_body(path.name, content, self._boundary)
        return Body(form, {"Content-Type": f"multipart/form-data; boundary={self._boundary}"})


def multipart_body(file_name: str, content: bytes, boundary: str) -> bytes:
    """Return a form with one file in the field `myfile`, byte for byte what the `requests` library sends.

    Source: urllib3 2, `fields.py` (format_multipart_header_param) and `filepost.py`, read 2026-11.
    """
    escaped = file_name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="myfile"; filename="{escaped}"\r\n\r\n'
    return b"".join((head.encode(), content, f"\r\n--{boundary}--\r\n".encode()))
