"""Our policy: production's controller, policy and idle rule, which run on the simulated world.

Nothing is decided here. World observations become observations, decisions become desired capacities, and the
idle times and jobs of a worker become what `draining.idle_limit` needs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from beholder.draining.idle_gaps import IdleGaps
from beholder.draining.idle_limit import (
    BUSY_SHARE_AT_START,
    EC2_BILL_S_MIN,
    STARTUP_EVERY_S,
    STAY_S_MIN,
    BusyShare,
    IdleSettings,
    Seniority,
    idle_limit_s,
    is_final_check_needed,
)
from beholder.draining.protocol import DrainLimits
from beholder.fleet.port import FleetInstance, Launch
from beholder.scaling.ages import LOOK_S_MAX, Ages
from beholder.scaling.controller import Controller, ControllerPorts, SoleLeader
from beholder.scaling.heartbeats import Heartbeat
from beholder.scaling.policy.limits import Aim, Limits
from beholder.scaling.policy.observation import InstanceSeen, InstanceState, Observation, ServiceSeen
from beholder.scaling.records.record import Record
from beholder.simulator.policy import (
    Actuator,
    DesiredCapacity,
    InstanceView,
    KillRule,
    ScalerTraits,
    WorldLimits,
    WorldObservation,
)

__all__ = ["IdleWorkers", "Ours"]

# From the announcement to the end: half of a long poll of 20 s, and the final poll.
_DRAIN_S = 11.0


class _Worker:
    """What one worker knows."""

    __slots__ = (
        "began_at_s",
        "busy",
        "has_begun",
        "idle_gaps",
        "peers",
        "rests_at_s",
        "settings",
        "startup_at_s",
    )

    def __init__(self, now_s: float, idle_gaps: IdleGaps, settings: IdleSettings) -> None:
        self.settings = settings
        self.startup_at_s = -math.inf
        self.busy = BusyShare(BUSY_SHARE_AT_START, now_s)
        self.has_begun = False
        self.idle_gaps = idle_gaps
        self.peers = Seniority()
        self.began_at_s = self.rests_at_s = now_s


class IdleWorkers:
    """The production idle rule for every worker of a run, with the idle gaps that the last worker stores."""

    def __init__(self, settings: IdleSettings, *, service_s: float) -> None:
        self._settings, self._service_s = settings, service_s
        self.startup_s = settings.startup_s
        self._workers: dict[int, _Worker] = {}
        self._stored_gaps = IdleGaps()

    def rests(self, instance_id: int, now_s: float, peers: Seniority) -> float:
        """Return how long a worker that falls idle now stays."""
        worker = self._workers.get(instance_id)
        if worker is None:
            worker = self._workers[instance_id] = _Worker(now_s, self._stored_gaps, self._settings)
        else:
            worker.busy = worker.busy.after(now_s, worker.settings.tau_s, is_busy=True)
        if now_s - worker.startup_at_s > STARTUP_EVERY_S:
            worker.startup_at_s = now_s
            worker.settings = replace(self._settings, startup_s=self.startup_s)
        worker.rests_at_s = now_s
        return self._limit_s(worker, peers)

    def stays(self, instance_id: int, idle_for_s: float, peers: Seniority) -> float:
        """Return how much longer a worker stays that has been idle for so long."""
        return max(self._limit_s(self._workers[instance_id], peers) - idle_for_s, 0.0)

    def works(self, instance_id: int, now_s: float, sent_at_s: float) -> None:
        """Learn that an idle worker has a job again, and how long there was none."""
        worker = self._workers[instance_id]
        if worker.has_begun:
            worker.idle_gaps = worker.idle_gaps.after_rest(now_s - worker.rests_at_s, worker.peers.count)
        elif worker.idle_gaps.idle_since_s is not None:
            worker.idle_gaps = self._stored_gaps = worker.idle_gaps.after_first(sent_at_s)
        worker.has_begun = True
        worker.busy = worker.busy.after(now_s, worker.settings.tau_s, is_busy=False)

    def leaves(self, instance_id: int) -> None:
        """Store the idle gaps if this is the last worker."""
        worker = self._workers[instance_id]
        if worker.peers.count == 1:
            self._stored_gaps = worker.idle_gaps.left(worker.rests_at_s)

    def came_up(self) -> set[str]:
        """Return the instances that came up so far."""
        return {str(one) for one in self._workers}

    def _limit_s(self, worker: _Worker, peers: Seniority) -> float:
        worker.peers = peers
        return idle_limit_s(
            worker.settings,
            worker.busy,
            worker.peers,
            service_s=self._service_s,
            idle_gaps=worker.idle_gaps,
            age_s=worker.rests_at_s - worker.began_at_s + worker.settings.startup_s,
        ).seconds


class _SimulatedPorts:
    """The ports of the production controller, over the last observation of the world."""

    def __init__(self, clock: Callable[[float], float], policy: Limits, workers: IdleWorkers) -> None:
        self._observed: WorldObservation | None = None
        self._token = self._unanswered = 0
        self._clock, self._workers = clock, workers
        self._ages = Ages(look_s_max=LOOK_S_MAX, startup_s=policy.startup_s)

    def see(self, observed: WorldObservation) -> None:
        self._observed = observed

    def observe(self) -> Observation:
        """Return the observation of a leader whose clock differs from the cloud's and the store's."""
        observed = self._now()
        exact = {one.id: one for one in (_seen(view, observed.now_s) for view in observed.instances)}
        at_s = self._clock(observed.now_s)
        now_s = self._ages.look(at_s)
        heartbeats = {
            one.id: Heartbeat(one.state, one.last_heartbeat_at_s)
            for one in exact.values()
            if one.last_heartbeat_at_s is not None
        }
        found, heartbeats = self._ages.instances(exact.values(), self._ages.heartbeats(heartbeats))
        instances = tuple(_by(one, exact[one.id], heartbeats) for one in found)
        gone = dict.fromkeys(self._workers.came_up() - exact.keys(), now_s)
        services = () if observed.service_s is None else (ServiceSeen("", observed.service_s),)
        before, self._unanswered = self._unanswered, observed.unanswered
        return Observation(
            now_s=now_s,
            backlog=observed.visible,
            in_flight=observed.in_flight,
            unanswered=observed.unanswered - before,
            instances=instances,
            services=services,
            last_heartbeats=gone,
            at_s=at_s,
        )

    def describe(self) -> list[FleetInstance]:
        return [FleetInstance(str(one.instance_id), one.launched_at_s) for one in self._now().instances]

    def launch(self, *, count: int, token: str) -> Launch:
        del token
        ids = self._actuator().launch(count)
        refusals = ("the simulated cloud has no capacity",) * (count - len(ids))
        return Launch(tuple(str(one) for one in ids), refusals)

    def terminate(self, ids: Sequence[str]) -> None:
        self._actuator().terminate([int(one) for one in ids])

    def write(self, record: Record) -> None:
        """Keep nothing: the controller's last record is enough here."""

    def new_token(self) -> str:
        self._token += 1
        return str(self._token)

    def _now(self) -> WorldObservation:
        assert self._observed is not None, "the controller ticks within an observation"  # noqa: S101 - our own bug
        return self._observed

    def _actuator(self) -> Actuator:
        actuator = self._now().actuator
        assert actuator is not None, "a policy that acts itself has an actuator"  # noqa: S101 - our own bug
        return actuator


class Ours:
    """The production controller and policy, and the production idle rule on every worker.

    Args:
        limits: The bounds and guesses that every policy gets.
        queue_lag_s: The lag of the queue's counts that the policy assumes.
        warm_min: Instances kept beyond those that the load needs.
        aim: See `scaling.Limits`.
        stay_s_min: How long the last worker stays idle at least.
        clock: Returns what the leader's clock shows at a virtual time.
    """

    name = "beholder"

    def __init__(
        self,
        limits: WorldLimits,
        *,
        queue_lag_s: float = 0.0,
        warm_min: int = 0,
        aim: Aim = Aim.STEADY,
        stay_s_min: float = STAY_S_MIN,
        clock: Callable[[float], float] = lambda now_s: now_s,
    ) -> None:
        policy = Limits(
            min=limits.capacity_min,
            max=limits.capacity_max,
            latency_goal_s=limits.latency_goal_s,
            warm_min=warm_min,
            aim=aim,
            price_per_hour=limits.price_per_hour,
            startup_s=limits.startup_s,
            service_s=limits.service_s,
            lag_s=queue_lag_s,
        )
        idle = IdleSettings(
            startup_s=limits.startup_s,
            latency_goal_s=limits.latency_goal_s,
            aim=aim,
            stay_min=limits.capacity_min + warm_min,
            bill_s_min=EC2_BILL_S_MIN,
            stay_s_min=stay_s_min,
        )
        workers = IdleWorkers(idle, service_s=limits.service_s)
        self.traits = ScalerTraits(
            KillRule.SELF,
            worker_rule=workers,
            drain=DrainLimits(lag_s=_DRAIN_S),
            is_final_check_needed=is_final_check_needed,
            drains_on_notice=True,
            uses_actuator=True,
            has_activator=True,
        )
        self._workers = workers
        self._ports = _SimulatedPorts(clock, policy, workers)
        ports = ControllerPorts(self._ports, self._ports, SoleLeader(), self._ports, self._ports.new_token)
        self._controller = Controller(ports, policy, name="simulator")

    def tick(self, observed: WorldObservation) -> DesiredCapacity:
        """Let the controller do one pass, which launches and terminates."""
        self._ports.see(observed)
        next_s = self._controller.tick()
        record = self._controller.last
        assert record is not None, "a sole leader's tick leaves a record"  # noqa: S101 - our own bug
        self._workers.startup_s = record.decision.forecast.startup_s
        return DesiredCapacity(record.decision.alive + len(record.launched), next_s)

    @property
    def last(self) -> Record | None:
        """The record of the last tick."""
        return self._controller.last


def _by(one: InstanceSeen, exact: InstanceSeen, heartbeats: dict[str, Heartbeat]) -> InstanceSeen:
    """Return an instance with all its times by the leader's clock and its exact startup time."""
    if exact.ready_at_s is None:
        return one
    ready_at_s = one.launched_at_s + exact.ready_at_s - exact.launched_at_s
    heartbeat_at_s = heartbeats[one.id].at_s
    if (ready_at_s, heartbeat_at_s) == (one.ready_at_s, one.last_heartbeat_at_s):
        return one
    return replace(one, ready_at_s=ready_at_s, last_heartbeat_at_s=heartbeat_at_s)


def _seen(one: InstanceView, now_s: float) -> InstanceSeen:
    return InstanceSeen(
        id=str(one.instance_id),
        state=one.state,
        launched_at_s=one.launched_at_s,
        ready_at_s=one.ready_at_s,
        last_heartbeat_at_s=None if one.ready_at_s is None else now_s,
        is_busy=one.is_busy and one.state is InstanceState.IN_SERVICE,
    )
