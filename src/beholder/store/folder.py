"""The store of one machine: a folder, with a file for each object under the object's own name.

Each file is written beside its place and renamed, so that an object appears whole or not at all. Metadata
lies in a twin of the object under `.metadata/`.
"""

import contextlib
import errno
import heapq
import itertools
import json
import os
import re
import secrets
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from beholder.errors import (
    BackendDenied,
    BackendError,
    BackendFull,
    BackendUnavailable,
    ObjectExists,
    ObjectNotFound,
)
from beholder.file_lock import FileLock
from beholder.store.keys import check_key, check_prefix
from beholder.store.port import ObjectInfo

__all__ = ["FolderStore"]

_BACKEND = "folder store"
_METADATA = ".metadata"
_LOCKS = ".locks"
_LOCK_COUNT = 64
# Names of one folder that are in memory at once; each further page costs a scan of the whole folder.
_PAGE = 100_000

_NUMBER_BITS = 59  # at most 18 digits
# A delete that leaves a folder empty removes it, so a put may have to make it more than once.
_TRIES = 20
# Names of files that are still being written.
_UNFINISHED = re.compile(r"#\d+\Z")
# Such a key gets one more # on disk, so that names on disk and keys correspond one to one.
_ESCAPED = re.compile(r"#\d+#*\Z")

_ERRORS: dict[int, type[BackendError]] = {
    errno.ENOSPC: BackendFull,
    errno.EDQUOT: BackendFull,
    errno.EPERM: BackendDenied,
    errno.EACCES: BackendDenied,
    errno.EROFS: BackendDenied,
    errno.EISDIR: BackendDenied,  # the key is also the folder of other keys, which no file system can hold
    errno.ENOTDIR: BackendDenied,
    errno.ELOOP: BackendDenied,  # a link to itself, which no retry repairs
}
_NO_FILE = {errno.ENOENT, errno.ELOOP}
# Not a directory: a part of the key's path is an object itself. ENXIO: the file is a socket.
_NO_OBJECT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}


class FolderStore:
    """A bucket in a folder; see the `Store` port for its methods.

    Any number of processes may share the folder. An object that `put` stored survives the death of any of
    them at once, and a power cut once the kernel has written it back. No key may be the folder of another.

    Args:
        root: The folder, made if it is missing.
        fsync: Wait for the disk at each put, so that stored objects survive a power cut too.
        must_exist: A missing folder was lost; a new one would look like an empty bucket, so none is made.

    Raises:
        BackendFull: There is no room for a folder.
        BackendDenied: The folder cannot be made.
        BackendUnavailable: The folder was lost.
    """

    def __init__(self, root: Path, *, fsync: bool = False, must_exist: bool = False) -> None:
        self._root = root
        self._fsync = fsync
        self._locks = root / _LOCKS
        self._metadata_root = str(root / _METADATA)
        # Locks whose holder does not go on.
        self._stuck: set[int] = set()
        with _translated("open", str(root)):
            if must_exist and not self._locks.is_dir():
                what = "the folder is missing; put it back, or start beholder up again, which makes it anew"
                raise OSError(errno.ESTALE, what, str(root))
            self._locks.mkdir(parents=True, exist_ok=True)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        metadata: Mapping[str, str] | None = None,
        only_if_absent: bool = False,
    ) -> None:
        """Store an object; see `Store.put`."""
        name = _name_of(key)
        with _translated("put", key):
            self._check_root()  # or the folder would be made anew
            if not metadata and not os.path.exists(f"{self._metadata_root}/{name}"):  # noqa: PTH110 -- ten times faster
                _write(f"{self._root}/{name}", data, only_if_absent=only_if_absent)
                self._sync(name)
                return
        # Only metadata needs a lock: the object and its twin must come from the same put.
        with _translated("put", key), self._locked(key):
            if only_if_absent and (self._root / name).is_file():
                raise ObjectExists(_BACKEND, "put", key)
            with self._metadata_put(name, metadata or {}):
                _write(f"{self._root}/{name}", data, only_if_absent=only_if_absent)
            if metadata:
                self._sync(f"{_METADATA}/{name}")
            self._sync(name)

    def get(self, key: str) -> bytes:
        """Return an object's bytes; see `Store.get`."""
        name = _name_of(key)
        with _translated("get", key), self._found():
            return _bytes_of(f"{self._root}/{name}")

    def head(self, key: str) -> ObjectInfo:
        """Return the facts of an object; see `Store.head`."""
        name = _name_of(key)
        with _translated("head", key), self._found():
            status = os.stat(f"{self._root}/{name}")  # noqa: PTH116 -- as in a listing
            _check_regular(status)
            metadata = self._metadata_of(name)
        return ObjectInfo(key, status.st_size, status.st_mtime, metadata)

    def delete(self, key: str) -> None:
        """Remove an object; see `Store.delete`."""
        name = _name_of(key)
        with _translated("delete", key), self._locked(key):
            self._remove(name)
            self._remove(f"{_METADATA}/{name}")

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects under `prefix` by key, without metadata; see `Store.list`."""
        check_prefix(prefix)
        return self._walk(self._root / prefix, prefix, after.removeprefix(prefix))

    def _walk(self, folder: Path, prefix: str, last: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects under `folder`, with at most one page of names of each level in memory."""
        with _translated("list", prefix):
            self._check_root()
            for part, name in _parts_of(folder, prefix, last):
                key = prefix + part
                path = f"{folder}/{name}"
                if part.endswith("/"):
                    yield from self._walk(Path(path), key)
                    continue
                try:
                    status = os.stat(path)  # noqa: PTH116 -- ten times faster
                except OSError as exc:
                    if exc.errno in _NO_FILE:  # deleted meanwhile, or a link to nothing
                        continue
                    raise
                yield ObjectInfo(key, status.st_size, status.st_mtime)

    def tidy(self, before_s: float) -> int:
        """Remove the leftovers of killed processes: unfinished files, and empty folders.

        Args:
            before_s: Leave newer files and folders alone; seconds since the Unix epoch. An hour ago is early
                enough for files that another process still writes.

        Returns:
            How many were removed.

        Raises:
            BackendError: The folder cannot be read or written.
        """
        with _translated("tidy", str(self._root)):
            self._check_root()
            return _tidied(str(self._root), before_s, depth=0)

    def _check_root(self) -> None:
        """Refuse to work on a folder that was deleted or replaced, which would look like an empty bucket."""
        if not os.path.isdir(self._locks):  # noqa: PTH112 -- ten times faster
            raise OSError(errno.ESTALE, "the folder was deleted or replaced", str(self._root))

    @contextlib.contextmanager
    def _found(self) -> Iterator[None]:
        """Raise another error if not only the object is missing but the whole bucket."""
        try:
            yield
        except OSError:
            self._check_root()
            raise

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Keep other writers of `key` away, so that an object and its metadata come from the same put."""
        number = zlib.crc32(key.encode()) % _LOCK_COUNT
        with self._found(), contextlib.closing(FileLock(self._locks / str(number))) as lock:
            lock.is_stuck = number in self._stuck
            try:
                lock.__enter__()
            finally:
                (self._stuck.add if lock.is_stuck else self._stuck.discard)(number)
            yield  # closing the file frees the lock

    @contextlib.contextmanager
    def _metadata_put(self, name: str, metadata: Mapping[str, str]) -> Iterator[None]:
        """Put metadata before the put of its object, and put the old metadata back if that put fails."""
        twin = self._root / _METADATA / name
        if not metadata:
            yield
            if twin.is_file():
                self._remove(f"{_METADATA}/{name}")
            return
        # A link and not a copy, for which a full disk has no room.
        old = twin.with_name(f"{twin.name}#0")
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            old.unlink(missing_ok=True)
            old.hardlink_to(twin)
        document = json.dumps(dict(metadata), ensure_ascii=False).encode()
        try:
            _write(str(twin), document)
            yield
        except BaseException:
            try:
                old.replace(twin)
            except (FileNotFoundError, NotADirectoryError):
                self._remove(f"{_METADATA}/{name}")
            raise
        finally:
            # Also after the old metadata was put back: renaming a link of a file over another leaves both.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                old.unlink()

    def _sync(self, name: str) -> None:
        """Wait until a file, and the names on the way to it, are on the disk."""
        if not self._fsync:
            return
        path = self._root / name
        for synced in (path, *(parent for parent in path.parents if parent.is_relative_to(self._root))):
            fd = os.open(synced, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _remove(self, name: str) -> None:
        """Remove a file if it is there, and the folders that it leaves empty."""
        path = self._root / name
        try:
            path.unlink()
        except OSError as exc:
            if exc.errno in {errno.ENOENT, errno.EISDIR, errno.ENOTDIR}:
                return
            raise
        with contextlib.suppress(OSError):  # not empty, or removed meanwhile
            for folder in itertools.takewhile(self._root.__ne__, path.parents):
                folder.rmdir()

    def _metadata_of(self, name: str) -> dict[str, str]:
        try:
            document = json.loads(_bytes_of(f"{self._metadata_root}/{name}"))
        except OSError as exc:
            if exc.errno in _NO_OBJECT:
                return {}
            raise
        except (ValueError, RecursionError):  # a power cut left an empty or torn file
            return {}
        if not isinstance(document, dict):
            return {}
        return {name: text for name, text in document.items() if isinstance(text, str)}


def _write(path: str, data: bytes, *, only_if_absent: bool = False) -> None:
    """Write a file beside its place, and give it its name once it is whole."""
    unfinished = f"{path}#{secrets.randbits(_NUMBER_BITS)}"
    fd = _created(unfinished)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
        finally:
            os.close(fd)
        if not only_if_absent:
            os.rename(unfinished, path)  # noqa: PTH104 -- several times as fast
            return
        os.link(unfinished, path)
    except BaseException:
        os.unlink(unfinished)  # noqa: PTH108 -- likewise
        raise
    os.unlink(unfinished)  # noqa: PTH108 -- likewise


def _created(path: str) -> int:
    """Open a new file; make its folder if that is missing, as often as a delete removes it meanwhile."""
    for _ in range(_TRIES):
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            folder = path.rpartition("/")[0]
            try:
                os.mkdir(folder)  # noqa: PTH102 -- likewise; most lack their last folder alone
            except OSError:
                os.makedirs(folder, exist_ok=True)  # noqa: PTH103 -- likewise
    raise FileNotFoundError(errno.ENOENT, "its folder is removed again and again", path)


def _bytes_of(path: str) -> bytes:
    """Read a file; do not wait for a FIFO to which no process writes."""
    with open(path, "rb", opener=_open_at_once) as file:
        _check_regular(os.fstat(file.fileno()))
        return file.read()


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _check_regular(status: os.stat_result) -> None:
    """Refuse a folder, a FIFO or a device, which are no objects."""
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, "no regular file is there")


def _name_of(key: str) -> str:
    """Return the path on disk of a valid key, relative to the root."""
    check_key(key)
    return f"{key}#" if _ESCAPED.search(key) else key


def _parts_of(folder: Path, prefix: str, last: str) -> Iterator[tuple[str, str]]:
    """Yield parts of keys in one folder in the order of keys, with their names on disk.

    The part of a folder ends with a slash. One page of names is in memory, as there may be millions.
    """
    while page := heapq.nsmallest(_PAGE, _parts_in(folder, prefix, last)):
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1][0]


def _parts_in(folder: Path, prefix: str, last: str) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            name = part = entry.name
            if f"{name}/" <= last:  # the commonest, if a listing begins behind most
                continue
            if not prefix and name.startswith("."):
                continue  # the adapter's own, or no object's
            if entry.is_dir(follow_symlinks=False):
                part = f"{name}/"
            elif name.endswith("#") and _ESCAPED.search(name):
                part = name[:-1]
            elif _UNFINISHED.search(name):
                continue
            if part > last:
                yield part, name


def _tidied(folder: str, before_s: float, *, depth: int) -> int:
    """Remove leftovers under a folder, and the folder itself if that leaves it empty; count them."""
    count = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != _LOCKS:
                    count += _tidied(entry.path, before_s, depth=depth + 1)
            elif _UNFINISHED.search(entry.name) and entry.stat(follow_symlinks=False).st_mtime < before_s:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)  # noqa: PTH108 -- there may be millions of folders
                    count += 1
    # The bucket's own folders stay: images/, results/ and the adapter's.
    if depth > 1:
        with contextlib.suppress(OSError):  # not empty
            if os.stat(folder).st_mtime < before_s:  # noqa: PTH116 -- likewise
                os.rmdir(folder)  # noqa: PTH106 -- likewise
                count += 1
    return count


@contextlib.contextmanager
def _translated(operation: str, key: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        error = _error_for(exc, operation)
        detail = key if error is ObjectExists else f"{key}: {exc.strerror or exc}"
        raise error(_BACKEND, operation, detail) from exc


def _error_for(exc: OSError, operation: str) -> type[BackendError]:
    if operation == "put" and exc.errno == errno.EEXIST:
        return ObjectExists
    if operation in {"get", "head"} and exc.errno in _NO_OBJECT:
        return ObjectNotFound
    return _ERRORS.get(exc.errno or 0, BackendUnavailable)
