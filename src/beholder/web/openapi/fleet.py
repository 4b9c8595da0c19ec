"""The operations for operators in the OpenAPI document: the fleet, its history, and dead letters."""

from typing import Any

from beholder.dead_letters.redrive import DeadLetterNotFound
from beholder.errors import JobNotFound, QueueGone
from beholder.web.openapi.errors import READ_ERRORS, problems
from beholder.web.openapi.examples import EXAMPLE_JOB_ID, fleet_example
from beholder.web.openapi.inputs import path_parameter
from beholder.web.openapi.operations import json_answer, operation

__all__ = ["FLEET_PARAMETERS", "fleet_paths"]

_Doc = dict[str, Any]

_ERRORS = tuple(error for error in READ_ERRORS if error is not JobNotFound)
FLEET_PARAMETERS: _Doc = {
    "LetterId": path_parameter("letter_id", {"type": "string"}, "The id of the dead letter.", EXAMPLE_JOB_ID)
}


def fleet_paths() -> _Doc:
    """Return the paths for operators."""
    return {
        "/v1/fleet": {"get": _get_fleet()},
        "/v1/fleet/history": {"get": _get_history()},
        "/v1/dead-letters": {"get": _get_dead_letters()},
        "/v1/dead-letters/{letter_id}/redrive": {"post": _redrive()},
    }


def _get_fleet() -> _Doc:
    return operation(
        "get_fleet",
        "Service",
        "Show the fleet: its instances, the last decision of the controller, and the reason.",
        "The leading controller records a change at once, and otherwise every minute. Any web process "
        "answers, at most 2 seconds behind.",
        {
            "200": json_answer("Fleet", "The fleet; `controller` is null if none ever led.", fleet_example()),
            **problems(_ERRORS),
        },
    )


def _get_history() -> _Doc:
    return operation(
        "get_fleet_history",
        "Service",
        "Show the fleet and its queue over the last 24 hours, and the last decisions.",
        "The leading controller adds a point when a minute is over. A minute like the one before is left "
        "out, but for one in five.",
        {"200": json_answer("FleetHistory", "The history.", None), **problems(_ERRORS)},
    )


def _get_dead_letters() -> _Doc:
    return operation(
        "list_dead_letters",
        "Operation",
        "List the dead letters: messages of jobs that were given up.",
        "",
        {
            "200": json_answer("DeadLetters", "The newest hundred, and how many there are.", None),
            **problems(_ERRORS),
        },
    )


def _redrive() -> _Doc:
    return operation(
        "redrive_dead_letter",
        "Operation",
        "Send a dead letter back to the workers.",
        "Its job is queued again. A letter whose job has an outcome of its own is put away; one that is not "
        "a minute old, or on which another redrive is at work, is left.",
        {
            "200": json_answer("Redrive", "What was done.", None),
            **problems([*_ERRORS, DeadLetterNotFound, QueueGone]),
        },
        named=["LetterId"],
    )
