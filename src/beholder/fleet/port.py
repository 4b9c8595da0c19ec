"""The fleet port: what the controller may ask of whoever runs instances.

An instance leaves by its own exit; `terminate` is the reaper, for one that hangs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Fleet", "FleetInstance", "Launch"]


@dataclass(frozen=True, slots=True)
class FleetInstance:
    """An instance of ours that is not terminated.

    Args:
        id: The backend's name for it.
        launched_at_s: When it was asked for, seconds since the Unix epoch.
        instance_type: Its type, such as 'c7a.large'.
        spot: Whether the backend may take it back.
        price_per_hour: What it costs; 0 where that is unknown.
        is_ending: It was told to end, or ends by itself; it does no more work.
    """

    id: str
    launched_at_s: float
    instance_type: str = ""
    spot: bool = False
    price_per_hour: float = 0.0
    is_ending: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """What came of a launch.

    Args:
        ids: Of the instances that were launched, at most as many as were asked for.
        refusals: What the backend said to the rest, one sentence each, such as that it has no capacity.
    """

    ids: tuple[str, ...]
    refusals: tuple[str, ...] = ()


class Fleet(Protocol):
    """The instances of one deployment; safe to use from many threads at once.

    Every method raises `BackendUnavailable` where the backend cannot be reached (the call may be repeated),
    and `BackendDenied` where it refuses.
    """

    def describe(self) -> list[FleetInstance]:
        """Return every instance of ours that is not terminated; those of others are left out.

        A launch or an end of the last seconds may not be seen yet.
        """
        ...

    def launch(self, *, count: int, token: str) -> Launch:
        """Launch up to `count` instances, each tagged as ours from its first moment.

        Args:
            count: At least 1.
            token: Names this launch. A call with the token of an earlier one launches nothing more and
                returns what that one launched; `count` is then the same.
        """
        ...

    def terminate(self, ids: Sequence[str]) -> None:
        """End instances whatever they do; one that is gone, or is not ours, is left alone."""
        ...
