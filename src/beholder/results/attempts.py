"""Steps that fail for one message of a batch and not for the others.

A step works on each message alone and returns an error as a value, the message's `Trouble`, so that the rest
of the batch goes on. The worker decides what follows from it.
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
    """The error that a step met with one message."""

    received: Received
    step: Step
    error: Exception

    @property
    def is_backend(self) -> bool:
        """Say whether a store or queue failed, and not the worker's own work."""
        return isinstance(self.error, BackendError)

    @property
    def is_retryable(self) -> bool:
        """Say whether the same call may succeed later."""
        return isinstance(self.error, BeholderError) and self.error.retryable

    @property
    def reason(self) -> str:
        """A sentence for the operator."""
        if isinstance(self.error, BeholderError):
            return f"{self.step} failed: {self.error.message}"
        return f"{self.step} failed: {type(self.error).__name__}: {self.error}"


def attempt(function: Callable[[_Item], _Made], item: _Item) -> _Made | Exception:
    """Return what `function` returns for `item`, or what it raises."""
    try:
        return function(item)
    except Exception as exc:  # noqa: BLE001 -- a codec, model or vendor may raise anything; others go on
        return exc


def split(results: Iterable[_Made | Trouble], troubles: list[Trouble]) -> list[_Made]:
    """Return what succeeded, and add the rest to `troubles`."""
    made: list[_Made] = []
    for result in results:
        if isinstance(result, Trouble):
            troubles.append(result)
        else:
            made.append(result)
    return made


def is_answering(store: Store, step: Step) -> bool:
    """Say whether a store that failed for one key works for another key."""
    found = attempt(lambda to: to.put(PROBE_KEY, b"") if step == "put" else to.get(PROBE_KEY), store)
    return isinstance(found, ObjectNotFound) or not isinstance(found, Exception)
