"""The examples of the OpenAPI document, made by the code that makes the real answers."""

import functools
import json
from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from beholder.documents import to_document
from beholder.errors import BackendError, BeholderError
from beholder.job import Job, JobInput, JobStatus, Label, Metrics, Options
from beholder.job.job import Result
from beholder.scaling import InstanceSeen, InstanceState, Limits, Observation, PolicyState, Record, decide
from beholder.scaling.policy.decision import FailedStartup, Termination
from beholder.scaling.records.snapshot import FleetSnapshot, PastFailedStartup, PastRefusal, PastTermination
from beholder.store.keys import image_key
from beholder.web.fleet_document import fleet_document
from beholder.web.ports import WebPorts
from beholder.web.problems import problem_of

__all__ = [
    "EXAMPLE_JOB_ID",
    "accepted_example",
    "error_example",
    "error_example_in",
    "fleet_example",
    "job_example",
]

EXAMPLE_JOB_ID = "019f0a2b-5c1d-7e3f-8a4b-6c7d8e9f0a1b"
_NOW_S = 1_767_225_600.0
_REQUEST_ID = "5f0c7a1e9b7d4c3aa2e6d1f08b94c7e2"
_INPUT = JobInput(image_key(EXAMPLE_JOB_ID, "cat.jpg"), "cat.jpg", 34_306, Options(top_k=3))


def job_example(ports: WebPorts) -> dict[str, Any]:
    """Return a job that succeeded."""
    model = ports.models[0]
    labels = (("tabby", 281, 0.6214), ("Egyptian cat", 285, 0.2057), ("tiger cat", 282, 0.0931))
    return Job(
        id=EXAMPLE_JOB_ID,
        status=JobStatus.SUCCEEDED,
        created_at_s=_NOW_S,
        input=_INPUT,
        started_at_s=_NOW_S + 0.004,
        completed_at_s=_NOW_S + 0.031,
        model=model.name,
        model_version=model.version,
        result=Result(tuple(Label(*label) for label in labels)),
        metrics=Metrics(
            queue_ms=3.9,
            decode_ms=4.6,
            infer_ms=17.2,
            service_ms=26.8,
            batch_size=2,
            receive_count=1,
            starting_ms=0.0,
            fetch_ms=0.2,
            batch_ms=4.8,
        ),
    ).to_dict()


def accepted_example() -> dict[str, Any]:
    """Return a job that is queued."""
    return Job(EXAMPLE_JOB_ID, JobStatus.QUEUED, _NOW_S, input=_INPUT).to_dict()


def error_example(error: type[BeholderError]) -> dict[str, Any]:
    """Return the problem document of an error."""
    return error_example_in(problem_of, error)  # type: ignore[arg-type]  # mypy: a class is not Hashable


@functools.cache  # most operations have the same errors, and a document names some 750
def error_example_in(
    respond: Callable[[BeholderError, str], Response], error: type[BeholderError]
) -> dict[str, Any]:
    """Return the document of an error in the form of a client, as `respond` writes it."""
    raised = error("sqlite queue", "send") if issubclass(error, BackendError) else error()
    document: dict[str, Any] = json.loads(bytes(respond(raised, _REQUEST_ID).body))
    return document


def fleet_example() -> dict[str, Any]:
    """Return a fleet with an instance in service and a pending one."""
    now_s = _NOW_S
    spot = ("c7a.large", True, 0.0384)
    instances = (
        InstanceSeen(
            "i-0a1", InstanceState.IN_SERVICE, now_s - 900, now_s - 700, now_s - 12, *spot, is_busy=True
        ),
        InstanceSeen("i-0b2", InstanceState.PENDING, now_s - 40, None, None, *spot),
    )
    seen = Observation(now_s, 1200, 10, instances=instances)
    decision, _ = decide(seen, PolicyState(), Limits())
    gone = Termination("i-0c3", "startup", "It gave no heartbeat in 400 seconds.")
    fleet = fleet_document(
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
    return to_document(fleet)
