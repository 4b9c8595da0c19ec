"""The whole system on an emulator: two web processes and two workers, 64 clients at once."""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from aws.counting import LOOKUP, CountingProxy
from aws.deployment import Deployment, Web
from aws.emulators import emulator
from beholder.model.decode.limits import ImageLimits
from beholder.model.openvino_cpu import OpenVinoClassifier
from beholder.model.prepare import prepare
from beholder.model.registry import ModelRegistry
from docs.pages import read, table

pytestmark = pytest.mark.aws

CLIENTS = 64
IMAGES = 1_000
ANSWER_S = 150.0
CALLS_PER_IMAGE_MAX = 2.8
# When an outcome is looked for, in seconds after the request: each pause is twice the one before.
LOOKUPS_AT_S = (2, 6, 14, 30, 60, 90, 120, 150)
DEPTH, DEPTH_EVERY_S = "sqs:GetQueueAttributes", 5.0


@dataclass(frozen=True)
class Photo:
    """An image file, and the label that the model gives it."""

    name: str
    data: bytes
    label: str


@pytest.fixture(scope="module")
def photos(labelled: Path, imagenet_100: Path) -> list[Photo]:
    """200 photos from 1 KB to 440 KB: the class project's small ones, and photos as cameras make them."""
    classifier = OpenVinoClassifier(ModelRegistry(Path("/nonexistent")).find("efficientnet-lite0"))
    classifier.warm_up()
    spec = classifier.spec
    found = []
    for path in sorted([*labelled.glob("*.JPEG"), *imagenet_100.glob("*.JPEG")]):
        data = path.read_bytes()
        (row,) = classifier.classify([prepare(data, spec.preprocessing, ImageLimits())])
        found.append(Photo(path.name, data, spec.labels[int(row.argmax())]))
    return found


@pytest.fixture(scope="module")
def proxy() -> Iterator[CountingProxy]:
    with CountingProxy(emulator("ministack").endpoint) as counting:
        yield counting


@dataclass
class Run:
    """What came back: for each request the photo sent and the label received."""

    answers: list[tuple[Photo, str]]
    resent: int = 0
    waited_s: list[float] = field(default_factory=list)


async def send_all(photos: Sequence[Photo], urls: Sequence[str], progress: "Progress") -> Run:
    """Send every photo, 64 at once, and send one again elsewhere where its web process dies."""
    run = Run([])
    waiting = asyncio.Semaphore(CLIENTS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(120)) as session:

        async def send(number: int, photo: Photo) -> None:
            async with waiting:
                # A key stays in use for a minute where a web process died between image and message, and for
                # as long as a killed worker's messages stay hidden.
                began_s = time.monotonic()
                until_s = began_s + ANSWER_S
                for url in itertools.cycle([*urls[number % len(urls) :], *urls]):
                    assert time.monotonic() < until_s, f"no answer for request {number}"
                    headers = {"Idempotency-Key": f"{progress.name}-{number}"} if progress.keyed else {}
                    try:
                        async with session.post(
                            f"{url}/v1/classify", data=photo.data, headers=headers
                        ) as response:
                            body = await response.json(content_type=None)
                    except aiohttp.ClientError:
                        run.resent += 1
                        await asyncio.sleep(0.05)
                        continue
                    if response.status == 409:  # the first sending of this key is still under way
                        await asyncio.sleep(0.2)
                        continue
                    assert response.status == 200, body
                    assert body["status"] == "succeeded", body
                    run.answers.append((photo, body["result"]["labels"][0]["name"]))
                    run.waited_s.append(time.monotonic() - began_s)
                    progress.done(len(run.answers))
                    return

        await asyncio.gather(*(send(number, photo) for number, photo in enumerate(photos)))
    return run


class Progress:
    """Does something once so many answers are there."""

    def __init__(self, name: str, steps: dict[int, object] | None = None) -> None:
        self.name = name
        self.keyed = bool(steps)
        self._steps = dict(steps or {})

    def done(self, count: int) -> None:
        step = self._steps.pop(count, None)
        if step is not None:
            step()  # type: ignore[operator]


def thousand(photos: Sequence[Photo]) -> list[Photo]:
    mixed = list(itertools.islice(itertools.cycle(photos), IMAGES))
    random.Random(3).shuffle(mixed)
    return mixed


@pytest.mark.alone  # a web process beside much else sends smaller batches
def test_a_thousand_images_take_less_than_three_calls_each(
    photos: list[Photo], proxy: CountingProxy, tmp_path: Path
) -> None:
    with Deployment(emulator("ministack"), tmp_path, proxy.endpoint) as deployment:
        # given
        webs = [deployment.start_web(f"web-{number}") for number in range(2)]
        workers = [deployment.start_worker(f"worker-{number}") for number in range(2)]
        for worker in workers:
            worker.await_line(r"worker\.ready")
        before = Counter(proxy.calls)
        # when
        began_s = time.monotonic()
        run = asyncio.run(send_all(thousand(photos), [one.url for one in webs], Progress("calls")))
        took_s = time.monotonic() - began_s
        # then
        calls = proxy.calls - before
        stated = {row[0].strip("`"): float(row[1]) for row in table(read("docs/cost.md"), "call")}
        # These hang on the time and not on the images: lookups of late replies, and looks at the depth.
        assert calls.pop(LOOKUP, 0) <= sum(
            waited_s >= at_s for waited_s in run.waited_s for at_s in LOOKUPS_AT_S
        )
        assert calls[DEPTH] <= len([*webs, *workers]) * (2 + took_s / DEPTH_EVERY_S)
        calls[DEPTH] = min(calls[DEPTH], round(stated[DEPTH] * IMAGES))
        assert [label for _, label in run.answers] == [photo.label for photo, _ in run.answers]
        assert len(run.answers) == IMAGES
        per_image = {name: round(count / IMAGES, 3) for name, count in calls.most_common()}
        print(json.dumps(per_image))
        assert calls.total() <= CALLS_PER_IMAGE_MAX * IMAGES, per_image
        once = {"sqs:GetQueueUrl"}  # of each queue, at the first message
        assert {name for name, count in per_image.items() if count > stated.get(name, 0)} <= once, per_image


def test_a_thousand_images_are_answered_rightly_though_a_worker_and_a_web_process_are_killed(
    photos: list[Photo], tmp_path: Path
) -> None:
    with Deployment(emulator("ministack"), tmp_path, visibility_timeout_s=5) as deployment:
        # given
        webs: list[Web] = [deployment.start_web(f"web-{number}") for number in range(2)]
        workers = [deployment.start_worker(f"worker-{number}") for number in range(2)]
        for worker in workers:
            worker.await_line(r"worker\.ready")
        killed = {300: workers[0].kill, 600: webs[0].process.kill}
        # when
        run = asyncio.run(send_all(thousand(photos), [one.url for one in webs], Progress("kills", killed)))
        # then
        assert len(run.answers) == IMAGES
        assert [label for _, label in run.answers] == [photo.label for photo, _ in run.answers]
        assert run.resent > 0
