"""Lists jobs, newest first, a page at a time; what one page costs is bounded."""

from dataclasses import dataclass
from itertools import islice
from typing import Annotated

from beholder.clock import Clock
from beholder.job import Job, JobStatus
from beholder.results.fan_out import MapItems
from beholder.store.newest import id_at, newest_first
from beholder.store.port import Store
from beholder.web.submission.deletion import is_deleted
from beholder.web.submission.lookup import JobLookup
from beholder.web.submission.request import Outcome

__all__ = ["EXAMINED_MAX", "JobListDocument", "JobLister", "JobPage", "JobQuery"]

EXAMINED_MAX = 500
"""How many jobs are looked at for one page, whatever the filter."""


@dataclass(frozen=True, slots=True)
class JobListDocument:
    """A page of jobs."""

    items: Annotated[tuple[Job, ...], "The jobs, newest first."]
    next: Annotated[str | None, "The `cursor` of the next page; null if there is none."]


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs a page has.

    Args:
        count_max: How many at most.
        below: The id behind which the page begins; None for the first page.
        status: Only jobs with this status; None for all.
        label: Only jobs whose result has this label; None for all.
        since_s: Only jobs whose id has this time or a later one; None for all.
        until_s: Only jobs whose id has an earlier time; None for all.
        tag: Only jobs with this tag of their caller; None for all.
    """

    count_max: int
    below: str | None = None
    status: JobStatus | None = None
    label: str | None = None
    since_s: float | None = None
    until_s: float | None = None
    tag: str | None = None

    def matches(self, job: Job) -> bool:
        """Return whether a job has the status, the label and the tag."""
        tag = job.input.tag if job.input else None
        return (
            self.status in (None, job.status)
            and self.tag in (None, tag)
            and (self.label is None or any(one.name == self.label for one in job.labels))
        )


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of jobs, and the id behind which the next page begins; None if there is none."""

    jobs: tuple[Outcome | Job, ...]
    next: str | None


class JobLister:
    """Lists jobs; its method blocks, so the web tier calls it in threads.

    Args:
        images: The input bucket, which has an object of each job that is not deleted.
        lookup: Reads jobs.
        map_items: Reads several at once.
        clock: The time.
    """

    def __init__(self, images: Store, lookup: JobLookup, map_items: MapItems, clock: Clock) -> None:
        self._images = images
        self._lookup = lookup
        self._map_items = map_items
        self._clock = clock

    def page(self, query: JobQuery) -> JobPage:
        """Return a page: as many jobs as are asked for, or fewer if `EXAMINED_MAX` jobs were looked at.

        Raises:
            BackendError: A bucket does not answer.
        """
        until = "" if query.until_s is None else id_at(query.until_s)
        below = min(until, query.below) if until and query.below else until or query.below or ""
        since = "" if query.since_s is None else id_at(query.since_s)
        ids = newest_first(self._images, now_s=self._clock.now_s(), below=below, since=since)
        jobs: list[Outcome | Job] = []
        examined, last = 0, None
        while examined < EXAMINED_MAX:
            chunk = list(islice(ids, query.count_max))
            examined += len(chunk)
            found = self._map_items(lambda job_id: self._lookup.find(job_id, is_read_only=True), chunk)
            for job_id, one in zip(chunk, found, strict=True):
                last = job_id
                if _is_listed(one, query) and one is not None:
                    jobs.append(one)
                if len(jobs) == query.count_max:
                    return JobPage(tuple(jobs), last)
            if len(chunk) < query.count_max:
                return JobPage(tuple(jobs), None)
        return JobPage(tuple(jobs), last)


def _is_listed(found: Outcome | Job | None, query: JobQuery) -> bool:
    if found is None or (isinstance(found, Outcome) and is_deleted(found)):
        return False
    return query.matches(found.job if isinstance(found, Outcome) else found)
