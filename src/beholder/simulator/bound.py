"""What no schedule can undercut that serves every request within a time, even if it knows all arrivals."""

import numpy as np

from beholder.simulator.cloud import WorldSettings
from beholder.simulator.traffic import Times, Traffic

__all__ = ["least_hours"]

_HOUR_S = 3600.0
_STEPS = 40


def least_hours(traffic: Traffic, settings: WorldSettings) -> float:
    """Return the instance-hours that the work, the startups and the gaps between requests cost at least.

    Every request is done within a startup and the goal. So many instances as the densest part of the traffic
    needs start up once; and through each gap that is longer than a request may wait, an instance idles or
    one more starts up.
    """
    limits = settings.limits
    arrivals_s = traffic.arrivals_s
    if not len(arrivals_s):
        return 0.0
    wait_s = limits.startup_s + limits.latency_goal_s
    most = int(np.ceil(_most_at_once(arrivals_s, limits.service_s, wait_s) - 1e-6))
    gaps_s = np.clip(np.diff(arrivals_s) - wait_s, 0.0, limits.startup_s)
    work_s = len(arrivals_s) * limits.service_s
    return float(work_s + min(most, limits.capacity_max) * limits.startup_s + gaps_s.sum()) / _HOUR_S


def _most_at_once(arrivals_s: Times, service_s: float, wait_s: float) -> float:
    """Return how many instances the requests of some period need to be done by the end of its last wait."""
    count = np.arange(len(arrivals_s), dtype=np.float64)
    low, high = 0.0, len(arrivals_s) * service_s / wait_s + 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        done = count * service_s - middle * arrivals_s
        excess = (done + service_s - np.minimum.accumulate(done)).max()
        low, high = (middle, high) if excess > middle * wait_s else (low, middle)
    return high
