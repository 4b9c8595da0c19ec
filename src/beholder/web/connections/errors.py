"""The errors of bytes that are no HTTP request; a branch of the tree in `beholder.errors`."""

from beholder.errors import RequestError

__all__ = [
    "ChunkOverheadTooLarge",
    "ExpectationUnsupported",
    "HeadTooLarge",
    "HeadTooSlow",
    "HostInvalid",
    "HttpVersionUnsupported",
    "MethodUnknown",
    "ProtocolError",
    "TransferCodingUnsupported",
]


class ProtocolError(RequestError, code="http_malformed"):
    """The bytes sent are not a request in HTTP/1.1."""


class HostInvalid(ProtocolError, code="host_invalid"):
    """The request needs one Host header that names a host; HTTP/1.1 asks for it."""


class HeadTooLarge(ProtocolError, code="head_too_large", http_status=431):
    """The request line and headers are longer than head_bytes_max or more than headers_max; send fewer."""


class HeadTooSlow(ProtocolError, code="head_too_slow", http_status=408):
    """The request line and headers did not end within head_s_max; send them at once."""


class ChunkOverheadTooLarge(ProtocolError, code="chunk_overhead_too_large"):
    """The body's chunk sizes, extensions and trailers outweigh its data; send larger chunks."""


class ExpectationUnsupported(ProtocolError, code="expectation_unsupported", http_status=417):
    """No expectation but 100-continue can be met; send no other in Expect."""


class TransferCodingUnsupported(ProtocolError, code="transfer_coding_unsupported", http_status=501):
    """No transfer coding but chunked is understood; send the body as it is."""


class MethodUnknown(ProtocolError, code="method_unknown", http_status=501):
    """This server knows no such method; the paths take GET, HEAD and POST."""


class HttpVersionUnsupported(ProtocolError, code="http_version_unsupported", http_status=505):
    """Only HTTP/1.1 and HTTP/1.0 are spoken here; for HTTP/2 put a proxy in front."""
