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


class ProtocolError(RequestError):
    """The bytes sent are not a request in HTTP/1.1."""

    code = "http_malformed"


class HostInvalid(ProtocolError):
    """The request needs one Host header that names a host; HTTP/1.1 asks for it."""

    code = "host_invalid"


class HeadTooLarge(ProtocolError):
    """The request line and headers are longer than head_bytes_max or more than headers_max; send fewer."""

    code = "head_too_large"
    http_status = 431


class HeadTooSlow(ProtocolError):
    """The request line and headers did not end within head_s_max; send them at once."""

    code = "head_too_slow"
    http_status = 408


class ChunkOverheadTooLarge(ProtocolError):
    """The body's chunk sizes, extensions and trailers outweigh its data; send larger chunks."""

    code = "chunk_overhead_too_large"


class ExpectationUnsupported(ProtocolError):
    """No expectation but 100-continue can be met; send no other in Expect."""

    code = "expectation_unsupported"
    http_status = 417


class TransferCodingUnsupported(ProtocolError):
    """No transfer coding but chunked is understood; send the body as it is."""

    code = "transfer_coding_unsupported"
    http_status = 501


class MethodUnknown(ProtocolError):
    """This server knows no such method; the paths take GET, HEAD and POST."""

    code = "method_unknown"
    http_status = 501


class HttpVersionUnsupported(ProtocolError):
    """Only HTTP/1.1 and HTTP/1.0 are spoken here; for HTTP/2 put a proxy in front."""

    code = "http_version_unsupported"
    http_status = 505
