"""The schemas of `GET /v1/fleet` in the OpenAPI document, and its example."""

from typing import Any

from beholder.scaling import InstanceSeen, InstanceState, Limits, Memory, Observation, Record, decide
from beholder.scaling.decision import FailedStartup, Termination
from beholder.scaling.snapshot import FleetSnapshot, PastFailedStartup, PastRefusal, PastTermination
from beholder.web.openapi.json_schema import ref
from beholder.web.routes.fleet import STATES_SHOWN, fleet_to_dict

__all__ = ["fleet_example", "fleet_schemas"]

_NOW_S = 1_767_225_600.0

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_NOT_NEGATIVE = {"type": "number", "minimum": 0}
_TIME = {"type": "string", "format": "date-time"}


def fleet_schemas() -> dict[str, Any]:
    """Return the schemas by name."""
    return {
        "Fleet": _fleet(),
        "Controller": _controller(),
        "Decision": _decision(),
        "Forecast": _forecast(),
        "Instance": _instance(),
    }


def fleet_example() -> dict[str, Any]:
    """Return a fleet of one instance that serves, while a second one boots."""
    now_s = _NOW_S
    spot = ("c7a.large", True, 0.0384)
    instances = (
        InstanceSeen(
            "i-0a1", InstanceState.IN_SERVICE, now_s - 900, now_s - 700, now_s - 12, *spot, is_busy=True
        ),
        InstanceSeen("i-0b2", InstanceState.PENDING, now_s - 40, None, None, *spot),
    )
    seen = Observation(now_s, 1200, 10, instances=instances)
    decision, _ = decide(seen, Memory(), Limits())
    gone = Termination("i-0c3", "startup", "It gave no heartbeat in 400 seconds.")
    return fleet_to_dict(
        FleetSnapshot(
            Record.of(seen, decision, leader="web-0"),
            60.0,
            (PastTermination(now_s - 3600, gone),),
            (
                PastRefusal(
                    now_s - 1800,
                    "c7a.large in us-east-1b: EC2 has no capacity (InsufficientInstanceCapacity: no)",
                ),
            ),
            7,
            {"startup": 1},
            (PastFailedStartup(now_s - 3600, FailedStartup("i-0c3", "late", 400.0, "c7a.large")),),
            {"late": 1},
        ),
        now_s + 3.0,
    )


def _fleet() -> dict[str, Any]:
    states = dict.fromkeys(STATES_SHOWN, _COUNT)
    queue = {"backlog": _COUNT, "in_flight": _COUNT, "delayed": _COUNT}
    termination = {"at": _TIME, "id": _TEXT, "cause": _TEXT, "why": _TEXT}
    last_ones = "The last ten, newest first: "
    properties = {
        "controller": or_null(ref("schemas", "Controller"), "Who decided; null where none ever led."),
        "desired": or_null(_COUNT, "Instances wanted, after every bound."),
        "alive": or_null(_COUNT, "Instances that count: all but draining ones, launched unseen ones too."),
        "states": object_of("How many of `instances` are in each state.", states),
        "busy": said(_COUNT, "How many of those in service hold a message."),
        "price_per_hour": said(_NOT_NEGATIVE, "Sum over `instances`; one of unknown price counts 0."),
        "queue": {
            "anyOf": [object_of("The queue as it was seen, approximately.", queue), {"type": "null"}],
            "description": "What was decided upon.",
        },
        "decision": or_null(ref("schemas", "Decision"), "Why the fleet is to be so."),
        "instances": {"type": "array", "items": ref("schemas", "Instance"), "description": "All of them."},
        "launched_total": said(_COUNT, "Instances launched, by any leader."),
        "terminated_total": {
            "type": "object",
            "description": "Instances that the second line ended, by cause.",
            "additionalProperties": _COUNT,
        },
        "terminations": {
            "type": "array",
            "items": object_of("An instance that hung, or never came up, and was ended.", termination),
            "description": last_ones + "instances that did not leave by themselves.",
        },
        "refusals": {
            "type": "array",
            "items": object_of("A launch refused, and when last.", {"at": _TIME, "why": _TEXT}),
            "description": last_ones + "launches that the cloud refused.",
        },
        "failed_startups_total": {
            "type": "object",
            "description": "Instances that never served, by cause: `late`, `ended` or `unseen`.",
            "additionalProperties": _COUNT,
        },
        "failed_startups": {
            "type": "array",
            "items": object_of("An instance that was launched and never served.", termination),
            "description": last_ones + "instances that did not come up.",
        },
    }
    return object_of("The fleet, as its controller last saw it.", properties)


def _controller() -> dict[str, Any]:
    properties = {
        "leader": said(_TEXT, "Name of the controller that decided."),
        "decided_at": said(_TIME, "When; all of the answer is of that moment."),
        "age_s": said(_NOT_NEGATIVE, "Seconds since then."),
        "is_stale": said({"type": "boolean"}, "Three records are overdue: nobody leads, or none is stored."),
    }
    return object_of("The controller that leads.", properties)


def _decision() -> dict[str, Any]:
    bound = {"name": _TEXT, "before": _COUNT, "after": _COUNT, "why": _TEXT}
    properties = {
        "raw": said(_COUNT, "Instances that the law alone wants."),
        "launch": said(_COUNT, "Instances to launch at that moment."),
        "reason": said(_TEXT, "In words."),
        "bounds": {
            "type": "array",
            "items": object_of("Something that changed the number.", bound),
            "description": "Each bound from raw to desired, in order.",
        },
        "forecast": said(ref("schemas", "Forecast"), "What the policy expects."),
    }
    return object_of("How many instances there should be, and why.", properties)


def _forecast() -> dict[str, Any]:
    number = {"type": "number"}
    properties = {
        "arrivals_per_s": said(number, "Messages per second, as learnt."),
        "service_s": said(number, "Instance seconds per message."),
        "startup_s": said(number, "Median startup time."),
        "startup_s_p95": said(number, "Nineteen boots in twenty take no longer."),
        "horizon_s": said(number, "How far it looks ahead."),
        "messages": said(number, "Work until then, in messages."),
        "delivered": said(number, "Messages that the instances there are will have done by then."),
        "drained_s": or_null(number, "Seconds until the queue is empty; null where it grows."),
    }
    return object_of("What the law expects.", properties)


def _instance() -> dict[str, Any]:
    properties = {
        "id": said(_TEXT, "The fleet's name for it."),
        "state": {
            "type": "string",
            "enum": list(STATES_SHOWN),
            "description": "As its last heartbeat says; pending before the first.",
        },
        "is_busy": said({"type": "boolean"}, "It is in service and holds a message, by its last heartbeat."),
        "instance_type": said(_TEXT, "The instance type; empty where there are none."),
        "spot": said({"type": "boolean"}, "The cloud may take it back."),
        "price_per_hour": said(_NOT_NEGATIVE, "What it costs; 0 where that is unknown."),
        "launched_at": said(_TIME, "When it was asked for."),
        "age_s": said(_NOT_NEGATIVE, "Seconds since then."),
        "last_heartbeat_at": or_null(_TIME, "Its last heartbeat; null before the first."),
    }
    return object_of("One instance of the fleet.", properties)


def object_of(
    description: str, properties: dict[str, Any], *, optional: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """Return an object's schema; every property is always there but the `optional` ones."""
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": required,
        **more,
    }


def or_null(schema: dict[str, Any], description: str) -> dict[str, Any]:
    """Return a schema that also takes null."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}], "description": description}
    return {**schema, "type": [schema["type"], "null"], "description": description}


def said(schema: dict[str, Any], description: str) -> dict[str, Any]:
    """Return a schema with what it means."""
    return {**schema, "description": description}
