"""Reads the state of a deployment; what a service refuses is told, and the rest is read all the same."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from beholder.deploy.account import Account
from beholder.deploy.stack import Stack, outputs_of_stack, parameters_of_stack
from beholder.deploy.status.instances import read_web, read_workers
from beholder.deploy.status.past import (
    controller_problem,
    last_decisions,
    last_failure,
    last_refusal,
    last_startups,
)
from beholder.deploy.status.queues import Metrics, cost_of, read_metrics, read_queue
from beholder.deploy.status.seen import DeploymentStatus, QueueSeen
from beholder.errors import BackendError
from beholder.scaling.records.snapshot import read_last
from beholder.store.port import Store

__all__ = ["read_status"]

_Part = TypeVar("_Part")
_IN_PROGRESS = "_IN_PROGRESS"
_SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")
# What the stack has once it is made whole.
_LAST_OUTPUT = "WebGroup"


def read_status(
    account: Account,
    name: str,
    stack: Mapping[str, Any],
    *,
    open_store: Callable[[str], Store],
    now_s: float,
) -> DeploymentStatus:
    """Return the state of a deployment.

    Args:
        account: The account and region.
        name: The deployment's name.
        stack: As CloudFormation describes it.
        open_store: Opens a bucket by its name.
        now_s: The present time, seconds since the Unix epoch.
    """
    outputs, parts = outputs_of_stack(stack), _Parts()
    status = str(stack["StackStatus"])
    told: dict[str, Any] = {"name": name, "region": account.region, "at_s": now_s, "stack": status}
    if status not in _SETTLED and not status.endswith(_IN_PROGRESS):
        none: dict[str, str] = {}
        causes = parts.read("stack", Stack(account, name).failures, none)
        told["cause"] = next((f"{one}: {why}" for one, why in causes.items()), "")
    if _LAST_OUTPUT not in outputs:
        return DeploymentStatus(**told, unread=parts.unread)
    store = open_store(outputs["OutputBucket"])
    snapshot = parts.read("controller", lambda: read_last(store), None)
    metrics: Metrics = parts.read("metrics", lambda: read_metrics(account, name, outputs, now_s), {})
    seen = snapshot.record.instances if snapshot else ()
    per_hour = sum(one.price_per_hour for one in seen)
    return DeploymentStatus(
        **told,
        url=outputs.get("Url", ""),
        web=parts.read("web tier", lambda: read_web(account, outputs), []),
        queues=parts.read("queues", lambda: _queues(account, outputs, metrics), []),
        workers=parts.read("workers", lambda: read_workers(account, name, seen, now_s), []),
        controller="" if "controller" in parts.unread else controller_problem(snapshot, now_s),
        decisions=parts.read("decisions", lambda: last_decisions(store, snapshot, now_s), []),
        refusal=last_refusal(snapshot, now_s),
        failure=parts.read("failed starts", lambda: last_failure(account, store, snapshot), None),
        startups=parts.read("startups", lambda: last_startups(store), []),
        cost=None
        if "metrics" in parts.unread
        else cost_of(
            metrics,
            per_hour,
            parameters_of_stack(stack),
            made_at_s=stack["CreationTime"].timestamp(),
            now_s=now_s,
        ),
        unread=parts.unread,
    )


class _Parts:
    """Reads parts, and notes which could not be read."""

    def __init__(self) -> None:
        self.unread: dict[str, str] = {}

    def read(self, part: str, read: Callable[[], _Part], otherwise: _Part) -> _Part:
        try:
            return read()
        except BackendError as exc:
            self.unread[part] = exc.message.partition("\n")[0]
            return otherwise


def _queues(account: Account, outputs: Mapping[str, str], metrics: Metrics) -> list[QueueSeen]:
    def oldest_s(query: str) -> float | None:
        return next(iter(metrics.get(query, ())), None)

    return [
        read_queue(account, outputs["InputQueue"], oldest_s("jobs_oldest")),
        read_queue(account, outputs["DeadLetterQueue"], oldest_s("dead_oldest")),
    ]
