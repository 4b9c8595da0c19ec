"""The first message wakes the controller of a fleet that is at nothing, and only it."""

import threading

from beholder.clock import ManualClock
from beholder.fleet.memory import MemoryFleet
from beholder.queue.memory import MemoryQueue
from beholder.scaling.activator import Activator
from beholder.scaling.heartbeats import write_heartbeat
from beholder.scaling.policy.observation import InstanceState
from beholder.scaling.sensor import FleetSensor
from beholder.store.memory import MemoryStore


def awaited(*, is_at_zero: bool = True) -> tuple[Activator, ManualClock]:
    clock = ManualClock()
    first = Activator(clock, threading.Event())
    first.listen(is_at_zero=is_at_zero)
    return first, clock


def test_the_first_message_rings_and_the_second_does_not() -> None:
    first, _ = awaited()
    first.sent(1)
    assert first.notifier.is_set()
    first.notifier.clear()
    first.sent(1)
    assert not first.notifier.is_set()


def test_it_rings_again_where_a_tick_launched_nothing() -> None:
    first, _ = awaited()
    first.sent(1)
    first.notifier.clear()
    first.listen(is_at_zero=True)
    first.sent(1)
    assert first.notifier.is_set()


def test_where_instances_are_nothing_rings() -> None:
    first, _ = awaited(is_at_zero=False)
    first.sent(3)
    assert not first.notifier.is_set()
    assert first.lately() == 3


def test_what_was_sent_is_forgotten_when_counts_tell_of_it() -> None:
    first, clock = awaited()
    first.sent(2)
    clock.advance(9.0)
    first.sent(1)
    assert first.lately() == 3
    clock.advance(2.0)
    assert first.lately() == 1


def test_the_sensor_sees_it_only_where_no_instance_serves() -> None:
    # given: counts that tell of nothing yet
    clock, store = ManualClock(), MemoryStore()
    fleet = MemoryFleet(clock=clock)
    first = Activator(clock, threading.Event())
    first.sent(2)
    sensor = FleetSensor(MemoryQueue(clock=clock), fleet, store, clock, sent_lately=first.lately)
    assert sensor.observe().backlog == 2
    # when
    (launched,) = fleet.launch(count=1, token="1").ids  # noqa: S106 -- no password
    # then
    assert sensor.observe().backlog == 0
    # and: one that drains may have served them
    write_heartbeat(store, launched, InstanceState.DRAINING)
    assert sensor.observe().backlog == 0
