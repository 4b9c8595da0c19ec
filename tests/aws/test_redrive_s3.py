"""Dead letters in a bucket on S3: two redrives at once send each of them once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from aws.emulators import EMULATORS, REGION, emulator
from beholder.clock import SystemClock
from beholder.dead_letters.consumer import DeadLetterConsumer
from beholder.dead_letters.redrive import Action, Redrive
from beholder.dead_letters.writer import DeadLetterWriter
from beholder.job import JobInput, Message, new_job_id
from beholder.queue.memory import MemoryQueue
from beholder.store.keys import unreadable_key

pytestmark = pytest.mark.aws

COUNT = 10


@pytest.mark.parametrize("name", EMULATORS)
def test_two_redrives_at_once_send_each_letter_once(name: str) -> None:
    from beholder.store.s3 import S3Store  # noqa: PLC0415 -- only where the emulator is

    # given
    aws, clock = emulator(name), SystemClock()
    bucket = S3Store(aws.make_bucket(), region=REGION, endpoint=aws.endpoint)
    queue, dead = MemoryQueue(clock=clock), MemoryQueue(clock=clock)
    for _ in range(COUNT):
        image = JobInput("images/j/a.jpg", "a.jpg", 1)
        dead.send([Message(new_job_id(clock.now_s()), clock.now_s(), image).to_bytes()])
    writer = DeadLetterWriter(bucket, lambda _: queue, clock, input_bucket="")
    DeadLetterConsumer(dead, writer, wait_s=0.0).tick()
    metadata = {"reason": "no JSON", "at": "2001-09-09T01:46:41.000+00:00"}
    bucket.put(unreadable_key("ab" * 32), b"?", metadata=metadata)
    with ThreadPoolExecutor(8) as several, ThreadPoolExecutor(2) as pair:
        redrives = [Redrive(queue, bucket, clock, map_items=several.map) for _ in range(2)]
        letters = redrives[0].letters()
        assert len(letters) == COUNT + 1
        assert letters[0].reason == "no JSON"
        # when
        decided = list(pair.map(lambda one: [one.send_back(letter) for letter in letters], redrives))
    # then
    actions = [{first.action, second.action} for first, second in zip(*decided, strict=True)]
    assert all(Action.SEND in both and len(both) > 1 for both in actions)
    assert queue.depth().backlog == COUNT + 1
    assert list(bucket.list("")) == []
