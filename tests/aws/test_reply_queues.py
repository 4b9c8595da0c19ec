"""Reply queues on SQS: made, found, removed when their owner is gone, made anew when they are."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from aws.deployment import Deployment
from aws.emulators import EMULATORS, REGION, Emulator, emulator
from beholder.clock import ManualClock
from beholder.config import load_settings
from beholder.errors import BackendUnavailable, QueueGone
from beholder.wiring import profile_of

pytestmark = pytest.mark.aws

# Longer than the longest pause between two passes of a sweeper.
LOOK_S = 720.0
WAIT_S = 5.0


@pytest.fixture(params=EMULATORS)
def aws(request: pytest.FixtureRequest) -> Emulator:
    return emulator(request.param)


@pytest.fixture
def client(aws: Emulator) -> Iterator[Any]:
    from beholder.queue.sqs_client import SqsClient  # noqa: PLC0415 -- only where the emulator is

    client = SqsClient(region=REGION, endpoint=aws.endpoint)
    yield client
    client.close()


@pytest.fixture
def prefix(aws: Emulator) -> Iterator[str]:
    prefix = f"zoo-{secrets.token_hex(4)}-output-queue"
    yield prefix
    for name in names(aws, prefix):
        delete(aws, name)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def start(client: Any, prefix: str, clock: ManualClock) -> Iterator[Callable[[str], Any]]:
    """Start a web process, as far as its reply queue goes; all end in good order with the test."""
    from beholder.queue.sqs_replies import OwnReplyQueue  # noqa: PLC0415

    with ExitStack() as ends:
        yield lambda owner: ends.enter_context(
            OwnReplyQueue(client, deployment="zoo", prefix=prefix, owner=owner, clock=clock)
        )


@pytest.fixture
def replies(client: Any, clock: ManualClock) -> Any:
    from beholder.queue.sqs_replies import ReplyQueues  # noqa: PLC0415

    return ReplyQueues(client, clock=clock)


def names(aws: Emulator, prefix: str) -> set[str]:
    listed = aws.client("sqs").list_queues(QueueNamePrefix=f"{prefix}-").get("QueueUrls", [])
    return {url.rpartition("/")[2] for url in listed}


def url_of(aws: Emulator, name: str) -> str:
    return str(aws.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])


def delete(aws: Emulator, name: str) -> None:
    aws.client("sqs").delete_queue(QueueUrl=url_of(aws, name))


def die(aws: Emulator, prefix: str, **more: str) -> str:
    """Leave what a web process leaves that was killed."""
    name = f"{prefix}-web-9-{secrets.token_hex(4)}"
    tags = {"beholder:deployment": "zoo", "beholder:owner": "web-9", "beholder:alive-at": "then"} | more
    aws.client("sqs").create_queue(QueueName=name, tags=tags)
    return name


def test_it_is_there_with_its_tags_and_attributes(
    aws: Emulator, start: Callable[[str], Any], prefix: str
) -> None:
    own = start("web-0")
    assert names(aws, prefix) == {own.name}
    sqs, url = aws.client("sqs"), url_of(aws, own.name)
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {
        "beholder:deployment": "zoo",
        "beholder:owner": "web-0",
        "beholder:alive-at": "2001-09-09T01:46:40Z",
    }
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["MessageRetentionPeriod"] == "300"
    assert attributes["ReceiveMessageWaitTimeSeconds"] == "20"
    assert attributes["VisibilityTimeout"] == "30"


def test_a_reply_arrives_by_its_queue_s_name(start: Callable[[str], Any], replies: Any) -> None:
    own = start("web-0")
    replies(own.name).send([b"label"])
    (received,) = own.receive(count_max=10, wait_s=WAIT_S)
    assert received.body == b"label"
    own.ack([received.receipt])
    assert own.receive(count_max=10, wait_s=0) == []


def test_an_end_in_good_order_leaves_nothing(
    aws: Emulator, client: Any, prefix: str, clock: ManualClock
) -> None:
    from beholder.queue.sqs_replies import OwnReplyQueue  # noqa: PLC0415

    with OwnReplyQueue(client, deployment="zoo", prefix=prefix, owner="web-0", clock=clock):
        assert len(names(aws, prefix)) == 1
    assert names(aws, prefix) == set()


def test_an_end_does_not_wait_for_a_reply(start: Callable[[str], Any]) -> None:
    own = start("web-0")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(own.receive, count_max=10, wait_s=20.0)
        own.interrupt()
        assert waiting.result(timeout=10) == []


def test_the_queue_of_a_dead_owner_is_removed_and_those_of_the_living_and_of_others_are_not(
    aws: Emulator, start: Callable[[str], Any], prefix: str, clock: ManualClock
) -> None:
    # given
    sweeper, living = start("web-0"), start("web-1")
    dead = die(aws, prefix)
    foreign = die(aws, prefix, **{"beholder:deployment": "another"})
    untagged = f"{prefix}-untagged"
    aws.client("sqs").create_queue(QueueName=untagged)
    # when
    for look in range(4):
        sweeper.sweeper_tick()
        assert (dead in names(aws, prefix)) == (look < 2)
        clock.advance(LOOK_S)
        sweeper.heartbeat_tick()
        living.heartbeat_tick()
    # then
    assert names(aws, prefix) == {sweeper.name, living.name, foreign, untagged}


def test_a_queue_whose_tags_were_read_too_early_is_looked_at_again(
    aws: Emulator, start: Callable[[str], Any], prefix: str, clock: ManualClock
) -> None:
    # given: its tags are not there yet at the first look
    sweeper = start("web-0")
    dead = die(aws, prefix)
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName=dead)["QueueUrl"]
    tags = sqs.list_queue_tags(QueueUrl=url)["Tags"]
    sqs.untag_queue(QueueUrl=url, TagKeys=list(tags))
    sweeper.sweeper_tick()
    # when
    sqs.tag_queue(QueueUrl=url, Tags=tags)
    for _ in range(4):
        clock.advance(LOOK_S)
        sweeper.sweeper_tick()
        sweeper.heartbeat_tick()
    # then
    assert names(aws, prefix) == {sweeper.name}


def test_two_janitors_at_once_remove_a_queue_once(
    aws: Emulator, start: Callable[[str], Any], prefix: str, clock: ManualClock
) -> None:
    janitors = [start("web-0"), start("web-1")]
    for _ in range(5):
        die(aws, prefix)
    with ThreadPoolExecutor() as threads:
        for _ in range(3):
            list(threads.map(lambda sweeper: sweeper.sweeper_tick(), janitors))
            clock.advance(LOOK_S)
            for sweeper in janitors:
                sweeper.heartbeat_tick()
    assert names(aws, prefix) == {sweeper.name for sweeper in janitors}


def test_an_owner_whose_queue_was_deleted_goes_on_with_another(
    aws: Emulator, start: Callable[[str], Any], replies: Any, prefix: str, clock: ManualClock
) -> None:
    # given: it slept, as a laptop does, and others took it for dead
    own = start("web-0")
    replies(own.name).send([b"early"])
    (held,) = own.receive(count_max=10, wait_s=WAIT_S)
    clock.advance(3600)
    before = own.name
    delete(aws, before)
    # when
    assert own.receive(count_max=10, wait_s=1.0) == []
    own.ack([held.receipt])  # of the queue that is gone
    # then
    assert own.name != before
    assert names(aws, prefix) == {own.name}
    replies(own.name).send([b"late"])
    assert [one.body for one in own.receive(count_max=10, wait_s=WAIT_S)] == [b"late"]
    with pytest.raises(QueueGone):
        replies(before).send([b"lost"])


def test_a_queue_that_is_deleted_while_its_owner_waits_is_made_anew(
    aws: Emulator, start: Callable[[str], Any], clock: ManualClock
) -> None:
    own = start("web-0")
    clock.advance(3600)
    before = own.name
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(own.receive, count_max=10, wait_s=3.0)
        delete(aws, before)
        assert waiting.result(timeout=30) == []
    own.receive(count_max=10, wait_s=0)
    assert own.name != before


def test_the_heartbeat_finds_that_the_queue_is_gone_too(
    aws: Emulator, start: Callable[[str], Any], prefix: str, clock: ManualClock
) -> None:
    own = start("web-0")
    clock.advance(3600)
    delete(aws, own.name)
    own.heartbeat_tick()
    assert names(aws, prefix) == {own.name}


def test_a_reply_to_a_queue_that_is_gone_costs_one_call_for_a_while(
    client: Any, replies: Any, prefix: str, clock: ManualClock
) -> None:
    for _ in range(10):
        with pytest.raises(QueueGone):
            replies(f"{prefix}-web-7-gone").send([b"x"])
    assert sum(client.calls.values()) == 1
    clock.advance(5)
    with pytest.raises(QueueGone):
        replies(f"{prefix}-web-7-gone").send([b"x"])
    assert sum(client.calls.values()) == 2


def test_a_queue_that_goes_while_it_is_open_costs_one_call_too(
    aws: Emulator, client: Any, start: Callable[[str], Any], replies: Any
) -> None:
    own = start("web-0")
    replies(own.name).send([b"x"])
    delete(aws, own.name)
    before = sum(client.calls.values())
    for _ in range(10):
        with pytest.raises(QueueGone):
            replies(own.name).send([b"x"])
    assert sum(client.calls.values()) == before + 1


def test_a_worker_that_cannot_reach_sqs_does_not_take_the_queue_for_gone(
    aws: Emulator, prefix: str, clock: ManualClock
) -> None:
    from aws.faulty import FaultyProxy, sqs_error  # noqa: PLC0415
    from beholder.queue.sqs_client import SqsClient  # noqa: PLC0415
    from beholder.queue.sqs_replies import ReplyQueues  # noqa: PLC0415

    name = die(aws, prefix)
    with FaultyProxy(aws.endpoint) as proxy:
        client = SqsClient(region=REGION, endpoint=proxy.endpoint, attempts_max=1)
        replies = ReplyQueues(client, clock=clock)
        proxy.inject("SendMessageBatch", sqs_error(500, "InternalFailure"))
        with pytest.raises(BackendUnavailable):
            replies(name).send([b"x"])
        replies(name).send([b"x"])
        client.close()


@pytest.mark.parametrize(
    "code",
    [("QueueDoesNotExist", None), ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")],
    ids=["json", "older name"],
)
def test_both_names_of_the_error_say_that_a_queue_is_gone(
    aws: Emulator, prefix: str, code: tuple[str, str | None]
) -> None:
    from aws.faulty import FaultyProxy, sqs_error  # noqa: PLC0415
    from beholder.queue.sqs_client import SqsClient  # noqa: PLC0415

    with FaultyProxy(aws.endpoint) as proxy:
        client = SqsClient(region=REGION, endpoint=proxy.endpoint)
        proxy.inject("TagQueue", sqs_error(400, *code))
        with pytest.raises(QueueGone):
            client.call("tag", "tag_queue", QueueUrl=url_of(aws, die(aws, prefix)), Tags={"a": "b"})
        client.close()


def test_a_web_process_tags_its_queue_with_the_deployment_s_name(
    aws: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`beholder destroy` finds the queue by this tag."""
    with Deployment(aws, tmp_path) as deployment:
        for name, value in deployment.environment.items():
            monkeypatch.setenv(name, value)
        settings = load_settings(deployment.environment, {}).settings
        with (
            profile_of(settings).open_backends("web-0") as backends,
            backends.own_replies("web-0") as replies,
        ):
            url = aws.client("sqs").get_queue_url(QueueName=replies.name())["QueueUrl"]
            tags = aws.client("sqs").list_queue_tags(QueueUrl=url)["Tags"]
            assert tags["beholder:deployment"] == deployment.prefix
