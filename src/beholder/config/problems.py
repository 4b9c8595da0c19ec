"""Checks across settings: pairs that contradict each other, and names that S3 or SQS would refuse."""

import re
from collections.abc import Collection, Mapping

from beholder.config.declared import value_of
from beholder.config.settings import Settings

__all__ = ["problems_of"]

# With a longer one, the name of the output queue would be too long; a deployment's name has the same bound.
_PREFIX_CHARS_MAX = 27
_PREFIX = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{_PREFIX_CHARS_MAX - 1}}}")
# What S3 and SQS take; the embedded backends take it too.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html and
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html (2026-11)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_QUEUE = re.compile(r"[A-Za-z0-9_-]{1,80}")
# What names a queue where the deployment is; on AWS its URL does too.
_QUEUES = {
    "local": _QUEUE,
    "aws": re.compile(rf"{_QUEUE.pattern}|https?://[^/\s]+/.*[A-Za-z0-9_-]{{1,80}}"),
}
# A reply queue's name is this, then its owner's name and a unique text.
_OUTPUT_QUEUE_CHARS_MAX = 40
# The first may not exceed the second.
_PAIRS = (
    ("workers_min", "workers"),
    ("wait_s_default", "wait_s_max"),
    ("image_side_min", "image_side_max"),
    ("fleet_min", "fleet_max"),
    ("image_bytes_max", "uploads_bytes_max"),
)


def problems_of(settings: Settings, sources: Mapping[str, str], *, given: Collection[str]) -> list[str]:
    """Return the problems as sentences that say what to do.

    Args:
        settings: The settings.
        sources: For each setting, the source that set it.
        given: The settings with a value of their own; a name that follows from another setting is right with
            that.
    """
    names = _names(settings)
    problems = [
        f"{sources[name]}: {name} is {value_of(settings, name)!r}; use {rule}"
        for name, (is_good, rule) in names.items()
        if name in given and not is_good
    ]
    input_queue, dead_letter_queue = settings.queue.input_queue, settings.queue.dead_letter_queue
    has_own_queue = "input_queue" in given and names["input_queue"][0]
    if has_own_queue and "dead_letter_queue" not in given and not names["dead_letter_queue"][0]:
        problems.append(
            f"{sources['input_queue']}: input_queue is {input_queue!r}, and {dead_letter_queue!r} "
            "is too long for a queue's name; set dead_letter_queue"
        )
    for low, high in _PAIRS:
        first, second = value_of(settings, low), value_of(settings, high)
        if first > second:
            problems.append(f"{low} ({first}) is above {high} ({second}); lower it")
    if settings.web.webhooks != "off" and settings.web.webhook_secrets is None:
        problems.append(
            f"webhooks is {settings.web.webhooks}, and nothing signs them; name a file in webhook_secrets"
        )
    return problems


def _names(settings: Settings) -> dict[str, tuple[bool, str]]:
    """Return for each name whether it is good, and the rule."""
    prefix, queue, store = settings.deployment.prefix, settings.queue, settings.store
    a_prefix = f"up to {_PREFIX_CHARS_MAX} lower-case letters, digits and hyphens, a hyphen not first"
    a_queue = "up to 80 letters, digits, hyphens and underscores, or on AWS the queue's URL"
    a_bucket = "3 to 63 lower-case letters, digits, dots and hyphens"
    a_part = f"up to {_OUTPUT_QUEUE_CHARS_MAX} letters, digits, hyphens and underscores"
    queues = _QUEUES[settings.deployment.backend]
    is_part = (
        bool(_QUEUE.fullmatch(queue.output_queue)) and len(queue.output_queue) <= _OUTPUT_QUEUE_CHARS_MAX
    )
    return {
        "prefix": (bool(_PREFIX.fullmatch(prefix)), a_prefix),
        "input_bucket": (bool(_BUCKET.fullmatch(store.input_bucket)), a_bucket),
        "output_bucket": (bool(_BUCKET.fullmatch(store.output_bucket)), a_bucket),
        "input_queue": (bool(queues.fullmatch(queue.input_queue)), a_queue),
        "dead_letter_queue": (bool(queues.fullmatch(queue.dead_letter_queue)), a_queue),
        "output_queue": (is_part, a_part),
    }
