"""Heartbeats: one small object per instance in the output bucket, which any leader can list.

The key names the instance, the store's own time says when it was written, and the object's size says the
state, so that one LIST of up to 1,000 keys returns everything and no object is read.

Cost: a heartbeat each 60 s is 43,200 PUTs a month, 0.22 dollars per instance-month.
Source: S3 pricing, us-east-1, 0.005 dollars per 1,000 PUT or LIST requests, 2025.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from beholder.scaling.policy.observation import InstanceSeen, InstanceState
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

_IN_SERVICE, _BUSY = (InstanceState.IN_SERVICE, False), (InstanceState.IN_SERVICE, True)
# The object's size is 1 plus the place here. A later version's other sizes count as busy.
_CONDITIONS = ((InstanceState.PENDING, False), _IN_SERVICE, _BUSY, (InstanceState.DRAINING, False))

# The kernel stamps a file with a time that is up to a timer tick old; of two machines' clocks this is not.
SKEW_S = 0.01


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last heartbeat of an instance.

    Args:
        state: The state of the instance.
        at_s: When it was written, by the store's clock.
        is_busy: Whether the instance is in service and holds a message.
    """

    state: InstanceState
    at_s: float
    is_busy: bool = False


def write_heartbeat(store: Store, instance_id: str, state: InstanceState, *, is_busy: bool = False) -> None:
    """Store an instance's heartbeat; raises what `Store.put` raises."""
    store.put(HEARTBEATS_PREFIX + instance_id, b"." * (_CONDITIONS.index((state, is_busy)) + 1))


def delete_heartbeat(store: Store, instance_id: str) -> None:
    """Delete a heartbeat of an instance that is gone."""
    store.delete(HEARTBEATS_PREFIX + instance_id)


def read_heartbeats(store: Store) -> dict[str, Heartbeat]:
    """Return every heartbeat, by instance."""
    found = {}
    for info in store.list(HEARTBEATS_PREFIX):
        is_known = 1 <= info.size_bytes <= len(_CONDITIONS)
        state, is_busy = _CONDITIONS[info.size_bytes - 1] if is_known else _BUSY
        found[info.key.removeprefix(HEARTBEATS_PREFIX)] = Heartbeat(state, info.stored_at_s, is_busy)
    return found


def seen_of(
    instances: Iterable[InstanceSeen], heartbeats: dict[str, Heartbeat], ready_at_s: dict[str, float]
) -> tuple[InstanceSeen, ...]:
    """Return instances with the state that their heartbeats say; an instance without a heartbeat is pending.

    Args:
        instances: As the fleet describes them; a draining instance stays draining.
        heartbeats: Their own, by the clock of the launch times; see `scaling.ages`.
        ready_at_s: When each instance was first seen in service, where that is known.
    """
    found = []
    for one in instances:
        heartbeat = heartbeats.get(one.id)
        if heartbeat is None:
            found.append(one)
            continue
        is_draining = one.state is InstanceState.DRAINING
        found.append(
            InstanceSeen(
                one.id,
                one.state if is_draining else heartbeat.state,
                one.launched_at_s,
                ready_at_s.get(one.id),
                heartbeat.at_s,
                one.instance_type,
                one.spot,
                one.price_per_hour,
                is_busy=heartbeat.is_busy and not is_draining,
            )
        )
    return tuple(found)
