"""What the tests of a whole deployment share: commands, bundles, and clients."""

import contextlib
import gzip
import hashlib
import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aws.emulators import REGION, Emulator
from aws.test_deploy import give_internet
from beholder.cli.main import beholder
from beholder.deploy.bundle import Bundle

__all__ = ["Clients", "another", "prepare", "run"]

PORT = 8080
WAIT_S = 480.0
ASK_S = 0.5
PAUSE_S = 0.1


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(beholder, arguments, catch_exceptions=False)
    print(f"$ beholder {' '.join(arguments)}\n{result.output}")
    assert result.exit_code == 0, result.output
    return result


def prepare(moto: Emulator, monkeypatch: pytest.MonkeyPatch, bundles: Sequence[Bundle]) -> str:
    """Let commands call the emulator, and deploy these bundles in turn; return the id of an image."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    give_internet(moto)
    left = list(bundles)

    def build(folder: Path, _models: Sequence[Path], **_: object) -> Bundle:
        built = left.pop(0)
        return Bundle(Path(shutil.copy(built.path, folder)), built.sha256)

    monkeypatch.setattr("beholder.cli.deploying.build_bundle", build)
    x86 = [{"Name": "architecture", "Values": ["x86_64"]}]
    return str(moto.client("ec2").describe_images(Filters=x86)["Images"][0]["ImageId"])


def another(bundle: Bundle, folder: Path) -> Bundle:
    """Return a bundle with the same files and other bytes."""
    content = bundle.path.read_bytes() + gzip.compress(b"")
    path = folder / f"{hashlib.sha256(content).hexdigest()}.tar.gz"
    path.write_bytes(content)
    return Bundle(path, path.name.partition(".")[0])


class Clients:
    """Clients that send one photo after the other, and keep what they got.

    Args:
        url: Of the service.
        key: An API key.
        photo: What they send.
    """

    def __init__(self, url: str, key: str, photo: bytes) -> None:
        self._photo = photo
        self._url, self._key = url, key
        self.answers: Counter[str] = Counter()

    @contextlib.contextmanager
    def sending(self, *, at_once: int) -> Iterator[None]:
        """Send one request after the other while the context lasts, and then wait for all outcomes.

        Args:
            at_once: How many clients do so.
        """
        is_over, documents = threading.Event(), list[Any]()

        def send() -> None:
            # Balancer, networks and the command under test are threads of this process: clients whose
            # requests fail at once would leave them no time.
            while not is_over.wait(PAUSE_S):
                documents.append(self._ask("/v1/classify", {"Prefer": "wait=60"}, self._photo))

        threads = [threading.Thread(target=send) for _ in range(at_once)]
        for one in threads:
            one.start()
        try:
            yield
        finally:
            is_over.set()
            for one in threads:
                one.join()
        print(f"{len(documents)} requests")
        # One after the other: the emulator answers a hundred requests a second to everyone together.
        until_s = time.monotonic() + WAIT_S
        for document in documents:
            outcome = document
            while outcome.get("status") in {"queued", "running"} and time.monotonic() < until_s:
                time.sleep(ASK_S)
                outcome = self._ask(document["urls"]["get"])
            label = outcome["result"]["labels"][0]["name"] if "result" in outcome else str(outcome)
            self.answers[label] += 1

    def _ask(
        self, path: str, headers: Mapping[str, str] = MappingProxyType({}), body: bytes | None = None
    ) -> Any:
        headers = {"Authorization": f"Bearer {self._key}", **headers}
        request = urllib.request.Request(self._url + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as exc:
            return {"error": f"{exc.code} {exc.read()[:200]!r}"}
        except OSError as exc:
            return {"error": f"no answer: {exc}"}
