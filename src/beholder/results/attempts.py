"""One message's trouble is its own: what went wrong with one of a batch, and whether its store is away.

A step does its work for each message alone and returns what went wrong as a value, so that the rest of the
batch goes on. What follows from it is the worker's decision.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

from beholder.errors import BackendError, BeholderError, ObjectNotFound
from beholder.queue.port import Received
from beholder.store.keys import PROBE_KEY
from beholder.store.port import Store

__all__ = ["Step", "Trouble", "attempt", "is_answering", "split"]

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")

Step = Literal["read", "get", "decode", "classify", "put", "send", "ack"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong with one message.

    Args:
        received: The message.
        step: Where.
        error: What.
    """

    received: Received
    step: Step
    error: Exception

    @property
    def is_backend(self) -> bool:
        """Say whether a store or queue failed, and no work of ours."""
        return isinstance(self.error, BackendError)

    @property
    def is_retryable(self) -> bool:
        """Say whether the same call may succeed in a while."""
        return isinstance(self.error, BeholderError) and self.error.retryable

    @property
    def reason(self) -> str:
        """A sentence for the operator."""
        if isinstance(self.error, BeholderError):
            return f"{self.step} failed: {self.error.message}"
        return f"{self.step} failed: {type(self.error).__name__}: {self.error}"


def attempt(function: Callable[[_Item], _Made], item: _Item) -> _Made | Exception:
    """Return what `function` makes of `item`, or whatever it raised."""
    try:
        return function(item)
    except Exception as exc:  # noqa: BLE001 -- a codec, model or vendor may raise anything; others go on
        return exc


def split(results: Iterable[_Made | Trouble], troubles: list[Trouble]) -> list[_Made]:
    """Return what was made, and add the rest to `troubles`."""
    made: list[_Made] = []
    for one in results:
        if isinstance(one, Trouble):
            troubles.append(one)
        else:
            made.append(one)
    return made


def is_answering(store: Store, step: Step) -> bool:
    """Say whether a store does for another key what it did not do for one: then it is that key's trouble."""
    found = attempt(lambda one: one.put(PROBE_KEY, b"") if step == "put" else one.get(PROBE_KEY), store)
    return isinstance(found, ObjectNotFound) or not isinstance(found, Exception)
