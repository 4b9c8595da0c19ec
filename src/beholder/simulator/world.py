"""The discrete-event world: arrivals, a queue, instances and a scaling policy on a virtual clock.

The steps of a request (it arrives, is received, is done) run in one loop over plain numbers; each step of an
instance and each tick is an event with its own handler. A run depends on its arguments alone.
"""

import math
from bisect import insort
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace

import numpy as np

from beholder.draining.idle_limit import Seniority
from beholder.draining.protocol import decision_on
from beholder.queue.port import Depth
from beholder.scaling.policy.observation import InstanceState as State
from beholder.simulator.actuator import WorldActuator, nap_left_s
from beholder.simulator.cloud import Cloud, Instance, WorldSettings, service_times, take_idle
from beholder.simulator.counts import Counts, lagging_counts
from beholder.simulator.policy import DesiredCapacity, KillRule, Policy, WorldObservation
from beholder.simulator.run import History, Run
from beholder.simulator.traffic import Traffic

__all__ = ["simulate"]

# Time from a spot notice to the end of the instance.
# Source: Amazon EC2 User Guide, "Spot Instance interruption notices", read June 2025.
_NOTICE_S = 120.0
_CHECK_AGAIN_S = 1.0
# Below the clock's rounding after a year of virtual seconds.
_SOON_S = 1e-6
_Handler = Callable[[float, Instance], None]


def simulate(policy: Policy, traffic: Traffic, settings: WorldSettings) -> Run:
    """Run a traffic until all requests are served and the fleet is at its minimum; returns what happened.

    Args:
        policy: A new policy; the run changes its memory.
        traffic: When requests arrive.
        settings: The settings of the world.
    """
    return _World(policy, traffic, settings).run()


class _World:
    def __init__(self, policy: Policy, traffic: Traffic, settings: WorldSettings) -> None:
        self._policy, self._traits, self._rule = policy, policy.traits, policy.traits.worker_rule
        self._traffic, self._settings = traffic, settings
        self._limits = settings.limits
        self._lagging, self._of_web = lagging_counts(settings, is_exact=policy.traits.has_own_counts)
        # Only a message of the leader's own web process wakes it.
        self._has_activator = policy.traits.has_activator and settings.web_lag_s == 0
        self._cloud = Cloud(settings)
        count = len(traffic.arrivals_s)
        rng = np.random.default_rng([settings.seed, 21])
        # Each draw belongs to a request, not to a moment, so that every policy gets the same draws.
        self._service_s = service_times(settings, rng, traffic.arrivals_s)
        self._pick: list[float] = rng.random(count).tolist()
        self._arrivals: list[float] = [*traffic.arrivals_s.tolist(), math.inf]
        self._latency_s: list[float] = [math.inf] * count
        self._returned: deque[int] = deque()
        self._sent = self._head = self._done = self._hidden = 0
        self._busy: list[tuple[float, int, int]] = [(math.inf, -1, -1)]
        self._idle: list[Instance] = []
        self._events: list[tuple[float, int, _Handler, Instance]] = []
        self._event_count = 0
        self._desired = self._limits.capacity_min
        self._serving: list[int] = []
        self._pending = self._busy_kills = 0
        self._lost_work_s = 0.0
        self._history = History()
        self._no_instance = Instance(-1, 0.0, 0.0, math.inf)
        self._next_tick_s = 0.0
        self._end_s: float | None = None

    def run(self) -> Run:
        for _ in range(self._limits.capacity_min):
            instance = self._cloud.launch_warm(0.0)
            self._pending += 1
            self._at(0.0, self._up, instance)
        self._at(0.0, self._tick, self._no_instance)
        now_s = 0.0
        while self._end_s is None:
            self._flow(self._events[0][0])
            now_s, _, handle, instance = heappop(self._events)
            handle(now_s, instance)
            self._history.note(now_s, self._desired, self._pending, len(self._serving))
            if handle == self._tick or instance.gone_at_s < math.inf:
                self._end_if_over(now_s)
        return self._result(self._end_s)

    def _flow(self, until_s: float) -> None:
        """Let requests arrive and jobs end until a time; most of the running time is spent in this loop."""
        arrivals, service, latency = self._arrivals, self._service_s, self._latency_s
        busy, idle, returned = self._busy, self._idle, self._returned
        naps, has_activator = self._traits.nap_s > 0, self._has_activator
        sent, head, done = self._sent, self._head, self._done
        while True:
            done_s, _, message = busy[0]
            arrival_s = arrivals[sent]
            if done_s <= arrival_s:
                if done_s > until_s:
                    break
                done += 1
                latency[message] = done_s - arrivals[message]
                instance_id = busy[0][1]
                if (
                    head < sent
                    and not returned
                    and self._cloud.alive[instance_id].state is not State.DRAINING
                ):
                    heapreplace(busy, (done_s + service[head], instance_id, head))
                    head += 1
                else:
                    until_s = self._finish(done_s, until_s)
            elif arrival_s > until_s:
                break
            else:
                if idle and not naps:
                    self._give(take_idle(idle, self._pick[sent]), sent, arrival_s)
                    head += 1
                elif naps:
                    self._at(arrival_s, self._wake, self._no_instance)
                    until_s = arrival_s
                elif has_activator and not self._cloud.alive:
                    self._at(arrival_s, self._first, self._no_instance)
                    until_s = arrival_s
                sent += 1
        self._sent, self._head, self._done = sent, head, done

    def _finish(self, now_s: float, until_s: float) -> float:
        """End the job at the top of the heap if its worker does not take the next new message."""
        instance = self._cloud.alive[heappop(self._busy)[1]]
        if instance.state is State.DRAINING:
            self._at(now_s, self._gone, instance)
            return now_s
        if self._returned:
            self._give(instance, self._returned.popleft(), now_s)
            return until_s
        return self._rest(instance, now_s, until_s)

    def _rest(self, instance: Instance, now_s: float, until_s: float) -> float:
        """Make a worker idle; returns the time up to which requests may flow before its idle timer is due."""
        instance.idle_since_s = now_s
        self._idle.append(instance)
        if self._rule is None:
            return until_s
        wait_s = self._rule.rests(instance.instance_id, now_s, self._peers(instance))
        return min(until_s, self._set_timer(instance, now_s + wait_s))

    def _set_timer(self, instance: Instance, at_s: float) -> float:
        """Counts at an idle worker at a time, or before where a timer of it runs already; returns which."""
        if at_s < instance.timer_at_s:
            instance.timer_at_s = at_s
            self._at(at_s, self._idle_timer, instance)
        return instance.timer_at_s

    def _peers(self, instance: Instance) -> Seniority:
        older = sum(one < instance.instance_id for one in self._serving)
        return Seniority(len(self._serving), older)

    def _give(self, instance: Instance, message: int, now_s: float) -> None:
        if self._rule is not None and instance.idle_since_s < math.inf:
            self._rule.works(instance.instance_id, now_s, self._arrivals[message])
        instance.idle_since_s = math.inf
        heappush(self._busy, (now_s + self._service_s[message], instance.instance_id, message))

    def _deliver(self, now_s: float) -> None:
        """Hand waiting messages to idle workers, returned ones first: they were sent earliest."""
        while self._returned or self._head < self._sent:
            awake = [one for one in self._idle if nap_left_s(self._traits, one.idle_since_s, now_s) == 0]
            if not awake:
                break
            message = self._returned.popleft() if self._returned else self._head
            if message == self._head:
                self._head += 1
            instance = awake[int(self._pick[message] * len(awake))]
            self._idle.remove(instance)
            self._give(instance, message, now_s)

    def _at(self, when_s: float, handle: _Handler, instance: Instance) -> None:
        self._event_count += 1
        heappush(self._events, (when_s, self._event_count, handle, instance))

    def _counts(self, now_s: float) -> Counts:
        in_flight = len(self._busy) - 1 + self._hidden
        return now_s, self._sent - self._head + len(self._returned), in_flight, self._sent, self._done

    def _sample(self, now_s: float, _instance: Instance) -> None:
        for lagging in (self._lagging, self._of_web):
            lagging.take(self._counts(now_s))

    def _observation(self, now_s: float) -> WorldObservation:
        counts = self._lagging.read(self._counts(now_s))
        views = [one.view() for one in self._cloud.alive.values()] if self._traits.uses_actuator else ()
        service_s = self._service_s[self._done - 1] if self._done else None
        sizes = (self._desired, self._pending, len(self._serving), len(self._busy) - 1)
        *_, sent, done = self._of_web.read(self._counts(now_s))
        actuator = WorldActuator(self, now_s)
        return WorldObservation(now_s, *counts, *sizes, service_s, views, actuator, sent - done)

    def _first(self, now_s: float, no_instance: Instance) -> None:
        """Let the policy tick at once for a message that arrives while there is no instance."""
        if not self._cloud.alive:
            self._next_tick_s = now_s
            self._tick(now_s, no_instance)

    def _tick(self, now_s: float, no_instance: Instance) -> None:
        if now_s != self._next_tick_s:  # an earlier tick replaced this one
            return
        desired = self._policy.tick(self._observation(now_s))
        self._carry_out(desired, now_s)
        next_s = self._next_tick_s = now_s + desired.next_s
        for lag_s in sorted({self._lagging.lag_s, self._of_web.lag_s} - {0.0}):
            self._at(max(now_s, next_s - lag_s), self._sample, no_instance)
        self._at(next_s, self._tick, no_instance)

    def _carry_out(self, desired: DesiredCapacity, now_s: float) -> None:
        if desired.desired is not None:
            low, high = self._limits.capacity_min, self._limits.capacity_max
            self._desired = min(max(desired.desired, low), high)
        surplus = 0 if self._traits.uses_actuator else self._pending + len(self._serving) - self._desired
        for _ in range(-surplus):
            self.launch(now_s)
        if surplus > 0 and self._traits.kill is not KillRule.SELF:
            serving = [self._cloud.alive[instance_id] for instance_id in self._serving]
            candidates = self._idle if self._traits.kill is KillRule.IDLE else serving
            for instance in self._cloud.victims(surplus, candidates, self._traits.kill):
                self._stop(instance, now_s)

    def launch(self, now_s: float) -> int | None:
        """Launch an instance and return its number, or None where the cloud refuses one."""
        instance = self._cloud.launch(now_s)
        if instance is None:
            return None
        self._pending += 1
        if instance.startup_s < math.inf:
            self._at(now_s + instance.startup_s, self._up, instance)
        elif (ends_s := self._cloud.ends_s(is_watched=self._traits.uses_actuator)) < math.inf:
            self._at(now_s + ends_s, self._gone, instance)
        if instance.notice_at_s < math.inf:
            self._at(instance.notice_at_s, self._notice, instance)
        return instance.instance_id

    def terminate(self, instance_id: int, now_s: float) -> None:
        """End an instance at once; does nothing if it is gone."""
        if instance_id in self._cloud.alive:
            self._kill(self._cloud.alive[instance_id], now_s)

    def _up(self, now_s: float, instance: Instance) -> None:
        if instance.state is State.PENDING:
            instance.state, instance.ready_at_s = State.IN_SERVICE, now_s
            self._pending -= 1
            insort(self._serving, instance.instance_id)
            self._rest(instance, now_s, math.inf)
            self._deliver(now_s)

    def _wake(self, now_s: float, no_instance: Instance) -> None:
        self._deliver(now_s)
        if self._idle and (self._returned or self._head < self._sent):
            wait_s = min(nap_left_s(self._traits, one.idle_since_s, now_s) for one in self._idle)
            self._at(now_s + wait_s, self._wake, no_instance)

    def _idle_timer(self, now_s: float, instance: Instance) -> None:
        if now_s != instance.timer_at_s:
            return
        instance.timer_at_s = math.inf
        if self._rule is None or instance.state is not State.IN_SERVICE or instance.idle_since_s == math.inf:
            return
        idle_for_s = now_s - instance.idle_since_s
        wait_s = self._rule.stays(instance.instance_id, idle_for_s, self._peers(instance))
        if wait_s > _SOON_S:
            if wait_s < math.inf:
                self._set_timer(instance, now_s + max(wait_s, _CHECK_AGAIN_S))
        elif self._pending + len(self._serving) <= self._limits.capacity_min:
            self._set_timer(instance, now_s + _CHECK_AGAIN_S)
        elif self._traits.drain is None or not self._traits.is_final_check_needed(self._peers(instance)):
            self._drain(instance)
            self._leave(now_s, instance)
        else:
            self._drain(instance)
            instance.drained_at_s = now_s
            self._final_check(now_s, instance)

    def _final_check(self, now_s: float, instance: Instance) -> None:
        """Continue the drain protocol: check the queue until its counts include everything sent before."""
        limits = self._traits.drain
        if limits is None or instance.gone_at_s < math.inf:
            return
        if instance.put_off_since_s < instance.idle_since_s:
            instance.put_off_since_s = math.inf
        depth = Depth(self._sent - self._head + len(self._returned), len(self._busy) - 1 + self._hidden, 0)
        put_off_s = max(now_s - instance.put_off_since_s, 0.0)
        decision = decision_on(depth, put_off_s=put_off_s, in_flight_s_max=limits.in_flight_s_max)
        left_s = instance.drained_at_s + limits.lag_s - now_s
        if not decision.leaves:
            instance.put_off_since_s = min(instance.put_off_since_s, now_s)
            self._resume(now_s, instance)
        elif left_s > _SOON_S:
            self._at(now_s + min(left_s, limits.check_every_s), self._final_check, instance)
        else:
            self._leave(now_s, instance)

    def _leave(self, now_s: float, instance: Instance) -> None:
        if self._rule is not None:
            self._rule.leaves(instance.instance_id)
        self._desired = max(min(self._desired, self._pending + len(self._serving)), self._limits.capacity_min)
        self._at(now_s + self._traits.leave_s, self._gone, instance)

    def _resume(self, now_s: float, instance: Instance) -> None:
        """Take a draining worker back into service; it tries to leave again later."""
        instance.state = State.IN_SERVICE
        insort(self._serving, instance.instance_id)
        self._idle.append(instance)
        if self._traits.drain is not None:
            self._set_timer(instance, now_s + self._traits.drain.retry_s)
        self._deliver(now_s)

    def _notice(self, now_s: float, instance: Instance) -> None:
        if instance.state is State.DRAINING or instance.gone_at_s < math.inf:
            return
        if self._traits.drains_on_notice and instance.state is State.IN_SERVICE:
            self._stop(instance, now_s, is_graceful=True)
        elif self._traits.drains_on_notice:
            # The worker finds the notice when it is up, and begins nothing.
            instance.state = State.DRAINING
            self._pending -= 1
        self._at(now_s + _NOTICE_S, self._gone, instance)

    def _gone(self, now_s: float, instance: Instance) -> None:
        if instance.gone_at_s == math.inf:
            self._kill(instance, now_s)

    def _back(self, now_s: float, message: Instance) -> None:
        self._hidden -= 1
        self._returned.append(message.instance_id)
        self._deliver(now_s)

    def _stop(self, instance: Instance, now_s: float, *, is_graceful: bool = False) -> None:
        is_busy = instance.state is State.IN_SERVICE and instance.idle_since_s == math.inf
        if is_busy and (is_graceful or self._traits.kill is not KillRule.BLIND):
            self._drain(instance)
            if self._traits.grace_s < math.inf:
                self._at(now_s + self._traits.grace_s, self._gone, instance)
        else:
            self._kill(instance, now_s)

    def _drain(self, instance: Instance) -> None:
        """Take an instance out of service; it may finish the job that it holds."""
        instance.state = State.DRAINING
        self._serving.remove(instance.instance_id)
        if instance in self._idle:
            self._idle.remove(instance)

    def _kill(self, instance: Instance, now_s: float) -> None:
        """End an instance now; its job is visible again when the visibility timeout has passed."""
        if instance.state is State.PENDING:
            self._pending -= 1
        elif instance.state is State.IN_SERVICE:
            self._drain(instance)
        instance.state = State.TERMINATED
        for entry in [one for one in self._busy if one[1] == instance.instance_id and one[2] >= 0]:
            self._busy.remove(entry)
            heapify(self._busy)
            received_s = entry[0] - self._service_s[entry[2]]
            self._busy_kills += 1
            self._lost_work_s += now_s - received_s
            self._hidden += 1
            back_s = max(now_s, received_s + self._settings.visibility_timeout_s)
            self._at(back_s, self._back, Instance(entry[2], 0.0, 0.0, math.inf))
        instance.left_at_s = now_s
        self._cloud.end(instance, now_s)

    def _end_if_over(self, now_s: float) -> None:
        is_served = self._done == len(self._latency_s)
        is_small = len(self._cloud.alive) <= self._limits.capacity_min
        late_s = now_s - self._traffic.duration_s
        if (late_s >= 0 and is_served and is_small) or late_s >= self._settings.tail_s_max:
            self._end_s = now_s

    def _result(self, end_s: float) -> Run:
        latency_s = np.asarray(self._latency_s, dtype=np.float64)
        served = np.isfinite(latency_s)
        work_s = float(np.asarray(self._service_s)[served].sum()) + self._lost_work_s
        return Run(
            policy=self._policy.name,
            traffic=self._traffic,
            latency_s=latency_s,
            end_s=end_s,
            history=self._history.changes,
            bill_s=self._cloud.bill_s(end_s),
            idle_s=max(self._cloud.in_service_s(end_s) - work_s, 0.0),
            startups=self._cloud.startup_count,
            failed_startups=self._cloud.failed_startup_count,
            refused=self._cloud.refused_count,
            busy_kills=self._busy_kills,
        )
