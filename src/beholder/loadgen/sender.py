"""Sends one request over HTTP, with its retries and its polling; the only module that knows aiohttp."""

import asyncio
import io
from dataclasses import dataclass, replace
from http import HTTPStatus

import aiohttp
from yarl import URL

from beholder.loadgen.answer import Response, response_from
from beholder.loadgen.body import Bodies
from beholder.loadgen.plan import LoadPlan, Shot

__all__ = ["HttpSender", "open_session"]

# The pauses if the service names none: short enough for exact latencies, long enough to cost it nothing.
_POLL_S = 0.25
_RETRY_S = 1.0
# A Retry-After of 0 would otherwise turn a client into a busy loop.
_PAUSE_S_MIN = 0.05
# Above this aiohttp warns that writing plain bytes blocks the loop; it sends a file object in pieces.
_PLAIN_BYTES_MAX = 1 << 20
# Many servers close an idle connection after 5 s; a connection must not be closed just as it is reused.
_KEEPALIVE_S = 4.0


def open_session() -> aiohttp.ClientSession:
    """Open a session that keeps connections alive and adds no header that a request does not need."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        skip_auto_headers=("Accept-Encoding",),
        headers={"User-Agent": "beholder-load"},
    )


@dataclass(slots=True)
class _Trail:
    """What happened before the final response; kept apart, so that a timeout does not lose it."""

    retry_count: int = 0
    was_accepted: bool = False


@dataclass(frozen=True, slots=True)
class _Headed:
    """A response with the two headers that say where and when to poll or retry."""

    response: Response
    location: str | None
    retry_after_s: float | None


class HttpSender:
    """Sends the requests of one plan."""

    def __init__(self, plan: LoadPlan, bodies: Bodies, session: aiohttp.ClientSession) -> None:
        self._url = URL(plan.url)
        self._key_headers = {"Authorization": f"Bearer {plan.key}"} if plan.key else {}
        self._timeout_s = plan.timeout_s
        self._is_503_retried = plan.is_503_retried
        self._bodies = bodies
        self._session = session

    async def __call__(self, shot: Shot) -> Response:
        """Send a request and return the final response; a failure is returned as a response with an error."""
        trail = _Trail()
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._outcome(shot, trail)
        except TimeoutError:
            response = Response(0, error="timeout")
        except aiohttp.ClientConnectorError as exc:
            is_refused = isinstance(exc.os_error, ConnectionRefusedError)
            response = Response(0, error="connection_refused" if is_refused else "connection_failed")
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL):
            response = Response(0, error="answer_invalid")
        except (aiohttp.ClientError, ConnectionError):
            response = Response(0, error="connection_lost")
        except OSError:
            response = Response(0, error="image_unreadable")
        if trail.retry_count or trail.was_accepted:
            return replace(response, retry_count=trail.retry_count, was_accepted=trail.was_accepted)
        return response

    async def _outcome(self, shot: Shot, trail: _Trail) -> Response:
        headed = await self._post(shot)
        while self._is_503_retried and headed.response.status == HTTPStatus.SERVICE_UNAVAILABLE:
            await asyncio.sleep(_pause_s(headed, _RETRY_S))
            trail.retry_count += 1
            headed = await self._post(shot)
        if not headed.response.is_pending:
            return headed.response
        trail.was_accepted = True
        return await self._polled(headed)

    async def _post(self, shot: Shot) -> _Headed:
        content, headers = self._bodies.of(shot.image)
        data = content if len(content) <= _PLAIN_BYTES_MAX else io.BytesIO(content)
        headers = headers | self._key_headers
        async with self._session.post(self._url, data=data, headers=headers, allow_redirects=False) as answer:
            return _read(answer, await answer.read())

    async def _polled(self, headed: _Headed) -> Response:
        if headed.location is None:
            return replace(headed.response, error="answer_invalid", is_pending=False)
        url = self._url.join(URL(headed.location))
        # The key goes to no other server, wherever a Location leads.
        headers = self._key_headers if url.origin() == self._url.origin() else {}
        while headed.response.is_pending:
            await asyncio.sleep(_pause_s(headed, _POLL_S))
            async with self._session.get(url, headers=headers, allow_redirects=False) as polled:
                headed = _read(polled, await polled.read())
        return headed.response


def _read(answer: aiohttp.ClientResponse, body: bytes) -> _Headed:
    headers = answer.headers
    response = response_from(answer.status, headers.get("Content-Type", ""), body)
    return _Headed(response, headers.get("Location"), _seconds(headers.get("Retry-After")))


def _pause_s(headed: _Headed, default_s: float) -> float:
    return max(_PAUSE_S_MIN, default_s if headed.retry_after_s is None else headed.retry_after_s)


def _seconds(text: str | None) -> float | None:
    """Return a Retry-After in seconds; None for its other form, a date, so that the default applies."""
    return float(text) if text and text.isdecimal() else None
