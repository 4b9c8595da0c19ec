"""One connection of a client: uvicorn's protocol, with bounds on the bytes and seconds that it may take."""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from beholder.errors import Overloaded, RequestError
from beholder.telemetry.log import log_event
from beholder.web.connections.errors import ChunkOverheadTooLarge, HeadTooLarge, HeadTooSlow, MethodUnknown
from beholder.web.connections.head import check_head, error_of, origin_form
from beholder.web.connections.lingering import LingeringTransport
from beholder.web.connections.registry import Connections
from beholder.web.limits import WebLimits
from beholder.web.middleware import new_request_id
from beholder.web.problems import problem_of

__all__ = ["BoundedProtocol"]

_log = logging.getLogger(__name__)

# The parser calls back for each header and chunk in a piece, which takes a few milliseconds at most.
_PIECE_BYTES = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """Refuses requests that RFC 9112 does not allow or that exceed a limit.

    The parser buffers a head or a trailer without a bound, so the protocol counts the bytes that are no data.
    A refusal is sent after the connection's earlier requests are answered. An answer that is sent before its
    request has ended closes the connection.

    Args:
        limits: What a connection may take.
        connections: The connections of the process.
        on_refusal: Called with the status of each refusal.
        named: The arguments that uvicorn gives its protocols.
    """

    def __init__(
        self, limits: WebLimits, connections: Connections, on_refusal: Callable[[int], None], **named: Any
    ) -> None:
        super().__init__(**named)
        self._allow_versions()
        self._on_refusal = on_refusal
        self.url = b""
        self._limits = limits
        self._connections = connections
        self._lingering: LingeringTransport
        self._is_in_head = True
        self._has_head_begun = False
        self._is_ignoring_upgrade = False
        # The heads that have ended; then, of the current request: the bytes of its head so far, the body's
        # bytes of data, and the body's other bytes.
        self._heads = 0
        self._head_bytes = 0
        self._has_chunks = False
        self._data_bytes = 0
        self._overhead_bytes = 0
        self._unanswered = 0
        self._keeps_alive = True
        self._refusal: RequestError | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    # --- the connection -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or refuse it if too many are open."""
        self._lingering = LingeringTransport(transport, self._limits, self._may_send)
        super().connection_made(cast("asyncio.Transport", self._lingering))
        self._head_timer = self.loop.call_later(self._limits.head_s_max, self._end_late_head)
        if not self._connections.add(self):
            self._refuse(Overloaded("the service has as many connections as it allows", retry_after_s=5))
            if not self._connections.may_linger:
                transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers of the connection, and count it no more."""
        self._connections.remove(self)
        self._lingering.cancel_timer()
        self._cancel_head_timer()
        self._cancel_send_timer()
        super().connection_lost(exc)

    def shed(self) -> None:
        """Close the connection at once, to make room for another."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Close once the current request is answered."""
        self._keeps_alive = False
        super().shutdown()
        self._lingering.stop_lingering()

    def pause_writing(self) -> None:
        """Abort the connection if the client does not read within `send_s_max`."""
        super().pause_writing()
        self._connections.set_transferring(self)
        self._send_timer = self.loop.call_later(self._limits.send_s_max, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue, since the client reads."""
        self._cancel_send_timer()
        if self._unanswered and self._is_in_head:
            self._connections.set_working(self)
        super().resume_writing()

    # --- bytes ----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Feed the parser, in pieces if a hostile client could make it slow with many bytes."""
        if len(data) <= _PIECE_BYTES:
            self._feed(data)
            return
        rest = memoryview(data)
        while len(rest) > _PIECE_BYTES and (self._is_in_head or self._has_chunks):
            self._feed(rest[:_PIECE_BYTES])
            rest = rest[_PIECE_BYTES:]
        self._feed(rest)

    def _feed(self, data: bytes | memoryview) -> None:
        """Feed the parser, and count the bytes that are no data."""
        if self._refusal or self._lingering.is_closing():
            self._lingering.count_dropped(len(data))
            return
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        was_in_head, heads, data_bytes = self._is_in_head, self._heads, self._data_bytes
        is_at_start = was_in_head and not self._has_head_begun
        rest = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            # Continued after the handler: inside it, this exception would be the context of the next error.
            rest = bytes(data[exc.args[0] :])
        except httptools.HttpParserError as exc:
            head = bytes(data) if is_at_start and heads == self._heads else b""
            self._refuse(error_of(exc, self.parser.get_http_version(), head))
            return
        if rest is not None:
            self._restart_without_upgrade(rest)
        elif heads != self._heads:
            self._head_bytes = 0
        elif was_in_head:
            self._count_head(len(data))
        elif self._has_chunks and not self._is_in_head:
            self._count_overhead(len(data) - (self._data_bytes - data_bytes))
        # A line end between two requests stops uvicorn's keep-alive timer, so it starts this one.
        is_unfinished = self._has_head_begun or (was_in_head and heads == self._heads)
        if is_unfinished and self._is_in_head and self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_s_max, self._end_late_head)

    def _restart_without_upgrade(self, rest: bytes) -> None:
        """Parse the request again without its Upgrade header; with it, the parser would drop the body."""
        self._is_ignoring_upgrade = False
        head = self._head_without_upgrade()
        self.parser = httptools.HttpRequestParser(self)
        self._allow_versions()
        self.data_received(head + rest)

    def _allow_versions(self) -> None:
        """Let the parser accept every version: a later minor one is served as 1.1 (RFC 9110 section 2.5)."""
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True, lenient_version=True)

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > self._limits.head_bytes_max:
            self._refuse(self._head_too_large())

    def _count_overhead(self, count: int) -> None:
        self._overhead_bytes += count
        limits = self._limits
        bytes_max = limits.chunk_overhead_bytes_max + self._data_bytes * limits.chunk_overhead_share
        if self._overhead_bytes > bytes_max:
            self._refuse(ChunkOverheadTooLarge())

    # --- what the parser finds ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin the counts of a new request."""
        self._has_head_begun = True
        self._data_bytes = self._overhead_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check the head, and start its request."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise MethodUnknown
            self._is_ignoring_upgrade = True
            return
        if len(self.headers) > self._limits.headers_max or self._is_head_too_large():
            raise self._head_too_large()
        version = self.parser.get_http_version()
        has_chunks = check_head(version, self.headers)
        # A client of HTTP/1.0 would take an interim answer for the final one.
        self.expect_100_continue = self.expect_100_continue and version != "1.0"
        if self._unanswered == self._limits.pipelined_max:
            raise Overloaded("the connection has as many unanswered requests as allowed; wait for answers")
        if not self.url.startswith(b"/"):
            self.url = origin_form(self.parser.get_method(), self.url)
        super().on_headers_complete()
        # Trailers are dropped, since they could pass for headers.
        self.headers = []
        self._has_chunks = has_chunks
        self._is_in_head = self._has_head_begun = False
        self._heads += 1
        self._unanswered += 1
        self._connections.set_transferring(self)
        self._cancel_head_timer()
        # Off until the request has ended: an answer before its end is the last on the connection.
        self._keeps_alive = self.cycle.keep_alive
        self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Count the data, and pass it on."""
        self._data_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next head."""
        if self._is_ignoring_upgrade:
            return
        self._is_in_head = True
        self._has_chunks = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive
        self._connections.set_working(self)
        super().on_message_complete()

    # --- answers --------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Continue with the next request, or with the pending refusal."""
        self._unanswered -= 1
        super().on_response_complete()
        if self._unanswered:
            return
        if self._refusal:
            self._answer(self._refusal)
        self._connections.set_idle(self)

    def _refuse(self, error: RequestError) -> None:
        """Answer with an error after all earlier requests are answered, and close."""
        if self._refusal or self.transport.is_closing():
            return
        self._refusal = error
        if not self._is_in_head:
            self._abandon(self.cycle)
        if self._unanswered == 0:
            self._answer(error)

    def _abandon(self, cycle: RequestResponseCycle) -> None:
        """End a request whose body is malformed."""
        self._unanswered -= 1
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
            return
        if cycle.response_started:
            self.transport.close()
        cycle.disconnected = True
        cycle.message_event.set()

    def _answer(self, error: RequestError) -> None:
        if self.transport.is_closing():
            return
        request_id = new_request_id()
        answer = problem_of(error, request_id)
        headers = [
            *self.server_state.default_headers,
            *answer.raw_headers,
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        is_head = bool(self.url) and self.parser.get_method() == b"HEAD"
        body = b"" if is_head else bytes(answer.body)
        self.transport.write(STATUS_LINE[answer.status_code] + lines + b"\r\n" + body)
        self.transport.close()
        self._connections.set_idle(self)
        self._on_refusal(answer.status_code)
        client = self.client[0] if self.client else ""
        facts = {"status": answer.status_code, "code": error.code, "client": client, "request_id": request_id}
        level = logging.WARNING if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
        log_event(_log, level, "web.refused", error.message, **facts)

    def _is_head_too_large(self) -> bool:
        """Return whether the head that just ended is too large; only a head in several pieces can be."""
        bytes_max = self._limits.head_bytes_max
        if self._head_bytes + _PIECE_BYTES <= bytes_max:
            return False
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > bytes_max

    def _head_too_large(self) -> HeadTooLarge:
        limits = self._limits
        return HeadTooLarge(
            f"the request line and headers exceed {limits.head_bytes_max} bytes "
            f"or {limits.headers_max} headers; send fewer"
        )

    # --- time -----------------------------------------------------------------------------------------------

    def _end_late_head(self) -> None:
        self._head_timer = None
        if self._has_head_begun:
            self._refuse(HeadTooSlow())
        elif self._unanswered == 0:
            self.transport.close()

    def _cancel_head_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _cancel_send_timer(self) -> None:
        if self._send_timer:
            self._send_timer.cancel()
            self._send_timer = None

    def _may_send(self) -> bool:
        """Return whether the client may have more to send."""
        return not self._is_in_head or self._has_head_begun or bool(self._refusal or self.pipeline)
