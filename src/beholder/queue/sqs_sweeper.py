"""Removes the reply queues that dead web processes left behind; every web process runs a sweeper.

An owner writes a new heartbeat on its queue every five minutes. A sweeper compares the heartbeat with what it
read before: if it has not changed over three looks, the owner is gone. The clocks of two machines are never
compared.
"""

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beholder.clock import Clock
from beholder.errors import BackendDenied, QueueGone
from beholder.telemetry.log import log_event

if TYPE_CHECKING:  # boto3 is an optional extra, and nothing here needs it
    from beholder.queue.sqs_client import SqsClient

__all__ = [
    "DEPLOYMENT",
    "HEARTBEAT_AT",
    "HEARTBEAT_EVERY_S",
    "OWNER",
    "IdleQueueSweeper",
    "QueueHeartbeat",
    "name_of",
]

_log = logging.getLogger(__name__)

# Tags of a reply queue: its deployment, its web process, and its owner's last heartbeat.
DEPLOYMENT = "beholder:deployment"
OWNER = "beholder:owner"
HEARTBEAT_AT = "beholder:alive-at"

HEARTBEAT_EVERY_S = 300.0
_LOOK_EVERY_S = 600.0
# Passes of one sweeper are 480 to 720 s apart, so that several sweepers do not all look at once.
_SPREAD = 0.4
# A pass that failed is repeated soon, and a second look at a queue does not count then: between two looks
# that count, a live owner has written a new heartbeat.
_LOOKS_APART_S = 450.0
_LOOKS = 3
# Queues in one pass; without a limit, calls would grow with the square of the number of web processes.
_LOOKED_AT_MAX = 8
# Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ListQueues.html (2026-11):
# a token for the next page comes only where MaxResults is given, 1,000 at most.
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class QueueHeartbeat:
    """An owner's heartbeat as a sweeper has seen it.

    Args:
        text: The value of the tag.
        looked_at_s: When the last look that counts was, by the sweeper's own clock.
        looks: How often in a row the value was the same.
    """

    text: str
    looked_at_s: float
    looks: int = 1

    def after(self, text: str, now_s: float) -> "QueueHeartbeat":
        """Return the heartbeat after another look, which found `text`."""
        if text != self.text:
            return QueueHeartbeat(text, now_s)
        if now_s < self.looked_at_s:  # the clock was set back
            return QueueHeartbeat(text, now_s, self.looks)
        if now_s - self.looked_at_s < _LOOKS_APART_S:
            return self
        return QueueHeartbeat(text, now_s, self.looks + 1)

    @property
    def is_dead(self) -> bool:
        """Whether the owner is gone: it missed two renewals, or three if the passes came in time."""
        return self.looks >= _LOOKS


class IdleQueueSweeper:
    """Looks at the reply queues of other web processes, and removes those whose owner is gone.

    Permissions: sqs:ListQueues on every queue; sqs:ListQueueTags and sqs:DeleteQueue on the reply queues.

    Args:
        client: Calls SQS.
        deployment: The value of the queues' tag `beholder:deployment`.
        prefix: The queues are named `<prefix>-...`.
        clock: The time.
    """

    def __init__(self, client: "SqsClient", *, deployment: str, prefix: str, clock: Clock) -> None:
        self._client = client
        self._deployment = deployment
        self._prefix = prefix
        self._clock = clock
        self._heartbeats: dict[str, QueueHeartbeat] = {}
        # Queues that are not the deployment's, by name; that which was looked at longest ago comes first.
        self._foreign: dict[str, None] = {}
        self._reported: set[str] = set()

    def tick(self, own: str) -> float:
        """Look at the queues that follow `own` by name, in a circle; return the seconds until the next pass.

        Every sweeper begins behind its own queue, so that all sweepers together see every queue, and the
        calls grow only with their number.

        Raises:
            BackendUnavailable: SQS could not be reached; the pass may be repeated at once.
        """
        try:
            urls = self._listed()
        except BackendDenied as exc:
            log_event(_log, logging.WARNING, "reply_queue.unlisted", exc.message)
            return _delay_s(own)
        self._heartbeats = {name: heartbeat for name, heartbeat in self._heartbeats.items() if name in urls}
        self._foreign = {name: None for name in self._foreign if name in urls}
        self._reported &= urls.keys()
        again = next(iter(self._foreign), None)
        for name in _behind(own, [name for name in urls if name not in self._foreign])[:_LOOKED_AT_MAX]:
            self._look_at(name, urls[name])
        if again is not None:
            # The tags of a new queue may not be readable yet, so each pass looks again at one such queue.
            del self._foreign[again]
            self._look_at(again, urls[again])
        return _delay_s(own)

    def _look_at(self, name: str, url: str) -> None:
        try:
            tags = self._client.call("list", "list_queue_tags", QueueUrl=url).get("Tags", {})
            if tags.get(DEPLOYMENT) != self._deployment or HEARTBEAT_AT not in tags:
                self._foreign[name] = None
                return
            heartbeat = self._heartbeat(name, tags[HEARTBEAT_AT])
            if heartbeat.is_dead:
                self._client.call("delete", "delete_queue", QueueUrl=url)
                facts = {"queue": name, "owner": tags.get(OWNER), "alive_at": heartbeat.text}
                log_event(_log, logging.INFO, "reply_queue.removed", "its owner is gone", **facts)
        except QueueGone:  # its owner or another sweeper was first
            self._heartbeats.pop(name, None)
        except BackendDenied as exc:
            self._foreign[name] = None
            if name not in self._reported:
                log_event(_log, logging.WARNING, "reply_queue.left", exc.message, queue=name)
            self._reported.add(name)

    def _heartbeat(self, name: str, text: str) -> QueueHeartbeat:
        now_s = self._clock.now_s()
        before = self._heartbeats.get(name)
        heartbeat = before.after(text, now_s) if before else QueueHeartbeat(text, now_s)
        self._heartbeats[name] = heartbeat
        return heartbeat

    def _listed(self) -> Mapping[str, str]:
        urls: list[str] = []
        more: dict[str, str] = {}
        while True:
            answer = self._client.call(
                "list", "list_queues", QueueNamePrefix=f"{self._prefix}-", MaxResults=_PAGE, **more
            )
            urls += answer.get("QueueUrls", [])
            if not answer.get("NextToken"):
                return {name_of(url): url for url in urls}
            more = {"NextToken": answer["NextToken"]}


def name_of(url: str) -> str:
    """Return the name of the queue at `url`."""
    return url.rpartition("/")[2]


def _behind(own: str, names: Sequence[str]) -> list[str]:
    """Return the names that sort behind `own`, then those before it."""
    return sorted((name for name in names if name != own), key=lambda name: (name < own, name))


def _delay_s(own: str) -> float:
    share = zlib.crc32(own.encode()) / 2**32
    return _LOOK_EVERY_S * (1 + _SPREAD * (share - 0.5))
