"""Work on the items of a batch, one after the other or at the same time."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

__all__ = ["MapItems", "map_in_turn"]

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class MapItems(Protocol):
    """Calls a function with every item and gives what it returned, in the order of the items.

    The calls may run at the same time. The functions given here return errors and do not raise them, so that
    none is left running where another failed.
    """

    def __call__(self, function: Callable[[_Item], _Made], items: Sequence[_Item], /) -> Iterable[_Made]:
        """Call `function` with every item."""
        ...


def map_in_turn(function: Callable[[_Item], _Made], items: Sequence[_Item], /) -> Iterable[_Made]:
    """Call `function` with one item after the other; see `MapItems`."""
    return [function(one) for one in items]
