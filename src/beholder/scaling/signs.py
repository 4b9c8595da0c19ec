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

__all__ = ["SIGNS_PREFIX", "SKEW_S", "Sign", "erase_sign", "give_sign", "read_signs", "seen_of"]

SIGNS_PREFIX = "fleet/signs/"

# The size of the object for each state; of another size, by a later version, it counts as busy.
_STATES = (
    InstanceState.BOOTING,
    InstanceState.READY,
    InstanceState.BUSY,
    InstanceState.IDLE,
    InstanceState.DRAINING,
)


# The kernel stamps a file with a time that is up to a timer tick old; of two machines' clocks this is not.
SKEW_S = 0.01


@dataclass(frozen=True, slots=True)
class Sign:
    """What an instance last said.

    Args:
        state: Of the instance.
        at_s: When, by the store's clock.
    """

    state: InstanceState
    at_s: float


def give_sign(store: Store, instance_id: str, state: InstanceState) -> None:
    """Say that an instance lives and what it does; raises what `Store.put` raises."""
    store.put(SIGNS_PREFIX + instance_id, b"." * (_STATES.index(state) + 1))


def erase_sign(store: Store, instance_id: str) -> None:
    """Take a sign away; the last thing an instance does, or the controller for one that is gone."""
    store.delete(SIGNS_PREFIX + instance_id)


def read_signs(store: Store) -> dict[str, Sign]:
    """Return every sign, by instance."""
    found = {}
    for info in store.list(SIGNS_PREFIX):
        known = 1 <= info.size_bytes <= len(_STATES)
        state = _STATES[info.size_bytes - 1] if known else InstanceState.BUSY
        found[info.key.removeprefix(SIGNS_PREFIX)] = Sign(state, info.stored_at_s)
    return found


def seen_of(
    instances: Iterable[InstanceSeen], signs: dict[str, Sign], ready_at_s: dict[str, float]
) -> tuple[InstanceSeen, ...]:
    """Return instances with the state that their signs tell; one without a sign boots.

    Args:
        instances: As the fleet describes them; one that is draining stays so.
        signs: Their own, by the clock of the launch times; see `scaling.ages`.
        ready_at_s: When each was first seen not to boot; what is missing stays unknown.
    """
    found = []
    for one in instances:
        sign = signs.get(one.id)
        if sign is None:
            found.append(one)
            continue
        ends = one.state is InstanceState.DRAINING
        found.append(
            InstanceSeen(
                one.id,
                one.state if ends else sign.state,
                one.launched_at_s,
                ready_at_s.get(one.id),
                sign.at_s,
                one.kind,
                one.spot,
                one.price_per_hour,
            )
        )
    return tuple(found)
