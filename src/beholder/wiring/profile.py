"""What a deployment's profile says and offers, and which one the settings choose."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beholder.config import Settings
from beholder.store.retention import Retention
from beholder.wiring.backends import Backends, Scaling

if TYPE_CHECKING:
    from beholder.telemetry.metrics import Telemetry

__all__ = ["Profile", "profile_of"]


@dataclass(frozen=True)
class Profile:
    """All that differs between deployments.

    Args:
        settings: Of the deployment.
        is_one_machine: Queues and buckets lie in the data folder. Then `beholder up` scales the worker
            processes, `prune` and `repair` have something to work on, and a web process that ends holds
            nothing that others wait for.
        event_bucket: The bucket that sends an event for each uploaded image; empty if none does.
        first_job_s: How long the first job waits where no worker is there, in seconds.
        open_backends: Opens the queues and buckets for the process of a name, until the end of the context.
            On AWS, messages are received in turns by the name of their sender.
        open_scaling: Opens what scales the fleet beside the web process of a name.
        check_queue: Raises `ConfigError` for a queue that a person has to repair.
        make_buckets: Makes the buckets that are missing when the service starts; no other call makes a bucket
            in a data folder that has a queue, because it was lost. Raises `ConfigError` if it cannot.
        is_queue_damaged: Says whether a process has noted damage of the queue.
        open_retention: Opens what deletes old jobs beside the service; None where all is kept, or the buckets
            delete.
    """

    settings: Settings
    is_one_machine: bool
    event_bucket: str
    first_job_s: float
    open_backends: Callable[[str], AbstractContextManager[Backends]]
    open_scaling: "Callable[[Backends, str, Telemetry], AbstractContextManager[Scaling]]"
    check_queue: Callable[[], None]
    make_buckets: Callable[[], None]
    is_queue_damaged: Callable[[], bool]
    open_retention: Callable[[], Retention | None]


def profile_of(settings: Settings) -> Profile:
    """Return the profile of the deployment that the settings describe."""
    if settings.deployment.backend == "aws":
        from beholder.wiring.aws import aws_profile  # noqa: PLC0415

        return aws_profile(settings)
    from beholder.wiring.local import local_profile  # noqa: PLC0415

    return local_profile(settings)
