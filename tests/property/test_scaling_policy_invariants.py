"""What holds for every observation and every load, whatever the fleet looks like."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beholder.draining.idle_limit import BusyShare, IdleSettings, Seniority, idle_limit_s
from beholder.scaling import InstanceSeen, InstanceState, Limits, Observation, PolicyState, decide
from beholder.scaling.policy.limits import Aim

pytestmark = pytest.mark.pure

NOW_S = 10_000.0

PENDING, IN_SERVICE, DRAINING = InstanceState.PENDING, InstanceState.IN_SERVICE, InstanceState.DRAINING
conditions = st.sampled_from([(PENDING, False), (IN_SERVICE, False), (IN_SERVICE, True), (DRAINING, False)])
instances = st.lists(st.tuples(conditions, st.floats(0, 5000)), max_size=30).map(
    lambda drawn: tuple(
        InstanceSeen(str(number), state, NOW_S - age_s, is_busy=is_busy)
        for number, ((state, is_busy), age_s) in enumerate(drawn)
    )
)
limits = st.builds(
    Limits,
    min=st.integers(0, 5),
    max=st.integers(5, 40),
    latency_goal_s=st.floats(0, 600),
    warm_min=st.integers(0, 3),
    aim=st.sampled_from(Aim),
    startup_s=st.floats(0.1, 900),
    service_s=st.floats(0.001, 60),
)
observations = st.builds(
    Observation,
    now_s=st.just(NOW_S),
    backlog=st.integers(0, 100_000),
    in_flight=st.integers(0, 1000),
    delayed=st.integers(0, 1000),
    instances=instances,
)


@given(observations, limits)
def test_the_fleet_stays_within_min_and_max(seen: Observation, limits: Limits) -> None:
    decision, _ = decide(seen, PolicyState(), limits)
    there = len(seen.instances)
    assert decision.desired <= limits.max
    assert there + decision.launch <= max(limits.max, there)
    drains = sum(one.state is DRAINING for one in seen.instances)
    assert decision.desired >= min(limits.min, limits.max - drains)


@given(observations, limits, st.integers(1, 100_000))
def test_more_backlog_never_means_fewer_launches(seen: Observation, limits: Limits, more: int) -> None:
    fewer, _ = decide(seen, PolicyState(), limits)
    greater, _ = decide(replace(seen, backlog=seen.backlog + more), PolicyState(), limits)
    assert greater.launch >= fewer.launch
    assert greater.desired >= fewer.desired


@given(observations, limits)
def test_any_message_has_an_instance_that_serves_it_or_starts(seen: Observation, limits: Limits) -> None:
    decision, _ = decide(seen, PolicyState(), limits)
    drains = len(seen.instances) - decision.alive
    if seen.backlog and drains < limits.max:
        assert decision.desired >= 1


@given(observations, limits)
def test_the_bounds_tell_how_the_number_came_about(seen: Observation, limits: Limits) -> None:
    decision, _ = decide(seen, PolicyState(), limits)
    number = decision.raw
    for bound in decision.bounds:
        assert bound.before == number
        assert bound.after != bound.before
        number = bound.after
    assert number == decision.desired
    assert decision.launch == max(0, decision.desired - decision.alive)


@dataclass
class World:
    """A queue and a fleet as fluids, with the production policy and idle rule."""

    limits: Limits
    rate_per_s: float
    startup_s: float
    service_s: float
    messages: float = 0.0
    now_s: float = 0.0
    launched: int = 0
    left: int = 0
    alive: dict[str, float] = field(default_factory=dict)
    busy: dict[str, BusyShare] = field(default_factory=dict)
    memory: PolicyState = field(default_factory=PolicyState)

    def ready(self) -> list[str]:
        return [one for one, at_s in self.alive.items() if self.now_s - at_s >= self.startup_s]

    def tick(self) -> None:
        ready = self.ready()
        able = len(ready) * self.limits.tick_s / self.service_s
        work = self.messages + self.rate_per_s * self.limits.tick_s
        share = min(1.0, work / able) if able else 1.0
        self.messages = max(0.0, work - able)
        self.now_s += self.limits.tick_s
        self._decide(ready, share)
        self._leave(ready, share)

    def _decide(self, ready: list[str], share: float) -> None:
        # As in SQS, a message that an instance works on is in flight, and not in the backlog.
        in_flight = round(share * len(ready))
        seen = Observation(
            self.now_s,
            max(0, int(self.messages) - in_flight),
            in_flight=in_flight,
            instances=tuple(
                InstanceSeen(one, IN_SERVICE, at_s, is_busy=share > 0)
                if one in ready
                else InstanceSeen(one, PENDING, at_s)
                for one, at_s in self.alive.items()
            ),
        )
        decision, self.memory = decide(seen, self.memory, self.limits)
        ids = tuple(f"{self.launched + number}" for number in range(decision.launch))
        self.launched += len(ids)
        self.alive |= dict.fromkeys(ids, self.now_s)
        self.memory = self.memory.after_launch(ids, self.now_s)

    def _leave(self, ready: list[str], share: float) -> None:
        rule = IdleSettings(
            startup_s=self.startup_s, latency_goal_s=self.limits.latency_goal_s, aim=self.limits.aim
        )
        for older, one in enumerate(list(ready)):
            before = self.busy.get(one, BusyShare(1.0, self.now_s)).share
            kept = 1.0 - self.limits.tick_s / (self.limits.tick_s + rule.tau_s)
            self.busy[one] = BusyShare(before * kept + share * (1 - kept), self.now_s)
            peers = Seniority(len(ready), older)
            limit = idle_limit_s(rule, self.busy[one], peers, service_s=self.service_s)
            if share < 1.0 and limit.seconds <= 0:
                del self.alive[one]
                self.left += 1


starts = st.integers(0, 20)
loads = st.floats(0.1, 18.0)


@settings(max_examples=30)
@given(starts, loads, st.sampled_from([(200.0, 0.5), (30.0, 0.1), (3.0, 0.2)]), st.sampled_from(Aim))
def test_from_any_start_a_constant_load_is_served_in_time(
    start: int, load: float, times: tuple[float, float], aim: Aim
) -> None:
    """ray-project/ray#46148: fleets that never reached the size they needed."""
    # given
    startup_s, service_s = times
    limits = Limits(
        max=20, startup_s=startup_s, service_s=service_s, latency_goal_s=30.0, aim=aim, tick_s=5.0
    )
    world = World(limits, load / service_s, startup_s, service_s)
    world.alive = {f"start-{number}": -1e4 for number in range(start)}
    # when
    worst_s = 0.0
    for tick in range(1000):
        world.tick()
        if tick > 4 * startup_s / limits.tick_s:
            # At a constant rate the oldest message came this long ago.
            worst_s = max(worst_s, world.messages / world.rate_per_s)
    # then: nothing waits longer than a startup and the goal, and the fleet follows the load
    assert worst_s <= startup_s + 30.0 + 2 * limits.tick_s
    # With the aim steady, a worker leaves where the others serve nine tenths of what they can.
    spare = 3 + 0.1 * load if aim is Aim.STEADY else 2
    assert load - 1 <= len(world.alive) <= load + spare
    # and: in the end a steady load waits no more
    assert aim is Aim.DEADLINE or world.messages <= world.rate_per_s * limits.tick_s


@settings(max_examples=6)
@given(loads)
def test_a_constant_load_does_not_make_the_fleet_flap(load: float) -> None:
    """ray-project/ray#18925: oscillation. A startup must be worth many times what it costs."""
    limits = Limits(max=20)
    world = World(limits, load / 0.5, 200.0, 0.5)
    for _ in range(720):
        world.tick()
    settled = world.launched
    hours = 4
    for _ in range(720 * hours):
        world.tick()
    # at most one instance comes and goes, and not more often than three times an hour
    assert world.launched - settled <= 3 * hours
