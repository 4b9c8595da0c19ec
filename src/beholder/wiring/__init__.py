"""The composition root: the only file that names concrete backends.

It turns settings into ports, and ports into the parts that each process runs. What only one kind of process
runs is imported in its function: a worker needs no web framework, a web process no numpy, and each would pay
for the other's with tens of megabytes.
"""

from __future__ import annotations

import fcntl
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from beholder import __version__
from beholder.clock import MonotonicClock
from beholder.config import Settings
from beholder.config.models import served_specs
from beholder.errors import BackendUnavailable, ConfigError
from beholder.model.decode.limits import ImageLimits
from beholder.model.port import Classifier, ModelSpec
from beholder.runner import persist
from beholder.telemetry.log import get_logger, log_event
from beholder.wiring.backends import Backends

if TYPE_CHECKING:
    from beholder.telemetry.metrics import Telemetry
    from beholder.web.app import WebApp
    from beholder.web.limits import WebLimits
    from beholder.web.ports import ServedModel
    from beholder.worker.consumer import Consumer
    from beholder.worker.extender import VisibilityExtender
    from beholder.worker.ports import WorkerPorts
    from beholder.worker.worker import Worker

_log = get_logger(__name__)

# Each shape of a batch is compiled and warmed up; larger batches gain nothing on a CPU.
_SHAPE_MAX = 10

__all__ = [
    "Backends",
    "WorkerParts",
    "image_limits",
    "load_classifier",
    "open_backends",
    "open_web",
    "open_worker",
]


def open_backends(settings: Settings, name: str = "") -> AbstractContextManager[Backends]:
    """Open the queues and buckets that the settings name; they close at the end of the context.

    Args:
        settings: Of the deployment.
        name: Of the process; on AWS receivers get turns of the messages of each.

    Raises:
        ConfigError: They cannot be used as the settings are.
        BackendError: They cannot be reached.
    """
    try:
        (settings.data_dir / "notes").mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(
            f"data_dir {settings.data_dir} cannot be used: {exc}; give another with --data-dir",
            may_pass=isinstance(exc, PermissionError),
        ) from exc
    if settings.backend == "aws":
        from beholder.wiring.aws import open_aws  # noqa: PLC0415 -- imports what only AWS needs

        return open_aws(settings, name)
    from beholder.wiring.local import open_local  # noqa: PLC0415

    return open_local(settings)


def load_classifier(spec: ModelSpec, settings: Settings, *, threads: int = 1) -> Classifier:
    """Return a classifier for a model, ready to warm up."""
    from beholder.model.openvino_cpu import OpenVinoClassifier  # noqa: PLC0415

    precision = None if settings.precision == "auto" else settings.precision
    return OpenVinoClassifier(
        spec, precision=precision, threads=threads, batch_max=min(settings.batch_max, _SHAPE_MAX)
    )


def image_limits(settings: Settings) -> ImageLimits:
    """Return the bounds on an image."""
    return ImageLimits(
        image_bytes_max=settings.image_bytes_max,
        image_pixels_max=settings.image_pixels_max,
        image_side_max=settings.image_side_max,
        image_side_min=settings.image_side_min,
    )


@dataclass(frozen=True)
class WorkerParts:
    """A worker and what runs beside it.

    Args:
        consumers: Each a tick of its own.
        extender: Keeps what they hold hidden.
        backends: What they work with.
        ticks: What runs beside them so that the worker leaves in time.
    """

    consumers: Worker
    extender: VisibilityExtender
    backends: Backends
    ticks: Mapping[str, Callable[[], float]]


@contextmanager
def open_worker(
    settings: Settings,
    name: str,
    *,
    on_hung: Callable[[], None],
    stop: threading.Event,
    in_fleet: bool = False,
) -> Iterator[WorkerParts]:
    """Open one worker, its models warm.

    Args:
        settings: Of the deployment.
        name: Unique among the workers of this machine, and the same after a restart.
        on_hung: Called when the work on a message hangs.
        stop: Ends a start that is tried again; set when the worker shall leave by ending its process.
        in_fleet: A controller on this machine counts it by its name and starts another when one is needed.
    """
    from beholder.wiring.leaving import draining_of  # noqa: PLC0415
    from beholder.worker.extender import VisibilityExtender  # noqa: PLC0415
    from beholder.worker.worker import Worker  # noqa: PLC0415

    classifiers = _warm_classifiers(settings)
    with ExitStack() as stack:
        backends = persist("start", lambda: stack.enter_context(open_backends(settings, name)), stop)
        ports = _worker_ports(settings, backends, classifiers)
        stack.enter_context(_only_one(settings, name))
        elapsed = MonotonicClock()
        extender = VisibilityExtender(
            ports.queue,
            elapsed,
            timeout_s=settings.visibility_timeout_s,
            hold_max_s=settings.hold_max_s,
            on_hung=on_hung,
        )
        consumers = list(_consumers(settings, name, ports, backends, extender, stack=stack))
        worker = Worker(consumers)
        fleet_name = name if in_fleet else ""
        leave = partial(draining_of, settings, backends, worker, elapsed, stop.set, fleet_name=fleet_name)
        leaving = persist("start", leave, stop)
        stack.callback(leaving.end)
        yield WorkerParts(worker, extender, backends, leaving.ticks)


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
    from beholder.worker.consumer import Consumer, SharedPolls  # noqa: PLC0415
    from beholder.worker.journal import InFlightJournal  # noqa: PLC0415

    polls = SharedPolls()
    for number in range(settings.consumers):
        suffix = f".{number}" if number else ""
        journal = InFlightJournal(settings.data_dir / "notes" / f"{name}{suffix}.note")
        stack.callback(journal.close)
        yield Consumer(
            ports,
            journal,
            extender,
            batch_max=settings.batch_max,
            wait_s=backends.receive_wait_s,
            final_poll_s=backends.final_poll_s,
            polls=polls,
            elapsed=MonotonicClock(),
        )


def _warm_classifiers(settings: Settings) -> dict[str, Classifier]:
    """Return a ready classifier for every model served; one beside the default may be one that only refuses.

    Jobs of such a model are handed back, for a worker that has it, and are given up in the end.
    """
    from beholder.model.unloaded import UnloadedClassifier  # noqa: PLC0415
    from beholder.results.attempts import attempt  # noqa: PLC0415

    classifiers: dict[str, Classifier] = {}
    for name in settings.model:
        found = attempt(partial(_warm_classifier, settings), name)
        if not isinstance(found, Exception):
            classifiers[found.spec.name] = found
            continue
        if not classifiers:
            raise found
        log_event(
            _log, logging.ERROR, "worker.model_unloaded", f"{type(found).__name__}: {found}", model=name
        )
        classifiers[name] = UnloadedClassifier(found)
    return classifiers


def _warm_classifier(settings: Settings, name: str) -> Classifier:
    """Return a ready classifier for a model: as many in one as consumers can compute at once."""
    from beholder.model.pool import ClassifierPool  # noqa: PLC0415

    (spec,) = served_specs(replace(settings, model=(name,)))
    count = min(settings.consumers, settings.workers) or 1
    one: Classifier = load_classifier(spec, settings)
    if settings.consumers > 1:
        one = ClassifierPool([one, *(load_classifier(spec, settings) for _ in range(count - 1))])
    one.warm_up()
    return one


def _worker_ports(settings: Settings, backends: Backends, classifiers: dict[str, Classifier]) -> WorkerPorts:
    from beholder.model.decode.cost import is_heavy  # noqa: PLC0415
    from beholder.model.prepare import prepare  # noqa: PLC0415
    from beholder.worker.ports import WorkerPorts  # noqa: PLC0415

    return WorkerPorts(
        queue=backends.queue,
        dead_letters=backends.dead_letters,
        replies=backends.replies,
        images=backends.images,
        results=backends.results,
        classifiers=classifiers,
        prepare=partial(prepare, limits=image_limits(settings)),
        clock=backends.clock,
        is_heavy=partial(is_heavy, limits=image_limits(settings), pixels_min=settings.heavy_pixels_min),
        heavy_decodes=threading.Semaphore(settings.heavy_decodes_max),
        input_bucket=_drop_bucket(settings),
        image_bytes_max=settings.image_bytes_max,
        receive_count_max=settings.receive_count_max,
        map_items=backends.per_image.map_items,
        calls=backends.calls,
    )


def _drop_bucket(settings: Settings) -> str:
    """Return the bucket whose events tell of dropped images; folders tell of nothing."""
    return settings.input_bucket if settings.backend == "aws" else ""


@contextmanager
def open_web(settings: Settings, name: str, *, connections_max: int) -> Iterator[WebApp]:
    """Open one web process's application.

    Args:
        settings: Of the deployment.
        name: Unique among the web processes; its reply queue is named after it.
        connections_max: Connections that it takes at once.
    """
    from beholder.dead_letters.consumer import DeadLetterConsumer  # noqa: PLC0415
    from beholder.telemetry.metrics import Telemetry  # noqa: PLC0415
    from beholder.web.app import build_app  # noqa: PLC0415
    from beholder.web.ports import WebPorts  # noqa: PLC0415

    telemetry = Telemetry()
    never = threading.Event()
    with ExitStack() as stack:
        backends = persist("start", lambda: stack.enter_context(open_backends(settings, name)), never)
        stack.enter_context(_only_one(settings, name))
        replies = persist("start", lambda: stack.enter_context(backends.own_replies(name)), never)
        scaling = stack.enter_context(_scaling_of(settings, backends, name, telemetry))
        per_image = backends.per_image
        ports = WebPorts(
            queue=backends.queue,
            replies=replies.queue,
            reply_to=replies.name,
            images=backends.images,
            results=backends.results,
            models=tuple(_served(spec) for spec in served_specs(settings)),
            clock=backends.clock,
            limits=_web_limits(settings, connections_max),
            telemetry=telemetry,
            version=__version__,
            accept_threads=per_image.accept_threads,
            accept_batch_max=per_image.accept_batch_max,
            accept_gather_s=per_image.accept_gather_s,
            map_items=per_image.map_items,
            inline_bytes_max=per_image.inline_bytes_max,
            depth_every_s=backends.depth_every_s,
            depth_lag_s=settings.depth_lag_s if settings.backend == "aws" else 0.0,
            ready_every_s=backends.ready_every_s,
            **({"startup_s": settings.startup_s} if settings.launch_template else {}),
            receive_wait_s=backends.receive_wait_s,
            calls=backends.calls,
            on_sent=scaling.on_sent,
            access_log=settings.access_log == "all",
        )
        dead_letter_consumer = DeadLetterConsumer(
            backends.dead_letters,
            backends.results,
            backends.replies,
            backends.clock,
            wait_s=backends.receive_wait_s,
            input_bucket=_drop_bucket(settings),
        )
        ticks = {"dead_letters": dead_letter_consumer.tick, **replies.ticks, **scaling.ticks}
        yield build_app(ports, ticks=ticks, notifiers=scaling.notifiers, interrupt=backends.interrupt)


@dataclass(frozen=True)
class _Scaling:
    """What scales the fleet beside a web process; nothing where others do, or nobody."""

    ticks: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    notifiers: Mapping[str, threading.Event] = field(default_factory=dict)
    on_sent: Callable[[int], None] = lambda _count: None


@contextmanager
def _scaling_of(
    settings: Settings, backends: Backends, name: str, telemetry: Telemetry
) -> Iterator[_Scaling]:
    if settings.backend != "aws" or not settings.launch_template:
        yield _Scaling()
        return
    from beholder.scaling.activator import Activator  # noqa: PLC0415
    from beholder.wiring.fleet_aws import open_controller  # noqa: PLC0415 -- imports what only AWS needs

    first = Activator(MonotonicClock(), threading.Event())
    with open_controller(settings, backends, name, telemetry.take_services, first.lately) as controller:

        def tick() -> float:
            delay_s = controller.tick()
            first.listen(is_at_zero=controller.is_at_zero)
            return delay_s

        yield _Scaling({"controller": tick}, {"controller": first.notifier}, first.sent)


@contextmanager
def _only_one(settings: Settings, name: str) -> Iterator[None]:
    """Be the only process of this name on the data folder; its file of the same name is let go by any death.

    Raises:
        BackendUnavailable: There is one; it may be a predecessor that still ends, so try again.
    """
    with (settings.data_dir / "notes" / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BackendUnavailable(
                str(settings.data_dir), "start", f"{name} is running already; give another name with --name"
            ) from exc
        yield


def _served(spec: ModelSpec) -> ServedModel:
    from beholder.web.ports import ServedModel  # noqa: PLC0415

    return ServedModel(
        name=spec.name,
        version=spec.version,
        licence=spec.licence,
        source=spec.source,
        classes=len(spec.labels),
        preprocessing=str(spec.preprocessing.kind),
        input_size=spec.preprocessing.size,
    )


def _web_limits(settings: Settings, connections_max: int) -> WebLimits:
    from beholder.web.limits import WebLimits  # noqa: PLC0415

    return WebLimits(
        image=image_limits(settings),
        wait_s_default=settings.wait_s_default,
        wait_s_max=settings.wait_s_max,
        backlog_max=settings.backlog_max,
        asynchronous_share=settings.asynchronous_share,
        heavy_pixels_min=settings.heavy_pixels_min,
        waiters_max=settings.waiters_max,
        uploads_bytes_max=settings.uploads_bytes_max,
        connections_max=connections_max,
        keep_alive_s=settings.keep_alive_s,
    )
