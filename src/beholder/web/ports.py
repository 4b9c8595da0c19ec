"""The ports, settings and models that a web process is built from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from beholder.api_keys import KnownKeys
from beholder.clock import Clock
from beholder.documents import Count, Probability
from beholder.job.reference import reference_of
from beholder.queue.port import Queue
from beholder.results.fan_out import MapItems
from beholder.store.port import Store
from beholder.telemetry.metrics import Telemetry
from beholder.web.limits import WebLimits
from beholder.web.submission.direct_uploads import Presign
from beholder.web.submission.reply_sources import ReplySource
from beholder.web.submission.upload import ImageFetchers
from beholder.web.webhooks.ports import WebhookPorts

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
    is_multi_label: Annotated[
        bool, "Whether each class has a probability of its own, so that an image may show several or none."
    ] = False
    crop_fraction: Annotated[
        Probability,
        "What the model sees: with `centre-crop` the side of the centred square as a fraction of the shorter "
        "side; with `stretch` the sides of the centred part as a fraction of the image's; 1 with `as-is`.",
    ] = 1.0
    embedding_size: Annotated[
        Count | None, "How many values its embedding has, for `/v1/embed`; null if it gives none."
    ] = None

    @property
    def applied_function(self) -> str:
        """What makes the model's probabilities, as Hugging Face names it."""
        return "sigmoid" if self.is_multi_label else "softmax"

    @property
    def reference(self) -> str:
        """Its name and version, as requests and messages name both."""
        return reference_of(self.name, self.version)


@dataclass(frozen=True)
class WebPorts:
    """Everything a web process touches.

    Args:
        queue: The input queue.
        replies: Brings the replies to this process.
        reply_to: Returns the name to which workers send them; the name may change.
        images: The input bucket.
        results: The output bucket.
        models: Every model served; the first is the default.
        labels: The labels of each model by class number, by the model's reference.
        clock: The time.
        keys: The API keys; None if requests need none.
        limits: The limits of the HTTP interface.
        presign: Signs links for direct uploads to the input bucket; None if links lead to the service.
        fetchers: Fetch the images that requests only name.
        telemetry: The metrics.
        version: The version of the service.
        submit_threads: Batches of images stored at once; more than one helps if a put waits for a network.
        submit_batch_max: Images in one batch, which share one send.
        submit_gather_s: How long a batch waits for more images under load.
        submit_loop_bytes_max: Length of an image up to which the event loop stores it; -1 if it stores none.
        map_items: Runs a function for each image of a batch; returns the results in the images' order.
        inline_bytes_max: Up to this length a message also contains its image, which saves a worker a get.
        depth_every_s: How often the input queue's depth is read.
        depth_lag_s: How far the depth may be behind.
        ready_every_s: How long an answer of `/readyz` is kept; asking the backends may cost money.
        startup_s: How long the first job waits if no worker is running.
        calls: Returns how many requests to AWS this process has sent, by `service:operation`.
        running: Returns the jobs that workers hold and when each was received; none where that is not known.
        on_sent: Called with the number of messages after each send.
        webhooks: How webhooks leave; None if there are none.
        access_log: Whether every request has a log line; a request answered with 5xx always has one.
    """

    queue: Queue
    replies: ReplySource
    reply_to: Callable[[], str]
    images: Store
    results: Store
    models: tuple[ServedModel, ...]
    clock: Clock
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    keys: KnownKeys | None = None
    limits: WebLimits = field(default_factory=WebLimits)
    presign: Presign | None = None
    fetchers: ImageFetchers = field(default_factory=ImageFetchers)
    telemetry: Telemetry = field(default_factory=Telemetry)
    version: str = "0"
    submit_threads: int = 1
    submit_batch_max: int = 16
    submit_gather_s: float = 0.0
    submit_loop_bytes_max: int = -1
    map_items: MapItems = map
    inline_bytes_max: int = 0
    depth_every_s: float = 0.25
    depth_lag_s: float = 0.0
    ready_every_s: float = 0.0
    startup_s: float = 0.8
    calls: Callable[[], Mapping[str, int]] = dict
    running: Callable[[], Mapping[str, float]] = dict
    on_sent: Callable[[int], None] = lambda _count: None
    webhooks: WebhookPorts | None = None
    access_log: bool = True
