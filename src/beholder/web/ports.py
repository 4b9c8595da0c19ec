"""What the web tier works with."""

from dataclasses import dataclass, field

from beholder.clock import Clock
from beholder.queue.port import Queue
from beholder.store.port import Store
from beholder.telemetry.metrics import Telemetry
from beholder.web.limits import WebLimits

__all__ = ["ServedModel", "WebPorts"]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as `GET /v1/models` tells of it."""

    name: str
    version: str
    licence: str
    source: str
    classes: int
    preprocessing: str
    input_size: int | None


@dataclass(frozen=True)
class WebPorts:
    """Everything a web process touches.

    Args:
        queue: The input queue.
        replies: This process's own reply queue.
        reply_to: Its name, as workers know it.
        images: The input bucket.
        results: The output bucket.
        models: Every model served; the first is the default.
        clock: The time.
        limits: What the HTTP interface bounds.
        telemetry: Where it counts.
        version: Of the service.
        accept_threads: Batches of images stored at once; more than one pays where a put waits for a network.
        accept_batch_max: Images in one batch, which share one send.
    """

    queue: Queue
    replies: Queue
    reply_to: str
    images: Store
    results: Store
    models: tuple[ServedModel, ...]
    clock: Clock
    limits: WebLimits = field(default_factory=WebLimits)
    telemetry: Telemetry = field(default_factory=Telemetry)
    version: str = "0"
    accept_threads: int = 1
    accept_batch_max: int = 16
