"""Reply queues and their sweeper, on a fake service with given queues and refusals."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendDenied, BackendError, BackendUnavailable, QueueGone
from beholder.queue.sqs_replies import OwnReplyQueue, ReplyQueues
from beholder.queue.sqs_sweeper import DEPLOYMENT, HEARTBEAT_AT, IdleQueueSweeper, QueueHeartbeat

LOOK_S = 720.0


class Service:
    """Keeps queues as SQS does, as far as their tags; one page of a list holds two names."""

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, str]] = {}
        self.created: list[Mapping[str, Any]] = []
        self.asked: list[str] = []
        self.errors: dict[str, BackendError] = {}

    def call(self, operation: str, action: str, **parameters: Any) -> Mapping[str, Any]:
        name = parameters.get("QueueUrl", "").rpartition("/")[2]
        self.asked.append(action)
        for key in (action, f"{action} {name}"):
            if key in self.errors:
                raise self.errors[key]
        if name and name not in self.tags:
            raise QueueGone("sqs queue", operation)
        return getattr(self, f"_{action}")(name, parameters)

    def batch(self, operation: str, _action: str, url: str, entries: list[Any]) -> list[None]:
        self.call(operation, "batch", QueueUrl=url)
        return [None] * len(entries)

    def _batch(self, _name: str, _parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    def _create_queue(self, _: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        self.created.append(parameters)
        self.tags[parameters["QueueName"]] = dict(parameters["tags"])
        return {"QueueUrl": f"http://sqs/1/{parameters['QueueName']}"}

    def _delete_queue(self, name: str, _: Mapping[str, Any]) -> Mapping[str, Any]:
        del self.tags[name]
        return {}

    def _tag_queue(self, name: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        self.tags[name].update(parameters["Tags"])
        return {}

    def _list_queue_tags(self, name: str, _: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"Tags": self.tags[name]} if self.tags[name] else {}

    def _list_queues(self, _: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        begin = int(parameters.get("NextToken", 0))
        names = sorted(name for name in self.tags if name.startswith(parameters["QueueNamePrefix"]))
        page = {"QueueUrls": [f"http://sqs/1/{name}" for name in names[begin : begin + 2]]}
        return page | ({"NextToken": str(begin + 2)} if names[begin + 2 :] else {})

    def _receive_message(self, _: str, __: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    def _get_queue_url(self, _: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        if parameters["QueueName"] not in self.tags:
            raise QueueGone("sqs queue", "open")
        return {"QueueUrl": f"http://sqs/1/{parameters['QueueName']}"}

    def _get_queue_attributes(self, _: str, __: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"Attributes": {"MaximumMessageSize": "1048576"}}


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def own_queue(service: Service, clock: ManualClock, **names: str) -> OwnReplyQueue:
    given = {"deployment": "zoo", "prefix": "replies", "owner": "web-0"} | names
    return OwnReplyQueue(service, clock=clock, **given)


@pytest.fixture
def own(service: Service, clock: ManualClock) -> Iterator[OwnReplyQueue]:
    with own_queue(service, clock) as queue:
        yield queue


@pytest.fixture
def sweeper(service: Service, clock: ManualClock) -> IdleQueueSweeper:
    return IdleQueueSweeper(service, deployment="zoo", prefix="replies", clock=clock)


# --- what a heartbeat tells ------------------------------------------------------------------------------


def test_a_heartbeat_that_does_not_change_over_three_looks_is_a_dead_owner_s() -> None:
    first = QueueHeartbeat("a", 0)
    second = first.after("a", 450)
    assert not second.is_dead
    assert second.after("a", 900).is_dead


def test_a_heartbeat_that_changes_begins_anew() -> None:
    assert QueueHeartbeat("a", 0, looks=2).after("b", 600) == QueueHeartbeat("b", 600)


def test_looks_in_quick_succession_are_one() -> None:
    assert QueueHeartbeat("a", 0, looks=2).after("a", 449) == QueueHeartbeat("a", 0, looks=2)


def test_a_clock_that_was_set_back_counts_no_look_and_stops_none() -> None:
    back = QueueHeartbeat("a", 10_000, looks=2).after("a", 0)
    assert not back.is_dead
    assert back.after("a", 450).is_dead


# --- the own queue ------------------------------------------------------------------------------------------


def test_it_is_made_with_its_tags_and_removed_at_the_end(service: Service, clock: ManualClock) -> None:
    with own_queue(service, clock) as own:
        (made,) = service.created
        assert made["QueueName"] == own.name
        assert own.name.startswith("replies-web-0-")
        assert service.tags[own.name] == {
            DEPLOYMENT: "zoo",
            "beholder:owner": "web-0",
            HEARTBEAT_AT: "2001-09-09T01:46:40Z",
        }
    assert service.tags == {}


def test_two_owners_of_one_name_have_queues_of_their_own(service: Service, clock: ManualClock) -> None:
    with own_queue(service, clock) as one, own_queue(service, clock) as other:
        assert one.name != other.name


def test_an_owner_s_name_is_made_one_that_sqs_takes(service: Service, clock: ManualClock) -> None:
    with own_queue(service, clock, owner="web.example.org:" + "x" * 99) as own:
        assert own.name.startswith("replies-web-example-org-xx")
        assert len(own.name) <= 80


def test_a_prefix_that_leaves_no_room_is_refused(service: Service, clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="60"):
        own_queue(service, clock, prefix="p" * 61)


def test_the_heartbeat_is_written_every_five_minutes(
    service: Service, clock: ManualClock, own: OwnReplyQueue
) -> None:
    assert own.heartbeat_tick() == 300.0
    assert "tag_queue" not in service.asked  # it was made with one
    clock.advance(300)
    assert own.heartbeat_tick() == 300.0
    assert service.tags[own.name][HEARTBEAT_AT] == "2001-09-09T01:51:40Z"


def test_a_clock_that_was_set_back_does_not_silence_the_owner(
    service: Service, clock: ManualClock, own: OwnReplyQueue
) -> None:
    clock.advance(-3600)
    own.heartbeat_tick()
    assert service.tags[own.name][HEARTBEAT_AT] == "2001-09-09T00:46:40Z"


def test_a_heartbeat_that_could_not_be_written_is_written_at_the_next_pass(
    service: Service, clock: ManualClock, own: OwnReplyQueue
) -> None:
    clock.advance(300)
    service.errors["tag_queue"] = BackendUnavailable("sqs queue", "tag")
    with pytest.raises(BackendUnavailable):
        own.heartbeat_tick()
    service.errors.clear()
    own.heartbeat_tick()
    assert service.asked.count("tag_queue") == 2


@pytest.mark.parametrize("by", ["receive", "heartbeat_tick"])
def test_a_queue_that_was_deleted_is_made_anew_once(
    service: Service, clock: ManualClock, own: OwnReplyQueue, by: str
) -> None:
    before = own.name
    clock.advance(3600)
    service.tags.clear()
    if by == "receive":
        assert own.receive(count_max=1, wait_s=0) == []
    else:
        own.heartbeat_tick()
    assert own.name != before
    assert list(service.tags) == [own.name]
    own.receive(count_max=1, wait_s=0)
    own.heartbeat_tick()
    assert len(service.created) == 2


def test_a_queue_that_sqs_does_not_know_yet_is_not_replaced(service: Service, own: OwnReplyQueue) -> None:
    service.errors["receive_message"] = QueueGone("sqs queue", "receive")
    with pytest.raises(QueueGone):
        own.receive(count_max=1, wait_s=0)
    assert len(service.created) == 1


def test_a_queue_that_cannot_be_made_anew_is_tried_again(
    service: Service, clock: ManualClock, own: OwnReplyQueue
) -> None:
    clock.advance(3600)
    service.tags.clear()
    service.errors["create_queue"] = BackendUnavailable("sqs queue", "create")
    with pytest.raises(BackendUnavailable):
        own.receive(count_max=1, wait_s=0)
    service.errors.clear()
    own.receive(count_max=1, wait_s=0)
    assert list(service.tags) == [own.name]


def test_an_ack_of_a_queue_that_was_deleted_is_ignored(service: Service, own: OwnReplyQueue) -> None:
    service.tags.clear()
    own.ack(["a"])


def test_nothing_is_made_after_the_end(service: Service, clock: ManualClock) -> None:
    with own_queue(service, clock) as own:
        pass
    clock.advance(3600)
    with pytest.raises(QueueGone):
        own.receive(count_max=1, wait_s=0)
    assert len(service.created) == 1


@pytest.mark.parametrize("error", [BackendUnavailable, BackendDenied, QueueGone])
def test_an_end_without_sqs_is_an_end(
    service: Service, clock: ManualClock, error: type[BackendError], caplog: pytest.LogCaptureFixture
) -> None:
    with own_queue(service, clock):
        service.errors["delete_queue"] = error("sqs queue", "delete")
    actions = [one.action for one in caplog.records if hasattr(one, "action")]
    assert actions == ([] if error is QueueGone else ["reply_queue.left"])


# --- others' queues -----------------------------------------------------------------------------------------


def orphan(service: Service, name: str, **tags: str) -> None:
    service.tags[name] = {DEPLOYMENT: "zoo", HEARTBEAT_AT: "long ago"} | tags


def passes(sweeper: IdleQueueSweeper, clock: ManualClock, count: int = 3, own: str = "replies-a") -> None:
    for _ in range(count):
        sweeper.tick(own)
        clock.advance(LOOK_S)


def test_passes_are_ten_minutes_apart_or_so_and_not_the_same_for_all(sweeper: IdleQueueSweeper) -> None:
    delays = [sweeper.tick(f"replies-{number}") for number in range(50)]
    assert 480 <= min(delays) < 540
    assert 660 < max(delays) <= 720


def test_only_queues_with_our_tags_are_removed(
    service: Service, clock: ManualClock, sweeper: IdleQueueSweeper
) -> None:
    orphan(service, "replies-a")
    orphan(service, "replies-b")
    service.tags["replies-untagged"] = {}
    orphan(service, "replies-of-another", **{DEPLOYMENT: "zoo-2"})
    orphan(service, "else-where")
    passes(sweeper, clock)
    assert set(service.tags) == {"replies-a", "replies-untagged", "replies-of-another", "else-where"}
    # The owner's is asked in each pass, those of others once, and then one of them in each later pass.
    assert service.asked.count("list_queue_tags") == 3 + 2 + 2


def test_all_are_removed_a_few_at_a_time(
    service: Service, clock: ManualClock, sweeper: IdleQueueSweeper
) -> None:
    for number in range(20):
        orphan(service, f"replies-{number:02}")
    passes(sweeper, clock, 3, own="replies-10")
    assert set(service.tags) == {f"replies-{number:02}" for number in [*range(11), 19]}
    passes(sweeper, clock, 6, own="replies-10")
    assert set(service.tags) == {"replies-10"}


def test_a_pass_that_failed_and_is_repeated_is_no_second_look(
    service: Service, clock: ManualClock, sweeper: IdleQueueSweeper
) -> None:
    orphan(service, "replies-b")
    orphan(service, "replies-c")
    service.errors["list_queue_tags replies-c"] = BackendUnavailable("sqs queue", "list")
    for _ in range(5):
        with pytest.raises(BackendUnavailable):
            sweeper.tick("replies-a")
        clock.advance(10)
    assert "replies-b" in service.tags


def test_a_sweeper_that_may_not_list_says_so_and_comes_back_in_its_time(
    service: Service, sweeper: IdleQueueSweeper, caplog: pytest.LogCaptureFixture
) -> None:
    service.errors["list_queues"] = BackendDenied("sqs queue", "list")
    assert sweeper.tick("replies-a") >= 480
    assert [one.action for one in caplog.records] == ["reply_queue.unlisted"]


@pytest.mark.parametrize("action", ["list_queue_tags", "delete_queue"])
def test_a_queue_that_it_may_not_touch_is_told_once_and_hides_no_other(
    service: Service,
    clock: ManualClock,
    sweeper: IdleQueueSweeper,
    caplog: pytest.LogCaptureFixture,
    action: str,
) -> None:
    orphan(service, "replies-b")
    orphan(service, "replies-c")
    service.errors[f"{action} replies-b"] = BackendDenied("sqs queue", "list")
    passes(sweeper, clock, 6)
    assert set(service.tags) == {"replies-b"}
    assert [one.action for one in caplog.records].count("reply_queue.left") == 1


def test_a_queue_that_another_sweeper_removed_is_no_error(
    service: Service, clock: ManualClock, sweeper: IdleQueueSweeper
) -> None:
    for number in range(2):
        orphan(service, f"replies-b{number}")
    service.errors["list_queue_tags replies-b0"] = QueueGone("sqs queue", "list")
    service.errors["delete_queue replies-b1"] = QueueGone("sqs queue", "delete")
    passes(sweeper, clock)
    assert service.asked.count("delete_queue") == 1


# --- the workers' side --------------------------------------------------------------------------------------


def test_a_queue_is_opened_once(service: Service, clock: ManualClock) -> None:
    replies = ReplyQueues(service, clock=clock)
    orphan(service, "replies-b")
    for _ in range(3):
        replies("replies-b").send([b"x"])
    assert sorted(service.asked) == ["batch"] * 3 + ["get_queue_attributes", "get_queue_url"]


def test_a_queue_that_is_gone_is_asked_for_less_and_less_often(service: Service, clock: ManualClock) -> None:
    replies = ReplyQueues(service, clock=clock)
    times = []
    for second in range(900):
        before = len(service.asked)
        with pytest.raises(QueueGone):
            replies("replies-b").send([b"x"])
        if len(service.asked) > before:
            times.append(second)
        clock.advance(1)
    assert times == [0, 5, 15, 35, 75, 155, 315, 615]


def test_a_queue_that_was_only_new_is_used(service: Service, clock: ManualClock) -> None:
    replies = ReplyQueues(service, clock=clock)
    with pytest.raises(QueueGone):
        replies("replies-b").send([b"x"])
    orphan(service, "replies-b")
    clock.advance(5)
    replies("replies-b").send([b"x"])
    assert service.asked.count("batch") == 1


@pytest.mark.parametrize("name", ["http://169.254.169.254/x", "a b", "", "x" * 81])
def test_what_is_no_queue_s_name_is_refused(service: Service, name: str) -> None:
    with pytest.raises(BackendDenied):
        ReplyQueues(service)(name)
    assert service.asked == []
