"""A worker with everything around it in memory: each call to a port is recorded, and any can fail."""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.clock import ManualClock
from beholder.errors import ImageTruncated
from beholder.job import JobInput, Message, Options, new_job_id
from beholder.job.reply import Reply
from beholder.model.port import ModelSpec, Preprocessing
from beholder.queue.memory import MemoryQueue
from beholder.queue.port import Received
from beholder.results.counters import UnreportedCounters
from beholder.store.keys import image_key, result_key
from beholder.store.memory import MemoryStore
from beholder.worker.cancellations import Cancellations
from beholder.worker.consumer import Consumer, SharedPolls
from beholder.worker.extender import VisibilityExtender
from beholder.worker.journal import InFlightJournal
from beholder.worker.ports import WorkerPorts

__all__ = ["BUCKET", "LABELS", "Death", "FakeClassifier", "RecordedPort", "Recorder", "Rig", "prepare"]

LABELS = ("cat", "dog", "hen", "owl")
TIMEOUT_S = 30.0
BUCKET = "input-bucket"


class Death(BaseException):
    """The process dies: whatever it would have done next does not happen."""


@dataclass
class Recorder:
    """Records every call to a port, in order, and injects failures and death at some of them.

    Args:
        failures: What is raised instead of a call, by its name such as 'results.put'.
        dies_at: Number of the call at which the process dies.
        dies_after: It dies when that call is done, not before it.
        on_death: Called at that moment.
    """

    calls: list[str] = field(default_factory=list)
    failures: dict[str, BaseException] = field(default_factory=dict)
    dies_at: int | None = None
    dies_after: bool = False
    on_death: Callable[[], None] = lambda: None
    is_dead: bool = False
    _called: threading.Condition = field(default_factory=threading.Condition)

    def await_call(self, name: str, timeout_s: float) -> bool:
        """Wait until another thread has made a call; False if it does not."""
        with self._called:
            return self._called.wait_for(lambda: name in self.calls, timeout_s)

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        with self._called:
            number = len(self.calls)
            self.calls.append(name)
            self._called.notify_all()
        if self.is_dead:
            raise Death
        if number == self.dies_at and not self.dies_after:
            self._die()
        if name in self.failures:
            raise self.failures[name]
        result = call()
        if number == self.dies_at:
            self._die()
        return result

    def _die(self) -> None:
        self.on_death()
        self.is_dead = True
        raise Death


class RecordedPort:
    """Passes every call on to a port and records it."""

    def __init__(self, port: Any, name: str, recorder: Recorder) -> None:
        self._port, self._name, self._recorder = port, name, recorder

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = getattr(self._port, method)
        return lambda *args, **more: self._recorder.around(
            f"{self._name}.{method}", lambda: call(*args, **more)
        )


def prepare(data: bytes, _: Preprocessing) -> NDArray[np.uint8]:
    """Decode an image of the rig.

    Its first letter names its label, a real photo shows the first; what begins with '!' is damaged.
    """
    if data.startswith(b"!"):
        raise ImageTruncated
    letters = [label[0].encode() for label in LABELS]
    number = letters.index(data[:1]) if data[:1] in letters else 0
    return np.full((1, 1, 3), number, np.uint8)


class FakeClassifier:
    """Sees in an image the label whose number its pixels hold."""

    precision = "fp32"

    def __init__(self, name: str, version: str = "1") -> None:
        self.spec = ModelSpec(
            name,
            version,
            "MIT",
            "",
            "",
            Path(),
            LABELS,
            outputs_probabilities=True,
            preprocessing=Preprocessing(),
            embedding="pooled",
            embedding_size=3,
        )
        self.batches: list[int] = []
        self.failure: Exception | None = None

    def warm_up(self) -> None:
        pass

    def classify(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.batches.append(len(images))
        if self.failure is not None:
            raise self.failure
        rows = np.full((len(images), len(LABELS)), 0.1, np.float32)
        for row, image in zip(rows, images, strict=True):
            row[image[0, 0, 0]] = 0.7
        return rows

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.batches.append(len(images))
        if self.failure is not None:
            raise self.failure
        rows = [[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1 / 3, 2 / 3, -2 / 3]]
        return np.array([rows[image[0, 0, 0]] for image in images], np.float32)


class Rig:
    """Queues, buckets, classifiers and a clock, and workers that work with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.dead_letters = MemoryQueue(clock=self.clock)
        self.queue = MemoryQueue(
            visibility_timeout_s=TIMEOUT_S,
            receive_count_max=3,
            dead_letters=self.dead_letters,
            clock=self.clock,
        )
        self.replies = {name: MemoryQueue(clock=self.clock) for name in ("web-0", "web-1")}
        self.images = MemoryStore(clock=self.clock)
        self.results = MemoryStore(clock=self.clock)
        self.classifiers = {f"{name}@1": FakeClassifier(name) for name in ("first", "second")}
        self.recorder = Recorder()

    def worker(
        self,
        name: str = "worker-0",
        *,
        batch_max: int = 4,
        wait_s: float = 0.0,
        final_poll_s: float = 0.0,
        polls: SharedPolls | None = None,
        **more: Any,
    ) -> Consumer:
        """Return a new consumer; one of the same name as before is its successor."""
        recorder = self.recorder
        queue = RecordedPort(self.queue, "queue", recorder)
        ports = WorkerPorts(
            queue=queue,
            dead_letters=RecordedPort(self.dead_letters, "dead_letters", recorder),
            replies=lambda name: RecordedPort(self.replies[name], "replies", recorder),
            images=RecordedPort(self.images, "images", recorder),
            results=RecordedPort(self.results, "results", recorder),
            classifiers=self.classifiers,
            clock=self.clock,
            **(
                {
                    "input_bucket": BUCKET,
                    "prepare": prepare,
                    "image_bytes_max": 10_000_000,
                    "receive_count_max": 3,
                    "is_heavy": lambda _data: False,
                    "heavy_decodes": threading.Semaphore(),
                    "map_items": map,
                    "unreported": UnreportedCounters(dict),
                    "cancellations": Cancellations(self.results, self.clock, 0.0),
                }
                | more
            ),
        )
        self.extender = VisibilityExtender(
            queue, self.clock, timeout_s=TIMEOUT_S, hold_max_s=600.0, on_hung=lambda: None
        )
        return Consumer(
            ports,
            InFlightJournal(self.in_flight_path(name), self.clock),
            self.extender,
            batch_max=batch_max,
            wait_s=wait_s,
            final_poll_s=final_poll_s,
            polls=polls or SharedPolls(),
            elapsed=self.clock,
        )

    def in_flight_path(self, name: str = "worker-0") -> Path:
        return self.folder / f"{name}.journal"

    def begun(self, name: str = "worker-0", **more: Any) -> Consumer:
        """Return a consumer whose first pass, which looks for a predecessor's journal, is over."""
        worker = self.worker(name, **more)
        worker.tick()
        self.recorder.calls.clear()
        return worker

    def send(self, data: bytes, **more: Any) -> Message:
        """Submit an image as the web tier does."""
        job_id = new_job_id(self.clock.now_s())
        key = image_key(job_id, "a.jpg")
        self.images.put(key, data)
        options = more.pop("options", Options())
        made = {"reply_to": "web-0"} | more
        message = Message(job_id, self.clock.now_s(), JobInput(key, "a.jpg", len(data), options), **made)
        self.queue.send([message.to_bytes()])
        return message

    def result(self, message: Message) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.results.get(result_key(message.job_id)))
        return document

    def label(self, message: Message) -> str:
        name: str = self.result(message)["result"]["labels"][0]["name"]
        return name

    def replied(self, name: str = "web-0") -> list[dict[str, Any]]:
        """Return the jobs in the replies to a web process."""
        replies = [Reply.from_bytes(one.body) for one in take_all(self.replies[name])]
        return [json.loads(document) for reply in replies for document in reply.documents]

    def is_idle(self) -> bool:
        depth = self.queue.depth()
        return (depth.backlog, depth.in_flight, depth.delayed) == (0, 0, 0)


def take_all(queue: MemoryQueue) -> list[Received]:
    """Receive everything that is visible."""
    found: list[Received] = []
    while taken := queue.receive(count_max=10, wait_s=0):
        found += taken
    return found
