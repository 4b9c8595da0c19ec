"""The state of a deployment in words."""

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter

from beholder.clock import utc_text
from beholder.deploy.status.seen import Cost, DeploymentStatus, WorkerSeen

__all__ = ["lines_of"]

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def lines_of(status: DeploymentStatus) -> list[str]:
    """Return the state of a deployment as lines."""
    return list(_lines(status))


def _lines(status: DeploymentStatus) -> Iterator[str]:
    where = f", at {status.url}" if status.url else ""
    yield f"{status.name} in {status.region}: {status.stack}{where}"
    if status.cause:
        yield f"  its last change failed: {status.cause}"
    yield "web tier"
    for web in status.web:
        what = f"{web.instance_type} in {web.zone}, template {web.version}"
        yield f"  {web.id}  {web.state}, {web.health}  {what}"
    if not status.web and "web tier" not in status.unread:
        yield "  no instance"
    yield "queues"
    for queue in status.queues:
        oldest = "" if queue.oldest_s is None else f", the oldest {_age(queue.oldest_s)} old"
        yield (
            f"  {queue.name}  {queue.visible} visible, {queue.in_flight} in flight, "
            f"{queue.delayed} delayed{oldest}"
        )
    yield f"workers: {_counts(status.workers)}"
    for worker in status.workers:
        state = f"{worker.state}, busy" if worker.is_busy else worker.state
        market = "spot" if worker.spot else "on demand"
        yield f"  {worker.id}  {state}  {worker.instance_type} {market}, {_age(worker.age_s)}"
    yield "decisions, times in UTC"
    if status.controller:
        yield f"  {status.controller}"
    yield from (f"  {line}" for line in status.decisions)
    if status.refusal:
        yield f"  EC2 refused a launch: {status.refusal}"
    yield from _starts(status)
    if status.cost:
        yield "cost, today being since midnight UTC"
        yield from _costs(status.cost)
    yield from (f"not read: {part}: {why}" for part, why in status.unread.items())


def _starts(status: DeploymentStatus) -> Iterator[str]:
    if status.startups:
        yield "last starts, in seconds since the launch"
    for one in status.startups:
        steps = ", ".join(f"{step} {at_s:.1f}" for step, at_s in sorted(one.steps.items(), key=itemgetter(1)))
        yield f"  {one.id}  {utc_text(one.at_s)}  {steps}"
    if failure := status.failure:
        yield f"last start that failed: {failure.id}, {utc_text(failure.at_s)}"
        yield f"  {failure.reason}"
        yield from (f"    {line}" for line in failure.tail)


def _counts(workers: Sequence[WorkerSeen]) -> str:
    states = Counter(one.state for one in workers)
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"


def _costs(cost: Cost) -> Iterator[str]:
    """Yield what there is to pay now and since midnight UTC, for the workers, the web tier and the images."""
    for part, per_hour, today in (
        ("workers", cost.workers_per_hour, cost.workers_today),
        ("web tier", cost.web_per_hour, cost.web_today),
    ):
        yield f"  {part}: {_dollars(per_hour, 3)} an hour now, {_dollars(today, 2)} today"
    each = "" if cost.per_thousand is None else f", {_dollars(cost.per_thousand, 4)} a thousand"
    yield f"  images: {cost.images} today{each}"


def _dollars(value: float | None, digits: int) -> str:
    return "an unknown price" if value is None else f"${value:.{digits}f}"


def _age(seconds: float) -> str:
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{seconds:.0f} s"
