"""The queue's contract on SQS, as two emulators play it; AWS's documented behaviour decides."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from aws.emulators import EMULATORS, REGION, Emulator, emulator
from beholder.queue import Queue
from beholder.testing import QueueContract
from beholder.testing.queue_contract import Advance, MakeQueue

pytestmark = pytest.mark.aws

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
_NOT_IN_FLIGHT = "takes a receipt whose time is over; AWS documents MessageNotInflight for it"
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html
_OLD_RECEIPT = "an older receipt holds the message like the newest; AWS documents that only the newest does"
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/
# standard-queues-at-least-once-delivery.html
_SHARED = "takes no lock between choosing a message and hiding it; AWS documents a second copy as rare"


class TestSqsQueue(QueueContract):
    # What random bytes leave of 1 MiB, since they travel as base64.
    BODY_BYTES_MAX = 786_000

    @pytest.fixture(params=EMULATORS)
    def aws(self, request: pytest.FixtureRequest) -> Emulator:
        return emulator(request.param)

    @pytest.fixture
    def client(self, aws: Emulator) -> Any:
        from beholder.queue.sqs_client import SqsClient  # noqa: PLC0415 -- only where the emulator is

        # Patient: a retry for slowness would be a second message, which SQS allows and the suite does not.
        return SqsClient(region=REGION, endpoint=aws.endpoint, timeout_s=30.0)

    @pytest.fixture
    def dead_url(self, aws: Emulator) -> str:
        return aws.make_queue()

    @pytest.fixture
    def dead_letters(self, client: Any, dead_url: str) -> Iterator[Queue]:
        from beholder.queue.sqs import SqsQueue  # noqa: PLC0415

        with SqsQueue(dead_url, client=client) as queue:
            yield queue

    @pytest.fixture
    def make_queue(self, aws: Emulator, client: Any, dead_url: str) -> Iterator[MakeQueue]:
        from beholder.queue.sqs import SqsQueue  # noqa: PLC0415

        made: list[SqsQueue] = []

        def make(*, visibility_timeout_s: float, receive_count_max: int | None = None) -> Queue:
            attributes = {"VisibilityTimeout": f"{visibility_timeout_s:.0f}"}
            if receive_count_max:
                redrive = {
                    "deadLetterTargetArn": aws.arn_of(dead_url),
                    "maxReceiveCount": f"{receive_count_max}",
                }
                attributes["RedrivePolicy"] = json.dumps(redrive)
            made.append(SqsQueue(aws.make_queue(**attributes), client=client))
            return made[-1]

        yield make
        for queue in made:
            queue.close()

    def test_stale_receipts_are_ignored(self, aws: Emulator, brief: Queue, advance: Advance) -> None:
        aws.unlike_aws("moto", _OLD_RECEIPT)
        super().test_stale_receipts_are_ignored(brief, advance)

    def test_an_extension_comes_too_late(self, aws: Emulator, brief: Queue, advance: Advance) -> None:
        aws.unlike_aws("moto", _OLD_RECEIPT)
        super().test_an_extension_comes_too_late(brief, advance)

    def test_an_extension_of_a_message_that_is_visible_again_fails(
        self, aws: Emulator, brief: Queue, advance: Advance
    ) -> None:
        aws.unlike_aws("moto ministack", _NOT_IN_FLIGHT)
        super().test_an_extension_of_a_message_that_is_visible_again_fails(brief, advance)

    def test_concurrent_receivers_never_share_a_message(self, aws: Emulator, queue: Queue) -> None:
        aws.unlike_aws("moto", _SHARED)
        super().test_concurrent_receivers_never_share_a_message(queue)
