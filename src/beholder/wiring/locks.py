"""Locks on the data folder; the death of the process that holds a lock releases it."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from beholder.errors import BackendFull, BackendUnavailable, ConfigError

__all__ = ["PROCESSES", "lock_data_dir", "make_processes_folder", "no_process_of", "only_process_of"]

PROCESSES = "processes"
"""The folder of the data folder with `<name>.lock` and `<name>.journal` of each process."""


def lock_data_dir(folder: Path) -> IO[str]:
    """Take the data folder for this process alone, until the file that is returned is closed.

    Raises:
        ConfigError: It is in use by another process, or cannot be written.
        BackendFull: The disk has no room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "up.lock").open("a+", encoding="ascii")
    except (FileExistsError, NotADirectoryError) as exc:
        raise ConfigError(f"data_dir {folder} is or lies in a file; give a folder with --data-dir") from exc
    except OSError as exc:
        if exc.errno == errno.ENOSPC:
            raise BackendFull("data folder", "open") from exc
        raise ConfigError(
            f"data_dir {folder} cannot be written: {exc.strerror}; give another with --data-dir"
        ) from exc
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise ConfigError(
            f"data_dir {folder} is in use by another beholder (process {owner}); "
            "stop it, or give another with --data-dir"
        ) from exc
    with suppress(OSError):  # the process id is only for the message above; the lock holds without it
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    return file


def make_processes_folder(data_dir: Path) -> None:
    """Make the folder of the processes' locks and journals.

    Raises:
        ConfigError: The data folder cannot be used.
    """
    try:
        (data_dir / PROCESSES).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(
            f"data_dir {data_dir} cannot be used: {exc}; give another with --data-dir",
            may_pass=isinstance(exc, PermissionError),
        ) from exc


@contextmanager
def only_process_of(data_dir: Path, name: str) -> Iterator[None]:
    """Be the only process of this name on the data folder.

    Raises:
        BackendUnavailable: Another process has the name; it may be a predecessor that is about to end, so try
            again.
    """
    with (data_dir / PROCESSES / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BackendUnavailable(
                str(data_dir), "start", f"{name} is running already; give another name with --name"
            ) from exc
        yield


@contextmanager
def no_process_of(data_dir: Path) -> Iterator[None]:
    """Keep web processes and workers from the data folder.

    Raises:
        ConfigError: A web process or a worker runs on it.
    """
    with ExitStack() as stack:
        for path in sorted((data_dir / PROCESSES).glob("*.lock")):
            file = stack.enter_context(path.open("r"))
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise ConfigError(f"{path.stem} runs on {data_dir}; stop it first") from exc
        yield
