"""The reaper: which instances to terminate because they do not leave by themselves; pure.

The state keeps each suspicion, and only a suspicion that lasts until a later tick ends an instance. A worker
whose heartbeats say that it is busy is not ended, however old it is, unless they stop for three times as
long as other heartbeats may. A separate thread writes the heartbeats, so that they stop only if the process
is gone or hangs.
"""

from collections.abc import Sequence
from dataclasses import replace

from beholder.clock import age_s
from beholder.scaling.policy.decision import FailedStartup, Termination
from beholder.scaling.policy.limits import Limits
from beholder.scaling.policy.observation import InstanceSeen, InstanceState, Observation
from beholder.scaling.policy.state import PolicyState

__all__ = ["crashed", "reap"]

_DRAIN_S_MAX = 300.0  # a drain finishes one batch and looks at the queue for as long as its counts lag
_LOOKS_APART_TICKS = 2.0
_BUSY_SILENCE = 3.0  # times as long as others: its messages come back anyway, and killing it gains little


def reap(
    seen: Observation, state: PolicyState, limits: Limits
) -> tuple[tuple[Termination, ...], PolicyState]:
    """Return the instances to terminate now, and the state with the suspicions and the failed startups.

    Args:
        seen: The observation.
        state: The policy's state.
        limits: The operator's settings.
    """
    found: list[Termination] = []
    suspects: dict[str, float] = {}
    failed: list[FailedStartup] = []
    for one in seen.instances:
        suspicion = _suspicion(one, seen.now_s, state, limits)
        if suspicion is None:
            continue
        since_s = state.suspects.get(one.id, seen.now_s)
        suspects[one.id] = since_s
        cause, why, wait_s = suspicion
        if seen.now_s - since_s < wait_s:
            continue
        found.append(Termination(one.id, cause, why))
        if cause == "startup":
            failed.append(
                FailedStartup(one.id, "late", age_s(seen.now_s, one.launched_at_s), one.instance_type)
            )
    if failed:
        gone = {one.id for one in found}
        kept = {one: at_s for one, at_s in state.starting.items() if one not in gone}
        state = replace(state, starting=kept).after_failed_startups(tuple(failed), seen.now_s, limits)
    if suspects != state.suspects:
        state = replace(state, suspects=suspects)
    return tuple(found), state


def _suspicion(
    one: InstanceSeen, now_s: float, state: PolicyState, limits: Limits
) -> tuple[str, str, float] | None:
    """Return the cause, its words and how long the suspicion must last; None for a healthy instance."""
    old_s = age_s(now_s, one.launched_at_s)
    twice_s = _LOOKS_APART_TICKS * limits.tick_s
    if one.state is InstanceState.PENDING:
        most_s = state.patience_s(limits)
        if old_s <= most_s:
            return None
        return "startup", f"no heartbeat {old_s:.0f} s after its launch, {most_s:.0f} s at most", twice_s
    if one.last_heartbeat_at_s is not None:
        silence_s = age_s(now_s, one.last_heartbeat_at_s)
        most_s = limits.silence_s_max * (_BUSY_SILENCE if one.is_busy else 1.0)
        if silence_s > most_s:
            return "silent", f"its last heartbeat was {silence_s:.0f} s ago", twice_s
    if one.state is InstanceState.DRAINING:
        return "hung", f"it drains for more than {_DRAIN_S_MAX:.0f} s and does not end", _DRAIN_S_MAX
    if limits.lifetime_s_max is not None and old_s > limits.lifetime_s_max and not one.is_busy:
        return "lifetime", f"it is {old_s / 3600:.1f} hours old and has nothing to do", twice_s
    return None


def crashed(
    seen: Observation, before: Observation | None, launched: Sequence[str]
) -> tuple[Termination, ...]:
    """Return the instances that served, ended by themselves and were started again under the same id.

    Such are the processes of one machine, whose supervisor starts them again; no instance of a cloud does.

    Args:
        seen: The observation.
        before: The one before it; None if there is none.
        launched: Ids of what was launched since that one, which may be those of instances that have left.
    """
    if before is None:
        return ()
    served = {one.id: one for one in before.instances if one.state is not InstanceState.PENDING}
    why = "it ended unexpectedly, and was started again"
    return tuple(
        Termination(one.id, "crashed", why)
        for one in seen.instances
        if one.id in served and one.launched_at_s > served[one.id].launched_at_s and one.id not in launched
    )
