"""Whatever is wrong with one message of a batch, the others succeed at once.

A random member of a batch is poisoned at a random step, in a random way, on every store. The others are done
before any time passes, at their first receive, and the poison comes to an end of its own.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aws.emulators import EMULATORS, REGION, emulator
from beholder.dead_letters.consumer import DeadLetterConsumer
from beholder.dead_letters.writer import DeadLetterWriter
from beholder.errors import (
    BackendDenied,
    BackendFull,
    BackendThrottled,
    BackendUnavailable,
    ImageHeaderInvalid,
    ImageUndecodable,
    InferenceFailed,
    ObjectNotFound,
)
from beholder.job import Message, MessageInvalid
from beholder.store import FolderStore, MemoryStore, Store
from beholder.store.keys import dead_letter_key, result_key, unreadable_key
from beholder.worker.consumer import Consumer
from helpers.rig import BUCKET, FakeClassifier, Rig, prepare

STEPS = ("get", "header", "decode", "classify", "put", "reply", "body")
ANY = (
    MemoryError("no room"),
    ValueError("a codec's own"),
    OSError(40, "too many links"),
    KeyError("n02123045"),
    IndexError("label 1000"),
    RuntimeError("a vendor's"),
    RecursionError("too deep"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "torn"),
)
BACKEND = tuple(
    error("a store", "call", "for this one")
    for error in (BackendDenied, BackendUnavailable, BackendThrottled, BackendFull, ObjectNotFound)
)
ERRORS: Mapping[str, Sequence[Exception]] = {
    "get": (*ANY, *BACKEND),
    "header": (*ANY, ImageHeaderInvalid()),
    "decode": (*ANY, ImageUndecodable()),
    "classify": (*ANY, InferenceFailed()),
    "put": (*ANY, *BACKEND),
    "reply": (*ANY, *BACKEND),
    "body": (MessageInvalid("another version"),),
}
POISON = b"owl"
GOOD = (b"cat", b"dog", b"hen")
# Before a third receive a message is hidden for 20 s, and a held message is retried for 300 s at each
# receive.
STEP_S, TICKS_MAX = 25.0, 200


class Poisoned:
    """Raises an error for some keys, and passes all other calls on."""

    def __init__(self, store: Store, methods: Sequence[str], poison: list[str], error: Exception) -> None:
        self._store, self._methods, self._poison, self._error = store, methods, poison, error

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = getattr(self._store, method)

        def checked(key: str, *args: Any, **more: Any) -> Any:
            if method in self._methods and key in self._poison:
                raise self._error
            return call(key, *args, **more)

        return checked


class PoisonedClassifier(FakeClassifier):
    """Fails on every batch that holds the poison."""

    def __init__(self, error: Exception) -> None:
        super().__init__("first")
        self._error = error

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if any(image[0, 0, 0] == 3 for image in images):
            raise self._error
        return super().classify(images)


class Case:
    """A rig with one poisoned message among good ones."""

    def __init__(self, folder: Path, stores: tuple[Store, Store], step: str, error: Exception) -> None:
        self.rig, self.step, self.error = Rig(folder), step, error
        self.poisoned_keys: list[str] = []
        images, results = stores
        self.rig.images, self.rig.results = images, results  # type: ignore[assignment]
        if step == "get":
            self.rig.images = Poisoned(images, ("get",), self.poisoned_keys, error)  # type: ignore[assignment]
        if step == "put":
            self.rig.results = Poisoned(results, ("put",), self.poisoned_keys, error)  # type: ignore[assignment]
        if step == "classify":
            self.rig.classifiers["first@1"] = PoisonedClassifier(error)
        if step == "reply":
            self.rig.replies["web-1"].send = self._raise  # type: ignore[method-assign]

    def _raise(self, *_: Any, **__: Any) -> None:
        raise self.error

    def _is_heavy(self, data: bytes) -> bool:
        if data == POISON and self.step == "header":
            raise self.error
        return False

    def _prepare(self, data: bytes, preprocessing: Any) -> NDArray[np.uint8]:
        if data == POISON and self.step == "decode":
            raise self.error
        return prepare(data, preprocessing)

    def worker(self, batch_max: int) -> Consumer:
        worker = self.rig.worker(batch_max=batch_max, prepare=self._prepare, is_heavy=self._is_heavy)
        worker.tick()
        return worker

    def send(self, count: int, place: int) -> tuple[Message | None, list[Message]]:
        poison, good = None, []
        for number in range(count):
            if number != place:
                good.append(self.rig.send(GOOD[number % 3], reply_to="web-0"))
            elif self.step == "body":
                self.rig.queue.send([b'{"v": 99}'])
            else:
                poison = self.rig.send(POISON, reply_to="web-1")
                self.poisoned_keys += [poison.input.image_key, result_key(poison.job_id)]
        return poison, good


@contextmanager
def memory_stores(_: Path) -> Iterator[tuple[Store, Store]]:
    yield MemoryStore(), MemoryStore()


@contextmanager
def folder_stores(folder: Path) -> Iterator[tuple[Store, Store]]:
    yield FolderStore(folder / "in"), FolderStore(folder / "out")


@contextmanager
def s3_stores(name: str) -> Iterator[tuple[Store, Store]]:
    from beholder.store.s3 import S3Store  # noqa: PLC0415 -- only where the emulator is

    aws = emulator(name)
    images, results = (S3Store(aws.make_bucket(), region=REGION, endpoint=aws.endpoint) for _ in range(2))
    yield images, results


def finished(rig: Rig, messages: Sequence[Message]) -> list[tuple[str, str, int]]:
    found = [rig.result(one) for one in messages]
    return [
        (one["status"], one["result"]["labels"][0]["name"], one["metrics"]["receive_count"]) for one in found
    ]


cases = st.sampled_from(STEPS).flatmap(
    lambda step: st.tuples(st.just(step), st.sampled_from(range(len(ERRORS[step]))))
)


def check(stores: Any, kind: tuple[str, int], count: int, place: int, batch_max: int) -> None:
    step, error = kind[0], ERRORS[kind[0]][kind[1]]
    with tempfile.TemporaryDirectory() as name, stores(Path(name)) as pair:
        case = Case(Path(name), pair, step, error)
        rig, worker = case.rig, case.worker(batch_max)
        poison, good = case.send(count, place % count)
        # when: no time passes
        for _ in range(2 * count + 2):
            with suppress(Exception):
                worker.tick()
        # then: the others are done, and their pending replies know
        expected = [GOOD[number % 3].decode() for number in range(count) if number != place % count]
        assert finished(rig, good) == [("succeeded", label, 1) for label in expected]
        assert {job["id"] for job in rig.replied("web-0")} == {one.job_id for one in good}
        # and: the poison ends
        writer = DeadLetterWriter(rig.results, rig.replies.__getitem__, rig.clock, input_bucket=BUCKET)
        dead_letter_consumer = DeadLetterConsumer(rig.dead_letters, writer, wait_s=0.0)
        for _ in range(TICKS_MAX):
            for part in (worker.tick, rig.extender.tick, dead_letter_consumer.tick):
                with suppress(Exception):
                    part()
            if rig.is_idle():
                break
            rig.clock.advance(STEP_S)
        with suppress(Exception):
            dead_letter_consumer.tick()
        assert rig.is_idle()
        assert worker._held == ()
        assert rig.extender._held == {}
        check_end(rig, step, error, poison)


def check_end(rig: Rig, step: str, error: Exception, poison: Message | None) -> None:
    if poison is None:
        import hashlib  # noqa: PLC0415

        key = unreadable_key(hashlib.sha256(b'{"v": 99}').hexdigest())
        assert rig.results.head(key).metadata["reason"]
        return
    if step == "reply":
        assert rig.result(poison)["status"] == "succeeded"
        return
    if step == "put":  # no outcome can be written, so the letter must tell
        letter = json.loads(rig.results.get(dead_letter_key(poison.job_id)))
        assert letter["reason"].startswith("put failed: ")
        return
    failure = rig.result(poison)["error"]
    if failure["code"] == "job_abandoned":
        letter = json.loads(rig.results.get(dead_letter_key(poison.job_id)))
        failed_step = "get" if step == "get" else "classify" if step == "classify" else "decode"
        assert letter["reason"].startswith(f"{failed_step} failed: ")
        assert str(error.args[0]) in letter["reason"] or isinstance(error, UnicodeDecodeError)
    else:
        assert failure["code"] in {
            "image_gone",
            "image_header_invalid",
            "image_undecodable",
            "inference_failed",
        }


arguments = given(cases, st.integers(1, 6), st.integers(0, 5), st.integers(1, 4))
bounds = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("stores", [memory_stores, folder_stores])
@arguments
@example(("get", 8), 7, 0, 1)  # denied, alone in its batch, with good ones behind it
@example(("get", 9), 7, 0, 1)
@example(("put", 8), 7, 3, 4)
@settings(bounds, max_examples=60)
def test_the_neighbours_of_a_poison_succeed_with_one_receive(
    stores: Any, kind: tuple[str, int], count: int, place: int, batch_max: int
) -> None:
    check(stores, kind, count, place, batch_max)


@pytest.mark.aws
@pytest.mark.parametrize("aws", EMULATORS)
@arguments
@settings(bounds, max_examples=15)
def test_the_neighbours_of_a_poison_succeed_with_one_receive_on_s3(
    aws: str, kind: tuple[str, int], count: int, place: int, batch_max: int
) -> None:
    check(lambda _: s3_stores(aws), kind, count, place, batch_max)
