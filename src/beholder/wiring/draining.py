"""How a worker leaves: when it was idle for long enough, or when its instance is taken away."""

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from beholder.clock import Clock, SystemClock
from beholder.config import Settings
from beholder.draining.heartbeat import HeartbeatWriter
from beholder.draining.idle_limit import EC2_BILL_S_MIN, STAY_S_MIN, IdleSettings, Seniority
from beholder.draining.idle_monitor import IdleMonitor, seniority_of
from beholder.draining.instance_exit import InstanceExit
from beholder.draining.protocol import DrainProtocol, IdleTimeout
from beholder.fleet.imds import InstanceMetadata, InterruptionWatch, Notice
from beholder.fleet.startup import StartupReport
from beholder.scaling.heartbeats import read_heartbeats, write_heartbeat
from beholder.scaling.policy.limits import Aim, Limits
from beholder.scaling.records.snapshot import read_last
from beholder.store.port import Store
from beholder.telemetry.log import log_event
from beholder.wiring.backends import Backends
from beholder.wiring.fleet_local import idle_startup_s
from beholder.worker.worker import Worker

__all__ = ["Ticks", "open_draining"]

_log = logging.getLogger(__name__)

Ticks = Mapping[str, Callable[[], float]]
"""What runs beside a worker: each part's `tick()` by its name."""

_METADATA_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
# Set by the unit of `deploy/instance`: a file that says what the start of the instance took.
_STAMPS_VARIABLE = "STARTUP_STAMPS"
# Two of three heartbeats may be lost before the reaper takes the instance for dead.
_HEARTBEATS_IN_SILENCE = 3


@dataclass(frozen=True)
class _Member:
    """What a worker is in its fleet, whose controller starts another worker when there is work again.

    Args:
        name: What the fleet calls it.
        idle: Its idle rule.
        startup_s: Returns the startup time that the controller has learnt, where there is something to learn.
    """

    name: str
    idle: IdleSettings
    startup_s: Callable[[], float | None] = lambda: None


def open_draining(
    settings: Settings,
    backends: Backends,
    worker: Worker,
    elapsed: Clock,
    *,
    end_process: Callable[[], None],
    fleet_name: str | None,
) -> AbstractContextManager[Ticks]:
    """Open what makes a worker leave in time, and what tells the controller of it.

    At the end of the context the controller is told that the worker ends.

    Args:
        settings: Of the deployment.
        backends: What the worker works with.
        worker: The worker.
        elapsed: The clock by which it is idle.
        end_process: Ends this process in good order.
        fleet_name: What the fleet of this machine calls the worker; None where it belongs to none. A worker
            that ends its instance is called by the instance's id.

    Raises:
        BackendError: The worker has to end its instance, and runs on none.
    """
    if settings.worker.leave_by == "shutdown":
        return _instance(settings, backends, worker, elapsed)
    if fleet_name is not None:
        return _process(settings, backends, worker, elapsed, end_process=end_process, name=fleet_name)
    return nullcontext(_alone(settings, backends, worker, elapsed, end_process=end_process))


@contextmanager
def _instance(settings: Settings, backends: Backends, worker: Worker, elapsed: Clock) -> Iterator[Ticks]:
    """Open the draining of a worker that ends the instance which it runs on."""
    metadata = InstanceMetadata(os.environ.get(_METADATA_VARIABLE))
    instance_exit = InstanceExit(elapsed, os.environ)
    idle = IdleSettings(
        startup_s=settings.fleet.startup_s,
        latency_goal_s=settings.fleet.latency_goal_s,
        aim=Aim(settings.fleet.aim),
        stay_min=settings.fleet.fleet_min + settings.fleet.fleet_warm_min,
        idle_s_max=settings.worker.idle_s_max,
        bill_s_min=EC2_BILL_S_MIN,
        stay_s_min=STAY_S_MIN,
    )
    member = _Member(_instance_id(metadata), idle, lambda: _learnt_startup_s(backends.results))
    with _member(settings, backends, worker, elapsed, member, leave=instance_exit.leave) as (protocol, ticks):

        def on_notice(notice: Notice) -> None:
            if notice.makes_leave(on_rebalance=settings.worker.leave_on_rebalance == "on"):
                # Polls under way are not cut short: they end within 20 s of the 120 that there are, and what
                # they still bring is handed back.
                protocol.interrupt()

        watch = InterruptionWatch(metadata.interruption, on_notice)
        startup: dict[str, Callable[[], float]] = {}
        if stamps := os.environ.get(_STAMPS_VARIABLE):
            report = StartupReport(Path(stamps), member.name, backends.results.put, SystemClock())
            startup["startup"] = report.tick
        yield {**ticks, **startup, "instance_exit": instance_exit.tick, "interruption": watch.tick}


@contextmanager
def _process(
    settings: Settings,
    backends: Backends,
    worker: Worker,
    elapsed: Clock,
    *,
    end_process: Callable[[], None],
    name: str,
) -> Iterator[Ticks]:
    """Open the draining of a worker process that `beholder up` starts when one is needed."""
    idle = IdleSettings(
        startup_s=idle_startup_s(),
        latency_goal_s=settings.fleet.latency_goal_s,
        aim=Aim(settings.fleet.aim),
        stay_min=settings.machine.workers_min + settings.machine.workers_warm_min,
        idle_s_max=settings.worker.idle_s_max,
        stay_s_min=STAY_S_MIN,
    )
    member = _Member(name, idle)
    with _member(settings, backends, worker, elapsed, member, leave=end_process) as (_, ticks):
        yield ticks


def _alone(
    settings: Settings,
    backends: Backends,
    worker: Worker,
    elapsed: Clock,
    *,
    end_process: Callable[[], None],
) -> Ticks:
    """Return the draining of a worker that no controller counts: it may only stay for a fixed time."""
    idle_s_max = settings.worker.idle_s_max
    if idle_s_max is None or idle_s_max == math.inf:
        return {}
    protocol = DrainProtocol(
        worker,
        IdleTimeout(idle_s_max),
        depth=backends.queue.depth,
        announce=lambda _state: None,
        leave=end_process,
        clock=elapsed,
        limits=backends.pace.drain,
    )
    return {"drain": protocol.tick}


@contextmanager
def _member(
    settings: Settings,
    backends: Backends,
    worker: Worker,
    elapsed: Clock,
    member: _Member,
    *,
    leave: Callable[[], None],
) -> Iterator[tuple[DrainProtocol, Ticks]]:
    """Open what every worker of a fleet has: its heartbeat, its idle rule and its drain."""
    writer = HeartbeatWriter(
        lambda state, is_busy: write_heartbeat(backends.results, member.name, state, is_busy=is_busy),
        lambda: worker.idle_since_s,
        elapsed,
        every_s=min(settings.worker.heartbeat_s, settings.fleet.silence_s_max / _HEARTBEATS_IN_SILENCE),
        flip_s=min(settings.worker.heartbeat_s, backends.pace.announce_every_s),
    )
    monitor = _monitor(backends, worker, elapsed, member)

    protocol = DrainProtocol(
        worker,
        monitor,
        depth=backends.queue.depth,
        announce=writer.announce,
        leave=leave,
        clock=elapsed,
        limits=backends.pace.drain,
    )
    try:
        yield protocol, {"heartbeat": writer.tick, "drain": protocol.tick}
    finally:
        writer.end()


def _monitor(backends: Backends, worker: Worker, elapsed: Clock, member: _Member) -> IdleMonitor:
    def peers() -> Seniority:
        heartbeats = read_heartbeats(backends.results)
        # The worker's own heartbeat is among them and not a minute old, so the newest tells the store's time.
        now_s = max((one.at_s for one in heartbeats.values()), default=0.0)
        return seniority_of(heartbeats, member.name, now_s)

    return IdleMonitor(
        member.idle,
        work=lambda: worker.work,
        peers=peers,
        clock=elapsed,
        service_s=Limits().service_s,
        store=backends.results,
        wall_clock=backends.clock,
        peers_every_s=backends.pace.peers_every_s,
        startup_s=member.startup_s,
    )


def _learnt_startup_s(results: Store) -> float | None:
    last = read_last(results)
    return None if last is None else last.record.decision.forecast.startup_s


def _instance_id(metadata: InstanceMetadata) -> str:
    identity = metadata.identity()
    log_event(
        _log,
        logging.INFO,
        "instance.identity",
        "this is an instance",
        instance_id=identity.instance_id,
        instance_type=identity.instance_type,
        zone=identity.zone,
        life_cycle=identity.life_cycle,
    )
    return identity.instance_id
