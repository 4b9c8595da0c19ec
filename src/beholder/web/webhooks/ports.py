"""What the deliverer of a web process works with; without it, webhooks are off."""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from beholder.web.webhooks.schedule import PAUSES_S, Attempt

__all__ = ["Post", "WebhookPorts"]

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[Attempt]]
"""Sends a body to a URL with headers; raises no error of the network."""


@dataclass(frozen=True)
class WebhookPorts:
    """How webhooks leave a web process.

    Args:
        check: Refuses a URL that webhooks are not sent to, with `WebhookRefused`; returns its host.
        post: Sends one.
        secrets: Sign them, each with a signature of its own.
        owner: The process's name; its successor of the same name takes its deliveries over at once.
        pauses_s: The pauses between attempts.
        takeover_s: How long a delivery of another process is overdue before this one takes it over.
        scan_every_s: Between two looks of all web processes together for deliveries that no process makes.
        chance: Returns a number from 0 to 1, which spreads attempts.
    """

    check: Callable[[str], str]
    post: Post
    secrets: tuple[bytes, ...]
    owner: str
    pauses_s: Sequence[float] = PAUSES_S
    takeover_s: float = 60.0
    scan_every_s: float = 60.0
    chance: Callable[[], float] = random.random
