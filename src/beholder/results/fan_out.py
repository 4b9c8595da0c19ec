"""How the items of a batch are worked on: one after the other, or at the same time."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

__all__ = ["MapItems"]

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class MapItems(Protocol):
    """Calls a function with every item and yields the results in the order of the items.

    `map` makes one call after the other, the `map` of a thread pool several at the same time. The function
    returns errors and does not raise them: an error would leave other calls running.
    """

    def __call__(self, function: Callable[[_Item], _Made], items: Sequence[_Item], /) -> Iterable[_Made]:
        """Call `function` with every item."""
        ...
