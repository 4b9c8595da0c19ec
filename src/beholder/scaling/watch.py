"""The second line: which instances have to be ended from outside, since they do not leave by themselves.

Pure. A suspicion is remembered, and only one that still stands at a later look ends an instance. A worker
that says that it is busy is never among them, however old it is: its signs come from a thread of their own,
so that only a process that is gone or hangs as a whole falls silent.
"""

from dataclasses import replace

from beholder.clock import age_s
from beholder.scaling.decision import FailedBoot, Retirement
from beholder.scaling.limits import Limits
from beholder.scaling.memory import Memory
from beholder.scaling.observation import InstanceSeen, InstanceState, Observation

__all__ = ["watch"]

_DRAIN_S_MAX = 300.0  # a drain finishes one batch and looks at the queue for as long as its counts lag
_LOOKS_APART_TICKS = 2.0
_BUSY_SILENCE = 3.0  # times as long as others: its messages come back anyway, and killing it gains little


def watch(seen: Observation, memory: Memory, limits: Limits) -> tuple[tuple[Retirement, ...], Memory]:
    """Return the instances to end now, and the memory with the suspicions and the failed boots.

    Args:
        seen: What there is.
        memory: The policy's memory.
        limits: The operator's settings.
    """
    found: list[Retirement] = []
    suspects: dict[str, float] = {}
    failed: list[FailedBoot] = []
    for one in seen.instances:
        suspicion = _suspicion(one, seen.now_s, memory, limits)
        if suspicion is None:
            continue
        since_s = memory.suspects.get(one.id, seen.now_s)
        suspects[one.id] = since_s
        cause, why, wait_s = suspicion
        if seen.now_s - since_s < wait_s:
            continue
        found.append(Retirement(one.id, cause, why))
        if cause == "boot":
            failed.append(FailedBoot(one.id, "late", age_s(seen.now_s, one.launched_at_s), one.kind))
    if failed:
        gone = {one.id for one in found}
        kept = {one: at_s for one, at_s in memory.booting.items() if one not in gone}
        memory = replace(memory, booting=kept).after_failed_boots(tuple(failed), seen.now_s, limits)
    if suspects != memory.suspects:
        memory = replace(memory, suspects=suspects)
    return tuple(found), memory


def _suspicion(
    one: InstanceSeen, now_s: float, memory: Memory, limits: Limits
) -> tuple[str, str, float] | None:
    """Return cause, words and how long the suspicion must stand; None for an instance in good order."""
    old_s = age_s(now_s, one.launched_at_s)
    twice_s = _LOOKS_APART_TICKS * limits.tick_s
    if one.state is InstanceState.BOOTING:
        most_s = memory.patience_s(limits)
        if old_s <= most_s:
            return None
        return "boot", f"no sign of life {old_s:.0f} s after its launch, {most_s:.0f} s at most", twice_s
    if one.last_sign_at_s is not None:
        is_busy = one.state is InstanceState.BUSY
        silence_s = age_s(now_s, one.last_sign_at_s)
        most_s = limits.silence_s_max * (_BUSY_SILENCE if is_busy else 1.0)
        if silence_s > most_s:
            return "silent", f"its last sign of life was {silence_s:.0f} s ago", twice_s
    if one.state is InstanceState.DRAINING:
        return "hung", f"it drains for more than {_DRAIN_S_MAX:.0f} s and does not end", _DRAIN_S_MAX
    if limits.lifetime_s_max is not None and old_s > limits.lifetime_s_max and one.state in _AT_REST:
        return "lifetime", f"it is {old_s / 3600:.1f} hours old and has nothing to do", twice_s
    return None


_AT_REST = (InstanceState.READY, InstanceState.IDLE)
