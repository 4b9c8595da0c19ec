"""The controller on fakes that are kept as adapters: what it launches, ends, records, and leaves alone."""

from dataclasses import dataclass, field, replace

import pytest

from beholder.clock import ManualClock
from beholder.errors import BackendDenied, BackendUnavailable
from beholder.fleet import FleetInstance, Launch, MemoryFleet
from beholder.queue import MemoryQueue
from beholder.scaling import InstanceSeen, InstanceState, Limits, Observation, Record
from beholder.scaling.controller import Controller, ControllerPorts, SoleLeader
from beholder.scaling.heartbeats import read_heartbeats, write_heartbeat
from beholder.scaling.policy.learnt import Learnt, LearntService
from beholder.scaling.policy.reaper import crashed
from beholder.scaling.policy.state import FAILURES_MAX, PolicyState
from beholder.scaling.ports import RecordSink
from beholder.scaling.records.snapshot import LatestRecord, read_last
from beholder.scaling.sensor import FleetSensor
from beholder.store import MemoryStore

LIMITS = Limits(startup_s=100.0, service_s=0.5, tick_s=5.0, latency_goal_s=30.0)


@dataclass
class Records:
    kept: list[Record] = field(default_factory=list)

    def write(self, record: Record) -> None:
        self.kept.append(record)


class Tokens:
    """Names for launches: one after the other."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(self) -> str:
        self.given.append(f"launch-{len(self.given)}")
        return self.given[-1]


class LosesAnswers:
    """A fleet that launches, and whose first answer is lost."""

    def __init__(self, fleet: MemoryFleet) -> None:
        self._fleet = fleet
        self.asked: list[str] = []

    def describe(self) -> list[FleetInstance]:
        return self._fleet.describe()

    def launch(self, *, count: int, token: str) -> Launch:
        launch = self._fleet.launch(count=count, token=token)
        self.asked.append(token)
        if len(self.asked) == 1:
            raise BackendUnavailable("memory fleet", "launch")
        return launch

    def terminate(self, ids: list[str]) -> None:
        self._fleet.terminate(ids)


class Denies(LosesAnswers):
    def launch(self, *, count: int, token: str) -> Launch:
        raise BackendDenied("memory fleet", "launch", f"{count} instances for {token}")


class World:
    """One deployment in memory."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.clock = ManualClock()
        self.queue, self.store = MemoryQueue(clock=self.clock), MemoryStore(clock=self.clock)
        self.fleet = MemoryFleet(clock=self.clock)
        self.records, self.tokens = Records(), Tokens()
        self.limits = limits

    def controller(
        self, fleet: object = None, lease: object = None, *, records: RecordSink | None = None
    ) -> Controller:
        acting = fleet or self.fleet
        sensor = FleetSensor(self.queue, self.fleet, self.store, self.clock)

        def before() -> Record | None:
            last = read_last(self.store)
            return None if last is None else last.record

        kept = records or self.records
        ports = ControllerPorts(sensor, acting, lease or SoleLeader(), kept, self.tokens, before)
        return Controller(ports, self.limits, name="web-0")

    def beat(self, state: InstanceState, *, is_busy: bool = False) -> None:
        """Write a heartbeat of every instance."""
        for one in self.fleet.describe():
            write_heartbeat(self.store, one.id, state, is_busy=is_busy)

    def go(
        self,
        controller: Controller,
        seconds: float,
        state: InstanceState | None = None,
        *,
        is_busy: bool = False,
    ) -> None:
        for _ in range(round(seconds / self.limits.tick_s)):
            self.clock.advance(self.limits.tick_s)
            if state is not None:
                self.beat(state, is_busy=is_busy)
            controller.tick()


def test_one_message_launches_one_instance_once() -> None:
    # given
    world = World()
    controller = world.controller()
    world.queue.send([b"image"])
    # when
    world.go(controller, 60)
    # then
    assert len(world.fleet.describe()) == 1
    assert world.records.kept[0].launched == ("instance-1",)
    assert controller.last is world.records.kept[-1]
    assert controller.last.states == {"pending": 1}


def test_a_launch_whose_answer_was_lost_is_one_launch() -> None:
    # given
    world = World()
    fleet = LosesAnswers(world.fleet)
    controller = world.controller(fleet)
    world.queue.send([b"image"])
    # when
    with pytest.raises(BackendUnavailable):
        controller.tick()
    world.go(controller, 20)
    # then: asked again under the same token
    assert fleet.asked == ["launch-0", "launch-0"]
    assert len(world.fleet.describe()) == 1
    assert "memory fleet" in world.records.kept[0].refused


def test_a_refused_launch_is_told_and_not_repeated_at_once() -> None:
    world = World()
    world.fleet.room = 0
    controller = world.controller()
    world.queue.send([b"image"])
    world.go(controller, 60)
    assert world.records.kept[0].refused == "no capacity is left"
    assert len(world.tokens.given) == 3  # after 0, 15 and 45 seconds
    # when: there is room again
    world.fleet.room = 5
    world.go(controller, 60)
    assert len(world.fleet.describe()) == 1


def test_a_launch_that_is_denied_is_a_refusal() -> None:
    world = World()
    controller = world.controller(Denies(world.fleet))
    world.queue.send([b"image"])
    controller.tick()
    assert world.records.kept[0].refused == "memory fleet: launch: 1 instances for launch-0"


def test_who_does_not_lead_does_nothing() -> None:
    class Follower(SoleLeader):
        def hold(self) -> bool:
            return False

    world = World()
    world.queue.send([b"image"])
    controller = world.controller(lease=Follower())
    assert controller.tick() == LIMITS.tick_s
    assert world.fleet.describe() == []
    assert world.records.kept == []


def test_a_leader_whose_time_ran_out_while_it_looked_does_not_act() -> None:
    class Late(SoleLeader):
        def is_held(self) -> bool:
            return False

    world = World()
    world.queue.send([b"image"])
    world.controller(lease=Late()).tick()
    assert world.fleet.describe() == []


def test_a_startup_without_a_heartbeat_is_ended_and_replaced() -> None:
    """elastic-ci-stack#1051, gitlab-runner#450: instances that nobody would have ended."""
    world = World()
    controller = world.controller()
    world.queue.send([b"image"])
    # twice the p95 of the prior is 300 s; the suspicion has to stand for two ticks more
    world.go(controller, 300)
    assert [one.id for one in world.fleet.describe()] == ["instance-1"]
    world.go(controller, 30)
    assert "instance-1" not in [one.id for one in world.fleet.describe()]
    (terminated,) = [one for record in world.records.kept for one in record.terminated]
    assert (terminated.id, terminated.cause) == ("instance-1", "startup")


def test_a_busy_worker_is_never_ended_however_old() -> None:
    """kedacore/keda#6719, philips-labs#4391: scale-in and reapers that killed busy workers."""
    world = World(replace(LIMITS, lifetime_s_max=3600.0))
    controller = world.controller()
    world.fleet.launch(count=1, token="old")  # noqa: S106
    world.go(controller, 7200, InstanceState.IN_SERVICE, is_busy=True)
    assert len(world.fleet.describe()) == 1
    # when: it comes to rest
    world.go(controller, 30, InstanceState.IN_SERVICE)
    assert world.fleet.describe() == []


def test_a_worker_that_fell_silent_is_ended_after_a_second_look() -> None:
    world = World()
    controller = world.controller()
    world.fleet.launch(count=1, token="one")  # noqa: S106
    world.go(controller, 60, InstanceState.IN_SERVICE)
    world.go(controller, 180)
    assert len(world.fleet.describe()) == 1
    world.go(controller, 30)
    assert world.fleet.describe() == []


def test_a_worker_that_was_silent_for_a_moment_is_left_alone() -> None:
    world = World()
    controller = world.controller()
    world.fleet.launch(count=1, token="one")  # noqa: S106
    world.go(controller, 60, InstanceState.IN_SERVICE)
    world.go(controller, 185)
    world.go(controller, 60, InstanceState.IN_SERVICE)
    assert len(world.fleet.describe()) == 1


def test_a_drain_that_does_not_end_is_ended() -> None:
    world = World()
    controller = world.controller()
    world.fleet.launch(count=1, token="one")  # noqa: S106
    world.go(controller, 290, InstanceState.DRAINING)
    assert len(world.fleet.describe()) == 1
    world.go(controller, 30, InstanceState.DRAINING)
    assert world.fleet.describe() == []


def test_heartbeats_without_an_instance_are_swept_after_a_while() -> None:
    world = World()
    write_heartbeat(world.store, "gone", InstanceState.IN_SERVICE)
    controller = world.controller()
    world.go(controller, 590)
    assert "gone" in read_heartbeats(world.store)
    world.go(controller, 30)
    assert read_heartbeats(world.store) == {}


def test_heartbeats_tell_every_state_and_when() -> None:
    store = MemoryStore(clock=ManualClock(77.0))
    written = {
        "pending": (InstanceState.PENDING, False),
        "idle": (InstanceState.IN_SERVICE, False),
        "busy": (InstanceState.IN_SERVICE, True),
        "draining": (InstanceState.DRAINING, False),
    }
    for name, (state, is_busy) in written.items():
        write_heartbeat(store, name, state, is_busy=is_busy)
    heartbeats = read_heartbeats(store)
    assert {name: (one.state, one.is_busy) for name, one in heartbeats.items()} == written
    assert {heartbeat.at_s for heartbeat in heartbeats.values()} == {77.0}


@pytest.mark.parametrize("seen", ["never", "starting", "ending"])
def test_a_minimum_whose_instances_end_themselves_is_launched_with_pauses(
    seen: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With user data that shuts down, 34 were launched in 75 s: nothing waited, so none counted as failed."""
    # given
    world = World(replace(LIMITS, min=1))
    controller = world.controller()
    ending: list[str] = []
    # when: each ends before it gave a heartbeat
    for _ in range(round(3600 / LIMITS.tick_s)):
        world.go(controller, LIMITS.tick_s)
        for one in ending:
            world.fleet.end(one)
        there = [one.id for one in world.fleet.describe()]
        ending = there if seen != "never" else []
        for one in there:
            if seen == "never":
                world.fleet.end(one)
            elif seen == "ending":
                instances = world.fleet._instances
                instances[one] = replace(instances[one], is_ending=True)
    # then: one at once, then pauses that double to a minute
    launches = [record.at_s for record in world.records.kept if record.launched]
    assert 20 <= len(launches) <= 65
    assert sum(at_s - launches[0] < 75.0 for at_s in launches) <= 5
    # and: each is told of once
    failed = [one.id for record in world.records.kept for one in record.failed_startups]
    assert len(failed) == len(set(failed))
    assert len(launches) - 3 <= len(failed) <= len(launches)
    said = [one for one in caplog.records if getattr(one, "action", "") == "controller.startup_failed"]
    assert len(said) == len(failed)


def test_one_that_came_up_and_left_between_two_looks_is_no_failed_startup() -> None:
    world = World()
    controller = world.controller()
    world.queue.send([b"image"])
    world.go(controller, 50)
    world.beat(InstanceState.DRAINING)
    (one,) = world.fleet.describe()
    world.fleet.end(one.id)
    world.go(controller, 10)
    assert not any(record.failed_startups for record in world.records.kept)


def test_startups_that_hang_do_not_make_the_fleet_wait_longer_for_the_next() -> None:
    """Three of them stretched the p95 of boots from 285 to 9,585 s."""
    world = World()
    controller = world.controller()
    world.queue.send([b"image"])
    world.go(controller, 4 * 3600)
    assert {one.decision.forecast.startup_s_p95 for one in world.records.kept} == {150.0}
    failed = [one for record in world.records.kept for one in record.failed_startups]
    assert {one.cause for one in failed} == {"late"}
    assert max(one.age_s for one in failed) <= 300 + 20
    # and: three at once at most are on trial
    assert max(sum(one.states.values()) for one in world.records.kept) <= 4
    assert len(failed) <= 4 * 40


def test_startups_that_seem_to_take_no_time_tell_nothing() -> None:
    """Three of them made every tick divide by zero."""
    world = World()
    controller = world.controller()
    for _ in range(3):
        world.fleet.launch(count=1, token=world.tokens())
        world.clock.advance(5)
        controller.tick()
        world.beat(InstanceState.IN_SERVICE)
        controller.tick()
        world.fleet.end(world.fleet.describe()[-1].id)
    world.fleet.launch(count=1, token=world.tokens())
    world.go(controller, 20)
    assert controller.last.decision.forecast.startup_s_p95 > 0


def test_the_next_leader_goes_on_with_what_was_learnt() -> None:
    # given
    learnt = Learnt(
        startups_s=(40.0, 41.0, 42.0, 43.0),
        services=(LearntService("", 2.0, 30),),
        arrivals_per_s=3.0,
        arrivals_slow_per_s=2.0,
    )
    limits = Limits()
    # when
    young, old = (PolicyState().with_learnt(learnt, limits, old_s=old_s) for old_s in (60.0, 86_400.0))
    # then
    assert young.learnt == learnt
    assert young.startup_times(limits).median_s == 42.0
    # and: of yesterday's arrivals nothing follows
    assert old.learnt == replace(learnt, arrivals_per_s=0.0, arrivals_slow_per_s=0.0)


def test_the_next_leader_goes_on_with_the_failed_startups_and_the_ages_that_were_written() -> None:
    # given: a leader under whom boots hung and ended
    world = World(replace(LIMITS, startup_s=60.0, max=9))
    world.queue.send([b"image"] * 500)
    first = world.controller(records=LatestRecord(world.store))
    for _ in range(40):
        first.tick()
        world.clock.advance(5.0)
    before = read_last(world.store)
    assert before is not None
    assert before.record.failures >= FAILURES_MAX
    launched, oldest_s = before.launched_total, max(before.record.awaited_s.values())
    # when: another one leads, twice in a minute
    for _ in range(2):
        world.clock.advance(30.0)
        record = ticked(world.controller(records=LatestRecord(world.store)))
        # then: no more than one is launched to see whether boots work again, and nothing is younger
        assert record.failures >= before.record.failures
        assert len(record.launched) <= 1
        assert (
            max(record.awaited_s.values(), default=0.0) >= oldest_s
            or record.terminated
            or record.failed_startups
        )
    last = read_last(world.store)
    assert last is not None
    assert last.launched_total <= launched + 2
    # and: what was written long ago says nothing of boots now
    world.clock.advance(3600.0)
    assert ticked(world.controller(records=LatestRecord(world.store))).failures == 0


def ticked(controller: Controller) -> Record:
    controller.tick()
    assert controller.last is not None
    return controller.last


def test_a_process_that_crashed_has_a_line_and_one_that_left_and_was_launched_again_has_none() -> None:
    # given: two processes in service
    world = World()
    controller = world.controller()
    world.fleet.launch(count=2, token="before")  # noqa: S106 -- the token of a launch
    world.go(controller, 4 * LIMITS.tick_s, InstanceState.IN_SERVICE)
    first, second = sorted(one.id for one in world.fleet.describe())
    # when: the supervisor starts the first again, under its name
    world.fleet._instances[first] = FleetInstance(first, world.clock.now_s())
    world.go(controller, 4 * LIMITS.tick_s, InstanceState.IN_SERVICE)
    # then
    (line,) = [one for record in world.records.kept for one in record.terminated]
    assert (line.id, line.cause) == (first, "crashed")
    # and: what the controller launched itself under that name is none
    seen = Observation(2.0, 0, instances=(InstanceSeen(second, InstanceState.PENDING, 1.0),))
    before = Observation(1.0, 0, instances=(InstanceSeen(second, InstanceState.DRAINING, 0.0),))
    assert crashed(seen, before, [second]) == crashed(before, seen, []) == crashed(seen, None, []) == ()
    assert [one.id for one in crashed(seen, before, [])] == [second]
