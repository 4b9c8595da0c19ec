"""Finds the name that a caller probably meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["nearest"]

_CUTOFF = 0.6
_CHARS_MAX = 64


def nearest(written: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `written`, whatever its case and separators; None if none is."""
    if len(written) > _CHARS_MAX:
        return None
    plain = {_plain(name): name for name in known}
    found = get_close_matches(_plain(written), plain, 1, _CUTOFF)
    return plain[found[0]] if found else None


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]", "", name).lower()
