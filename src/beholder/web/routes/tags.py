"""The caller's tag: a word of its own for a job, which it finds its jobs by."""

import re
from collections.abc import Mapping

from beholder.errors import BadParameter

__all__ = ["TAG", "read_tag"]

TAG = r"[A-Za-z0-9_.:/=@+\-]{1,64}"
"""The pattern of a tag: no character of it is escaped in metadata of S3 or in a query."""

_TAG = re.compile(TAG)
_SHOWN_CHARS_MAX = 50


def read_tag(values: Mapping[str, str]) -> str | None:
    """Return the tag among parameters; None if there is none.

    Raises:
        BadParameter: It is no tag.
    """
    tag = values.get("tag") or None
    if tag is not None and not _TAG.fullmatch(tag):
        raise BadParameter(
            f"tag is {tag[:_SHOWN_CHARS_MAX]!r}; send 1 to 64 letters, digits and . _ : / = @ + - in ASCII"
        )
    return tag
