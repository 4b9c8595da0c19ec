"""The form of Cog, the server in Replicate's containers.

A prediction of Cog is a job here; the client's id of it is an idempotency key.

Source: replicate/cog at 02b7f42, docs/http.md.
"""

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from http import HTTPMethod
from typing import Annotated, Any, Literal

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from beholder.documents import NotNegative, Time, to_document
from beholder.errors import (
    BeholderError,
    IdempotencyKeyInUse,
    ImageMissing,
    JobNotFound,
    StreamUnsupported,
    WebhookRefused,
)
from beholder.job import Job, JobStatus, Label, is_job_id
from beholder.web.access_log import entry_of
from beholder.web.limits import WebLimits
from beholder.web.problems import error_headers
from beholder.web.readiness import Readiness
from beholder.web.routes.classification import Classification
from beholder.web.routes.parameters import OPTIONS, read_idempotency_key, read_prefer
from beholder.web.routes.responses import note_failure
from beholder.web.submission.bounded import LOOKUP_S_MAX, bounded
from beholder.web.submission.cancel import JobCanceler
from beholder.web.submission.deletion import is_deleted
from beholder.web.submission.json_body import check_members, image_in_text, is_json, read_json, text_fields_of
from beholder.web.submission.request import Outcome
from beholder.web.submission.submitter import keyed_job_id
from beholder.web.submission.upload import Upload, UploadFormat
from beholder.web.webhooks.record import OUTPUT, Webhook, read_events

__all__ = [
    "CogErrorDocument",
    "CogHealthDocument",
    "CogJobDocument",
    "CogRoutes",
    "error_response",
    "event_body",
    "is_for_cog",
]

_PATH, _HEALTH = "/predictions", "/health-check"
_STATUSES: dict[JobStatus, Literal["starting", "processing", "succeeded", "failed", "canceled"]] = {
    JobStatus.QUEUED: "starting",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "canceled",
    JobStatus.EXPIRED: "failed",
}


@dataclass(frozen=True, slots=True)
class CogErrorDocument:
    """An error in Cog's form."""

    detail: Annotated[str, "What is wrong and what to do, for people."]
    code: Annotated[str, "For programs; a code as in problem documents."]


@dataclass(frozen=True, slots=True)
class CogMetricsDocument:
    """Where the time of a job went, in Cog's form."""

    predict_time: Annotated[NotNegative, "Seconds from a worker's receipt of the job to its outcome."]


@dataclass(frozen=True, slots=True)
class CogJobDocument:
    """A job in the form of Cog's prediction."""

    id: Annotated[str, "The client's id of it; otherwise the job's id."]
    status: Annotated[
        Literal["starting", "processing", "succeeded", "failed", "canceled"], "An expired job has failed."
    ]
    output: Annotated[tuple[Label, ...] | None, "The labels, best first; null until the job succeeded."]
    error: Annotated[str | None, "Why the job failed; null if it did not."]
    logs: Annotated[str, "Always empty."]
    created_at_s: Annotated[Time | None, "When the image was accepted; null beside `processing`."]
    started_at_s: Annotated[Time | None, "When a worker received the job."]
    completed_at_s: Annotated[Time | None, "When the outcome was known."]
    metrics: Annotated[CogMetricsDocument | None, "Where the time went; null until the job succeeded."]


@dataclass(frozen=True, slots=True)
class CogHealthDocument:
    """The health of the service in Cog's form."""

    status: Annotated[Literal["READY", "UNHEALTHY"], "`UNHEALTHY` if no image can be accepted."]


class CogRoutes:
    """The endpoints of Cog's clients.

    Args:
        classification: Classifies the image of a request.
        canceler: Cancels jobs.
        lookups: Runs lookups, which block.
        readiness: Whether images can be accepted.
    """

    def __init__(
        self,
        classification: Classification,
        canceler: JobCanceler,
        lookups: Executor,
        readiness: Readiness,
    ) -> None:
        self._classification = classification
        self._canceler = canceler
        self._lookups = lookups
        self._readiness = readiness

    def routes(self) -> list[Route]:
        """Return the routes, except for the PUT that shares its path with TorchServe's."""
        return [
            Route(_PATH, self.create, methods=[HTTPMethod.POST]),
            Route(f"{_PATH}/{{id}}/cancel", self.cancel, methods=[HTTPMethod.POST]),
            Route(_HEALTH, self.health, methods=[HTTPMethod.GET]),
        ]

    async def create(self, request: Request) -> Response:
        """`POST /predictions` and, with the client's id, `PUT /predictions/{id}`: the job of an image."""
        if "text/event-stream" in request.headers.get("accept", ""):
            raise StreamUnsupported
        asked = _CogRequest(request.path_params.get("model"))
        upload_format = UploadFormat(OPTIONS, find=asked.find, is_base64=lambda _: True)
        prefer = read_prefer(request.headers.getlist("prefer"), self._classification.limits)
        headers = {"Preference-Applied": prefer.applied} if prefer.applied else {}
        try:
            found = await self._classification.outcome_of(request, upload_format, prefer.wait_s)
        except IdempotencyKeyInUse:
            # Cog answers with the prediction that runs.
            running = CogJobDocument(str(asked.id), "processing", None, None, "", None, None, None, None)
            return JSONResponse(to_document(running), 202, headers)
        headers["x-job-id"] = found.job.id
        if found.job.error is not None:
            note_failure(request, found.job.error)
        document = _document(found.job, asked.id or found.job.id)
        return JSONResponse(document, 200 if isinstance(found, Outcome) else 202, headers)

    async def cancel(self, request: Request) -> Response:
        """`POST /predictions/{id}/cancel`: 200 if there is such a job, finished or not."""
        given = request.path_params["id"]
        job_id = given if is_job_id(given) else keyed_job_id(_key(given))
        entry_of(request.scope).job_id = job_id
        outcome = await bounded(self._lookups, LOOKUP_S_MAX, self._canceler.cancel, job_id)
        if outcome is None or is_deleted(outcome):
            raise JobNotFound
        self._classification.pending_replies.settle([outcome])
        return JSONResponse(_document(outcome.job, given))

    async def health(self, _: Request) -> Response:
        """`GET /health-check`: always 200, with the status in the document, as Cog answers."""
        is_ready = await self._readiness.is_ready()
        return JSONResponse(to_document(CogHealthDocument("READY" if is_ready else "UNHEALTHY")))


def is_for_cog(scope: Scope) -> bool:
    """Return whether a request is one of Cog's clients; a PUT of an image is one of TorchServe's."""
    path: str = scope["path"]
    if path in (_PATH, _HEALTH):
        return True
    if not path.startswith(f"{_PATH}/"):
        return False
    if scope["method"] == HTTPMethod.PUT:
        return path.count("/") == _PATH.count("/") + 1 and is_json(Headers(scope=scope))
    return path.endswith("/cancel")


def error_response(error: BeholderError, _: str) -> Response:
    """Return an error as Cog's clients read it."""
    document = CogErrorDocument(error.detail, error.code)
    return JSONResponse(to_document(document), error.http_status, error_headers(error))


class _CogRequest:
    """What one request asks for; `find` reads it from the body.

    Args:
        client_id: The client's id of the job in the path; None if the path has none.
    """

    def __init__(self, client_id: str | None) -> None:
        self.id = client_id

    def find(self, _: Headers, body: bytes, limits: WebLimits) -> Upload:
        """Return the image and the options in a body."""
        document = read_json(body)
        check_members(document, ("id", "input", "webhook", "webhook_events_filter"), "the request")
        if self.id is None and document.get("id") is not None:
            self.id = str(document["id"])
        values: Any = document.get("input")
        check_members(values, ("image", *OPTIONS), "input")
        text = values.get("image")
        if not isinstance(text, str) or not text:
            raise ImageMissing("input.image is no text; send the image there as a data URL")
        upload = image_in_text(text, "input.image", limits)
        fields = text_fields_of(values, OPTIONS)
        key = None if self.id is None else _key(read_idempotency_key(self.id, limits) or "")
        webhook = _webhook_of(document, self.id or "")
        return replace(upload, fields=fields, idempotency_key=key, webhook=webhook)


def _webhook_of(document: dict[str, Any], client_id: str) -> Webhook | None:
    """Return where a request's events are sent; as with Cog, a filter without an address does nothing."""
    events, url = read_events(document.get("webhook_events_filter")), document.get("webhook")
    if url is None:
        return None
    if not isinstance(url, str):
        raise WebhookRefused("webhook is no text; send an address")
    return Webhook(url, events, "cog", client_id)


def event_body(event: str, job: Job, webhook: Webhook) -> dict[str, Any]:
    """Return the prediction as Cog sends it with an event: `output` has the output while it is processing."""
    document = _document(job, webhook.client_id or job.id)
    if event == OUTPUT:
        document |= {"status": "processing", "completed_at": None, "metrics": None}
    return document


def _key(client_id: str) -> str:
    """Return the idempotency key of a client's id; no Idempotency-Key is like it by chance."""
    return f"cog prediction {client_id}"


def _document(job: Job, client_id: str) -> dict[str, Any]:
    service_s = job.metrics.service_ms / 1000 if job.metrics else None
    return to_document(
        CogJobDocument(
            id=client_id,
            status=_STATUSES[job.status],
            output=job.result.labels if job.result else None,
            error=job.error.detail if job.error else None,
            logs="",
            created_at_s=job.created_at_s,
            started_at_s=job.started_at_s,
            completed_at_s=job.completed_at_s,
            metrics=None if service_s is None else CogMetricsDocument(service_s),
        )
    )
