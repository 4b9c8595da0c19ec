"""The fleet port: what the controller may ask of a backend that runs instances.

An instance ends by its own exit; the reaper calls `terminate` for an instance that hangs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Fleet", "FleetInstance", "Launch"]


@dataclass(frozen=True, slots=True)
class FleetInstance:
    """An instance of the deployment that is not terminated.

    Args:
        id: The backend's name for it.
        launched_at_s: When it was launched, seconds since the Unix epoch.
        instance_type: Its type, such as 'c7a.large'.
        spot: Whether the backend may take it back.
        price_per_hour: Its price in dollars; 0 if it is unknown.
        is_ending: It shuts down, by a request or by itself; it does no more work.
    """

    id: str
    launched_at_s: float
    instance_type: str = ""
    spot: bool = False
    price_per_hour: float = 0.0
    is_ending: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """The result of a launch.

    Args:
        ids: Ids of the launched instances, at most as many as the caller asked for.
        refusals: Why the backend did not launch the rest, one sentence each, such as that it has no capacity.
    """

    ids: tuple[str, ...]
    refusals: tuple[str, ...] = ()


class Fleet(Protocol):
    """The instances of one deployment; many threads may use it at once.

    Every method raises `BackendUnavailable` if the backend cannot be reached (the call may be repeated), and
    `BackendDenied` if it refuses.
    """

    def describe(self) -> list[FleetInstance]:
        """Return every instance of the deployment that is not terminated.

        The list may lag by seconds behind a launch or an end.
        """
        ...

    def launch(self, *, count: int, token: str) -> Launch:
        """Launch up to `count` instances, each tagged as the deployment's from its first moment.

        Args:
            count: At least 1.
            token: Names this launch. A call with the token of an earlier launch starts nothing more and
                returns the result of that launch; `count` is then the same.
        """
        ...

    def terminate(self, ids: Sequence[str]) -> None:
        """End instances at once; ids of instances that are gone, or of other deployments, are ignored."""
        ...
