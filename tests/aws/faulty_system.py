"""A web process and a worker behind a faulty proxy, and what holds whatever the faults are."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from aws.deployment import Deployment
from aws.faulty import FaultyProxy
from beholder.errors import BackendError, all_errors

IMAGES = 30
SETTLED_S = 180.0
_CLIENTS = 8
_TRIES_MAX = 20
_ERRORS = {error.code: error for error in all_errors() if issubclass(error, BackendError)}


@dataclass(frozen=True)
class Photo:
    """An image file under a name of its own."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Answer:
    """What a web process answered."""

    status: int
    body: dict[str, Any]
    retry_after: str | None


@dataclass
class Run:
    """What came back of a wave: labels by the photo's name, ids of all jobs, and errors met on the way."""

    labels: dict[str, str] = field(default_factory=dict)
    jobs: set[str] = field(default_factory=set)
    errors: list[Answer] = field(default_factory=list)


class System:
    """A web process and a worker, all of whose calls go through a proxy."""

    def __init__(self, deployment: Deployment, proxy: FaultyProxy, photos: Sequence[Photo]) -> None:
        self.deployment = deployment
        self.proxy = proxy
        self.photos = photos
        self.web = deployment.start_web()
        self.worker = deployment.start_worker()
        self.worker.await_line(r"worker\.ready")
        self.expected = self.send(photos).labels
        assert len(set(self.expected.values())) > IMAGES / 2

    def send(self, photos: Sequence[Photo]) -> Run:
        """Send photos, eight at once, and each again while it is answered with an error of a backend."""
        run = Run()

        def send_one(photo: Photo) -> None:
            for attempt in range(_TRIES_MAX):
                answer = post(self.web.url, photo)
                if answer.status == 200:
                    assert answer.body["input"]["file_name"] == photo.name
                    run.labels[photo.name] = answer.body["result"]["labels"][0]["name"]
                    run.jobs.add(answer.body["id"])
                    return
                run.errors.append(answer)
                time.sleep(0.1 * attempt)  # a client's pause, and not one of the test
            raise AssertionError(f"no answer for {photo.name}: {run.errors[-1]}")

        with ThreadPoolExecutor(_CLIENTS) as clients:
            list(clients.map(send_one, photos))
        return run

    def wave(self) -> Run:
        """Send every photo, and more until all faults are met; check what holds whatever the faults were."""
        run = self.send(self.photos)
        assert run.labels == self.expected
        deadline_s = time.monotonic() + SETTLED_S
        while not self.proxy.is_spent and time.monotonic() < deadline_s:
            more = self.send(self.photos[:_CLIENTS])
            assert more.labels == {one.name: self.expected[one.name] for one in self.photos[:_CLIENTS]}
            run.jobs |= more.jobs
            run.errors += more.errors
        assert self.proxy.unmet() == []
        for answer in run.errors:
            error = _ERRORS[answer.body["code"]]
            assert answer.status == error.http_status, answer
            assert bool(answer.retry_after) == (answer.status == 503), answer
        self.check_nothing_is_lost(run.jobs)
        return run

    def check_nothing_is_lost(self, jobs: set[str]) -> None:
        """Every job that was taken in, and every image that is stored, has an outcome; the queue is empty."""
        self.wait_until(lambda: self.depth() == 0)
        outcomes = {
            key.removeprefix("results/").removesuffix(".json") for key in self.keys("output", "results/")
        }
        assert jobs <= outcomes
        assert {key.split("/")[1] for key in self.keys("input", "images/")} <= outcomes
        assert self.keys("output", "dead/") == []

    @property
    def reply_url(self) -> str:
        """URL of the web process's reply queue."""
        prefix = f"{self.deployment.prefix}-output-queue-"
        (url,) = self.deployment.emulator.client("sqs").list_queues(QueueNamePrefix=prefix)["QueueUrls"]
        return str(url)

    def depth(self) -> int:
        """Return how many messages the input queue holds."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        sqs = self.deployment.emulator.client("sqs")
        asked = sqs.get_queue_attributes(QueueUrl=self.deployment.input_url, AttributeNames=names)
        return sum(int(asked["Attributes"][name]) for name in names)

    def keys(self, bucket: str, prefix: str) -> list[str]:
        return keys_of(self.deployment, bucket, prefix)

    def wait_until(self, is_so: Callable[[], object]) -> None:
        deadline_s = time.monotonic() + SETTLED_S
        while not is_so():
            assert time.monotonic() < deadline_s, "\n".join(
                [*self.web.process.lines, *self.worker.lines][-60:]
            )
            time.sleep(0.05)  # what is waited for happens in other processes


def post(url: str, photo: Photo, **headers: str) -> Answer:
    name = urllib.parse.quote(photo.name)
    request = urllib.request.Request(f"{url}/v1/classify?file_name={name}", photo.data, headers)
    return fetch(request)


def fetch(request: urllib.request.Request | str) -> Answer:
    try:
        with urllib.request.urlopen(request, timeout=SETTLED_S) as answer:
            return Answer(answer.status, json.load(answer), None)
    except urllib.error.HTTPError as answer:
        with answer:
            return Answer(answer.code, json.load(answer), answer.headers["Retry-After"])


def keys_of(deployment: Deployment, bucket: str, prefix: str) -> list[str]:
    s3 = deployment.emulator.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=f"{deployment.prefix}-{bucket}-bucket", Prefix=prefix
    )
    return [one["Key"] for page in pages for one in page.get("Contents", [])]
