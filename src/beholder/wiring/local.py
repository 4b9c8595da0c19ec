"""The embedded backends: a queue in SQLite and buckets that are folders, all in the data folder."""

from collections.abc import Iterator
from contextlib import contextmanager

from beholder.clock import SystemClock
from beholder.config import Settings
from beholder.errors import BackendDenied, ConfigError, QueueDamaged
from beholder.queue.sqlite import SqliteQueue
from beholder.store.folder import FolderStore
from beholder.wiring.backends import Backends, OwnReplies
from beholder.wiring.queue_file import check_queue_file, damage_sentence, queue_path

__all__ = ["open_local"]


@contextmanager
def open_local(settings: Settings) -> Iterator[Backends]:
    """Open the embedded backends in the data folder, and close them at the end.

    Raises:
        ConfigError: The data folder cannot be used.
    """
    clock, folder, fsync = SystemClock(), settings.data_dir, settings.durability == "power"
    path = queue_path(settings)
    check_queue_file(settings)
    opened: dict[str, SqliteQueue] = {}

    def replies(name: str) -> SqliteQueue:
        if name not in opened:
            opened[name] = SqliteQueue(path, name, clock=clock)
        return opened[name]

    @contextmanager
    def own_replies(name: str) -> Iterator[OwnReplies]:
        reply_to = f"{settings.output_queue}-{name}"
        queue = replies(reply_to)
        # Those who waited for these are gone with the process that had this name before.
        queue.purge()
        yield OwnReplies(queue, lambda: reply_to)

    try:
        images = FolderStore(folder / "buckets" / settings.input_bucket, fsync=fsync)
        results = FolderStore(folder / "buckets" / settings.output_bucket, fsync=fsync)
        dead = SqliteQueue(path, settings.dead_letter_queue, clock=clock, fsync=fsync)
        queue = SqliteQueue(
            path,
            settings.input_queue,
            visibility_timeout_s=settings.visibility_timeout_s,
            receive_count_max=settings.receive_count_max,
            dead_letters=settings.dead_letter_queue,
            heavy_in_flight_max=settings.heavy_decodes_max,
            clock=clock,
            fsync=fsync,
        )
    except QueueDamaged as exc:
        raise ConfigError(damage_sentence(settings, exc.message)) from exc
    except (OSError, BackendDenied) as exc:
        raise ConfigError(f"data_dir {folder} cannot be used: {exc}; give another with --data-dir") from exc
    try:
        yield Backends(
            queue=queue,
            dead_letters=dead,
            images=images,
            results=results,
            replies=replies,
            own_replies=own_replies,
            clock=clock,
        )
    finally:
        for one in (queue, dead, *opened.values()):
            one.close()
