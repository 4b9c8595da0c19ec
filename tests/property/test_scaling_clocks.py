"""Clocks that disagree or are set while the fleet runs: the leader ends and doubles nothing that is healthy.

The fleet, the store and the leader have a clock each; only the passing of time is common to all.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beholder.clock import ManualClock, age_s
from beholder.fleet import MemoryFleet
from beholder.queue import MemoryQueue
from beholder.scaling import InstanceState, Limits, Record
from beholder.scaling.controller import Controller, ControllerPorts, SoleLeader
from beholder.scaling.heartbeats import write_heartbeat
from beholder.scaling.sensor import FleetSensor
from beholder.store import MemoryStore

pytestmark = pytest.mark.pure

LIMITS = Limits(startup_s=60.0, tick_s=5.0, max=8)
BOOT_S = 55.0

offsets = st.floats(-300.0, 300.0)
# At which tick the leader's clock is set, and by how much.
steps = st.dictionaries(st.integers(1, 150), st.sampled_from([-3600.0, -170.0, -30.0, 30.0, 170.0, 3600.0]))


@dataclass
class World:
    fleet_clock: ManualClock
    store_clock: ManualClock
    leader_clock: ManualClock
    kept: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue = MemoryQueue(clock=self.store_clock)
        self.store = MemoryStore(clock=self.store_clock)
        self.fleet = MemoryFleet(clock=self.fleet_clock)
        self.lived_s: dict[str, float] = {}

    def write(self, record: Record) -> None:
        self.kept.append(record)

    def before(self) -> Record | None:
        return Record.from_dict(self.kept[-1].to_dict()) if self.kept else None

    def controller(self) -> Controller:
        sensor = FleetSensor(
            self.queue, self.fleet, self.store, self.leader_clock, startup_s=LIMITS.startup_s
        )
        names = iter(range(10_000))
        ports = ControllerPorts(
            sensor, self.fleet, SoleLeader(), self, lambda: f"launch-{next(names)}", before=self.before
        )
        return Controller(ports, LIMITS, name="web-0")

    def pass_time(self, seconds: float) -> None:
        """Let instances boot and give a sign a minute, as those in good order do."""
        for clock in (self.fleet_clock, self.store_clock, self.leader_clock):
            clock.advance(seconds)
        for one in self.fleet.describe():
            before_s = self.lived_s.get(one.id, 0.0)
            lived_s = self.lived_s[one.id] = before_s + seconds
            is_due = lived_s // 60 > before_s // 60
            if lived_s >= BOOT_S and (before_s < BOOT_S or is_due):
                # None takes a message: busy ones beside a backlog that stays would be a load that grows.
                write_heartbeat(self.store, one.id, InstanceState.IN_SERVICE, is_busy=False)


@settings(max_examples=40)
@given(offsets, offsets, offsets, steps)
def test_no_clock_makes_the_leader_end_or_double_a_healthy_fleet(
    fleet_s: float, store_s: float, leader_s: float, steps: dict[int, float]
) -> None:
    # given: messages that need several instances, and go on needing them
    world = World(*(ManualClock(1_772_366_400.0 + offset_s) for offset_s in (fleet_s, store_s, leader_s)))
    world.queue.send([b"image"] * 130)
    controller = world.controller()
    # when
    for tick in range(160):
        world.leader_clock.advance(steps.get(tick, 0.0))
        if tick in (6, 80):  # another one leads, who knows what the earlier one wrote
            controller = world.controller()
        controller.tick()
        world.pass_time(LIMITS.tick_s)
    # then
    assert not any(record.terminated or record.failed_startups for record in world.kept)
    launched = sum(len(record.launched) for record in world.kept)
    assert launched == len(world.kept[0].launched) > 1
    for record in world.kept:
        for one in record.instances:
            assert record.at_s - one.launched_at_s >= -1e-3
            if one.last_heartbeat_at_s is not None:
                assert record.at_s - one.last_heartbeat_at_s >= -1e-3
                assert one.last_heartbeat_at_s >= one.launched_at_s - 1e-3


@given(st.floats(-1e10, 1e10), st.floats(-1e10, 1e10), st.floats(0, 1e10))
def test_no_age_is_negative_or_more_than_it_can_be(now_s: float, then_s: float, most_s: float) -> None:
    assert 0.0 <= age_s(now_s, then_s, most_s=most_s) <= most_s
