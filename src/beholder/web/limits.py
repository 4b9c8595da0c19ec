"""The limits of the web tier, published at `GET /v1/limits`."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from beholder.model.decode.limits import ImageLimits
from beholder.setting import Setting

__all__ = ["WebLimits"]


@dataclass(frozen=True, slots=True)
class WebLimits:
    """The limits of the HTTP interface."""

    image: Annotated[ImageLimits, "Limits of an image."] = field(default_factory=ImageLimits)
    top_k_max: Annotated[int, "Labels that a request may ask for."] = 1000
    filter_labels_max: Annotated[int, "Classes that `include` may name, and `exclude`."] = 100
    multipart_overhead_bytes_max: Annotated[int, "Bytes of a multipart body beside the image."] = 65_536
    multipart_parts_max: Annotated[int, "Fields that a multipart body may have, the image included."] = 64
    multipart_head_bytes_max: Annotated[int, "Bytes of the headers of one field of a multipart body."] = 8_192
    multipart_images_max: Annotated[int, "Images that a form may hold, on /v1/classify."] = 32
    file_name_chars_max: Annotated[int, "Characters kept of a file's name."] = 100
    idempotency_key_chars_max: Annotated[int, "Length of an Idempotency-Key."] = 255
    wait_s_default: Annotated[
        float, "How long a request waits for its outcome by default, in seconds.", Setting(0, 600)
    ] = 60.0
    wait_s_max: Annotated[float, "Longest wait that a request may ask for, in seconds.", Setting(0, 600)] = (
        60.0
    )
    backlog_max: Annotated[
        int, "Waiting jobs beyond which new ones are refused with 503.", Setting(1, 10_000_000)
    ] = 10_000
    asynchronous_share: Annotated[
        float,
        "Share of `backlog_max` and of `uploads_bytes_max` that asynchronous jobs may fill.",
        Setting(0.01, 1),
    ] = 0.75
    heavy_pixels_min: Annotated[
        int,
        "Pixels from which an image is heavy, a JPEG's counting a quarter; one core is kept free of them.",
        Setting(1, 1_000_000_000),
    ] = 16_000_000
    requests_per_minute_max: Annotated[
        int | None,
        "Images, and other requests that write, that one caller may send in a minute: an API key, or without "
        "keys a client's address.",
        Setting(1, 1_000_000, words={"any": None}),
    ] = None
    waiters_max: Annotated[int, "Requests that may wait for their outcomes at once.", Setting(1, 100_000)] = (
        4_096
    )
    uploads_bytes_max: Annotated[
        int, "Bytes of uploads held in memory at once.", Setting(1_000_000, 100_000_000_000)
    ] = 256_000_000
    result_cache_max: Annotated[
        int | None,
        "Results that a web process remembers; the same image, model and options need no worker again.",
        Setting(1, 10_000_000, words={"off": None}),
    ] = None
    upload_s_max: Annotated[float, "How long one upload may take, in seconds."] = 60.0
    upload_link_s: Annotated[float, "How long the link of a direct upload is good, in seconds."] = 900.0
    fetches_max: Annotated[int, "Images that are fetched from addresses or buckets at once."] = 32
    fetch_s_max: Annotated[float, "How long fetching one image may take, in seconds."] = 10.0
    connections_max: Annotated[
        int, "Open connections of one web process; then idle and slow ones are closed."
    ] = 10_000
    transfer_s_min: Annotated[
        float, "How long a client may send or read if `connections_max` is reached, in seconds."
    ] = 2.0
    head_bytes_max: Annotated[int, "Length of a request's line and headers, in bytes."] = 65_536
    headers_max: Annotated[int, "Headers of a request, trailers included."] = 100
    head_s_max: Annotated[float, "How long a request's line and headers may take, in seconds."] = 20.0
    keep_alive_s: Annotated[
        float,
        "How long a connection may be idle between requests, in seconds; a balancer's time-out is less.",
        Setting(1, 3_600),
    ] = 75.0
    pipelined_max: Annotated[int, "Requests of one connection that may wait for their answers."] = 16
    chunk_overhead_bytes_max: Annotated[
        int, "What a chunked body may contain beside its data and `chunk_overhead_share` of it, in bytes."
    ] = 16_384
    chunk_overhead_share: Annotated[float, "Share of a body's data added to `chunk_overhead_bytes_max`."] = (
        0.125
    )
    send_s_max: Annotated[float, "How long a client may leave an answer unread, in seconds."] = 30.0
    linger_s_max: Annotated[
        float, "How long a client may take to close after its last answer, in seconds."
    ] = 5.0
    linger_bytes_max: Annotated[int, "What a client may send within `linger_s_max`, in bytes."] = 40_000_000

    def to_dict(self) -> dict[str, Any]:
        """Return all limits in one flat object."""
        document = asdict(self)
        image: dict[str, Any] = document.pop("image")
        return image | document
