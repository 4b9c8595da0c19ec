"""One request over HTTP, from its sending to its outcome: the only place that knows aiohttp."""

import asyncio
import io
from dataclasses import dataclass, replace

import aiohttp
from yarl import URL

from beholder.loadgen.answer import Reply, reply_from
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
class _Response:
    reply: Reply
    location: str | None
    retry_after_s: float | None


class HttpSender:
    """Sends the shots of one plan."""

    def __init__(self, plan: LoadPlan, bodies: Bodies, session: aiohttp.ClientSession) -> None:
        """Send to the plan's URL through `session`."""
        self._url = URL(plan.url)
        self._timeout_s = plan.timeout_s
        self._is_503_retried = plan.is_503_retried
        self._bodies = bodies
        self._session = session

    async def __call__(self, shot: Shot) -> Reply:
        """Send a shot and wait for its outcome; what goes wrong is a reply with an error, never raised."""
        trail = _Trail()
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._outcome(shot, trail)
        except TimeoutError:
            reply = Reply(0, error="timeout")
        except aiohttp.ClientConnectorError as exc:
            is_refused = isinstance(exc.os_error, ConnectionRefusedError)
            reply = Reply(0, error="connection_refused" if is_refused else "connection_failed")
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL):
            reply = Reply(0, error="answer_invalid")
        except (aiohttp.ClientError, ConnectionError):
            reply = Reply(0, error="connection_lost")
        except OSError:
            reply = Reply(0, error="image_unreadable")
        if trail.retry_count or trail.was_accepted:
            return replace(reply, retry_count=trail.retry_count, was_accepted=trail.was_accepted)
        return reply

    async def _outcome(self, shot: Shot, trail: _Trail) -> Reply:
        response = await self._post(shot)
        while self._is_503_retried and response.reply.status == _STATUS_OVERLOADED:
            await asyncio.sleep(_pause_s(response, _RETRY_S))
            trail.retry_count += 1
            response = await self._post(shot)
        if not response.reply.is_pending:
            return response.reply
        trail.was_accepted = True
        return await self._polled(response)

    async def _post(self, shot: Shot) -> _Response:
        content, headers = self._bodies.of(shot.image)
        data = content if len(content) <= _PLAIN_BYTES_MAX else io.BytesIO(content)
        async with self._session.post(
            self._url, data=data, headers=headers, allow_redirects=False
        ) as response:
            return _read(response, await response.read())

    async def _polled(self, response: _Response) -> Reply:
        if response.location is None:
            return replace(response.reply, error="answer_invalid", is_pending=False)
        url = self._url.join(URL(response.location))
        while response.reply.is_pending:
            await asyncio.sleep(_pause_s(response, _POLL_S))
            async with self._session.get(url, allow_redirects=False) as polled:
                response = _read(polled, await polled.read())
        return response.reply


def _read(response: aiohttp.ClientResponse, body: bytes) -> _Response:
    headers = response.headers
    reply = reply_from(response.status, headers.get("Content-Type", ""), body)
    return _Response(reply, headers.get("Location"), _seconds(headers.get("Retry-After")))


def _pause_s(response: _Response, default_s: float) -> float:
    return max(_PAUSE_S_MIN, default_s if response.retry_after_s is None else response.retry_after_s)


def _seconds(text: str | None) -> float | None:
    """Read a Retry-After in seconds; its other form, a date, is left to the caller's default."""
    return float(text) if text and text.isdecimal() else None
