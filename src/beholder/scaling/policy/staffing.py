"""How many instances serve a steady load near the service time: staffing by the Erlang C formula; pure.

Requests that come at random find all instances busy at times, though there are more instances than the load
keeps busy. The formula says how often, and how long such a request waits. A small fleet needs relatively more
spare instances than a large one: the spare grows with the square root of the load.

Source: Gans, Koole and Mandelbaum, "Telephone Call Centers", 2003, sections 4.1 (Erlang C) and 4.2
(square-root staffing).
"""

from functools import cache
from math import exp, floor

__all__ = ["instances_for", "load_of"]

# Half of the requests wait no longer than this, in service times: a launch allows more than a worker that
# leaves does, so that one does not follow the other at once.
_LAUNCH_WAIT = 0.5
_LEAVE_WAIT = 0.2
_HALF = 0.5
_STEP = 1e-4


def instances_for(load: float) -> int:
    """Return the fewest instances that serve a load with a median wait of half a service time.

    Args:
        load: Arrivals per second times service time, in instances.
    """
    if load <= 0:
        return 0
    count = floor(load) + 1
    while not _serves(count, load, _LAUNCH_WAIT):
        count += 1
    return count


@cache
def load_of(count: int) -> float:
    """Return the greatest load that so many instances serve with a median wait near zero."""
    low, high = 0.0, float(count)
    while high - low > _STEP * count:
        middle = (low + high) / 2
        low, high = (middle, high) if _serves(count, middle, _LEAVE_WAIT) else (low, middle)
    return low


def _serves(count: int, load: float, wait: float) -> bool:
    """Say whether half of the requests wait for no longer than `wait` service times."""
    if load >= count:
        return False
    # Of those that must wait, the time is exponential; with fixed service times about half as long.
    return _must_wait(count, load) * exp(-2.0 * (count - load) * wait) <= _HALF


def _must_wait(count: int, load: float) -> float:
    """Return the share of requests that find all instances busy: Erlang C, from the recursion of Erlang B."""
    blocked = 1.0
    for busy in range(1, count + 1):
        blocked = load * blocked / (busy + load * blocked)
    return count * blocked / (count - load * (1.0 - blocked))
