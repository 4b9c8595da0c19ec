"""`GET /v1/fleet` and the fleet's metrics, which a web process reads from the output bucket alone."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendDenied, BackendError, BackendThrottled, BackendUnavailable
from beholder.queue.memory import MemoryQueue
from beholder.scaling import InstanceSeen, InstanceState, Limits, Observation, PolicyState, Record, decide
from beholder.scaling.policy.decision import Termination
from beholder.scaling.records.snapshot import SNAPSHOT_KEY, FleetSnapshot, LatestRecord
from beholder.store.memory import MemoryStore
from beholder.telemetry.metrics import Telemetry
from beholder.web.app import build_app
from beholder.web.fleet_document import fleet_document
from beholder.web.fleet_view import FleetView
from beholder.web.openapi.document import build_openapi
from beholder.web.ports import ServedModel, WebPorts
from beholder.web.submission.reply_sources import PolledReplies
from helpers.asgi import Answer, call
from helpers.openapi import faults, schema

MODEL = ServedModel("a-model", "7", "Apache-2.0", "", 1000, "centre-crop", 224)


class Bucket(MemoryStore):
    """Counts the reads, and fails with `failure` where that is set."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.gets = 0
        self.failure: BackendError | None = None

    def get(self, key: str) -> bytes:
        self.gets += 1
        if self.failure is not None:
            raise self.failure
        return super().get(key)


@dataclass
class Web:
    """A web process without its sockets."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(1_772_366_400.0))
    telemetry: Telemetry = field(default_factory=Telemetry)

    def __post_init__(self) -> None:
        self.bucket = Bucket(self.clock)
        self.sink = LatestRecord(self.bucket)
        self.ports = WebPorts(
            queue=MemoryQueue(),
            replies=PolledReplies(MemoryQueue()),
            reply_to=lambda: "replies",
            images=MemoryStore(),
            results=self.bucket,
            models=(MODEL,),
            clock=self.clock,
            telemetry=self.telemetry,
        )
        self.app = build_app(self.ports)

    def ask(self, path: str = "/v1/fleet", method: str = "GET") -> Answer:
        return asyncio.run(call(self.app, method, path))

    def series(self) -> dict[str, float]:
        found = re.findall(
            r"^(beholder_(?:fleet|controller)_\S+) (\S+)$", self.ask("/metrics").body.decode(), re.MULTILINE
        )
        return {name: float(value) for name, value in found}

    def decide(self, *instances: InstanceSeen, **more: Any) -> Record:
        """Write the record of a controller that sees these instances."""
        seen = Observation(self.clock.now_s(), 1200, 3, 1, instances=instances)
        decision, _ = decide(seen, PolicyState(), Limits(max=4))
        record = Record(
            seen.now_s,
            "web-7",
            seen.backlog,
            seen.in_flight,
            seen.delayed,
            {one.state.value: 1 for one in instances},
            sum(one.is_busy for one in instances),
            decision,
            instances=instances,
            **more,
        )
        self.sink.write(record)
        return record

    def busy(self) -> InstanceSeen:
        now_s = self.clock.now_s()
        return InstanceSeen(
            "i-1",
            InstanceState.IN_SERVICE,
            now_s - 900,
            now_s - 700,
            now_s - 12,
            "c7a.large",
            True,
            0.04,
            is_busy=True,
        )

    def starting(self) -> InstanceSeen:
        return InstanceSeen("i-2", InstanceState.PENDING, self.clock.now_s() - 40, price_per_hour=0.1)


@pytest.fixture
def web() -> Iterator[Web]:
    return Web()


def misfits(web: Web, answer: Answer) -> list[str]:
    document = build_openapi(web.ports)
    return faults(document, schema(document, "Fleet"), answer.json)


def test_if_no_controller_ever_led_the_answer_shows_that(web: Web) -> None:
    # when
    answer = web.ask()
    # then
    assert answer.status == 200
    assert misfits(web, answer) == []
    assert answer.json["controller"] is None
    assert answer.json["decision"] is None
    assert answer.json["instances"] == []
    assert answer.json["states"] == {"pending": 0, "in_service": 0, "draining": 0}
    assert answer.json["busy"] == 0


def test_the_answer_shows_each_instance_the_decision_and_its_reason(web: Web) -> None:
    # given
    gone = Termination("i-9", "startup", "It gave no heartbeat.")
    record = web.decide(
        web.busy(),
        web.starting(),
        launched=("i-3", "i-4"),
        refused="spot, a.large in b: EC2 has no capacity (UnfulfillableCapacity: arn:secret)",
        terminated=(gone,),
    )
    web.clock.advance(7)
    # when
    answer = web.ask()
    told = answer.json
    # then
    assert answer.status == 200
    assert misfits(web, answer) == []
    assert told["controller"] == {
        "leader": "web-7",
        "decided_at": "2026-03-01T12:00:00.000Z",
        "age_s": 7.0,
        "is_stale": False,
    }
    assert (told["desired"], told["alive"]) == (record.decision.desired, record.decision.alive)
    assert told["states"] == {"pending": 1, "in_service": 1, "draining": 0}
    assert told["busy"] == 1
    assert told["price_per_hour"] == pytest.approx(0.14)
    assert told["queue"] == {"backlog": 1200, "in_flight": 3, "delayed": 1}
    assert told["decision"]["reason"] == record.decision.reason
    assert told["decision"]["forecast"]["startup_s"] == record.decision.forecast.startup_s
    assert [one["name"] for one in told["decision"]["bounds"]] == ["max"]
    assert told["instances"][0] == {
        "id": "i-1",
        "state": "in_service",
        "is_busy": True,
        "instance_type": "c7a.large",
        "spot": True,
        "price_per_hour": 0.04,
        "launched_at": "2026-03-01T11:45:00.000Z",
        "age_s": 907.0,
        "last_heartbeat_at": "2026-03-01T11:59:48.000Z",
    }
    assert told["instances"][1]["last_heartbeat_at"] is None
    assert told["launched_total"] == 2
    assert told["terminated_total"] == {"startup": 1}
    termination = {"at": "2026-03-01T12:00:00.000Z", "id": "i-9", "cause": "startup", "why": gone.why}
    assert told["terminations"] == [termination]
    why = "the cloud refused a launch: UnfulfillableCapacity"
    assert told["refusals"] == [{"at": "2026-03-01T12:00:00.000Z", "why": why}]


def test_a_controller_that_is_gone_leaves_a_stale_answer(web: Web) -> None:
    web.decide(web.busy())
    web.clock.advance(181)
    assert web.ask().json["controller"]["is_stale"] is True


def test_many_requests_cost_one_read_in_two_seconds(web: Web) -> None:
    # given
    web.decide()
    reads = web.bucket.gets
    # when
    for _ in range(5):
        web.ask()
    web.series()
    # then
    assert web.bucket.gets == reads + 1
    # when: a change, two seconds later
    web.clock.advance(2)
    web.decide(web.busy())
    # then
    assert len(web.ask().json["instances"]) == 1


def test_a_clock_that_is_set_back_does_not_keep_an_old_answer(web: Web) -> None:
    web.ask()
    web.clock.advance(-3600)
    web.decide(web.busy())
    assert len(web.ask().json["instances"]) == 1


@pytest.mark.parametrize("failure", [BackendUnavailable, BackendThrottled, BackendDenied])
def test_a_store_that_fails_gives_the_documented_error_and_metrics_go_on(
    web: Web, failure: type[BackendError]
) -> None:
    # given
    web.decide(web.busy())
    web.bucket.failure = failure("memory store", "get", SNAPSHOT_KEY)
    web.clock.advance(5)
    reads = web.bucket.gets
    # when
    answer, metrics = web.ask(), web.ask("/metrics")
    # then: the documented error, and metrics without what is not known; the store was asked once
    operation = build_openapi(web.ports)["paths"]["/v1/fleet"]["get"]
    problems = operation["responses"][str(failure.http_status)]["content"]["application/problem+json"]
    assert (answer.status, answer.json["code"]) == (failure.http_status, failure.code)
    assert failure.code in problems["examples"]
    assert metrics.status == 200
    assert b"beholder_queue_depth{" in metrics.body
    assert b"# TYPE beholder_fleet_desired gauge" in metrics.body
    assert web.series() == {}
    assert web.bucket.gets == reads + 1
    # when the store is back
    web.bucket.failure = None
    web.clock.advance(2)
    # then
    assert web.ask().status == 200
    assert web.series()["beholder_fleet_desired"] == 4


def test_a_torn_record_counts_as_no_controller(web: Web) -> None:
    web.bucket.put(SNAPSHOT_KEY, b'{"version":1,"rec')
    assert web.ask().json["controller"] is None


def test_another_method_is_refused(web: Web) -> None:
    answer = web.ask(method="POST")
    assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")


def test_the_list_of_endpoints_names_the_fleet(web: Web) -> None:
    assert "GET /v1/fleet" in web.ask("/").json["endpoints"]


def test_the_metrics_agree_with_the_answer(web: Web) -> None:
    # given
    gone = Termination("i-9", "startup", "It gave no heartbeat.")
    record = web.decide(web.busy(), web.starting(), launched=("i-3", "i-4"), terminated=(gone,))
    web.clock.advance(7)
    # when
    series = web.series()
    # then
    assert series == {
        'beholder_fleet_instances{state="pending"}': 1,
        'beholder_fleet_instances{state="in_service"}': 1,
        'beholder_fleet_instances{state="draining"}': 0,
        "beholder_fleet_instances_busy": 1,
        "beholder_fleet_desired": record.decision.desired,
        "beholder_fleet_price_per_hour": pytest.approx(0.14),
        "beholder_fleet_arrivals_per_second": record.decision.forecast.arrivals_per_s,
        "beholder_controller_decision_age_seconds": 7,
        "beholder_controller_launches_total": 2,
        'beholder_controller_terminations_total{cause="startup"}': 1,
        'beholder_controller_failed_startups_total{cause="late"}': 0,
        'beholder_controller_failed_startups_total{cause="ended"}': 0,
        'beholder_controller_failed_startups_total{cause="unseen"}': 0,
    }


def test_without_a_controller_the_metrics_of_a_fleet_have_no_series(web: Web) -> None:
    assert web.series() == {}


def test_a_thousand_instances_come_through_whole(web: Web) -> None:
    # given
    now_s = web.clock.now_s()
    many = tuple(InstanceSeen(f"i-{n}", InstanceState.IN_SERVICE, now_s) for n in range(1000))
    record = web.decide(*many)
    # when
    view = FleetView(web.bucket, web.clock)
    # then
    assert view.read() == FleetSnapshot(record, 60.0)
    assert len(fleet_document(view.read(), now_s).instances) == 1000
