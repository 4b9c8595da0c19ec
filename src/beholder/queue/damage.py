"""Damage of a queue file: how it is found, how processes learn of it, and what can still be read.

A process that meets the damage puts a marker beside the file, and `beholder up` ends when it finds a marker.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

__all__ = ["damage_marker", "damage_of", "is_blank", "mark_damaged", "misplaced_beside", "salvage"]

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
# A check reads the whole file; a larger one would keep a start waiting.
_CHECKED_BYTES_MAX = 64 * 1024 * 1024
# If the names of tables are damaged, SQLite's own sentence about it cannot be decoded.
_UNREADABLE = (sqlite3.Error, UnicodeError)
_BESIDE = ("-wal", "-shm", ".lock")
_COLUMNS = "select id, queue, visible_at_s, receive_count, token, body from message limit 1"
_TABLES = "select count(*) from sqlite_master"
_NEXT = "select id, queue, body from message where id > ? order by id"
_PREVIOUS = "select id, queue, body from message where id > ? order by id desc"


def damage_marker(path: Path) -> Path:
    """Return the path of the file that marks the queue file at `path` as damaged."""
    return path.with_name(f"{path.name}.damaged")


def mark_damaged(path: Path, reason: str) -> None:
    """Mark the queue file at `path` as damaged; on a full disk there is no marker."""
    with contextlib.suppress(OSError):
        damage_marker(path).write_text(f"{reason}\n", encoding="utf-8")


def damage_of(path: Path) -> str | None:
    """Return a sentence on the damage of a queue file, or None; a missing file is not damaged.

    Args:
        path: The database. It is only read.
    """
    with contextlib.suppress(OSError):
        return damage_marker(path).read_text(encoding="utf-8", errors="replace").strip()
    for misplaced in misplaced_beside(path):
        return f"{misplaced.name} is not a file"
    if is_blank(path):
        return None
    if not path.is_file():
        return "it is not a file"
    return _damage_inside(path)


def _damage_inside(path: Path) -> str | None:
    try:
        with contextlib.closing(_open(path)) as db:
            db.execute(_COLUMNS).fetchone()
            if path.stat().st_size <= _CHECKED_BYTES_MAX:
                (found,) = db.execute("pragma quick_check(1)").fetchone()
                return None if found == "ok" else str(found)
    except _UNREADABLE as exc:
        return str(exc) if _is_damage(exc) else None
    return None


def misplaced_beside(path: Path) -> Iterator[Path]:
    """Yield every folder, FIFO or the like in the place of a file that belongs to the queue file at `path`.

    SQLite cannot open a folder there, and waits for ever when it opens a FIFO.
    """
    for suffix in _BESIDE:
        beside = path.with_name(path.name + suffix)
        if os.path.lexists(beside) and not beside.is_file():
            yield beside


def is_blank(path: Path) -> bool:
    """Say whether there is no queue file, or one in which no queue was ever made."""
    if not path.exists():
        return True
    if not path.is_file():
        return False
    if path.stat().st_size == 0:
        return True
    try:
        with contextlib.closing(_open(path)) as db:
            (tables,) = db.execute(_TABLES).fetchone()
            return bool(tables == 0)
    except _UNREADABLE:
        return False


def salvage(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the queue's name and the body of every message that can still be read, of any queue.

    Args:
        path: The database; it is read from both ends towards the damage.
    """
    if not path.is_file():
        return
    with contextlib.suppress(*_UNREADABLE), contextlib.closing(_open(path)) as db:
        last_id = -1
        try:
            for row_id, queue, body in db.execute(_NEXT, (last_id,)):
                last_id = row_id
                if isinstance(body, bytes):
                    yield str(queue), body
        except _UNREADABLE:
            for _, queue, body in db.execute(_PREVIOUS, (last_id,)):
                if isinstance(body, bytes):
                    yield str(queue), body


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _is_damage(exc: sqlite3.Error | UnicodeError) -> bool:
    return isinstance(exc, UnicodeError) or ((getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF) in _DAMAGED
