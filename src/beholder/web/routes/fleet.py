"""What a web process tells of the fleet: `GET /v1/fleet` and the metrics, both from the output bucket alone.

Whoever leads writes the last record there (`beholder.scaling.snapshot`), so that every web process answers
the same.
"""

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from beholder.clock import Clock, age_s
from beholder.errors import BackendError
from beholder.scaling.observation import InstanceSeen, InstanceState
from beholder.scaling.snapshot import FleetSnapshot, read_last
from beholder.store.port import Store
from beholder.telemetry.metrics import Telemetry

__all__ = ["STATES_SHOWN", "FleetRoutes", "FleetView", "fleet_to_dict", "watch_fleet"]

# The fleet has no terminated instance.
STATES_SHOWN = tuple(one.value for one in InstanceState if one is not InstanceState.TERMINATED)


# As `fleet.ec2_refusals` writes a refusal: its code, and then the cloud's own sentence.
_CODE = re.compile(r"\(([A-Z][A-Za-z]{3,60}(?:\.[A-Za-z]{3,60})?): ")
# What `scaling.policy` says of a launch that waits because the last one was refused.
_REFUSED = re.compile(r"(the cloud refused \d+ times) \((.*)\)(; next try in )", re.DOTALL)


class FleetView:
    """The fleet as the last record tells it; safe to use from many threads at once.

    Cost: at most a GET per `keep_s`; one per scrape each 15 s is 172,800 a month, 0.07 dollars.
    Source: S3 pricing, us-east-1, 0.0004 dollars per 1,000 GET requests, 2025.

    Args:
        store: The output bucket.
        clock: The time of day.
        keep_s: For so long an answer, or the store's failure, is not asked for again.
    """

    def __init__(self, store: Store, clock: Clock, *, keep_s: float = 2.0) -> None:
        self._store = store
        self._clock = clock
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._asked_at_s: float | None = None
        self._found: FleetSnapshot | BackendError | None = None

    def now_s(self) -> float:
        """Return the time of day, seconds since the Unix epoch."""
        return self._clock.now_s()

    def read(self) -> FleetSnapshot | None:
        """Return the last record; None where no controller ever led.

        Raises:
            BackendError: The store could not be asked.
        """
        with self._lock:
            now_s = self._clock.now_s()
            if self._asked_at_s is None or not 0 <= now_s - self._asked_at_s < self._keep_s:
                try:
                    self._found = read_last(self._store)
                except BackendError as exc:
                    self._found = exc
                # Counted from the answer: those who waited for a slow store do not ask it again in turn.
                self._asked_at_s = self._clock.now_s()
            found = self._found
        if isinstance(found, BackendError):
            raise found.with_traceback(None)
        return found


class FleetRoutes:
    """The endpoint that tells of the fleet.

    Args:
        view: Where it is read.
    """

    def __init__(self, view: FleetView) -> None:
        self._view = view

    async def get(self, _: Request) -> Response:
        """`GET /v1/fleet`: instances, decision and reason; 200 also where no controller ever led."""
        last = await asyncio.to_thread(self._view.read)
        return JSONResponse(fleet_to_dict(last, self._view.now_s()))


def fleet_to_dict(last: FleetSnapshot | None, now_s: float) -> dict[str, Any]:
    """Return the fleet as callers see it.

    Args:
        last: What is known; None where no controller ever led.
        now_s: The moment that ages are counted to, seconds since the Unix epoch.
    """
    if last is None:
        return _nothing()
    record, decision = last.record, last.record.decision
    return {
        "controller": {
            "leader": record.leader,
            "decided_at": _time(record.at_s),
            "age_s": round(last.age_s(now_s), 3),
            "is_stale": last.is_stale(now_s),
        },
        "desired": decision.desired,
        "alive": decision.alive,
        "states": _states(last),
        "busy": record.busy,
        "price_per_hour": _price(last),
        "queue": {"backlog": record.backlog, "in_flight": record.in_flight, "delayed": record.delayed},
        "decision": {
            "raw": decision.raw,
            "launch": decision.launch,
            "reason": _without_refusal(decision.reason),
            "bounds": [{**asdict(one), "why": _without_refusal(one.why)} for one in decision.bounds],
            "forecast": asdict(decision.forecast),
        },
        "instances": [_instance(one, now_s) for one in record.instances],
        "launched_total": last.launched_total,
        "terminated_total": dict(last.terminated_total),
        "terminations": [{"at": _time(one.at_s), **asdict(one.termination)} for one in last.terminations],
        "refusals": [{"at": _time(one.at_s), "why": _told_refusal(one.why)} for one in last.refusals],
        "failed_startups_total": dict(last.failed_startups_total),
        "failed_startups": [
            {"at": _time(one.at_s), "id": one.startup.id, "cause": one.startup.cause, "why": one.startup.why}
            for one in last.failed_startups
        ],
    }


def _told_refusal(said: str) -> str:
    """Return a refusal by the cloud's codes: its sentences name accounts, roles and parts of the network."""
    codes = ", ".join(dict.fromkeys(_CODE.findall(said)))
    return f"the cloud refused a launch: {codes}" if codes else "the cloud refused a launch"


def _without_refusal(why: str) -> str:
    """Return a reason without the cloud's own words, which may name whatever it likes."""
    return _REFUSED.sub(lambda match: f"{match[1]} ({_told_refusal(match[2])}){match[3]}", why)


def watch_fleet(telemetry: Telemetry, view: FleetView) -> None:
    """Report the fleet at each scrape; what cannot be read, or was never written, has no series."""

    def gauge(name: str, help_text: str, read: Callable[[FleetSnapshot], float]) -> None:
        telemetry.watch(name, help_text, "", lambda: _of(view, lambda last: {"": read(last)}))

    telemetry.watch("beholder_fleet_instances", "Instances by state.", "state", lambda: _of(view, _states))
    gauge(
        "beholder_fleet_instances_busy",
        "Instances in service that hold a message.",
        lambda last: last.record.busy,
    )
    gauge(
        "beholder_fleet_desired",
        "Instances that the controller wants.",
        lambda last: last.record.decision.desired,
    )
    gauge("beholder_fleet_price_per_hour", "What the instances cost per hour, where that is known.", _price)
    gauge(
        "beholder_fleet_arrivals_per_second",
        "Messages per second that the controller expects.",
        lambda last: last.record.decision.forecast.arrivals_per_s,
    )
    gauge(
        "beholder_controller_decision_age_seconds",
        "Since the last record of the controller.",
        lambda last: last.age_s(view.now_s()),
    )
    telemetry.watch(
        "beholder_controller_launches_total",
        "Instances launched, by any leader.",
        "",
        lambda: _of(view, lambda last: {"": last.launched_total}),
        is_counter=True,
    )
    telemetry.watch(
        "beholder_controller_terminations_total",
        "Instances that the second line ended, by any leader.",
        "cause",
        lambda: _of(view, lambda last: dict(last.terminated_total)),
        is_counter=True,
    )
    telemetry.watch(
        "beholder_controller_failed_startups_total",
        "Instances that were launched and never served, by any leader.",
        "cause",
        lambda: _of(view, lambda last: dict(last.failed_startups_total)),
        is_counter=True,
    )


def _of(view: FleetView, read: Callable[[FleetSnapshot], dict[str, Any]]) -> dict[str, float]:
    try:
        last = view.read()
    except BackendError:
        return {}
    return {} if last is None else read(last)


def _nothing() -> dict[str, Any]:
    return {
        "controller": None,
        "desired": None,
        "alive": None,
        "states": dict.fromkeys(STATES_SHOWN, 0),
        "busy": 0,
        "price_per_hour": 0.0,
        "queue": None,
        "decision": None,
        "instances": [],
        "launched_total": 0,
        "terminated_total": {},
        "terminations": [],
        "refusals": [],
        "failed_startups_total": {},
        "failed_startups": [],
    }


def _states(last: FleetSnapshot) -> dict[str, Any]:
    counted = Counter(one.state.value for one in last.record.instances)
    return {state: counted[state] for state in STATES_SHOWN}


def _price(last: FleetSnapshot) -> float:
    return round(sum(one.price_per_hour for one in last.record.instances), 6)


def _instance(one: InstanceSeen, now_s: float) -> dict[str, Any]:
    return {
        "id": one.id,
        "state": one.state.value,
        "is_busy": one.is_busy,
        "instance_type": one.instance_type,
        "spot": one.spot,
        "price_per_hour": one.price_per_hour,
        "launched_at": _time(one.launched_at_s),
        "age_s": round(age_s(now_s, one.launched_at_s), 3),
        "last_heartbeat_at": None if one.last_heartbeat_at_s is None else _time(one.last_heartbeat_at_s),
    }


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
