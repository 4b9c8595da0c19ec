"""The paths of jobs in the OpenAPI document."""

from typing import Any

from beholder.errors import (
    BadParameter,
    JobFinished,
    JobNotFailed,
    JobNotFound,
    ParameterRepeated,
    ParameterUnknown,
)
from beholder.web.openapi.errors import READ_ERRORS, image_errors, problems
from beholder.web.openapi.examples import job_example
from beholder.web.openapi.inputs import image_body, webhook_named
from beholder.web.openapi.json_schema import ref
from beholder.web.openapi.operations import json_answer, operation, unfinished
from beholder.web.ports import WebPorts
from beholder.web.routes.parameters import OPTIONS
from beholder.web.submission.job_list import EXAMINED_MAX

__all__ = ["job_paths"]

_Doc = dict[str, Any]


def job_paths(ports: WebPorts) -> _Doc:
    """Return the paths of jobs."""
    return {
        "/v1/jobs": {"get": _list_jobs()},
        "/v1/jobs/{job_id}": {"get": _get_job(ports), "put": _put_job(ports), "delete": _delete_job()},
        "/v1/jobs/{job_id}/cancel": {"post": _cancel_job()},
        "/v1/jobs/{job_id}/retry": {"post": _retry_job(ports)},
    }


def _get_job(ports: WebPorts) -> _Doc:
    later = {"Retry-After": ref("headers", "LookAgain")}
    found = json_answer("Job", "The job, whatever its outcome.", job_example(ports), later)
    return operation(
        "get_job",
        "Jobs",
        "Fetch a job.",
        "Always 200 for a known job; a failed job has the cause in `error`. While the job is unfinished, the "
        "answer has a Retry-After. Any web process answers for any job.",
        {"200": found, **problems(READ_ERRORS)},
        named=["JobId"],
    )


def _cancel_job() -> _Doc:
    canceled = json_answer("Job", "The canceled job; also if it was canceled before.", None)
    return operation(
        "cancel_job",
        "Jobs",
        "Cancel a job.",
        "The job has its outcome at once: the status `canceled` and the error `job_canceled`, with which a "
        "request that waits for it is answered. If a worker runs it already, its result does not count.",
        {"200": canceled, **problems([*READ_ERRORS, JobFinished])},
        named=["JobId"],
    )


def _delete_job() -> _Doc:
    deleted = {
        "description": "The job is deleted, now or before.",
        "headers": {"x-request-id": ref("headers", "RequestId")},
    }
    return operation(
        "delete_job",
        "Jobs",
        "Delete a job, its image and its result.",
        "An unfinished job is canceled first. A request that waits for it gets the error `job_deleted`; "
        "afterwards no job has this id.",
        {"204": deleted, **problems(READ_ERRORS)},
        named=["JobId"],
    )


def _list_jobs() -> _Doc:
    errors = [error for error in READ_ERRORS if error is not JobNotFound]
    return operation(
        "list_jobs",
        "Jobs",
        "List the jobs, newest first.",
        "By the times in their ids; jobs of idempotency keys have none and come last. With `status`, "
        f"`label` or `tag`, a page looks at {EXAMINED_MAX} jobs, and may have few or none; go on with "
        "`next` until it is null.",
        {
            "200": json_answer("JobList", "A page of jobs.", None),
            **problems([*errors, BadParameter, ParameterRepeated, ParameterUnknown]),
        },
        named=["Limit", "Cursor", "Status", "Label", "OfTag", "Since", "Until"],
    )


def _put_job(ports: WebPorts) -> _Doc:
    return operation(
        "put_job",
        "Jobs",
        "Classify an image, as a job with an id of yours.",
        "As `/v1/classify`, for one image. The id is a new UUIDv7, whose time is within a day of the "
        "service's. A repetition with the same image and options gets the same job, and waits for its "
        "outcome as the first request does.",
        {**_answers(ports), **problems(image_errors())},
        named=[
            "OwnJobId",
            "TopK",
            "MinConfidence",
            "ModelName",
            "Include",
            "Exclude",
            "FileName",
            "Tag",
            *webhook_named(ports),
            "Prefer",
            "CancelAfter",
        ],
        body=image_body(ports, OPTIONS, is_classify=True, is_one=True),
    )


def _retry_job(ports: WebPorts) -> _Doc:
    refused = [
        error for error in image_errors() if error not in (BadParameter, ParameterUnknown, ParameterRepeated)
    ]
    return operation(
        "retry_job",
        "Jobs",
        "Run the image of a failed job again.",
        "A job that failed or expired keeps its outcome. The answer is a new job with the same image, "
        "options, model and webhook; a repetition gets the same new job.",
        {
            **_answers(ports),
            **problems([*refused, BadParameter, ParameterRepeated, JobNotFound, JobNotFailed]),
        },
        named=["JobId", "Prefer", "CancelAfter"],
    )


def _answers(ports: WebPorts) -> _Doc:
    applied = {"Preference-Applied": ref("headers", "PreferenceApplied")}
    done = json_answer("Job", "The job with its labels.", job_example(ports), applied)
    return {"200": done, "202": unfinished(applied)}
