"""The controller of a fleet on EC2, beside a web process; of several web processes one leads."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from beholder.clock import MonotonicClock
from beholder.config import Settings
from beholder.errors import BackendError
from beholder.job import new_job_id
from beholder.scaling.activator import Activator
from beholder.scaling.ages import LOOK_S_MAX
from beholder.scaling.controller import Controller, ControllerPorts
from beholder.scaling.lease import StoreLease
from beholder.scaling.policy.limits import Aim, Limits
from beholder.scaling.policy.observation import ServiceSeen
from beholder.scaling.records.decision_log import DecisionLog
from beholder.scaling.records.history import HistoryLog
from beholder.scaling.records.record import Record
from beholder.scaling.records.snapshot import LatestRecord, Tee, read_last
from beholder.scaling.records.spend_log import SpendLog
from beholder.scaling.sensor import FleetSensor
from beholder.scaling.unanswered import UnansweredMessages
from beholder.store.port import Store
from beholder.wiring.backends import Backends, Scaling

if TYPE_CHECKING:
    from beholder.telemetry.metrics import Telemetry

__all__ = ["open_scaling"]

# The lease wants to be held four times in a period.
_TICKS_IN_PERIOD = 4


@contextmanager
def _open_controller(
    settings: Settings,
    backends: Backends,
    name: str,
    services: Callable[[], Sequence[float]] = tuple,
    unanswered: Callable[[], int] = lambda: 0,
) -> Iterator[Controller]:
    """Open a controller of the deployment's instances; its `tick()` is called every `tick_s`.

    At the end it lets another one lead at once.

    Args:
        settings: Of the deployment; `launch_template` names what it launches.
        backends: Input queue and output bucket.
        name: Of this web process.
        services: Gives how long messages kept a consumer busy, in seconds, as replies told since it was last
            asked. An instance has several consumers, so this says rather too much than too little.
        unanswered: See `FleetSensor`.

    Raises:
        ConfigError: boto3 cannot be used as it is configured.
    """
    from beholder.fleet.ec2 import Ec2Fleet  # noqa: PLC0415 -- boto3 is an optional extra
    from beholder.fleet.ec2_client import Ec2Client  # noqa: PLC0415

    clock, results = backends.clock, backends.results
    client = Ec2Client(region=settings.deployment.region)
    template = settings.fleet.template
    fleet = Ec2Fleet(client, settings.deployment.prefix, template)
    # Never the same after a restart: what an earlier process of this name held is not ours.
    holder = f"{name}-{new_job_id(clock.now_s())}"
    lease = StoreLease(results, holder, MonotonicClock(), period_s=_TICKS_IN_PERIOD * settings.fleet.tick_s)
    why, history = DecisionLog(results, name), HistoryLog(results)
    # Replies do not say on what type of instance; where there is one type, it is that.
    instance_type = template.instance_types[0] if len(template.instance_types) == 1 else ""

    def service_times() -> tuple[ServiceSeen, ...]:
        return tuple(ServiceSeen(instance_type, one) for one in services())

    ports = ControllerPorts(
        sensor=FleetSensor(
            backends.queue,
            fleet,
            results,
            clock,
            service_times,
            startup_s=settings.fleet.startup_s,
            look_s_max=max(LOOK_S_MAX, 2.0 * settings.fleet.tick_s),
            unanswered=unanswered,
        ),
        fleet=fleet,
        lease=lease,
        records=Tee(why, LatestRecord(results), history, SpendLog()),
        new_token=lambda: new_job_id(clock.now_s()),
        before=lambda: _before(results),
    )
    try:
        yield Controller(ports, _limits_of(settings), name=name)
    finally:
        why.flush()
        history.flush()
        with contextlib.suppress(BackendError):
            lease.release()
        client.close()


@contextmanager
def open_scaling(
    settings: Settings, backends: Backends, name: str, telemetry: "Telemetry"
) -> Iterator[Scaling]:
    """Open the controller and the activator beside a web process.

    Raises:
        ConfigError: boto3 cannot be used as it is configured.
    """
    activator = Activator(threading.Event())

    def own() -> int:
        return activator.sent_count - telemetry.done_count

    process = f"{name}-{new_job_id(backends.clock.now_s())}"
    unanswered = UnansweredMessages(own, backends.results, process, MonotonicClock())
    services = telemetry.take_services
    with _open_controller(settings, backends, name, services, unanswered.change) as controller:

        def tick() -> float:
            delay_s = controller.tick()
            if not controller.is_leading:
                unanswered.tell()
            activator.listen(is_at_zero=controller.is_at_zero)
            return delay_s

        yield Scaling({"controller": tick}, {"controller": activator.notifier}, activator.sent)


def _before(results: Store) -> Record | None:
    last = read_last(results)
    return None if last is None else last.record


def _limits_of(settings: Settings) -> Limits:
    template = settings.fleet.template
    # A budget has to hold for the dearest of what may be launched.
    spot = template.on_demand_share == 0.0 and settings.fleet.budget_per_hour is None  # spot may fall back
    prices = [template.price_per_hour(instance_type, spot=spot) for instance_type in template.instance_types]
    return Limits(
        min=settings.fleet.fleet_min,
        max=settings.fleet.fleet_max,
        latency_goal_s=settings.fleet.latency_goal_s,
        aim=Aim(settings.fleet.aim),
        budget_per_hour=settings.fleet.budget_per_hour,
        warm_min=settings.fleet.fleet_warm_min,
        price_per_hour=max(prices, default=0.0),
        instance_type=template.instance_types[0] if template.instance_types else "",
        startup_s=settings.fleet.startup_s,
        tick_s=settings.fleet.tick_s,
        lag_s=settings.queue.depth_lag_s,
        visibility_timeout_s=settings.queue.visibility_timeout_s,
        hold_max=settings.worker.consumers * settings.worker.batch_max,
        silence_s_max=settings.fleet.silence_s_max,
    )
