"""How a worker goes: when it was idle for long enough, or when its instance is taken away."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from beholder.clock import Clock
from beholder.config import Settings
from beholder.draining.heartbeat import HeartbeatWriter
from beholder.draining.idle_limit import STAY_S_MIN, IdleSettings, Seniority
from beholder.draining.idle_monitor import IdleMonitor, seniority_of
from beholder.draining.instance_exit import InstanceExit
from beholder.draining.protocol import DrainLimits, DrainProtocol, IdleTimeout
from beholder.fleet.imds import InstanceMetadata, InterruptionWatch, Notice
from beholder.scaling.heartbeats import read_heartbeats, write_heartbeat
from beholder.scaling.limits import Limits
from beholder.telemetry.log import get_logger, log_event
from beholder.wiring.backends import Backends
from beholder.wiring.fleet_local import idle_startup_s
from beholder.worker.worker import Worker

__all__ = ["Draining", "draining_of"]

_log = get_logger(__name__)

# On AWS each is a request that costs money: a PUT, and a LIST.
_FLIP_S, _PEERS_S = 30.0, 30.0
_LOCAL_FLIP_S, _LOCAL_PEERS_S = 1.0, 2.0
# Here counts are exact and a check costs nothing.
_LOCAL_LIMITS = DrainLimits(lag_s=0.0, check_every_s=1.0, retry_s=2.0)
_METADATA_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
# Two of three heartbeats may be lost before the reaper takes the instance for dead.
_HEARTBEATS_IN_SILENCE = 3


@dataclass(frozen=True)
class Draining:
    """What runs beside a worker so that it leaves in time.

    Args:
        ticks: Each a `tick()` by its name.
        end: Tells the controller that the worker ends; the last thing that it does.
    """

    ticks: Mapping[str, Callable[[], float]]
    end: Callable[[], None]


def draining_of(
    settings: Settings,
    backends: Backends,
    consumers: Worker,
    elapsed: Clock,
    end_process: Callable[[], None],
    *,
    fleet_name: str,
) -> Draining:
    """Return what makes a worker leave in time, and what tells the controller of it.

    Args:
        settings: Of the deployment.
        backends: What the worker works with.
        consumers: The worker.
        elapsed: The clock by which it is idle.
        end_process: Ends this process in good order.
        fleet_name: What the fleet of this machine calls the worker; empty where it is of none. One that ends
            its instance is called by the instance's id.

    Raises:
        BackendError: The worker shall end its instance, and runs on none.
    """
    ticks: dict[str, Callable[[], float]] = {}
    is_instance = settings.leave_by == "shutdown"
    instance_exit = InstanceExit(elapsed, os.environ)
    metadata = InstanceMetadata(os.environ.get(_METADATA_VARIABLE)) if is_instance else None
    name = _told_identity(metadata) if metadata else fleet_name
    life = _life(settings, backends, consumers, elapsed, name) if name else None
    if life:
        ticks["life"] = life.tick
    rule = _rule(settings, backends, consumers, elapsed, name) if name else IdleTimeout(settings.idle_s_max)
    protocol = DrainProtocol(
        consumers,
        rule,
        depth=backends.queue.depth,
        announce=life.announce if life else lambda _state: None,
        leave=instance_exit.leave if is_instance else end_process,
        clock=elapsed,
        limits=DrainLimits(lag_s=settings.depth_lag_s) if settings.backend == "aws" else _LOCAL_LIMITS,
    )
    if settings.idle_s_max or name:
        ticks["leaving"] = protocol.tick
    if metadata:

        def on_notice(notice: Notice) -> None:
            if not notice.makes_leave(on_rebalance=settings.leave_on_rebalance == "on"):
                return
            # Polls under way are not cut short: they end within 20 s of the 120 that there are, and what they
            # still bring is handed back.
            protocol.interrupt()

        ticks["instance_exit"] = instance_exit.tick
        ticks["interruption"] = InterruptionWatch(metadata.interruption, on_notice).tick
    return Draining(ticks, life.end if life else lambda: None)


def _told_identity(metadata: InstanceMetadata) -> str:
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


def _life(
    settings: Settings, backends: Backends, consumers: Worker, elapsed: Clock, name: str
) -> HeartbeatWriter:
    return HeartbeatWriter(
        partial(write_heartbeat, backends.results, name),
        lambda: consumers.idle_since_s,
        elapsed,
        every_s=min(settings.heartbeat_s, settings.silence_s_max / _HEARTBEATS_IN_SILENCE),
        flip_s=min(settings.heartbeat_s, _FLIP_S if settings.backend == "aws" else _LOCAL_FLIP_S),
    )


def _rule(
    settings: Settings, backends: Backends, consumers: Worker, elapsed: Clock, name: str
) -> IdleMonitor:
    """Return the rule of a worker in a fleet: the controller starts another when there is work again."""
    is_instance = settings.leave_by == "shutdown"
    kept = (
        settings.fleet_min + settings.fleet_warm_min
        if is_instance
        else settings.workers_min + settings.workers_warm_min
    )
    idle = IdleSettings(
        startup_s=settings.startup_s if is_instance else idle_startup_s(),
        latency_goal_s=settings.latency_goal_s,
        startup_patience=1.0 if is_instance else 0.0,
        stay_min=kept,
        idle_s_max=settings.idle_s_max,
        stay_s_min=STAY_S_MIN,
    )

    def peers() -> Seniority:
        heartbeats = read_heartbeats(backends.results)
        # This worker's own heartbeat is less than a minute old, so the newest one tells the store's time.
        return seniority_of(heartbeats, name, max((one.at_s for one in heartbeats.values()), default=0.0))

    return IdleMonitor(
        idle,
        work=lambda: consumers.work,
        peers=peers,
        clock=elapsed,
        store=backends.results,
        wall_clock=backends.clock,
        service_s=Limits().service_s,
        # A process that was launched for a burst stays a while, for the next one.
        busy_share=0.0 if is_instance else 1.0,
        peers_every_s=_PEERS_S if settings.backend == "aws" else _LOCAL_PEERS_S,
    )
