"""One request over HTTP, from its sending to its outcome: the only place that knows aiohttp."""

import asyncio
import io
from dataclasses import dataclass, replace

import aiohttp
from yarl import URL

from beholder.loadgen.answer import Response, response_from
from beholder.loadgen.body import Bodies
from beholder.loadgen.plan import LoadPlan, Shot

__all__ = ["HttpSender", "open_session"]

_STATUS_OVERLOADED = 503
# Where the service names no time of its own: often enough to be exact, seldom enough to cost it nothing.
_POLL_S = 0.25
_RETRY_S = 1.0
# A Retry-After of 0 would otherwise turn a client into a busy loop.
_PAUSE_S_MIN = 0.05
# Above this aiohttp warns that writing plain bytes holds up the loop; a file object it sends in pieces.
_PLAIN_BYTES_MAX = 1 << 20
# Below the 5 s after which many a server closes an idle connection, so that none is closed as it is reused.
_KEEPALIVE_S = 4.0


def open_session() -> aiohttp.ClientSession:
    """Open a session that keeps connections alive and adds nothing to a request that it does not need."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        skip_auto_headers=("Accept-Encoding",),
        headers={"User-Agent": "beholder-load"},
    )


@dataclass(slots=True)
class _Trail:
    """What happened on the way; kept apart, so that a timeout does not lose it."""

    retry_count: int = 0
    was_accepted: bool = False


@dataclass(frozen=True, slots=True)
class _Headed:
    """A response with the two headers that say where and when to ask again."""

    response: Response
    location: str | None
    retry_after_s: float | None


class HttpSender:
    """Sends the shots of one plan."""

    def __init__(self, plan: LoadPlan, bodies: Bodies, session: aiohttp.ClientSession) -> None:
        """`plan` has the URL, `session` the connections."""
        self._url = URL(plan.url)
        self._timeout_s = plan.timeout_s
        self._is_503_retried = plan.is_503_retried
        self._bodies = bodies
        self._session = session

    async def __call__(self, shot: Shot) -> Response:
        """Send a shot and wait for its outcome; a failure is a response with an error, never raised."""
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
        while self._is_503_retried and headed.response.status == _STATUS_OVERLOADED:
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
        async with self._session.post(self._url, data=data, headers=headers, allow_redirects=False) as answer:
            return _read(answer, await answer.read())

    async def _polled(self, headed: _Headed) -> Response:
        if headed.location is None:
            return replace(headed.response, error="answer_invalid", is_pending=False)
        url = self._url.join(URL(headed.location))
        while headed.response.is_pending:
            await asyncio.sleep(_pause_s(headed, _POLL_S))
            async with self._session.get(url, allow_redirects=False) as polled:
                headed = _read(polled, await polled.read())
        return headed.response


def _read(answer: aiohttp.ClientResponse, body: bytes) -> _Headed:
    headers = answer.headers
    response = response_from(answer.status, headers.get("Content-Type", ""), body)
    return _Headed(response, headers.get("Location"), _seconds(headers.get("Retry-After")))


def _pause_s(headed: _Headed, default_s: float) -> float:
    return max(_PAUSE_S_MIN, default_s if headed.retry_after_s is None else headed.retry_after_s)


def _seconds(text: str | None) -> float | None:
    """Read a Retry-After in seconds; for its other form, a date, the caller has a default."""
    return float(text) if text and text.isdecimal() else None
