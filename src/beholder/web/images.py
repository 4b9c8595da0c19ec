"""The routes that take images: `/v1/classify`, and `/upload` and `/` for the classic clients."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from beholder.job import Options
from beholder.web.access import entry_of
from beholder.web.desk import Desk, Ticket
from beholder.web.intake import Order
from beholder.web.jobs import job_response, outcome_response
from beholder.web.parameters import (
    CLASSIFY,
    UPLOAD,
    check_fields,
    join_parameters,
    read_deadline_s,
    read_header,
    read_idempotency_key,
    read_options,
    read_preference,
    read_query,
)
from beholder.web.upload import Upload

__all__ = ["ImageRoutes"]


class ImageRoutes:
    """Endpoints that take an image.

    Args:
        desk: Where every image passes.
    """

    def __init__(self, desk: Desk) -> None:
        """Take the desk."""
        self._desk = desk

    async def classify(self, request: Request) -> Response:
        """`POST /v1/classify`: the job object, with its result where it comes in time."""
        preference = read_preference(request.headers.getlist("prefer"), self._desk.ports.limits)
        plain = _OrderReader(request, self._desk, CLASSIFY)
        answer = await self._desk.accept(request, plain, wait_s=preference.wait_s)
        headers = {"Preference-Applied": preference.applied} if preference.applied else {}
        if isinstance(answer, Ticket):
            entry_of(request.scope).job_id = answer.job.id
            outcome = await self._desk.wait(answer, preference.wait_s)
            if outcome is None:
                return self._accepted(answer, headers)
            answer = outcome
        return outcome_response(answer, request, headers)

    async def upload(self, request: Request) -> Response:
        """`POST /upload` and `POST /`: the best label as plain text, as the classic clients expect."""
        plain = _OrderReader(request, self._desk, UPLOAD)
        wait_s = self._desk.ports.limits.wait_s_default

        def classic(upload: Upload) -> Order:
            order = plain(upload)
            return replace(order, wants_text=True, options=replace(order.options, top_k=1))

        answer = await self._desk.accept(request, classic, wait_s=wait_s)
        if isinstance(answer, Ticket):
            entry_of(request.scope).job_id = answer.job.id
            outcome = await self._desk.wait(answer, wait_s)
            if outcome is None:
                return self._accepted(answer, {})
            answer = outcome
        entry_of(request.scope).job_id = answer.job.id
        if not answer.job.labels:
            return outcome_response(answer, request, {"x-job-id": answer.job.id})
        return PlainTextResponse(answer.job.labels[0].name, headers={"x-job-id": answer.job.id})

    def _accepted(self, ticket: Ticket, headers: dict[str, str]) -> Response:
        later = {
            "Location": f"/v1/jobs/{ticket.job.id}",
            "Retry-After": str(self._desk.retry_after_s(ticket.job.id)),
        }
        return job_response(ticket.job, 202, headers | later)


class _OrderReader:
    """Makes an order of an upload; what the headers and the query say is checked before the body is read."""

    def __init__(self, request: Request, desk: Desk, known: Sequence[str]) -> None:
        limits = desk.ports.limits
        self._desk = desk
        self._known = known
        self._query = read_query(request.query_params.multi_items(), known)
        deadline = read_header(request.headers, "Cancel-After")
        self._deadline_s = read_deadline_s(deadline, desk.ports.clock.now_s())
        self._key = read_idempotency_key(read_header(request.headers, "Idempotency-Key"), limits)
        self._trace = request.headers.get("traceparent")
        self._options(self._query)

    def __call__(self, upload: Upload) -> Order:
        check_fields(upload.fields, self._known)
        file_name = self._query.get("file_name") or upload.file_name
        return Order(
            data=upload.data,
            file_name=file_name[: self._desk.ports.limits.file_name_chars_max],
            options=self._options(join_parameters(self._query, upload.fields)),
            deadline_s=self._deadline_s,
            idempotency_key=self._key,
            trace=self._trace,
        )

    def _options(self, values: Mapping[str, str]) -> Options:
        return read_options(values, self._desk.ports.models, self._desk.ports.limits)
