"""The ports, settings and models that a web process is built from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from beholder.api_keys import KnownKeys
from beholder.clock import Clock
from beholder.documents import Count
from beholder.queue.port import Queue, Receiver
from beholder.results.fan_out import MapItems
from beholder.store.port import Store
from beholder.telemetry.metrics import Telemetry
from beholder.web.limits import WebLimits
from beholder.web.submission.upload import Fetch

__all__ = ["ServedModel", "WebPorts"]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model."""

    name: Annotated[str, "Names the model in requests and answers."]
    version: Annotated[str, "Echoed in every answer."]
    licence: Annotated[str, "SPDX identifier of the weights' licence."]
    source: Annotated[str, "Where the weights come from."]
    classes: Annotated[Count, "How many classes it distinguishes."]
    preprocessing: Annotated[str, "How an image's pixels become the model's input."]
    input_size: Annotated[Count | None, "Side of its input in pixels; null if it takes any size."]


@dataclass(frozen=True)
class WebPorts:
    """Everything a web process touches.

    Args:
        queue: The input queue.
        replies: This process's own reply queue.
        reply_to: Returns the name of that queue, as workers know it; the name may change.
        images: The input bucket.
        results: The output bucket.
        models: Every model served; the first is the default.
        clock: The time.
        keys: The API keys; None if requests need none.
        limits: The limits of the HTTP interface.
        fetch: Fetches an image that a request has the address of; None if addresses are refused.
        telemetry: The metrics.
        version: The version of the service.
        submit_threads: Batches of images stored at once; more than one helps if a put waits for a network.
        submit_batch_max: Images in one batch, which share one send.
        submit_gather_s: How long a batch waits for more images under load.
        map_items: Runs a function for each image of a batch; returns the results in the images' order.
        inline_bytes_max: Up to this length a message also contains its image, which saves a worker a get.
        depth_every_s: How often the input queue's depth is read.
        depth_lag_s: How far the depth may be behind.
        ready_every_s: How long an answer of `/readyz` is kept; asking the backends may cost money.
        startup_s: How long the first job waits if no worker is running.
        receive_wait_s: How long one receive waits for a reply.
        calls: Returns how many requests to AWS this process has sent, by `service:operation`.
        on_sent: Called with the number of messages after each send.
        access_log: Whether every request has a log line; a request answered with 5xx always has one.
    """

    queue: Queue
    replies: Receiver
    reply_to: Callable[[], str]
    images: Store
    results: Store
    models: tuple[ServedModel, ...]
    clock: Clock
    keys: KnownKeys | None = None
    limits: WebLimits = field(default_factory=WebLimits)
    fetch: Fetch | None = None
    telemetry: Telemetry = field(default_factory=Telemetry)
    version: str = "0"
    submit_threads: int = 1
    submit_batch_max: int = 16
    submit_gather_s: float = 0.0
    map_items: MapItems = map
    inline_bytes_max: int = 0
    depth_every_s: float = 0.25
    depth_lag_s: float = 0.0
    ready_every_s: float = 0.0
    startup_s: float = 0.8
    receive_wait_s: float = 1.0
    calls: Callable[[], Mapping[str, int]] = dict
    on_sent: Callable[[int], None] = lambda _count: None
    access_log: bool = True
