"""The route that lists jobs."""

import json
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from beholder.errors import BadParameter
from beholder.job import JobStatus, is_job_id
from beholder.job.message import TIME_MAX_S
from beholder.web.routes.parameters import read_query, read_whole
from beholder.web.routes.tags import read_tag
from beholder.web.submission.bounded import LOOKUP_S_MAX, bounded
from beholder.web.submission.job_list import JobLister, JobPage, JobQuery
from beholder.web.submission.request import Outcome

__all__ = ["LIMIT_DEFAULT", "LIMIT_MAX", "LIST_PARAMETERS", "JobListRoute"]

LIST_PARAMETERS = ("limit", "cursor", "status", "label", "tag", "since", "until")
LIMIT_DEFAULT, LIMIT_MAX = 20, 100
_SHOWN_CHARS_MAX = 50


@dataclass(frozen=True, slots=True)
class JobListRoute:
    """The endpoint that lists jobs.

    Args:
        lister: Lists them.
        lookups: Runs what blocks.
    """

    lister: JobLister
    lookups: Executor

    async def get(self, request: Request) -> Response:
        """`GET /v1/jobs`: a page of jobs, newest first."""
        query = _query_of(read_query(request.query_params.multi_items(), LIST_PARAMETERS))
        page = await bounded(self.lookups, LOOKUP_S_MAX, lambda _: self.lister.page(query), "")
        return Response(_document(page), media_type="application/json")


def _query_of(values: Mapping[str, str]) -> JobQuery:
    """Return what a request asks for; raises `BadParameter`."""
    cursor, status = values.get("cursor"), values.get("status")
    if cursor is not None and not is_job_id(cursor):
        raise BadParameter("cursor is none that the service gave; send the `next` of the page before")
    if status is not None and status not in list(JobStatus):
        raise BadParameter(f"status is {status[:_SHOWN_CHARS_MAX]!r}; send one of {', '.join(JobStatus)}")
    return JobQuery(
        read_whole(values, "limit", LIMIT_DEFAULT, 1, LIMIT_MAX),
        cursor,
        JobStatus(status) if status else None,
        values.get("label"),
        _time_s(values, "since"),
        _time_s(values, "until"),
        read_tag(values),
    )


def _time_s(values: Mapping[str, str], name: str) -> float | None:
    text = values.get(name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        at_s = at.timestamp() if at.tzinfo else -1.0
    except (ValueError, OverflowError):
        at_s = -1.0
    if not 0 <= at_s < TIME_MAX_S:
        raise BadParameter(
            f"{name} is {text[:_SHOWN_CHARS_MAX]!r}; send a time with its zone, such as 2026-11-30T08:00:00Z"
        )
    return at_s


def _document(page: JobPage) -> bytes:
    items = [
        one.document if isinstance(one, Outcome) else json.dumps(one.to_dict(), ensure_ascii=False).encode()
        for one in page.jobs
    ]
    return b'{"items": [' + b", ".join(items) + b'], "next": ' + json.dumps(page.next).encode() + b"}"
