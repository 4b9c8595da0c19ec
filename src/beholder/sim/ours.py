"""Our law: the production controller and policy and the production idle rule, handed the simulated world.

Nothing is decided here. Readings become observations, decisions become wants, and a worker's rests and jobs
become what `scaling.idle` asks for.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from beholder.fleet.port import FleetInstance, Launch
from beholder.scaling.ages import Ages
from beholder.scaling.controller import Controller, ControllerPorts, SoleLeader
from beholder.scaling.decision import Record
from beholder.scaling.idle import (
    STAY_S_MIN,
    BusyShare,
    IdleSettings,
    Peers,
    idle_limit_s,
    is_last_look_needed,
)
from beholder.scaling.limits import Limits as PolicyLimits
from beholder.scaling.lulls import Lulls
from beholder.scaling.observation import InstanceSeen, InstanceState, Observation, ServiceSeen
from beholder.scaling.signs import Sign
from beholder.sim.law import Habits, Hands, InstanceView, KillRule, Limits, Reading, State, Want
from beholder.worker.leaving import LeavingLimits

__all__ = ["IdleWorkers", "Ours"]

# From the announcement to the end: half of a long poll of 20 s, and the last poll.
_DRAIN_S = 11.0
_LOOK_S_MAX = 60.0


class _Worker:
    """What one worker knows."""

    __slots__ = ("busy", "has_begun", "lulls", "peers", "rests_at_s")

    def __init__(self, now_s: float, lulls: Lulls) -> None:
        self.busy = BusyShare(0.0, now_s)
        self.has_begun = False
        self.lulls = lulls
        self.peers = Peers()
        self.rests_at_s = now_s


class IdleWorkers:
    """The production idle rule for every worker of a run, and the note that the last one leaves."""

    def __init__(self, settings: IdleSettings, *, service_s: float) -> None:
        """Take what each worker is told when it starts, and its time per message."""
        self._settings, self._service_s = settings, service_s
        self._workers: dict[int, _Worker] = {}
        self._note = Lulls()

    def rests(self, instance_id: int, now_s: float, peers: tuple[int, int]) -> float:
        """Return how long a worker that falls idle now stays."""
        worker = self._workers.get(instance_id)
        if worker is None:
            worker = self._workers[instance_id] = _Worker(now_s, self._note)
        else:
            worker.busy = worker.busy.after(now_s, self._settings.tau_s, is_busy=True)
        worker.rests_at_s = now_s
        return self._limit_s(worker, peers)

    def stays(self, instance_id: int, idle_for_s: float, peers: tuple[int, int]) -> float:
        """Return how much longer a worker stays that has been idle for so long."""
        return max(self._limit_s(self._workers[instance_id], peers) - idle_for_s, 0.0)

    def works(self, instance_id: int, now_s: float, sent_at_s: float) -> None:
        """Learn that an idle worker has a job again, and how long there was none."""
        worker = self._workers[instance_id]
        if worker.has_begun:
            worker.lulls = worker.lulls.after_rest(now_s - worker.rests_at_s, worker.peers.count)
        elif worker.lulls.idle_since_s is not None:
            worker.lulls = self._note = worker.lulls.after_first(sent_at_s)
        worker.has_begun = True
        worker.busy = worker.busy.after(now_s, self._settings.tau_s, is_busy=False)

    def leaves(self, instance_id: int) -> None:
        """Write down what the last one knows."""
        worker = self._workers[instance_id]
        if worker.peers.count == 1:
            self._note = worker.lulls.left(worker.rests_at_s)

    def came_up(self) -> set[str]:
        """Return who came up so far."""
        return {str(one) for one in self._workers}

    def _limit_s(self, worker: _Worker, peers: tuple[int, int]) -> float:
        worker.peers = Peers(*peers)
        return idle_limit_s(
            self._settings, worker.busy, worker.peers, service_s=self._service_s, lulls=worker.lulls
        ).seconds


class _Seat:
    """Sensor, fleet and record sink of the production controller, over the reading of the moment."""

    def __init__(self, clock: Callable[[float], float], policy: PolicyLimits, workers: IdleWorkers) -> None:
        self._reading: Reading | None = None
        self._token = 0
        self._clock, self._workers = clock, workers
        self._ages = Ages(look_s_max=_LOOK_S_MAX, boot_s=policy.boot_s)

    def sit(self, reading: Reading) -> None:
        self._reading = reading

    def observe(self) -> Observation:
        """Return the reading as a leader sees it whose clock is another than the cloud's and the store's."""
        reading = self._now()
        exact = {one.id: one for one in (_seen(view, reading.now_s) for view in reading.instances)}
        at_s = self._clock(reading.now_s)
        now_s = self._ages.look(at_s)
        signs = {
            one.id: Sign(one.state, one.last_sign_at_s)
            for one in exact.values()
            if one.last_sign_at_s is not None
        }
        found, signs = self._ages.instances(exact.values(), self._ages.signs(signs))
        instances = tuple(_by(one, exact[one.id], signs) for one in found)
        gone = dict.fromkeys(self._workers.came_up() - exact.keys(), now_s)
        return replace(_observation(reading), now_s=now_s, at_s=at_s, instances=instances, last_signs=gone)

    def describe(self) -> list[FleetInstance]:
        return [FleetInstance(str(one.instance_id), one.launched_at_s) for one in self._now().instances]

    def launch(self, *, count: int, token: str) -> Launch:
        del token
        ids = self._hands().launch(count)
        refusals = ("the simulated cloud has no capacity",) * (count - len(ids))
        return Launch(tuple(str(one) for one in ids), refusals)

    def retire(self, ids: Sequence[str]) -> None:
        self._hands().retire([int(one) for one in ids])

    def write(self, record: Record) -> None:
        """Keep nothing: the controller's last record is enough here."""

    def new_token(self) -> str:
        self._token += 1
        return str(self._token)

    def _now(self) -> Reading:
        assert self._reading is not None, "the controller ticks within a reading"  # noqa: S101 - our own bug
        return self._reading

    def _hands(self) -> Hands:
        hands = self._now().hands
        assert hands is not None, "a law that acts itself has hands"  # noqa: S101 - our own bug
        return hands


class Ours:
    """The production controller and policy, and the production idle rule on every worker.

    Args:
        limits: What bounds every law.
        queue_lag_s: How old the policy is told that the queue's counts are.
        warm_min: Instances kept beyond those that the load needs.
        boot_patience: See `scaling.Limits`.
        stay_s_min: How long the last worker stays idle at least.
        clock: What the leader's clock shows at a moment.
    """

    name = "beholder"

    def __init__(
        self,
        limits: Limits,
        *,
        queue_lag_s: float = 0.0,
        warm_min: int = 0,
        boot_patience: float = 1.0,
        stay_s_min: float = STAY_S_MIN,
        clock: Callable[[float], float] = lambda now_s: now_s,
    ) -> None:
        """Begin with an empty memory."""
        policy = PolicyLimits(
            min=limits.capacity_min,
            max=limits.capacity_max,
            latency_goal_s=limits.latency_goal_s,
            warm_min=warm_min,
            boot_patience=boot_patience,
            price_per_hour=limits.price_per_hour,
            boot_s=limits.boot_s,
            service_s=limits.service_s,
            lag_s=queue_lag_s,
        )
        idle = IdleSettings(
            boot_s=limits.boot_s,
            latency_goal_s=limits.latency_goal_s,
            boot_patience=boot_patience,
            stay_min=limits.capacity_min + warm_min,
            stay_s_min=stay_s_min,
        )
        workers = IdleWorkers(idle, service_s=limits.service_s)
        self.habits = Habits(
            KillRule.SELF,
            worker_rule=workers,
            leaving=LeavingLimits(lag_s=_DRAIN_S),
            is_last_look_needed=lambda peers: is_last_look_needed(Peers(*peers)),
            drains_on_notice=True,
            acts_itself=True,
            hears_first=True,
        )
        self._seat = _Seat(clock, policy, workers)
        ports = ControllerPorts(self._seat, self._seat, SoleLeader(), self._seat, self._seat.new_token)
        self._controller = Controller(ports, policy, name="simulator")

    def tick(self, reading: Reading) -> Want:
        """Let the controller do one pass; it launches and retires by itself."""
        self._seat.sit(reading)
        next_s = self._controller.tick()
        record = self._controller.last
        assert record is not None, "a sole leader's tick leaves a record"  # noqa: S101 - our own bug
        return Want(record.decision.alive + len(record.launched), next_s)

    @property
    def last(self) -> Record | None:
        """The record of the last tick."""
        return self._controller.last


def _observation(reading: Reading) -> Observation:
    services = () if reading.service_s is None else (ServiceSeen("", reading.service_s),)
    return Observation(
        now_s=reading.now_s,
        backlog=reading.visible if reading.instances else max(reading.visible, reading.unseen),
        in_flight=reading.in_flight,
        services=services,
    )


def _by(one: InstanceSeen, exact: InstanceSeen, signs: dict[str, Sign]) -> InstanceSeen:
    """Return an instance with all its times by the leader's clock; how long it booted is known exactly."""
    if exact.ready_at_s is None:
        return one
    ready_at_s = one.launched_at_s + exact.ready_at_s - exact.launched_at_s
    return replace(one, ready_at_s=ready_at_s, last_sign_at_s=signs[one.id].at_s)


def _seen(one: InstanceView, now_s: float) -> InstanceSeen:
    if one.state is State.DRAINING:
        state = InstanceState.DRAINING
    elif one.ready_at_s is None:
        state = InstanceState.BOOTING
    else:
        state = InstanceState.BUSY if one.is_busy else InstanceState.IDLE
    return InstanceSeen(
        id=str(one.instance_id),
        state=state,
        launched_at_s=one.launched_at_s,
        ready_at_s=one.ready_at_s,
        last_sign_at_s=None if one.ready_at_s is None else now_s,
    )
