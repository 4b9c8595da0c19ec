"""What `beholder status` makes of what it has read."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from beholder.clock import ManualClock
from beholder.deploy.status import DeploymentStatus, lines_of
from beholder.deploy.status.instances import worker_of
from beholder.deploy.status.past import controller_problem, last_decisions, last_failure, last_startups
from beholder.deploy.status.queues import cost_of
from beholder.deploy.status.seen import Cost, QueueSeen, StartFailure, StartupSeen, WebSeen, WorkerSeen
from beholder.errors import ResourceNotFound
from beholder.scaling import InstanceSeen, InstanceState, Limits, Observation, PolicyState, Record, decide
from beholder.scaling.policy.decision import FailedStartup
from beholder.scaling.records.decision_log import DecisionLog
from beholder.scaling.records.snapshot import FleetSnapshot
from beholder.store import MemoryStore

NOON_S = 1_772_366_400.0
EMPTY = DeploymentStatus("zoo", "eu-west-1", NOON_S, "CREATE_COMPLETE")


def record(at_s: float = NOON_S, **more: Any) -> Record:
    seen = Observation(at_s, 5)
    decision, _ = decide(seen, PolicyState(), Limits())
    return replace(Record.of(seen, decision, leader="web-0"), **more)


class Consoles:
    """An account whose EC2 has these consoles."""

    def __init__(self, **consoles: str) -> None:
        self.asked: list[str] = []
        self._consoles = consoles

    def call(self, service: str, action: str, **given: Any) -> dict[str, str]:
        assert (service, action) == ("ec2", "get_console_output")
        self.asked.append(given["InstanceId"])
        try:
            return {"Output": self._consoles[given["InstanceId"]]}
        except KeyError:
            raise ResourceNotFound(service, action) from None


# --- instances ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "beat", "told"),
    [
        ("pending", None, "pending"),
        ("running", None, "running"),
        ("running", InstanceState.IN_SERVICE, "in_service"),
        ("shutting-down", InstanceState.IN_SERVICE, "shutting-down"),
    ],
)
def test_a_worker_is_in_the_state_of_its_heartbeat_while_it_runs(
    state: str, beat: InstanceState | None, told: str
) -> None:
    described = {
        "InstanceId": "i-1",
        "State": {"Name": state},
        "InstanceType": "c7a.large",
        "InstanceLifecycle": "spot",
        "LaunchTime": datetime.fromtimestamp(NOON_S - 90, UTC),
    }
    seen = InstanceSeen("i-1", beat, NOON_S - 90, is_busy=True) if beat else None

    worker = worker_of(described, seen, NOON_S)

    assert worker == WorkerSeen("i-1", told, told == "in_service", "c7a.large", True, 90.0)


# --- controller and decisions -------------------------------------------------------------------------------


def test_a_controller_that_leads_is_no_problem_and_one_that_is_gone_is() -> None:
    snapshot = FleetSnapshot(record(), every_s=60.0)

    assert controller_problem(snapshot, NOON_S + 60) == ""
    assert controller_problem(snapshot, NOON_S + 600) == "no controller leads: the last record is 600 s old"
    assert "no controller" in controller_problem(None, NOON_S)


def test_the_last_decisions_are_those_that_changed_something_and_the_newest() -> None:
    store = MemoryStore()
    log = DecisionLog(store, "web-0")
    for minute in range(6):
        log.write(record(NOON_S + 60 * minute, launched=(f"i-{minute}",) if minute % 2 else ()))
    log.flush()

    lines = last_decisions(store, FleetSnapshot(record(NOON_S + 400), 60.0), NOON_S + 420)

    assert [line[:19] for line in lines] == [
        "2026-03-01 12:01:00",
        "2026-03-01 12:03:00",
        "2026-03-01 12:05:00",
        "2026-03-01 12:06:40",
    ]
    assert "launched 1" in lines[0]


def test_decisions_are_looked_for_hour_by_hour_and_no_longer_than_needed() -> None:
    """An object is read for itself, so that a quiet day would cost hundreds of requests."""

    class Counted(MemoryStore):
        gets = 0

        def get(self, key: str) -> bytes:
            Counted.gets += 1
            return super().get(key)

    clock = ManualClock(NOON_S - 36_000)
    store = Counted(clock=clock)
    for minutes in reversed(range(0, 600, 5)):
        at_s = NOON_S - 60 * minutes
        clock.advance(300)
        launched = (f"i-{minutes}",) if minutes % 60 == 30 else ()
        line = json.dumps(record(at_s, launched=launched).to_dict()) + "\n"
        moment = datetime.fromtimestamp(at_s, UTC)
        store.put(f"why/{moment:%Y-%m-%d}/{moment:%H%M%S}000000-web-0.jsonl", line.encode())

    lines = last_decisions(store, None, NOON_S)

    assert [line[11:16] for line in lines] == ["09:30", "10:30", "11:30"]
    assert Counted.gets < 60


# --- starts -------------------------------------------------------------------------------------------------


def snapshot_with_failure(instance: str, at_s: float) -> FleetSnapshot:
    failed = record(at_s, failed_startups=(FailedStartup(instance, "late", 300.0),))
    return FleetSnapshot(record(at_s), 60.0).followed_by(failed, 60.0)


def test_a_failed_start_is_told_as_the_instance_stored_it() -> None:
    store, account = MemoryStore(), Consoles()
    store.put("fleet/failed-starts/i-1", b"fetched: curl: (6) no such host\nline 1\n\nline 2\n")
    stored_at_s = store.head("fleet/failed-starts/i-1").stored_at_s

    failure = last_failure(account, store, snapshot_with_failure("i-1", stored_at_s + 60))  # type: ignore[arg-type]

    assert failure
    assert (failure.reason, failure.tail) == ("fetched: curl: (6) no such host", ["line 1", "line 2"])
    assert account.asked == []


def test_a_start_that_failed_without_a_word_is_told_by_the_console() -> None:
    console = "\n".join(f"line {number}" for number in range(100)) + "\n"

    failure = last_failure(Consoles(**{"i-1": console}), MemoryStore(), snapshot_with_failure("i-1", NOON_S))  # type: ignore[arg-type]

    assert failure
    assert failure.reason == "i-1 gave no heartbeat and is given up, 300 s after its launch"
    assert failure.tail[-1] == "line 99"
    assert len(failure.tail) == 15


def test_a_console_that_is_gone_leaves_the_controllers_reason() -> None:
    failure = last_failure(Consoles(), MemoryStore(), snapshot_with_failure("i-1", NOON_S))  # type: ignore[arg-type]

    assert failure
    assert (failure.id, failure.tail) == ("i-1", [])


def test_where_no_start_failed_there_is_nothing_to_tell() -> None:
    assert last_failure(Consoles(), MemoryStore(), None) is None  # type: ignore[arg-type]


def test_the_last_starts_are_told_and_a_torn_object_is_left_out() -> None:
    store = MemoryStore()
    store.put("fleet/startups/i-1.json", b'{"launched": 0, "receiving": 21.5}')
    store.put("fleet/startups/i-2.json", b"{")

    (startup,) = last_startups(store)

    assert (startup.id, startup.steps) == ("i-1", {"launched": 0, "receiving": 21.5})


# --- cost ---------------------------------------------------------------------------------------------------

PARAMETERS = {
    "WebInstanceType": "t3.small",
    "WebInstances": "1",
    "PublicAddresses": "yes",
    "Front": "instance",
    "OnDemandShare": "0",
    "InstanceTypes": "c7a.large",
    "Prices": "c7a.large=0.1",
}


def cost(metrics: dict[str, list[float]], made_at_s: float = 0.0, **parameters: str) -> Cost:
    return cost_of(metrics, 0.5, {**PARAMETERS, **parameters}, made_at_s=made_at_s, now_s=NOON_S)


def test_the_cost_of_a_day_is_that_of_its_minutes() -> None:
    """Half a dollar an hour for two hours is 120 samples of 0.5; the web tier is there since midnight."""
    found = cost({"spend": [30.0, 30.0], "done": [1500.0, 500.0]})

    assert found.web_per_hour
    assert found.web_today == pytest.approx(12 * found.web_per_hour)
    assert (found.workers_per_hour, found.workers_today, found.images) == (0.5, 1.0, 2000)
    assert found.per_thousand == pytest.approx((1.0 + found.web_today) / 2)


def test_a_deployment_of_this_hour_costs_no_day() -> None:
    found = cost({}, made_at_s=NOON_S - 3600)

    assert found.web_today == found.web_per_hour
    assert (found.workers_today, found.per_thousand) == (0.0, None)


@pytest.mark.parametrize("parameters", [{"Prices": "none"}, {"WebInstanceType": "x9.huge"}])
def test_a_cost_that_is_unknown_gives_no_cost_of_an_image(parameters: dict[str, str]) -> None:
    found = cost({"done": [5.0]}, **parameters)

    assert (found.images, found.per_thousand) == (5, None)
    assert None in {found.workers_today, found.web_today}


# --- text ---------------------------------------------------------------------------------------------------


COST = "cost of the workers: $0.102 an hour now, $1.50 since midnight UTC for 3000 images, $0.5000 a thousand"


def test_a_whole_deployment_in_words() -> None:
    status = replace(
        EMPTY,
        url="http://192.0.2.1:8080",
        web=[WebSeen("i-9", "InService", "Healthy", "t3.small", "eu-west-1a", "3")],
        queues=[QueueSeen("zoo-input-queue", 12, 3, 0, 45.0), QueueSeen("zoo-input-queue-dead", 0, 0, 0)],
        workers=[
            WorkerSeen("i-1", "in_service", is_busy=True, instance_type="c7a.large", spot=True, age_s=5400),
            WorkerSeen("i-2", "pending", is_busy=False, instance_type="c6a.large", spot=False, age_s=9),
        ],
        decisions=["2026-03-01 12:00:00  launched 2: 12 messages wait."],
        refusal="no spot capacity",
        failure=StartFailure("i-0", NOON_S, "fetched: no route", ["curl: (28)"]),
        startups=[StartupSeen("i-1", NOON_S, {"launched": 0.0, "receiving": 21.54})],
        cost=Cost(0.102, 0.027, 1.5, 0.32, 3000, 0.6067),
    )

    assert lines_of(status) == [
        "zoo in eu-west-1: CREATE_COMPLETE, at http://192.0.2.1:8080",
        "web tier",
        "  i-9  InService, Healthy  t3.small in eu-west-1a, template 3",
        "queues",
        "  zoo-input-queue  12 visible, 3 in flight, 0 delayed, the oldest 45 s old",
        "  zoo-input-queue-dead  0 visible, 0 in flight, 0 delayed",
        "workers: 1 in_service, 1 pending",
        "  i-1  in_service, busy  c7a.large spot, 1.5 h",
        "  i-2  pending  c6a.large on demand, 9 s",
        "decisions, times in UTC",
        "  2026-03-01 12:00:00  launched 2: 12 messages wait.",
        "  EC2 refused a launch: no spot capacity",
        "last starts, in seconds since the launch",
        "  i-1  2026-03-01T12:00:00Z  launched 0.0, receiving 21.5",
        "last start that failed: i-0, 2026-03-01T12:00:00Z",
        "  fetched: no route",
        "    curl: (28)",
        "cost, today being since midnight UTC",
        "  workers: $0.102 an hour now, $1.50 today",
        "  web tier: $0.027 an hour now, $0.32 today",
        "  images: 3000 today, $0.6067 a thousand",
    ]


def test_what_is_missing_is_said() -> None:
    status = replace(
        EMPTY,
        stack="ROLLBACK_COMPLETE",
        cause="WebGroup: no capacity",
        controller="no controller leads",
        cost=Cost(0.0, 0.027, None, 0.32, 0, None),
        unread={"queues": "sqs: AccessDenied"},
    )

    lines = lines_of(status)

    for line in (
        "  its last change failed: WebGroup: no capacity",
        "  no instance",
        "workers: none",
        "  no controller leads",
        "  workers: $0.000 an hour now, an unknown price today",
        "  images: 0 today",
        "not read: queues: sqs: AccessDenied",
    ):
        assert line in lines
