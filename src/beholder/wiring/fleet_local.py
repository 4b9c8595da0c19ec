"""The controller of the worker processes on one machine, beside `beholder up`.

The policy is that of the fleet on AWS. What differs are the numbers: a startup takes a second and costs CPU
time, not money, and the goal is a fraction of a second.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from beholder.clock import Clock, MonotonicClock
from beholder.config import Settings
from beholder.fleet.port import Fleet
from beholder.scaling.controller import Controller, ControllerPorts, SoleLeader
from beholder.scaling.heartbeats import delete_heartbeat, read_heartbeats
from beholder.scaling.policy.limits import Aim, Limits
from beholder.scaling.ports import RecordSink
from beholder.scaling.records.decision_log import DecisionLog
from beholder.scaling.records.history import HistoryLog
from beholder.scaling.records.record import Record
from beholder.scaling.records.snapshot import LatestRecord, Tee
from beholder.scaling.sensor import FleetSensor
from beholder.wiring.backends import Backends

__all__ = ["idle_startup_s", "local_limits", "open_local_controller"]

_TICK_S = 0.25
# Between two looks after nothing happened for a while; a message ends that at once.
_REST_S = 2.0
_CALM_S = 3.0
# Looks that are further apart, as on a machine that slept, count as no more.
_LOOK_S_MAX = 5.0
_STARTUP_S = 1.2
_SERVICE_S = 0.015
# A few images: less than what waits when a dozen clients send one after another, which are to get every core.
_SLACK_S_MIN = 0.05
_ARRIVALS_TAU_S = 1.0
_BACKOFF_S = 1.0
_BACKOFF_S_MAX = 30.0
_IDLE_PER_STARTUP_S = 300.0
_QUIET_S = 60.0


def idle_startup_s() -> float:
    """Return for how long a worker may idle at the price of a startup, in seconds.

    Measured: a startup takes 1.1 s of CPU time, an idle worker 0.1 % of a core, so that by CPU time alone it
    would be 1,100 s. An idle worker also keeps memory from others, so it is a quarter of that.
    """
    return _IDLE_PER_STARTUP_S


def local_limits(settings: Settings) -> Limits:
    """Return the limits of a fleet of processes."""
    return Limits(
        min=settings.machine.workers_min,
        max=settings.machine.workers,
        latency_goal_s=settings.fleet.latency_goal_s,
        warm_min=settings.machine.workers_warm_min,
        aim=Aim(settings.fleet.aim),
        slack_s_min=_SLACK_S_MIN,
        arrivals_tau_s=_ARRIVALS_TAU_S,
        startup_s=_STARTUP_S,
        service_s=_SERVICE_S,
        tick_s=_TICK_S,
        visibility_timeout_s=settings.queue.visibility_timeout_s,
        hold_max=settings.worker.batch_max * settings.worker.consumers,
        backoff_s=_BACKOFF_S,
        backoff_s_max=_BACKOFF_S_MAX,
        lifetime_s_max=None,
        silence_s_max=settings.fleet.silence_s_max,
    )


@contextmanager
def open_local_controller(
    settings: Settings, backends: Backends, fleet: Fleet
) -> Iterator[Callable[[], float]]:
    """Open the controller of this machine's workers; yields its tick.

    Nobody else can lead: the process that has the data folder is the only one to launch.

    Args:
        settings: Of the deployment.
        backends: Input queue and output bucket.
        fleet: The worker processes.
    """
    results = backends.results
    why, history = DecisionLog(results, "up"), HistoryLog(results)
    news = _News(Tee(why, LatestRecord(results)), why.flush)
    numbers = itertools.count(1)
    ports = ControllerPorts(
        sensor=FleetSensor(
            backends.queue, fleet, results, backends.clock, startup_s=_STARTUP_S, look_s_max=_LOOK_S_MAX
        ),
        fleet=fleet,
        lease=SoleLeader(),
        records=Tee(history, news),  # of each tick: a minute shows its highest backlog
        new_token=lambda: f"up-{next(numbers)}",
    )
    controller = Controller(ports, local_limits(settings), name="up")
    # Heartbeats of an earlier start's workers that are still there.
    there = {one.id for one in fleet.describe()}
    for name in set(read_heartbeats(results)) - there:
        delete_heartbeat(results, name)
    try:
        yield _Watchful(controller, backends, MonotonicClock()).tick
    finally:
        news.end()
        history.flush()


class _Watchful:
    """Lets a controller tick less often while nothing happens, and at once when a process sends a message.

    Args:
        controller: The controller.
        backends: Watch the queue.
        clock: Measures for how long nothing happened.
    """

    def __init__(self, controller: Controller, backends: Backends, clock: Clock) -> None:
        self._controller = controller
        self._watching = backends.watching
        self._clock = clock
        self._stirred_at_s = self._clock.now_s()

    def tick(self) -> float:
        """Do one pass of the controller; return the seconds until the next."""
        if self._watching is None or self._clock.now_s() - self._stirred_at_s < _CALM_S:
            return self._look()
        with ExitStack() as stack:
            # Before the look at the queue, so that no message is overlooked.
            try:
                watcher = stack.enter_context(self._watching())
            except OSError:  # a full disk
                return self._look()
            delay_s = self._look()
            if not _is_calm(self._controller.last):
                return delay_s
            if watcher.wait(_REST_S):
                self._stirred_at_s = self._clock.now_s()
        return 0.0

    def _look(self) -> float:
        delay_s = self._controller.tick()
        if not _is_calm(self._controller.last):
            self._stirred_at_s = self._clock.now_s()
        return delay_s


def _is_calm(seen: Record | None) -> bool:
    """Say whether a tick found no message, and a fleet that is as it is to be."""
    if seen is None or seen.backlog or seen.in_flight or seen.delayed or seen.busy:
        return False
    if seen.launched or seen.refused or seen.terminated or seen.failed_startups or seen.awaited_s:
        return False
    return seen.states.keys() <= {"in_service"} and seen.decision.desired == seen.decision.alive


class _News:
    """A `RecordSink` that passes on what changed the fleet, at once, and otherwise one record a minute.

    Four ticks a second in which workers turn busy and idle would fill a disk and tell nothing.
    """

    def __init__(self, sink: RecordSink, flush: Callable[[], None]) -> None:
        self._sink = sink
        self._flush = flush
        self._said: object = None
        self._said_at_s = 0.0
        self._last: Record | None = None

    def write(self, record: Record) -> None:
        """Keep a record; see `RecordSink.write`."""
        self._last = record
        draining = record.states.get("draining", 0)
        pending = record.states.get("pending", 0)
        says = (record.decision.alive, record.decision.desired, draining, pending)
        happened = record.launched or record.refused or record.terminated or record.failed_startups
        is_news = bool(happened) or says != self._said
        if is_news or not 0 <= record.at_s - self._said_at_s < _QUIET_S:
            self._said, self._said_at_s, self._last = says, record.at_s, None
            self._sink.write(record)
        if is_news:
            self._flush()

    def end(self) -> None:
        """Write what is left."""
        if self._last is not None:
            self._sink.write(self._last)
        self._flush()
