"""Finds the classes of a model by what a request calls them: a name, a class number or a WordNet id."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property

from beholder.web.wordnet import label_of_id

__all__ = ["LabelIndex"]

_WORDNET_ID = re.compile(r"n[0-9]{8}", re.ASCII)
_DIGITS_MAX = 9


class LabelIndex:
    """The labels of a model, by what they are called.

    Args:
        labels: One text per class, by class number.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels

    def find(self, written: str) -> tuple[int, ...]:
        """Return the numbers of the classes that a text names; empty if it names none.

        A name comes before a number, because a label may itself be a number. Classes that have one name are
        all meant. Case and repeated spaces do not count, unless a name in the very same letters exists.
        """
        text = " ".join(written.split())
        found = self._exact.get(text) or self._folded.get(text.casefold())
        if found is None and _WORDNET_ID.fullmatch(text):
            found = self._exact.get(label_of_id(text) or "")
        if found is None and text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX:
            found = (int(text),) if int(text) < len(self._labels) else None
        return found or ()

    @cached_property
    def _exact(self) -> dict[str, tuple[int, ...]]:
        return _by_text(self._labels)

    @cached_property
    def _folded(self) -> dict[str, tuple[int, ...]]:
        return _by_text(label.casefold() for label in self._labels)


def _by_text(labels: Iterable[str]) -> dict[str, tuple[int, ...]]:
    numbers: dict[str, tuple[int, ...]] = {}
    for number, label in enumerate(labels):
        text = " ".join(label.split())
        numbers[text] = (*numbers.get(text, ()), number)
    return numbers
