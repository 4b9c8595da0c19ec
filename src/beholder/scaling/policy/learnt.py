"""What a leader has learnt and leaves to the next leader, in the fleet's last record."""

from dataclasses import dataclass

__all__ = ["Learnt", "LearntService"]


@dataclass(frozen=True, slots=True)
class LearntService:
    """Instance seconds per message.

    Args:
        instance_type: On this instance type; empty for all together.
        mean_s: The estimate.
        count: From how many samples.
    """

    instance_type: str
    mean_s: float
    count: int


@dataclass(frozen=True, slots=True)
class Learnt:
    """The estimates of a leader.

    Args:
        startups_s: The last startup times, newest last.
        services: The service times.
        arrivals_per_s: The arrival rate.
        arrivals_slow_per_s: The arrival rate over a longer time.
    """

    startups_s: tuple[float, ...] = ()
    services: tuple[LearntService, ...] = ()
    arrivals_per_s: float = 0.0
    arrivals_slow_per_s: float = 0.0
