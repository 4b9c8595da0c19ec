"""Everything that the web tier bounds; all of it is published at `GET /v1/limits`."""

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
        multipart_overhead_bytes_max: What a multipart body may hold beside the image.
        multipart_parts_max: Fields that a multipart body may have, the image included.
        file_name_chars_max: Characters kept of a file's name.
        idempotency_key_chars_max: Length of an Idempotency-Key.
        wait_s_default: How long a request waits when it does not say.
        wait_s_max: Longest wait that a request may ask for.
        backlog_max: Waiting jobs beyond which new ones are refused.
        asynchronous_share: Share of `backlog_max` and of `uploads_bytes_max` that asynchronous jobs may fill.
        heavy_pixels_min: Pixels from which an image counts as heavy; see `decode_cost_pixels`.
        waiters_max: Requests that may wait at once.
        uploads_bytes_max: Bytes of uploads held in memory at once.
        upload_s_max: How long one upload may take.
    """

    image: ImageLimits = field(default_factory=ImageLimits)
    top_k_max: int = 1000
    multipart_overhead_bytes_max: int = 65_536
    multipart_parts_max: int = 64
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

    def to_dict(self) -> dict[str, Any]:
        """Return all bounds in one flat object."""
        document = asdict(self)
        image: dict[str, Any] = document.pop("image")
        return image | document
