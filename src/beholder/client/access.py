"""What both clients have: the service's address, the API key, and what httpx sends and returns."""

import os
from collections.abc import Callable
from typing import Any

import httpx2

from beholder import __version__
from beholder.client.answers import HttpAnswer
from beholder.client.errors import ServiceUnreachable
from beholder.client.steps import HttpRequest, Patience, address_of
from beholder.clock import Clock
from beholder.errors import ConfigError
from beholder.job import Job, new_job_id

__all__ = ["ServiceAccess", "id_of"]

_KEY_VARIABLE = "BEHOLDER_API_KEY"
_CONNECT_S_MAX = 10.0


class ServiceAccess:
    """The way to one service.

    Args:
        url: The service's address.
        api_key: The API key; None for that of the environment.
        timeout_s: How long one call may take.
        host_name: The name that its certificate has, if not the one in the URL; empty for that.
        clock: The time.
        jitter: Returns a random number from 0 to 1.

    Raises:
        ConfigError: The address or the key is none.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        timeout_s: float,
        *,
        host_name: str,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        key = os.environ.get(_KEY_VARIABLE, "") if api_key is None else api_key
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError("the API key must be printable ASCII without spaces")
        self._url = address_of(url)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        # As httpx names it: the server is asked for this name's certificate, which is checked for the name.
        self._extensions = {"sni_hostname": host_name} if host_name else {}
        if host_name:
            self._headers["Host"] = host_name
        self._timeout_s = timeout_s
        self._clock = clock
        self._jitter = jitter
        self._was_reached = False

    def options(self, transport: Any) -> dict[str, Any]:
        """Return the arguments of httpx's client."""
        headers = self._headers | {"User-Agent": f"beholder/{__version__}"}
        # Without a limit of its own: how many requests run at once is the caller's choice.
        limits = httpx2.Limits(max_connections=None)
        return {"base_url": self._url, "headers": headers, "limits": limits, "transport": transport}

    def patience(self, timeout_s: float | None = None) -> Patience:
        """Return how long a call that begins now may take."""
        longest_s = self._timeout_s if timeout_s is None else timeout_s
        return Patience(longest_s, self._clock, self._jitter, was_reached=self._was_reached)

    def new_key(self) -> str:
        """Return a new idempotency key."""
        return new_job_id(self._clock.now_s())

    def arguments(self, request: HttpRequest) -> dict[str, Any]:
        """Return what httpx sends."""
        return {
            "method": request.method,
            "url": request.target,
            "content": request.body,
            "headers": request.headers,
            "extensions": self._extensions,
            "timeout": httpx2.Timeout(request.answer_s_max, connect=_CONNECT_S_MAX),
        }

    def answer(self, response: httpx2.Response) -> HttpAnswer:
        """Return what httpx received."""
        self._was_reached = True
        headers = {name.lower(): value for name, value in response.headers.items()}
        return HttpAnswer(response.status_code, headers, response.content)

    def failure(self, error: Exception) -> ServiceUnreachable:
        """Return the error of a request that has no answer."""
        reason = str(error) or type(error).__name__
        found = ServiceUnreachable(f"{self._url} cannot be reached: {reason}")
        found.__cause__ = error
        return found


def id_of(job: Job | str) -> str:
    """Return the id of a job, which may be given by its id."""
    return job if isinstance(job, str) else job.id
