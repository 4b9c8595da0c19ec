"""Reads a multipart form (RFC 7578, RFC 2046 section 5.1.1): its parts, and which of them is the image.

Boundaries are found with `bytes.find`, which takes linear time for any body, one window at a time, so that
other threads can run between two windows. A parser that steps through the body in Python can be made slow
by a hostile body: 20 MB of almost-boundaries took 7.6 s.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from beholder.errors import (
    ImageMissing,
    ImagesTooMany,
    MultipartMalformed,
    ParameterRepeated,
    ParameterUnknown,
)
from beholder.web.nearest import nearest

__all__ = [
    "IMAGE_FIELDS",
    "Part",
    "header_parameters",
    "image_part",
    "image_parts",
    "split_form",
    "text_fields",
]

IMAGE_FIELDS = ("myfile", "file", "image", "inputFile", "data")

# Longer parameters contain nothing that is used here, and take time that grows faster than their length.
_PARAMETERS_BYTES_MAX = 4_096
_PADDING_BYTES_MAX = 80
# A boundary is random: data with so many lookalikes is hostile, or the boundary was chosen badly.
_LOOKALIKES_MAX = 100
# Searched in at most 5 ms.
_WINDOW_BYTES = 1_000_000

_NAME_CHARS_MAX = 50
_NAMES_MAX = 8
# Several files in one field, as RFC 2388 allowed.
_NESTED = re.compile(rb"\s*--[^\r\n]{1,200}\r\ncontent-", re.IGNORECASE)
_TEXT_HEAD_BYTES = 64


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a form; `file_name` is None if the part has none."""

    name: str
    file_name: str | None
    data: bytes

    @property
    def is_file(self) -> bool:
        """Whether the part is a file; if it has no file name, its content shows whether it is a text."""
        return self.file_name is not None or (self.name in IMAGE_FIELDS and not _is_text(self.data))


def header_parameters(value: str | bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the value of a header such as Content-Type in lower case, and its parameters."""
    return parse_options_header(value[:_PARAMETERS_BYTES_MAX])


def split_form(body: bytes, boundary: bytes, *, parts_max: int, head_bytes_max: int) -> list[Part]:
    """Return the parts of a form in their order.

    Args:
        body: The form.
        boundary: The boundary that its Content-Type header names.
        parts_max: How many parts the form may have.
        head_bytes_max: How long the headers of a part may be.

    Raises:
        MultipartMalformed: The body is no form, ends too early, or has too many parts or too long headers.
    """
    delimiter = b"\r\n--" + boundary
    parts: list[Part] = []
    # The first delimiter needs no line end before it; text before it is no part.
    after = len(delimiter) - 2
    if not (body.startswith(delimiter[2:]) and _is_delimiter(body, after)):
        after = _find(body, delimiter, 0) + len(delimiter)
    while body[after : after + 2] != b"--":
        if len(parts) == parts_max:
            raise MultipartMalformed(f"the multipart body has more than {parts_max} fields; send fewer")
        head_start = body.index(b"\r\n", after)
        head_end = body.find(b"\r\n\r\n", head_start, head_start + head_bytes_max)
        if head_end < 0:
            raise (
                _cut_off()
                if len(body) - head_start < head_bytes_max
                else _unreadable(f"the headers of a part exceed {head_bytes_max} bytes")
            )
        name, file_name = _disposition(body[head_start + 2 : head_end])
        end = _find(body, delimiter, head_end + 4)
        parts.append(Part(name, file_name, body[head_end + 4 : end]))
        after = end + len(delimiter)
    return parts


def image_part(parts: Sequence[Part]) -> Part:
    """Return the part that is the image: a file before a text, and an empty part only if there is no other.

    Raises:
        ImageMissing: No part is an image.
        ImagesTooMany: Several parts are files.
    """
    named = [part for part in parts if part.name in IMAGE_FIELDS]
    files = [part for part in parts if part.is_file and part.data]
    if len(files) > 1:
        raise ImagesTooMany(
            f"the form holds {len(files)} files ({_names(files)}); send one image in each request"
        )
    if not named or (files and files[0].name not in IMAGE_FIELDS):
        raise ImageMissing(_without_image(parts))
    image = next(iter(files or [part for part in named if part.data] or named))
    _refuse_nested(image)
    return image


def image_parts(parts: Sequence[Part], *, count_max: int) -> list[Part]:
    """Return the images of a form that may hold several, in their order; one as `image_part` returns it.

    Beside several files, a file without bytes counts if it has a name: its caller sent it, and finds the
    answers by their order. A field of a page that was not filled in has no name.

    Args:
        parts: The form's parts.
        count_max: How many images the form may hold.

    Raises:
        ImageMissing: No part is an image.
        ImagesTooMany: More parts are images.
        ParameterUnknown: One of several files is in a field that is not an image's.
    """
    files = [part for part in parts if part.is_file and part.data]
    if len(files) <= 1:
        return [image_part(parts)]
    others = [part for part in files if part.name not in IMAGE_FIELDS]
    if others:
        raise ParameterUnknown(
            f"the form holds files in other fields ({_names(others)}); send each image as one of "
            f"{', '.join(IMAGE_FIELDS)}"
        )
    images = [
        part for part in parts if part.is_file and part.name in IMAGE_FIELDS and (part.data or part.file_name)
    ]
    if len(images) > count_max:
        raise ImagesTooMany(f"the form holds {len(images)} files; send at most {count_max} in each request")
    for image in images:
        _refuse_nested(image)
    return images


def _refuse_nested(image: Part) -> None:
    if _NESTED.match(image.data):
        raise ImagesTooMany(
            f"the field {image.name} contains another form, as some clients send several files; "
            "send one image in each field"
        )


def text_fields(parts: Sequence[Part]) -> dict[str, str]:
    """Return the names and values of the text fields without the empty ones, which were not filled in.

    Raises:
        ParameterRepeated: A field occurs twice.
    """
    fields: dict[str, str] = {}
    for part in parts:
        if part.file_name is not None or part.name in IMAGE_FIELDS or not part.data:
            continue
        if part.name in fields:
            name = part.name[:_NAME_CHARS_MAX]
            raise ParameterRepeated(f"{name!r} is given more than once in the form; give it once")
        fields[part.name] = part.data.decode("utf-8", "replace")
    return fields


def _is_text(data: bytes) -> bool:
    """Return whether data begins like text; no image does."""
    # The last character may be cut in two.
    head = data[:_TEXT_HEAD_BYTES].decode("utf-8", "replace").rstrip("\ufffd")
    return "\ufffd" not in head and all(char.isprintable() or char in "\r\n\t" for char in head)


def _names(parts: Sequence[Part]) -> str:
    return ", ".join(repr(part.name[:_NAME_CHARS_MAX]) for part in parts[:_NAMES_MAX])


def _without_image(parts: Sequence[Part]) -> str:
    meant = next((name for part in parts if (name := nearest(part.name, IMAGE_FIELDS))), None)
    hint = f"did you mean {meant}?" if meant else "send the image as one of these"
    names = _names(parts) or "none"
    return f"the form has no field named {', '.join(IMAGE_FIELDS)} (its fields: {names}); {hint}"


def _find(body: bytes, delimiter: bytes, start: int) -> int:
    """Return where the next delimiter begins."""
    for _ in range(_LOOKALIKES_MAX):
        found = _find_text(body, delimiter, start)
        if found < 0:
            raise _cut_off() if start or not body else _unreadable("its boundary is not in it")
        if _is_delimiter(body, found + len(delimiter)):
            return found
        start = found + len(delimiter)
    raise _unreadable("its data contains lines that begin like the boundary")


def _find_text(body: bytes, text: bytes, start: int) -> int:
    for at in range(start, len(body), _WINDOW_BYTES):
        found = body.find(text, at, at + _WINDOW_BYTES + len(text) - 1)
        if found >= 0:
            return found
    return -1


def _is_delimiter(body: bytes, after: int) -> bool:
    """Return whether only white space or the two hyphens of the end follow on the boundary's line."""
    if body[after : after + 2] in (b"--", b"\r\n"):
        return True
    line_end = body.find(b"\r\n", after, after + _PADDING_BYTES_MAX)
    return line_end >= 0 and not body[after:line_end].strip(b" \t")


def _disposition(head: bytes) -> tuple[str, str | None]:
    """Return the name of a part, and the name of its file or None."""
    parameters: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n") if head else []:
        name, colon, value = line.partition(b":")
        if not colon:
            raise _unreadable("a part has a line without a colon among its headers")
        if name.lower() == b"content-disposition":
            _, parameters = header_parameters(value)
    part_name = parameters.get(b"name", b"").decode("utf-8", "replace")
    file_name = parameters.get(b"filename")
    return part_name, None if file_name is None else file_name.decode("utf-8", "replace")


def _cut_off() -> MultipartMalformed:
    return MultipartMalformed("the multipart body ends before its closing boundary; send all of it")


def _unreadable(why: str) -> MultipartMalformed:
    return MultipartMalformed(f"the multipart body cannot be read: {why}")
