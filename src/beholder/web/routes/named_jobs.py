"""The routes that make a job whose id is known before: that of its caller, or that of a retry."""

import contextlib
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from beholder.clock import Clock
from beholder.errors import BadParameter, IdempotencyKeyInUse, ImageGone, ObjectNotFound
from beholder.job import is_job_id
from beholder.job.ids import created_at_s
from beholder.store.port import Store
from beholder.web.access_log import entry_of
from beholder.web.routes.jobs import CLASSIFY_FORMAT, ImageRoutes, job_id_of
from beholder.web.routes.parameters import read_deadline_s, read_header, read_prefer
from beholder.web.submission.bounded import LOOKUP_S_MAX, bounded
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.request import Outcome, PendingJob
from beholder.web.submission.retry import failed_job_of, retry_id
from beholder.web.webhooks.records import WebhookRecords

__all__ = ["NamedJobRoutes"]

# Jobs are kept by the time in their ids. A client repeats a request for less than a day.
_ID_AGE_S_MAX = 86_400.0


@dataclass(frozen=True, slots=True)
class NamedJobRoutes:
    """The endpoints that make a job with a known id; a repetition gets the same job.

    Args:
        images: Answers requests with an image.
        lookup: Finds jobs.
        lookups: Runs the lookups, which block.
        stored: The input bucket.
        clock: The time.
        webhooks: The webhooks of failed jobs; None if none are sent.
    """

    images: ImageRoutes
    lookup: JobLookup
    lookups: Executor
    stored: Store
    clock: Clock
    webhooks: WebhookRecords | None = None

    async def put(self, request: Request) -> Response:
        """`PUT /v1/jobs/{job_id}`: as a POST to `/v1/classify`, with the caller's id."""
        job_id = request.path_params["job_id"]
        self._check_id(job_id)
        entry_of(request.scope).job_id = job_id
        prefer = read_prefer(request.headers.getlist("prefer"), self.images.limits)
        outcome: Outcome | PendingJob
        try:
            outcome = await self.images.classification.outcome_of(
                request, CLASSIFY_FORMAT, prefer.wait_s, job_id=job_id
            )
        except IdempotencyKeyInUse:
            outcome = await self._unfinished(job_id, prefer.wait_s)
        return self.images.answer(outcome, request, _applied(prefer.applied))

    async def retry(self, request: Request) -> Response:
        """`POST /v1/jobs/{job_id}/retry`: the job that runs the image of a failed one again."""
        job_id = job_id_of(request)
        prefer = read_prefer(request.headers.getlist("prefer"), self.images.limits)
        deadline_s = read_deadline_s(read_header(request.headers, "Cancel-After"), self.clock.now_s())
        failed = failed_job_of(await bounded(self.lookups, LOOKUP_S_MAX, self.lookup.find, job_id))
        if failed.input is None:
            raise ImageGone
        new_id, classification = retry_id(failed), self.images.classification
        entry_of(request.scope).job_id = new_id
        outcome: Outcome | PendingJob | None = None
        webhook = None
        if self.webhooks is not None:
            webhook = await bounded(self.lookups, LOOKUP_S_MAX, self.webhooks.kept, failed.id)
        with classification.budget.reserve(waits=prefer.wait_s > 0) as reservation:
            reservation.grow_to(failed.input.image_bytes)
            try:
                data = await bounded(self.lookups, LOOKUP_S_MAX, self.stored.get, failed.input.image_key)
            except ObjectNotFound as exc:
                raise ImageGone from exc
            with contextlib.suppress(IdempotencyKeyInUse):
                outcome = await classification.run_again(
                    failed, new_id, data, prefer.wait_s, deadline_s=deadline_s, webhook=webhook
                )
            del data
        if outcome is None:
            outcome = await self._unfinished(new_id, prefer.wait_s)
        elif isinstance(outcome, PendingJob):
            outcome = await classification.pending_replies.wait(outcome, prefer.wait_s) or outcome
        return self.images.answer(outcome, request, _applied(prefer.applied))

    def _check_id(self, job_id: str) -> None:
        if not is_job_id(job_id):
            raise BadParameter("the job's id is no UUIDv7 in lower case with hyphens; make one (RFC 9562)")
        if abs(self.clock.now_s() - created_at_s(job_id)) > _ID_AGE_S_MAX:
            raise BadParameter(
                "the time in the job's id is more than a day from that of the service; make a new UUIDv7"
            )

    async def _unfinished(self, job_id: str, wait_s: float) -> Outcome | PendingJob:
        """Return a job that was made before, once its outcome is there or the caller's time is over.

        Its message is sent again: the request that made it may have died before it sent one.

        Raises:
            IdempotencyKeyInUse: It is being deleted, or was not stored after all.
            BackendError: A bucket does not answer.
        """
        found = await bounded(self.lookups, LOOKUP_S_MAX, partial(self.lookup.find, is_unsure=True), job_id)
        if found is None:
            raise IdempotencyKeyInUse("the job of this id is being made or deleted; ask again in a moment")
        if isinstance(found, Outcome):
            return found
        pending_replies = self.images.classification.pending_replies
        pending = PendingJob(found, pending_replies.expect(job_id) if wait_s > 0 else None)
        return await pending_replies.wait(pending, wait_s) or pending


def _applied(preference: str) -> dict[str, str]:
    return {"Preference-Applied": preference} if preference else {}
