"""The examples of the OpenAPI document, made by the code that makes the real answers."""

import json
from typing import Any

from beholder.errors import BackendError, BeholderError
from beholder.job import Job, JobInput, JobStatus, Label, Metrics, Options
from beholder.job.job import Result
from beholder.store.keys import image_key
from beholder.web.ports import WebPorts
from beholder.web.problems import problem_of

__all__ = ["EXAMPLE_JOB_ID", "accepted_example", "error_example", "job_example"]

EXAMPLE_JOB_ID = "019f0a2b-5c1d-7e3f-8a4b-6c7d8e9f0a1b"
_CREATED_AT_S = 1_767_225_600.0
_REQUEST_ID = "5f0c7a1e9b7d4c3aa2e6d1f08b94c7e2"
_INPUT = JobInput(image_key(EXAMPLE_JOB_ID, "cat.jpg"), "cat.jpg", 34_306, Options(top_k=3))


def job_example(ports: WebPorts) -> dict[str, Any]:
    """Return a job that succeeded."""
    model = ports.models[0]
    labels = (("tabby", 281, 0.6214), ("Egyptian cat", 285, 0.2057), ("tiger cat", 282, 0.0931))
    return Job(
        id=EXAMPLE_JOB_ID,
        status=JobStatus.SUCCEEDED,
        created_at_s=_CREATED_AT_S,
        input=_INPUT,
        started_at_s=_CREATED_AT_S + 0.004,
        completed_at_s=_CREATED_AT_S + 0.031,
        model=model.name,
        model_version=model.version,
        result=Result(tuple(Label(*label) for label in labels)),
        metrics=Metrics(
            queue_ms=3.9, decode_ms=4.6, infer_ms=17.2, service_ms=26.8, batch_size=2, receive_count=1
        ),
    ).to_dict()


def accepted_example() -> dict[str, Any]:
    """Return a job that is queued."""
    return Job(EXAMPLE_JOB_ID, JobStatus.QUEUED, _CREATED_AT_S, input=_INPUT).to_dict()


def error_example(error: type[BeholderError]) -> dict[str, Any]:
    """Return the problem document of an error."""
    raised = error("sqlite queue", "send") if issubclass(error, BackendError) else error()
    document: dict[str, Any] = json.loads(bytes(problem_of(raised, _REQUEST_ID).body))
    return document
