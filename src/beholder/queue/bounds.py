"""The checks of arguments that all queue adapters share."""

import re

__all__ = ["COUNT_MAX", "check_heavy", "check_name", "check_receive", "check_redrive", "check_seconds"]

COUNT_MAX = 10
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


def check_name(name: str) -> None:
    """Refuse a queue name that SQS would refuse.

    Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html

    Raises:
        ValueError: The name is not 1 to 80 letters, digits, hyphens or underscores.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"queue name {name!r} is not 1 to 80 letters, digits, hyphens or underscores")


def check_receive(*, count_max: int, wait_s: float) -> None:
    """Refuse arguments of a receive that are out of range.

    Raises:
        ValueError: `count_max` is not 1 to 10, or `wait_s` is negative.
    """
    if not 1 <= count_max <= COUNT_MAX:
        raise ValueError(f"count_max is {count_max}, not 1 to {COUNT_MAX}")
    check_seconds("wait_s", wait_s)


def check_redrive(*, receive_count_max: int | None, has_dead_letters: bool) -> None:
    """Refuse a limit on receives below 1, or one without a dead-letter queue.

    Raises:
        ValueError: `receive_count_max` is below 1, or given without a dead-letter queue.
    """
    if receive_count_max is None:
        return
    if receive_count_max < 1:
        raise ValueError(f"receive_count_max is {receive_count_max}, not at least 1")
    if not has_dead_letters:
        raise ValueError("receive_count_max needs dead_letters, or exhausted messages would be lost")


def check_seconds(what: str, seconds: float) -> None:
    """Refuse a negative duration, and NaN.

    Raises:
        ValueError: `seconds` is negative or NaN.
    """
    if not seconds >= 0:
        raise ValueError(f"{what} is {seconds}, not at least 0 seconds")


def check_heavy(heavy_in_flight_max: int | None) -> None:
    """Refuse a bound on heavy messages in flight under which no heavy message would ever be received.

    Raises:
        ValueError: `heavy_in_flight_max` is below 1.
    """
    if heavy_in_flight_max is not None and heavy_in_flight_max < 1:
        raise ValueError(f"heavy_in_flight_max is {heavy_in_flight_max}, not at least 1")
