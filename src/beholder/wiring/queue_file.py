"""The queue file of one machine: whether it can be used, and how it is made anew from what is left.

The order of effects of a repair, so that it may be killed anywhere and run again:

1. write a marker file, so that no process starts on a half-made queue,
2. link the file, and the logs that belong to it, to names with the time,
3. make a new file beside it: the messages that can be read, then one for each image without an outcome,
4. remove the old logs, and rename the new file into its place,
5. remove the marker file.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from beholder.clock import Clock
from beholder.config import Settings
from beholder.errors import ConfigError
from beholder.job import Message, MessageInvalid
from beholder.queue.damage import damage_marker, damage_of, is_blank, mark_damaged, misplaced_beside, salvage
from beholder.queue.sqlite import SqliteQueue
from beholder.store.folder import FolderStore
from beholder.store.keys import IMAGES
from beholder.store.recovery import has_outcome, unfinished
from beholder.wiring.buckets import open_buckets
from beholder.wiring.locks import no_process_of

__all__ = ["Repaired", "check_queue_file", "damage_sentence", "is_damaged", "queue_path", "repair"]

_SENT_AT_ONCE = 1000
_LOGS = ("-wal", "-shm")
_UNDER_REPAIR = "a repair of it did not end"


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did.

    Args:
        aside: Where the old queue file is now; None where there was none.
        kept: Messages of it that could be read and are still wanted.
        queued: Images without an outcome or message that were queued again.
    """

    aside: Path | None
    kept: int
    queued: int


def queue_path(settings: Settings) -> Path:
    """Return the path of the queue file."""
    return settings.deployment.data_dir / "queue.sqlite"


def damage_sentence(settings: Settings, reason: str) -> str:
    """Return what a person reads of a damaged queue file: where it is, what is wrong, and what to do."""
    return (
        f"queue file {queue_path(settings)} is damaged: {reason}; run: beholder repair --data-dir "
        f"{settings.deployment.data_dir}  "
        "(it sets the file aside and queues again every image without an outcome)"
    )


def check_queue_file(settings: Settings) -> None:
    """Refuse to start on a damaged queue file, or without one where there are images.

    Raises:
        ConfigError: It is damaged; the sentence names it and what to do.
    """
    path = queue_path(settings)
    try:
        reason = damage_of(path)
        if reason is None and is_blank(path) and _has_images(settings):
            reason = "it is missing or empty, though there are images"
    except OSError as exc:
        raise ConfigError(
            f"queue file {path} cannot be read: {exc.strerror}; correct its permissions"
        ) from exc
    if reason is not None:
        raise ConfigError(damage_sentence(settings, reason))


def is_damaged(settings: Settings) -> bool:
    """Say whether a process has noted that the queue file is damaged."""
    return damage_marker(queue_path(settings)).exists()


def repair(settings: Settings, clock: Clock) -> Repaired:
    """Set the queue file aside and make a new one; the caller holds the data folder alone.

    Raises:
        ConfigError: A process of beholder works on the data folder.
        BackendError: The disk is full, or something cannot be read or written; run it again then.
        OSError: Likewise.
    """
    path = queue_path(settings)
    new = path.with_name(f"{path.name}.new")
    with no_process_of(settings.deployment.data_dir):
        images, results = open_buckets(settings)
        if not damage_marker(path).exists():
            mark_damaged(path, _UNDER_REPAIR)
        aside = _set_aside(path, clock.now_s())
        _remove(new)
        with contextlib.ExitStack() as stack:
            queue = stack.enter_context(SqliteQueue(new, settings.queue.input_queue, clock=clock, fsync=True))
            dead = stack.enter_context(
                SqliteQueue(new, settings.queue.dead_letter_queue, clock=clock, fsync=True)
            )
            known, dead_count = set(), 0
            if aside is not None:
                known = _send(queue, _wanted(aside, settings.queue.input_queue, results))
                dead_count = len(_send(dead, _wanted(aside, settings.queue.dead_letter_queue, results)))
            lost = (one for one in unfinished(images, results) if one.job_id not in known)
            queued = len(_send(queue, ((one.job_id, one.to_bytes()) for one in lost)))
        _put_in_place(new, path)
        damage_marker(path).unlink(missing_ok=True)
    return Repaired(aside, len(known) + dead_count, queued)


def _send(queue: SqliteQueue, messages: Iterable[tuple[str, bytes]]) -> set[str]:
    """Send messages, and return their names."""
    sent: set[str] = set()
    todo = iter(messages)
    while batch := list(islice(todo, _SENT_AT_ONCE)):
        queue.send([body for _, body in batch])
        sent.update(name for name, _ in batch)
    return sent


def _wanted(aside: Path, name: str, results: FolderStore) -> Iterator[tuple[str, bytes]]:
    """Yield job id and body of each message of a queue that is still to be worked on, once."""
    seen: set[str] = set()
    for number, (queue, body) in enumerate(salvage(aside)):
        if queue != name:
            continue
        try:
            job_id = Message.from_bytes(body).job_id
        except MessageInvalid:  # a worker or the dead-letter consumer says what it is
            yield f"unreadable {number}", body
            continue
        if job_id not in seen and not has_outcome(results, job_id):
            seen.add(job_id)
            yield job_id, body


def _set_aside(path: Path, now_s: float) -> Path | None:
    """Give the queue file and its logs a second name, and return that; the one of an earlier try counts.

    A folder is renamed, since it has one name only.
    """
    for misplaced in misplaced_beside(path):
        misplaced.rename(_aside_name(misplaced, now_s))
    if not path.exists():
        return None
    if not path.is_file():
        aside = _aside_name(path, now_s)
        path.rename(aside)
        return None
    for earlier in path.parent.glob(f"{path.name}.20*Z"):
        if earlier.samefile(path):
            return earlier
    aside = _aside_name(path, now_s)
    # The file last: once it has its second name, its logs have theirs.
    for suffix in (*_LOGS, ""):
        source = path.with_name(path.name + suffix)
        target = aside.with_name(aside.name + suffix)
        if source.exists():
            target.unlink(missing_ok=True)
            target.hardlink_to(source)
    return aside


def _aside_name(path: Path, now_s: float) -> Path:
    stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%S%f")
    return path.with_name(f"{path.name}.{stamp}Z")


def _put_in_place(new: Path, path: Path) -> None:
    _sync(new)
    for suffix in _LOGS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    new.replace(path)
    _sync(path.parent)
    _remove(new)


def _remove(new: Path) -> None:
    """Remove a new file that was not finished, and what lies beside it."""
    for suffix in (*_LOGS, "", ".lock", ".damaged"):
        new.with_name(new.name + suffix).unlink(missing_ok=True)
    shutil.rmtree(new.with_name(f"{new.name}.notifiers"), ignore_errors=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _has_images(settings: Settings) -> bool:
    folder = settings.deployment.data_dir / "buckets" / settings.store.input_bucket / IMAGES
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
