"""Decides what follows an attempt at a delivery: nothing, or another attempt, and when.

Source: Standard Webhooks specification, "Deliverability and reliability" (read 2026-11): attempts at once,
and after 5 s, 5 min, 30 min, 2 h, 5 h and 10 h, with jitter; 2xx is a success, 410 asks for no more, 429 and
503 ask for less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

__all__ = ["PAUSES_S", "PAUSE_S_MAX", "Attempt", "AttemptResult", "Verdict", "decide"]

PAUSES_S = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0)
"""The pauses between attempts, before jitter: about 28 hours together."""
_JITTER = 0.2
_RETRY_AFTER_S_MAX = 36_000.0
PAUSE_S_MAX = _RETRY_AFTER_S_MAX * (1 + _JITTER)
"""The longest pause that follows from the above."""


class AttemptResult(StrEnum):
    """What an attempt led to."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the receiver said.

    Args:
        status: The status of its answer; 0 if it gave none.
        reason: Why there is no answer; empty if there is one.
        retry_after: The header of that name; empty without it.
    """

    status: int
    reason: str = ""
    retry_after: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows an attempt, and why.

    Args:
        result: What it led to.
        reason: Why, for the log.
        pause_s: Seconds to the next attempt; None if there is none.
    """

    result: AttemptResult
    reason: str
    pause_s: float | None = None


def decide(
    attempt: Attempt, attempts: int, now_s: float, chance: float, pauses_s: Sequence[float] = PAUSES_S
) -> Verdict:
    """Return what follows an attempt.

    Args:
        attempt: What the receiver said.
        attempts: How many attempts failed before it.
        now_s: Seconds since the Unix epoch.
        chance: From 0 to 1; spreads the attempts of many deliveries.
        pauses_s: The pauses between attempts.
    """
    if HTTPStatus.OK <= attempt.status < HTTPStatus.MULTIPLE_CHOICES:
        return Verdict(AttemptResult.DELIVERED, f"the receiver answered {attempt.status}")
    reason = attempt.reason or f"the receiver answered {attempt.status}"
    if attempt.status == HTTPStatus.GONE:
        return Verdict(AttemptResult.GONE, reason)
    if attempts >= len(pauses_s):
        return Verdict(AttemptResult.GIVEN_UP, f"{reason}, at the last of {attempts + 1} attempts")
    pause_s = pauses_s[attempts] * (1 + _JITTER * (2 * chance - 1))
    asked_s = _seconds_of(attempt.retry_after, now_s)
    # Spread as well, since many deliveries may be asked to wait for the same time.
    return Verdict(AttemptResult.FAILED, reason, max(pause_s, asked_s * (1 + _JITTER * chance)))


def _seconds_of(retry_after: str, now_s: float) -> float:
    """Return the seconds of a Retry-After, as a number or a date; 0 if it cannot be read."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now_s
        except (ValueError, OverflowError, TypeError, IndexError):
            return 0.0
    return min(max(0.0, seconds), _RETRY_AFTER_S_MAX)
