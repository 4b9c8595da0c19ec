"""Signs of life: one small object per instance in the output bucket, which any leader can list.

The key names the instance, the store's own time says when the sign was given, and the object's size says the
state, so that one LIST of up to 1,000 keys tells everything and nothing is read.

Cost: a sign each 60 s is 43,200 PUTs a month, 0.22 dollars per instance-month. Source: S3 pricing, us-east-1,
0.005 dollars per 1,000 PUT or LIST requests, 2025.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from beholder.scaling.observation import InstanceSeen, InstanceState
from beholder.store.port import Store

__all__ = [
    "HEARTBEATS_PREFIX",
    "SKEW_S",
    "Heartbeat",
    "delete_heartbeat",
    "read_heartbeats",
    "seen_of",
    "write_heartbeat",
]

HEARTBEATS_PREFIX = "fleet/heartbeats/"

# The size of the object for each state; of another size, by a later version, it counts as busy.
_STATES = (
    InstanceState.PENDING,
    InstanceState.READY,
    InstanceState.BUSY,
    InstanceState.IDLE,
    InstanceState.DRAINING,
)


# The kernel stamps a file with a time that is up to a timer tick old; of two machines' clocks this is not.
SKEW_S = 0.01


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What an instance last said.

    Args:
        state: Of the instance.
        at_s: When, by the store's clock.
    """

    state: InstanceState
    at_s: float


def write_heartbeat(store: Store, instance_id: str, state: InstanceState) -> None:
    """Say that an instance lives and what it does; raises what `Store.put` raises."""
    store.put(HEARTBEATS_PREFIX + instance_id, b"." * (_STATES.index(state) + 1))


def delete_heartbeat(store: Store, instance_id: str) -> None:
    """Take a sign away; the last thing an instance does, or the controller for one that is gone."""
    store.delete(HEARTBEATS_PREFIX + instance_id)


def read_heartbeats(store: Store) -> dict[str, Heartbeat]:
    """Return every sign, by instance."""
    found = {}
    for info in store.list(HEARTBEATS_PREFIX):
        known = 1 <= info.size_bytes <= len(_STATES)
        state = _STATES[info.size_bytes - 1] if known else InstanceState.BUSY
        found[info.key.removeprefix(HEARTBEATS_PREFIX)] = Heartbeat(state, info.stored_at_s)
    return found


def seen_of(
    instances: Iterable[InstanceSeen], heartbeats: dict[str, Heartbeat], ready_at_s: dict[str, float]
) -> tuple[InstanceSeen, ...]:
    """Return instances with the state that their signs tell; one without a sign boots.

    Args:
        instances: As the fleet describes them; one that is draining stays so.
        heartbeats: Their own, by the clock of the launch times; see `scaling.ages`.
        ready_at_s: When each was first seen not to boot; what is missing stays unknown.
    """
    found = []
    for one in instances:
        heartbeat = heartbeats.get(one.id)
        if heartbeat is None:
            found.append(one)
            continue
        ends = one.state is InstanceState.DRAINING
        found.append(
            InstanceSeen(
                one.id,
                one.state if ends else heartbeat.state,
                one.launched_at_s,
                ready_at_s.get(one.id),
                heartbeat.at_s,
                one.instance_type,
                one.spot,
                one.price_per_hour,
            )
        )
    return tuple(found)
