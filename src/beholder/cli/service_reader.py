"""Reads what a service says of itself, for the commands that look at one."""

import contextlib
from collections.abc import Callable, Iterator

import httpx2

from beholder.client.access import ServiceAccess
from beholder.client.answers import error_of
from beholder.clock import MonotonicClock

__all__ = ["service_reader"]

_ANSWER_S_MAX = 10.0


@contextlib.contextmanager
def service_reader(url: str, key: str) -> Iterator[Callable[[str], bytes]]:
    """Return what gets the body at a path of a service; that raises BeholderError.

    Args:
        url: Of one web process.
        key: The API key; empty for none.

    Raises:
        ConfigError: The address or the key is none.
    """
    clock = MonotonicClock()
    access = ServiceAccess(url, key or None, _ANSWER_S_MAX, host_name="", clock=clock, jitter=lambda: 0.0)

    def get(path: str) -> bytes:
        try:
            answer = access.answer(http.get(path))
        except httpx2.HTTPError as exc:
            raise access.failure(exc) from exc
        if error := error_of(answer):
            raise error
        return answer.body

    with httpx2.Client(**access.options(None), timeout=_ANSWER_S_MAX) as http:
        yield get
