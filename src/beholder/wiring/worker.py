"""One worker process, built from a profile."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from beholder.clock import MonotonicClock
from beholder.config import Settings
from beholder.model.decode.cost import is_heavy
from beholder.model.port import Classifier
from beholder.model.prepare import prepare
from beholder.results.counters import UnreportedCounters
from beholder.runner import persist
from beholder.wiring.backends import Backends
from beholder.wiring.classifiers import warm_classifiers, warm_shadow
from beholder.wiring.draining import open_draining
from beholder.wiring.locks import PROCESSES, only_process_of
from beholder.wiring.profile import Profile
from beholder.worker.cancellations import Cancellations
from beholder.worker.consumer import Consumer, SharedPolls
from beholder.worker.extender import VisibilityExtender
from beholder.worker.journal import InFlightJournal
from beholder.worker.ports import WorkerPorts
from beholder.worker.shadow import Shadow
from beholder.worker.upload_default import UploadDefault
from beholder.worker.worker import Worker

__all__ = ["OpenWorker", "open_worker"]


@dataclass(frozen=True)
class OpenWorker:
    """A worker that is ready, and what runs beside it.

    Args:
        consumers: Each has a `tick()` of its own.
        ticks: What runs beside the consumers.
        interrupt: Ends their waiting for messages.
    """

    consumers: Worker
    ticks: Mapping[str, Callable[[], float]]
    interrupt: Callable[[], None]


@contextmanager
def open_worker(
    profile: Profile,
    name: str,
    *,
    on_hung: Callable[[], None],
    stop: threading.Event,
    in_fleet: bool = False,
) -> Iterator[OpenWorker]:
    """Open one worker, its models warm.

    Args:
        profile: Of the deployment.
        name: Unique among the workers of this machine, and the same after a restart.
        on_hung: Called when the work on a message hangs.
        stop: Ends a start that is tried again; set when the worker leaves by ending its process.
        in_fleet: A controller on this machine counts the worker by its name, and starts another when needed.
    """
    settings = profile.settings
    classifiers, shadow = warm_classifiers(settings), _shadow_of(settings)
    with ExitStack() as stack:
        backends = persist("start", lambda: stack.enter_context(profile.open_backends(name)), stop)
        ports = _worker_ports(profile, backends, classifiers, shadow)
        stack.enter_context(only_process_of(settings.deployment.data_dir, name))
        elapsed = MonotonicClock()
        extender = VisibilityExtender(
            ports.queue,
            elapsed,
            timeout_s=settings.queue.visibility_timeout_s,
            hold_max_s=settings.worker.hold_max_s,
            on_hung=on_hung,
        )
        worker = Worker(list(_consumers(settings, name, ports, backends, extender, stack=stack)))
        fleet_name = name if in_fleet else None
        draining = partial(
            open_draining, settings, backends, worker, elapsed, end_process=stop.set, fleet_name=fleet_name
        )
        ticks = persist("start", lambda: stack.enter_context(draining()), stop)
        yield OpenWorker(worker, {"extender": extender.tick, **ticks}, backends.interrupt)


def _consumers(
    settings: Settings,
    name: str,
    ports: WorkerPorts,
    backends: Backends,
    extender: VisibilityExtender,
    *,
    stack: ExitStack,
) -> Iterator[Consumer]:
    """Yield the consumers of a worker, each with a journal that the stack closes."""
    polls = SharedPolls()
    for number in range(settings.worker.consumers):
        suffix = f".{number}" if number else ""
        journal = InFlightJournal(
            settings.deployment.data_dir / PROCESSES / f"{name}{suffix}.journal", backends.clock
        )
        stack.callback(journal.close)
        yield Consumer(
            ports,
            journal,
            extender,
            batch_max=settings.worker.batch_max,
            wait_s=backends.pace.receive_wait_s,
            final_poll_s=backends.pace.final_poll_s,
            polls=polls,
            elapsed=MonotonicClock(),
        )


def _counted(backends: Backends, shadow: Shadow | None) -> Mapping[str, int]:
    return {**backends.calls(), **(shadow.totals() if shadow else {})}


def _shadow_of(settings: Settings) -> Shadow | None:
    classifier, limits = warm_shadow(settings), settings.limits
    if classifier is None:
        return None
    return Shadow(
        classifier,
        partial(prepare, limits=limits.image),
        settings.worker.shadow_share,
        partial(is_heavy, limits=limits.image, pixels_min=limits.heavy_pixels_min),
    )


def _worker_ports(
    profile: Profile, backends: Backends, classifiers: Mapping[str, Classifier], shadow: Shadow | None
) -> WorkerPorts:
    settings, limits = profile.settings, profile.settings.limits
    return WorkerPorts(
        queue=backends.queue,
        dead_letters=backends.dead_letters,
        replies=backends.replies,
        images=backends.images,
        results=backends.results,
        classifiers=classifiers,
        prepare=partial(prepare, limits=limits.image),
        clock=backends.clock,
        ready_at_s=backends.clock.now_s(),
        is_heavy=partial(is_heavy, limits=limits.image, pixels_min=limits.heavy_pixels_min),
        heavy_decodes=threading.Semaphore(settings.machine.heavy_decodes_max),
        input_bucket=profile.event_bucket,
        image_bytes_max=limits.image.image_bytes_max,
        receive_count_max=settings.queue.receive_count_max,
        map_items=backends.per_image.map_items,
        unreported=UnreportedCounters(partial(_counted, backends, shadow)),
        cancellations=Cancellations(backends.results, backends.clock, backends.pace.cancellations_every_s),
        shadow=shadow,
        upload_default=UploadDefault(backends.results, backends.clock).get,
    )
