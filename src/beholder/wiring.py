"""The composition root: the only file that names concrete backends.

It turns settings into ports, and ports into the parts that each process runs. What only one kind of process
runs is imported in its function: a worker needs no web framework, a web process no numpy, and each would pay
for the other's with tens of megabytes.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from beholder import __version__
from beholder.clock import Clock, MonotonicClock, SystemClock
from beholder.config import Settings
from beholder.config.models import served_specs
from beholder.errors import BackendUnavailable, ConfigError
from beholder.model.decode.limits import ImageLimits
from beholder.model.port import Classifier, ModelSpec
from beholder.queue.port import Queue
from beholder.queue.sqlite import SqliteQueue
from beholder.store.folder import FolderStore
from beholder.store.port import Store

if TYPE_CHECKING:
    from beholder.web.app import WebApp
    from beholder.web.limits import WebLimits
    from beholder.web.ports import ServedModel
    from beholder.worker.keeper import Keeper
    from beholder.worker.worker import Worker

__all__ = [
    "Backends",
    "WorkerParts",
    "image_limits",
    "load_classifier",
    "open_backends",
    "open_web",
    "open_worker",
]


@dataclass(frozen=True)
class Backends:
    """The queues and buckets of one deployment."""

    queue: Queue
    dead_letters: Queue
    images: Store
    results: Store
    clock: Clock
    _path: Path
    _replies: dict[str, SqliteQueue]

    def replies(self, name: str) -> SqliteQueue:
        """Return the reply queue of the web process `name`."""
        if name not in self._replies:
            self._replies[name] = SqliteQueue(self._path, name, clock=self.clock)
        return self._replies[name]


@contextmanager
def open_backends(settings: Settings) -> Iterator[Backends]:
    """Open the embedded backends in the data folder, and close them at the end.

    Raises:
        ConfigError: The data folder cannot be used.
    """
    clock = SystemClock()
    folder = settings.data_dir
    fsync = settings.durability == "power"
    try:
        (folder / "notes").mkdir(parents=True, exist_ok=True)
        buckets = folder / "buckets"
        images = FolderStore(buckets / settings.input_bucket, fsync=fsync)
        results = FolderStore(buckets / settings.output_bucket, fsync=fsync)
        path = folder / "queue.sqlite"
        dead = SqliteQueue(path, settings.dead_letter_queue, clock=clock, fsync=fsync)
        queue = SqliteQueue(
            path,
            settings.input_queue,
            visibility_timeout_s=settings.visibility_timeout_s,
            receive_count_max=settings.receive_count_max,
            dead_letters=settings.dead_letter_queue,
            clock=clock,
            fsync=fsync,
        )
    except OSError as exc:
        raise ConfigError(f"data_dir {folder} cannot be used: {exc}; give another with --data-dir") from exc
    replies: dict[str, SqliteQueue] = {}
    try:
        yield Backends(queue, dead, images, results, clock, path, replies)
    finally:
        for one in (queue, dead, *replies.values()):
            one.close()


def load_classifier(spec: ModelSpec, settings: Settings, *, threads: int = 1) -> Classifier:
    """Return a classifier for a model, ready to warm up."""
    from beholder.model.openvino_cpu import OpenVinoClassifier  # noqa: PLC0415

    precision = None if settings.precision == "auto" else settings.precision
    return OpenVinoClassifier(spec, precision=precision, threads=threads, batch_max=settings.batch_max)


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
    """A worker and what runs beside it."""

    worker: Worker
    keeper: Keeper


@contextmanager
def open_worker(settings: Settings, name: str, on_hung: Callable[[], None]) -> Iterator[WorkerParts]:
    """Open one worker, its models warm.

    Args:
        settings: Of the deployment.
        name: Unique among the workers, and the same after a restart.
        on_hung: Called when the work on a message hangs.
    """
    from beholder.model.prepare import prepare  # noqa: PLC0415
    from beholder.worker.keeper import Keeper  # noqa: PLC0415
    from beholder.worker.note import HoldingNote  # noqa: PLC0415
    from beholder.worker.ports import WorkerPorts  # noqa: PLC0415
    from beholder.worker.worker import Worker  # noqa: PLC0415

    classifiers: dict[str, Classifier] = {}
    for spec in served_specs(settings):
        classifiers[spec.name] = load_classifier(spec, settings)
        classifiers[spec.name].warm_up()
    with ExitStack() as stack:
        backends = stack.enter_context(open_backends(settings))
        ports = WorkerPorts(
            queue=backends.queue,
            dead_letters=backends.dead_letters,
            replies=backends.replies,
            images=backends.images,
            results=backends.results,
            classifiers=classifiers,
            prepare=partial(prepare, limits=image_limits(settings)),
            clock=backends.clock,
        )
        stack.enter_context(_only_one(settings, name))
        note = HoldingNote(settings.data_dir / "notes" / f"{name}.note")
        keeper = Keeper(
            ports.queue,
            MonotonicClock(),
            timeout_s=settings.visibility_timeout_s,
            hold_max_s=settings.hold_max_s,
            on_hung=on_hung,
        )
        try:
            yield WorkerParts(Worker(ports, note, keeper, batch_max=settings.batch_max), keeper)
        finally:
            note.close()


@contextmanager
def open_web(settings: Settings, name: str) -> Iterator[WebApp]:
    """Open one web process's application.

    Args:
        settings: Of the deployment.
        name: Unique among the web processes; its reply queue is named after it.
    """
    from beholder.web.app import build_app  # noqa: PLC0415
    from beholder.web.ports import WebPorts  # noqa: PLC0415
    from beholder.worker.dead_letters import DeadLetterClerk  # noqa: PLC0415

    with open_backends(settings) as backends, _only_one(settings, name):
        reply_to = f"{settings.output_queue}-{name}"
        replies = backends.replies(reply_to)
        # Those who waited for these are gone with the process that had this name before.
        replies.purge()
        specs = served_specs(settings)
        ports = WebPorts(
            queue=backends.queue,
            replies=replies,
            reply_to=reply_to,
            images=backends.images,
            results=backends.results,
            models=tuple(_served(spec) for spec in specs),
            clock=backends.clock,
            limits=_web_limits(settings),
            version=__version__,
        )
        clerk = DeadLetterClerk(backends.dead_letters, backends.results, backends.replies, backends.clock)
        yield build_app(ports, ticks={"dead_letters": clerk.tick})


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


def _web_limits(settings: Settings) -> WebLimits:
    from beholder.web.limits import WebLimits  # noqa: PLC0415

    return WebLimits(
        image=image_limits(settings),
        wait_s_default=settings.wait_s_default,
        wait_s_max=settings.wait_s_max,
        backlog_max=settings.backlog_max,
        waiters_max=settings.waiters_max,
        uploads_bytes_max=settings.uploads_bytes_max,
    )
