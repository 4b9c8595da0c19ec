"""Models in a bucket: `s3://bucket/prefix` is fetched into a cache when a process starts, and checked there.

`model.toml` has the checksums of graph and labels, so what the cache holds is what the bucket's record says.
"""

import hashlib
import logging
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from beholder.errors import (
    BackendDenied,
    BackendError,
    BackendThrottled,
    BackendUnavailable,
    ConfigError,
    ModelInvalid,
    ObjectNotFound,
)
from beholder.file_lock import FileLock
from beholder.job.reference import reference_of
from beholder.model.file_size import TEXT_BYTES_MAX, WEIGHTS_BYTES_MAX
from beholder.model.folder import GRAPH_FILE, LABELS_FILE, MODEL_FILE, read_model
from beholder.model.port import ModelSpec
from beholder.model.registry import is_folder_version
from beholder.telemetry.log import log_event

__all__ = ["BucketModel", "ModelObjects", "fetch_model", "is_in_bucket", "list_bucket"]

_log = logging.getLogger(__name__)

_SCHEME = "s3://"
_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[^/]+)*)/?")
# A large graph on a slow line; a process that waits longer says that another one hangs.
_FETCH_S_MAX = 900.0
_ADVICE = "copy the whole folder there, as `beholder models export NAME FOLDER` writes it"


class ModelObjects(Protocol):
    """Reads objects of buckets."""

    def pieces(self, bucket: str, key: str) -> Iterator[bytes]:
        """Yield an object's bytes; raises `ObjectNotFound`, `BackendDenied` or another `BackendError`."""
        ...

    def folders(self, bucket: str, prefix: str) -> list[str]:
        """Return the parts of keys behind a prefix up to the next slash; raises `BackendError`."""
        ...


@dataclass(frozen=True, slots=True)
class BucketModel:
    """A model in a bucket, as its `model.toml` describes it; its other files were not read.

    Args:
        address: Such as 's3://bucket/models/mushrooms'.
        table: What `model.toml` says.
        problem: Why it cannot be read; empty if it can.
    """

    address: str
    table: dict[str, object]
    problem: str = ""


def is_in_bucket(name: str) -> bool:
    """Say whether a model's name is an address in a bucket."""
    return name.startswith(_SCHEME)


def fetch_model(address: str, cache: Path, objects: ModelObjects) -> ModelSpec:
    """Return a model of a bucket, from the cache if that has it as the bucket does.

    Several processes may ask at once: one fetches, the others wait for it. If S3 does not answer, a sound
    model of the cache is used as it is.

    Args:
        address: 's3://bucket/prefix', where `model.toml`, the graph and the labels are.
        cache: A folder for fetched models; made if it is missing.
        objects: Reads the bucket.

    Raises:
        ConfigError: There is no such model, it may not be read, or the cache cannot be written.
        ModelInvalid: The model cannot be used; a checksum is wrong, for one.
    """
    bucket, prefix = _place(address)
    own = cache / hashlib.sha256(f"{bucket}/{prefix}".encode()).hexdigest()[:16]
    try:
        own.mkdir(parents=True, exist_ok=True)
        with closing(FileLock(own / "lock", wait_s_max=_FETCH_S_MAX)) as lock, lock:
            return _Fetch(f"{_SCHEME}{bucket}/{prefix}", own, objects).run()
    except OSError as error:
        raise ConfigError(
            f"{own}: {error.strerror}; {address} cannot be kept there", may_pass=True
        ) from error


def list_bucket(address: str, objects: ModelObjects) -> list[BucketModel]:
    """Return the models at an address in a bucket, or one folder below it.

    Raises:
        ConfigError: There is none, or the bucket may not be listed.
    """
    bucket, prefix = _place(address)
    try:
        below = [f"{prefix}{name}" for name in objects.folders(bucket, prefix)]
    except BackendError as error:
        raise _refused(f"{_SCHEME}{bucket}/{prefix}", error, "s3:ListBucket on the bucket") from error
    found = []
    for folder in (prefix, *below):
        where = f"{_SCHEME}{bucket}/{folder}".rstrip("/")
        try:
            text = b"".join(objects.pieces(bucket, f"{folder}{MODEL_FILE}")).decode("utf-8-sig")
            found.append(BucketModel(where, tomllib.loads(text)))
        except ObjectNotFound:
            continue
        except (BackendError, ValueError, RecursionError) as error:
            found.append(BucketModel(where, {}, f"{MODEL_FILE} cannot be read: {error}"))
    if not found:
        raise ConfigError(f"{address} has no {MODEL_FILE}, and no folder below it has one; {_ADVICE}")
    return found


class _Fetch:
    """One look at a model in a bucket; the lock of its folder in the cache is held.

    Args:
        address: Where the model is; ends with a slash.
        own: The address's folder in the cache; it holds one model folder at most.
        objects: Reads the bucket.
    """

    def __init__(self, address: str, own: Path, objects: ModelObjects) -> None:
        self._address = address
        self._bucket, _, self._prefix = address.removeprefix(_SCHEME).partition("/")
        self._own = own
        self._objects = objects

    def run(self) -> ModelSpec:
        """Return the model, fetched if the cache has another, a damaged one, or none."""
        # Nobody else is at work here, so what is unfinished was left by a process that was killed.
        for folder in self._own.glob(".*"):
            shutil.rmtree(folder)
        kept = next((path for path in self._own.iterdir() if path.is_dir()), None)
        try:
            texts = self._texts()
        except (BackendUnavailable, BackendThrottled) as error:
            return self._without_bucket(kept, error)
        if kept is not None and _has(kept, texts):
            try:
                return read_model(kept)
            except ModelInvalid as error:
                self._warn("model.cache_damaged", "the copy in the cache is damaged and fetched again", error)
        try:
            return self._new(kept, texts)
        except (BackendUnavailable, BackendThrottled) as error:
            raise _refused(self._address, error, "") from error

    def _texts(self) -> dict[str, bytes]:
        """Return `model.toml` and the labels, which are small, as the bucket has them."""
        table = self._read(MODEL_FILE)
        try:
            labels = str(tomllib.loads(table.decode("utf-8-sig"))["labels"])
        except (ValueError, LookupError, RecursionError):
            labels = LABELS_FILE
        # A name that is no file of the folder is refused with the folder's other problems.
        if Path(labels).name != labels or labels in (MODEL_FILE, GRAPH_FILE):
            return {MODEL_FILE: table}
        return {MODEL_FILE: table, labels: self._read(labels)}

    def _read(self, name: str) -> bytes:
        return b"".join(self._pieces(name, TEXT_BYTES_MAX))

    def _pieces(self, name: str, bytes_max: int) -> Iterator[bytes]:
        taken = 0
        try:
            for piece in self._objects.pieces(self._bucket, self._prefix + name):
                taken += len(piece)
                if taken > bytes_max:
                    raise ModelInvalid(
                        f"{self._address}{name} has more than {bytes_max / 1e6:,.0f} MB, the most that is "
                        "read; put the model's own file there"
                    )
                yield piece
        except ObjectNotFound as error:
            raise ConfigError(
                f"{self._address} has no {name} ({error.message}); correct the address, or {_ADVICE}"
            ) from error
        except BackendDenied as error:
            rights = f"s3:GetObject on the objects below {self._address}"
            raise _refused(self._address, error, rights) from error

    def _without_bucket(self, kept: Path | None, error: BackendError) -> ModelSpec:
        if kept is None:
            raise _refused(self._address, error, "") from error
        self._warn("model.not_compared", "S3 does not answer, so the copy in the cache is used", error)
        return read_model(kept)

    def _new(self, kept: Path | None, texts: dict[str, bytes]) -> ModelSpec:
        """Fetch the graph, check all files, and put them in the place of what was kept."""
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=self._own))
        for name, text in texts.items():
            (new / name).write_bytes(text)
        with (new / GRAPH_FILE).open("wb") as file:
            file.writelines(self._pieces(GRAPH_FILE, WEIGHTS_BYTES_MAX))
        try:
            spec = read_model(new)
        except ModelInvalid as error:
            shutil.rmtree(new)
            problems = [one.replace(str(new), self._address.rstrip("/")) for one in error.problems]
            raise ModelInvalid(problems) from error
        named = reference_of(spec.name, spec.version) if is_folder_version(spec.version) else spec.name
        if kept is not None:
            kept.rename(self._own / ".old")
        folder = new.rename(self._own / named)
        shutil.rmtree(self._own / ".old", ignore_errors=True)
        return replace(spec, onnx_path=folder / GRAPH_FILE)

    def _warn(self, action: str, sentence: str, error: Exception) -> None:
        log_event(_log, logging.WARNING, action, sentence, model=self._address, error=error)


def _place(address: str) -> tuple[str, str]:
    """Return bucket and prefix; the prefix ends with a slash, or is empty for the whole bucket."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ConfigError(f"{address} is no address of a model in a bucket; write s3://bucket/prefix")
    prefix = found[2].removeprefix("/")
    return found[1], f"{prefix}/" if prefix else ""


def _has(folder: Path, texts: dict[str, bytes]) -> bool:
    try:
        return all((folder / name).read_bytes() == text for name, text in texts.items())
    except OSError:
        return False


def _refused(address: str, error: BackendError, rights: str) -> ConfigError:
    if isinstance(error, BackendDenied):
        return ConfigError(
            f"{address} may not be read ({error.message}); the process needs {rights}, and the setting "
            "region must be the bucket's; without s3:ListBucket S3 also answers so if nothing is there"
        )
    return ConfigError(
        f"{address} cannot be reached ({error.message}); check network, credentials and the setting region",
        may_pass=True,
    )
