"""The profile of one machine: a queue in SQLite and buckets that are folders, all in the data folder."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import cache, partial

from beholder.clock import SystemClock
from beholder.config import Settings
from beholder.errors import BackendDenied, ConfigError, QueueDamaged
from beholder.queue.damage import is_blank
from beholder.queue.reply_socket import ReplySender, ReplySocket
from beholder.queue.sqlite import SqliteQueue
from beholder.wiring.backends import Backends, OwnReplies, PerImage, Scaling
from beholder.wiring.buckets import open_buckets
from beholder.wiring.locks import PROCESSES, make_processes_folder
from beholder.wiring.profile import Profile
from beholder.wiring.queue_file import check_queue_file, damage_sentence, is_damaged, queue_path
from beholder.wiring.retention import open_retention
from beholder.worker.journal import read_running

__all__ = ["local_profile"]

# A worker process is ready after so long.
_FIRST_JOB_S = 0.8
# Writing that much takes the web process 0.2 ms.
_LOOP_BYTES_MAX = 500_000


def local_profile(settings: Settings) -> Profile:
    """Return the profile of one machine."""
    return Profile(
        settings,
        is_one_machine=True,
        # Folders send no events.
        event_bucket="",
        first_job_s=_FIRST_JOB_S,
        open_backends=lambda _name: _open_backends(settings),
        # `beholder up` scales, and not a web process.
        open_scaling=lambda _backends, _name, _telemetry: nullcontext(Scaling()),
        check_queue=partial(check_queue_file, settings),
        make_buckets=partial(_make_buckets, settings),
        is_queue_damaged=partial(is_damaged, settings),
        open_retention=partial(open_retention, settings),
    )


def _make_buckets(settings: Settings) -> None:
    try:
        open_buckets(settings)
    except BackendDenied as exc:
        raise _unusable(settings, exc) from exc


def _unusable(settings: Settings, exc: Exception) -> ConfigError:
    folder = settings.deployment.data_dir
    return ConfigError(f"data_dir {folder} cannot be used: {exc}; give another with --data-dir")


def _open_backends(settings: Settings) -> AbstractContextManager[Backends]:
    make_processes_folder(settings.deployment.data_dir)
    check_queue_file(settings)
    return _open_local(settings)


@contextmanager
def _own_replies(settings: Settings, name: str) -> Iterator[OwnReplies]:
    from beholder.web.submission.reply_sources import SocketReplies  # noqa: PLC0415 -- workers need none

    reply_to = f"{settings.queue.output_queue}-{name}"
    try:
        socket = ReplySocket(settings.deployment.data_dir / PROCESSES, reply_to)
    except OSError as exc:  # a file system without sockets
        raise _unusable(settings, exc) from exc
    with closing(socket):
        yield OwnReplies(SocketReplies(socket), lambda: reply_to)


@contextmanager
def _open_local(settings: Settings) -> Iterator[Backends]:
    clock, fsync = SystemClock(), settings.store.durability == "power"
    path, processes = queue_path(settings), settings.deployment.data_dir / PROCESSES

    try:
        # A data folder with a queue was in use before, so what it lacks was lost.
        images, results = open_buckets(settings, must_exist=not is_blank(path))
        dead = SqliteQueue(path, settings.queue.dead_letter_queue, clock=clock, fsync=fsync)
        queue = SqliteQueue(
            path,
            settings.queue.input_queue,
            visibility_timeout_s=settings.queue.visibility_timeout_s,
            receive_count_max=settings.queue.receive_count_max,
            dead_letters=settings.queue.dead_letter_queue,
            heavy_in_flight_max=settings.machine.heavy_decodes_max,
            clock=clock,
            fsync=fsync,
        )
    except QueueDamaged as exc:
        raise ConfigError(damage_sentence(settings, exc.message)) from exc
    except (OSError, BackendDenied) as exc:
        raise _unusable(settings, exc) from exc

    def interrupt() -> None:
        for one in (queue, dead):
            one.interrupt()

    try:
        yield Backends(
            queue=queue,
            dead_letters=dead,
            images=images,
            results=results,
            replies=cache(partial(ReplySender, processes)),
            own_replies=partial(_own_replies, settings),
            clock=clock,
            running=partial(read_running, processes),
            interrupt=interrupt,
            watching=queue.watching,
            # A disk that must be waited for, or a large image, would hold up the other requests.
            per_image=PerImage(submit_loop_bytes_max=-1 if fsync else _LOOP_BYTES_MAX),
        )
    finally:
        for one in (queue, dead):
            one.close()
