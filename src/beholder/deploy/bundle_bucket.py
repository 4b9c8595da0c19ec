"""The bundle bucket of a deployment: its bundles, and the states of its stack to which it can go back."""

import base64
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from beholder.deploy.account import Account
from beholder.deploy.bundle import Bundle
from beholder.deploy.inventory import bucket_names
from beholder.job.message import Message

__all__ = ["MESSAGE_VERSION", "VERSION", "BundleBucket", "State", "changes"]

MESSAGE_VERSION = "message-version"
"""Which version of messages a bundle's processes read and write, in its metadata."""

VERSION = "beholder-version"
"""Which version of beholder a bundle has, in its metadata."""

_NO_OBJECT = ("NoSuchKey", "NoSuchBucket", "404")
_CHUNK_BYTES = 1 << 20
_STATES = "states/"
_DIGITS = 8


@dataclass(frozen=True)
class State:
    """What a stack is made of.

    Args:
        template: The text of its template.
        parameters: All of them.
    """

    template: str
    parameters: Mapping[str, str]

    def equals(self, other: "State") -> bool:
        """Say whether both make the same, whatever was there before."""
        return self.template == other.template and _own(self.parameters) == _own(other.parameters)


def _own(parameters: Mapping[str, str]) -> Mapping[str, str]:
    return {key: value for key, value in parameters.items() if key != "PreviousState"}


def changes(before: State, after: State, versions: tuple[str, str]) -> list[str]:
    """Return from which version to which a deployment goes, in words.

    Args:
        before: Of its stack.
        after: Of its stack.
        versions: Of beholder, before and after.
    """

    def digest(state: State) -> str:
        return hashlib.sha256(state.template.encode()).hexdigest()[:_DIGITS]

    told = {
        "beholder": versions,
        "template": (digest(before), digest(after)),
        "image": (before.parameters["ImageId"], after.parameters["ImageId"]),
        "models": (before.parameters["Models"], after.parameters["Models"]),
    }
    return [
        f"{what} {old or 'unknown'} -> {new}" if old != new else f"{what} {new}, as it is"
        for what, (old, new) in told.items()
    ]


class BundleBucket:
    """The bundle bucket of one deployment.

    Args:
        account: Where it is.
        name: The deployment's name.
    """

    def __init__(self, account: Account, name: str) -> None:
        self._account = account
        self._name = name

    def metadata(self, key: str) -> Mapping[str, str]:
        """Return what is said of a bundle; empty where there is no such bundle.

        Raises:
            BackendError: S3 refuses, or does not answer.
        """
        found = self._account.call("s3", "head_object", expected=_NO_OBJECT, Bucket=self._bucket(), Key=key)
        metadata: Mapping[str, str] = found.get("Metadata", {})
        return metadata

    def upload(self, bundle: Bundle, models: str) -> None:
        """Put a bundle into the bucket.

        Raises:
            BackendError: S3 refuses, or does not answer.
        """
        with bundle.path.open("rb") as content:
            self._account.call(
                "s3",
                "put_object",
                Bucket=self._bucket(),
                Key=bundle.key,
                Body=content,
                ChecksumSHA256=base64.b64encode(bytes.fromhex(bundle.sha256)).decode(),
                Metadata={
                    "models": models,
                    MESSAGE_VERSION: str(Message.VERSION),
                    VERSION: importlib.metadata.version("beholder"),
                },
            )

    def fetch(self, key: str, folder: Path) -> Path | None:
        """Return a bundle as a file in a folder, None where it is not there any more.

        Raises:
            BackendError: S3 refuses, or does not answer.
        """
        found = self._account.call("s3", "get_object", expected=_NO_OBJECT, Bucket=self._bucket(), Key=key)
        if "Body" not in found:
            return None
        path = folder / f"running-{key}"
        with path.open("wb") as written:
            for chunk in found["Body"].iter_chunks(_CHUNK_BYTES):
                written.write(chunk)
        return path

    def store_state(self, state: State) -> str:
        """Store a state, and return its key; the same state has the same key.

        Raises:
            BackendError: S3 refuses, or does not answer.
        """
        content = json.dumps(
            {"template": state.template, "parameters": dict(state.parameters)}, sort_keys=True
        ).encode()
        key = f"{_STATES}{hashlib.sha256(content).hexdigest()}.json"
        self._account.call("s3", "put_object", Bucket=self._bucket(), Key=key, Body=content)
        return key

    def has_states(self) -> bool:
        """Say whether any state was stored, that is, whether any version ever came through.

        Raises:
            BackendError: S3 refuses, or does not answer.
        """
        found = self._account.call(
            "s3", "list_objects_v2", expected=_NO_OBJECT, Bucket=self._bucket(), Prefix=_STATES, MaxKeys=1
        )
        return bool(found.get("Contents"))

    def read_state(self, key: str) -> State | None:
        """Return a state, None where there is none.

        Raises:
            BackendError: S3 refuses, or does not answer.
        """
        if not key:
            return None
        found = self._account.call("s3", "get_object", expected=_NO_OBJECT, Bucket=self._bucket(), Key=key)
        return State(**json.loads(found["Body"].read())) if "Body" in found else None

    def _bucket(self) -> str:
        return bucket_names(self._account, self._name)[-1]
