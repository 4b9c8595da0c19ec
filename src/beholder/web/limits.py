"""Everything that the web tier bounds, published at `GET /v1/limits`."""

from dataclasses import asdict, dataclass, field
from typing import Any

from beholder.model.decode.limits import ImageLimits

__all__ = ["WebLimits"]


@dataclass(frozen=True, slots=True)
class WebLimits:
    """Bounds of the HTTP interface.

    Args:
        image: Bounds on an image.
        top_k_max: Labels that a request may ask for.
        multipart_overhead_bytes_max: What a multipart body may hold beside the image, in bytes.
        multipart_parts_max: Fields that a multipart body may have, the image included.
        multipart_head_bytes_max: Length of the headers of one field of a multipart body, in bytes.
        file_name_chars_max: Characters kept of a file's name.
        idempotency_key_chars_max: Length of an Idempotency-Key.
        wait_s_default: How long a request waits for its answer when it does not say, in seconds.
        wait_s_max: Longest wait that a request may ask for, in seconds.
        backlog_max: Waiting jobs beyond which new ones are refused with 503.
        asynchronous_share: Share of `backlog_max` and of `uploads_bytes_max` that asynchronous jobs may fill.
        heavy_pixels_min: Pixels from which an image counts as heavy; those of a JPEG count a quarter.
        waiters_max: Requests that may wait for their answers at once.
        uploads_bytes_max: Bytes of uploads held in memory at once.
        upload_s_max: How long one upload may take, in seconds.
        connections_max: Open connections of one web process; where it is reached, idle and slow ones are
            closed.
        transfer_s_min: How long a client may send or read where `connections_max` is reached, in seconds.
        head_bytes_max: Length of a request's line and headers, in bytes.
        headers_max: Headers of a request, trailers included.
        head_s_max: How long a request's line and headers may take, in seconds.
        keep_alive_s: How long a connection stays open between two requests, in seconds.
        pipelined_max: Requests of one connection that may wait for their answers.
        chunk_overhead_bytes_max: What a chunked body may hold beside its data and `chunk_overhead_share` of
            it, in bytes.
        chunk_overhead_share: Share of a chunked body's data that `chunk_overhead_bytes_max` adds to.
        send_s_max: How long a client may leave an answer unread, in seconds.
        linger_s_max: How long a client may take to end after its connection's last answer, in seconds.
        linger_bytes_max: What a client may send within `linger_s_max`, in bytes.
    """

    image: ImageLimits = field(default_factory=ImageLimits)
    top_k_max: int = 1000
    multipart_overhead_bytes_max: int = 65_536
    multipart_parts_max: int = 64
    multipart_head_bytes_max: int = 8_192
    file_name_chars_max: int = 100
    idempotency_key_chars_max: int = 255
    wait_s_default: float = 60.0
    wait_s_max: float = 60.0
    backlog_max: int = 10_000
    asynchronous_share: float = 0.75
    heavy_pixels_min: int = 16_000_000
    waiters_max: int = 4_096
    uploads_bytes_max: int = 256_000_000
    upload_s_max: float = 60.0
    connections_max: int = 10_000
    transfer_s_min: float = 2.0
    head_bytes_max: int = 65_536
    headers_max: int = 100
    head_s_max: float = 20.0
    keep_alive_s: float = 75.0
    pipelined_max: int = 16
    chunk_overhead_bytes_max: int = 16_384
    chunk_overhead_share: float = 0.125
    send_s_max: float = 30.0
    linger_s_max: float = 5.0
    linger_bytes_max: int = 40_000_000

    def to_dict(self) -> dict[str, Any]:
        """Return all bounds in one flat object."""
        document = asdict(self)
        image: dict[str, Any] = document.pop("image")
        return image | document
