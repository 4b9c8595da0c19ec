"""Settings made of flat values: what follows from others is worked out before the groups are made."""

from collections.abc import Callable, Mapping
from typing import Any

from beholder.config.declared import AUTO, DECLARED, make
from beholder.config.settings import Settings, cores

__all__ = ["make_settings"]

_WORKERS_KEPT = 2
# What 'auto' means on one machine and on AWS.
_BY_BACKEND: Mapping[str, Mapping[str, Callable[[], float]]] = {
    "local": {"batch_max": lambda: 4, "consumers": lambda: 1, "latency_goal_s": lambda: 0.25},
    "aws": {
        "batch_max": lambda: 20,
        "consumers": lambda: min(2 * cores(), 256),
        "latency_goal_s": lambda: 30.0,
    },
}


def make_settings(**flat: Any) -> Settings:
    """Return settings by their flat names; a setting that is missing or 'auto' has its default.

    Args:
        flat: Values, not texts, such as `port=8080`; none is checked.
    """
    values = {name: one.default for name, one in DECLARED.items()} | flat
    prefix, queue = values["prefix"], values["input_queue"]
    queue = f"{prefix}-input-queue" if queue == AUTO else queue
    follows = {
        "input_bucket": f"{prefix}-input-bucket",
        "output_bucket": f"{prefix}-output-bucket",
        "input_queue": queue,
        # A queue may be named by its URL.
        "dead_letter_queue": f"{queue.rpartition('/')[2]}-dead",
        "output_queue": f"{prefix}-output-queue",
    }
    # An idle worker takes 0.1 % of a core, so that a burst needs not wait for a startup.
    follows["workers_min"] = min(_WORKERS_KEPT, values["workers"])
    follows |= {name: value() for name, value in _BY_BACKEND[values["backend"]].items()}
    return make(values | {name: value for name, value in follows.items() if values[name] == AUTO})
