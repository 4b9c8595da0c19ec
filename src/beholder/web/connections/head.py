"""Checks a request's line and headers as RFC 9112 requires, beyond what the parser does."""

import re
from collections.abc import Sequence

import httptools

from beholder.errors import RequestError
from beholder.web.connections.errors import (
    ExpectationUnsupported,
    HostInvalid,
    HttpVersionUnsupported,
    MethodUnknown,
    ProtocolError,
    TransferCodingUnsupported,
)

__all__ = ["check_head", "error_of", "origin_form"]

# Source: RFC 9110 section 7.2 and RFC 3986 section 3.2.2; the port may be empty.
_HOST = re.compile(rb"(?:[\w.~!$&'()*+,;=%-]*|\[[0-9A-Fa-fv:.]+\])(?::\d{0,5})?", re.ASCII)
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ \S+ HTTP/\d\.\d\r\n")
_TLS_HANDSHAKE = b"\x16\x03"
_MAJOR_VERSION = "1."
_NOT_PARSED = "0.0"


def check_head(version: str, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Refuse a request that must not be served; return whether its body is sent in chunks.

    Args:
        version: The version of HTTP, such as '1.1'.
        headers: Names in lower case, and values.

    Raises:
        HttpVersionUnsupported: The version is not HTTP/1.
        ExpectationUnsupported: The Expect header asks for more than 100-continue.
        HostInvalid: HTTP/1.1 comes without Host, or the Host is repeated or malformed.
        TransferCodingUnsupported: The body has another transfer coding beside chunked.
        ProtocolError: The headers do not say where the body ends.
    """
    if not version.startswith(_MAJOR_VERSION):
        raise HttpVersionUnsupported
    hosts, expected, codings = [], [], []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"expect":
            expected.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
    if len(hosts) > 1 or (not hosts and version != "1.0"):
        raise HostInvalid
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise HostInvalid
    if version != "1.0" and any(one != b"100-continue" for one in _members(expected)):
        raise ExpectationUnsupported
    if codings:
        _check_codings(version, codings)
    return bool(codings)


def _check_codings(version: str, values: Sequence[bytes]) -> None:
    """Check the transfer codings as RFC 9112 sections 6.1 and 6.3 require."""
    codings = _members(values)
    if version == "1.0":
        raise ProtocolError("HTTP/1.0 knows no Transfer-Encoding; send Content-Length")
    if codings[-1:] != [b"chunked"] or codings.count(b"chunked") > 1:
        raise ProtocolError("Transfer-Encoding must end in one chunked; without it the body has no end")
    if len(codings) > 1:
        raise TransferCodingUnsupported


def _members(values: Sequence[bytes]) -> list[bytes]:
    """Return the members of a list header in lower case, without empty ones (RFC 9110 section 5.6.1)."""
    members = (one.strip().lower() for one in b",".join(values).split(b","))
    return [one for one in members if one]


def origin_form(method: bytes, target: bytes) -> bytes:
    """Return the path and query of a target that also names scheme and host (RFC 9112 section 3.2.2).

    Raises:
        ProtocolError: The target cannot be read.
    """
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError as exc:
        raise ProtocolError(
            "the target of the request cannot be read; send a path that begins with /"
        ) from exc
    if target == b"*":
        if method != b"OPTIONS":
            raise ProtocolError("only OPTIONS takes * for a target; send a path that begins with /")
        return target
    query: bytes = url.query
    return (url.path or b"/") + (b"?" + query if query else b"")


def error_of(error: httptools.HttpParserError, version: str, head: bytes) -> RequestError:
    """Return the error of bytes that the parser refused.

    Args:
        error: The parser's error; its context is the error of one of our callbacks, if that raised one.
        version: The version of HTTP, as far as it was read.
        head: The first bytes of the head; empty if the fault lies further on.
    """
    cause = error.__context__
    if isinstance(cause, RequestError):
        return cause
    if head.startswith(_TLS_HANDSHAKE):
        return ProtocolError("this port speaks plain HTTP, not TLS; write http:// instead of https://")
    if not version.startswith(_MAJOR_VERSION) and version != _NOT_PARSED:
        return HttpVersionUnsupported()
    if isinstance(error, httptools.HttpParserInvalidMethodError) and _REQUEST_LINE.match(head):
        return MethodUnknown()
    reason = str(error).strip()
    return ProtocolError(f"the request is not valid HTTP/1.1: {reason}" if reason else None)
