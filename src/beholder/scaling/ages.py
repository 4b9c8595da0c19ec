"""Times that other machines stamp, converted to the controller's own clock.

The cloud stamps launches, the store stamps heartbeats, and the controller reads its own clock: three
clocks, any of which may be minutes off or be set while the fleet runs. An age that compares two of them would
end healthy instances or launch a second fleet. So an age counts from when the controller saw the thing first,
and what another clock says is believed only between two looks, within which it must have happened.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf

from beholder.clock import age_s
from beholder.scaling.heartbeats import SKEW_S, Heartbeat
from beholder.scaling.policy.observation import InstanceSeen

__all__ = ["LOOK_S_MAX", "Ages"]

# So much one step of a clock makes things older at most: a fraction of a startup and of the patience with a
# worker that gives no heartbeat, so that several steps within one use up neither.
LOOK_S_MAX = 20.0


class Ages:
    """Remembers when the controller first saw each launch and heartbeat.

    Args:
        look_s_max: Two looks count as no further apart: a clock that was set, or a process that
            slept, makes nothing older.
        startup_s: Expected startup time; an instance that is pending at the first look counts as no older,
            whatever its launch time says.
    """

    def __init__(self, *, look_s_max: float, startup_s: float) -> None:
        self._look_s_max = look_s_max
        self._startup_s = startup_s
        self._at_s: float | None = None
        self._now_s = self._gap_s = 0.0
        self._is_first = True
        self._launched: dict[tuple[str, float], float] = {}
        self._heartbeats: dict[str, tuple[Heartbeat, float]] = {}
        self._fresh: set[str] = set()
        self._others: dict[str, Heartbeat] = {}

    def look(self, at_s: float) -> float:
        """Begin a look; returns its time, which starts as the time of day and ignores steps of the clock.

        Args:
            at_s: The time of day, seconds since the Unix epoch.
        """
        self._is_first = self._at_s is None
        self._gap_s = 0.0 if self._at_s is None else age_s(at_s, self._at_s, most_s=self._look_s_max)
        self._now_s = at_s if self._at_s is None else self._now_s + self._gap_s
        self._at_s = at_s
        return self._now_s

    def heartbeats(self, heartbeats: Mapping[str, Heartbeat]) -> dict[str, Heartbeat]:
        """Return the heartbeats by this clock: when each was first seen as it is, or just before."""
        at_s = self._at_s or 0.0
        known = self._heartbeats
        self._heartbeats, self._fresh = {}, set()
        for one, heartbeat in heartbeats.items():
            before = known.get(one)
            if before is not None and before[0] == heartbeat:
                self._heartbeats[one] = before
            else:
                self._fresh.add(one)
                self._heartbeats[one] = (
                    heartbeat,
                    self._now_s - age_s(at_s, heartbeat.at_s, most_s=self._gap_s),
                )
        self._others = {
            one: heartbeat for one, heartbeat in self._others.items() if heartbeats.get(one) == heartbeat
        }
        return {
            one: Heartbeat(heartbeat.state, seen_s, heartbeat.is_busy)
            for one, (heartbeat, seen_s) in self._heartbeats.items()
        }

    def instances(
        self, instances: Iterable[InstanceSeen], heartbeats: dict[str, Heartbeat]
    ) -> tuple[list[InstanceSeen], dict[str, Heartbeat]]:
        """Return instances with launch times of this clock, and the heartbeats that are theirs.

        Args:
            instances: As the fleet describes them.
            heartbeats: What `heartbeats` returned. A heartbeat older than its instance is a predecessor's,
                where a fleet uses names again.
        """
        found, launched, own = [], {}, dict(heartbeats)
        for one in instances:
            key = one.id, one.launched_at_s
            launched_s = self._launched.get(key)
            if launched_s is None:
                launched_s = self._first_seen_s(one)
            launched[key] = launched_s
            found.append(one if launched_s == one.launched_at_s else replace(one, launched_at_s=launched_s))
            if one.id in self._others:
                del own[one.id]
            elif one.id in own and own[one.id].at_s < launched_s:
                own[one.id] = replace(own[one.id], at_s=launched_s)
        self._launched = launched
        return found, own

    def _first_seen_s(self, one: InstanceSeen) -> float:
        """Return the launch of an instance that is seen for the first time; note whose its heartbeat is."""
        heartbeat = self._heartbeats[one.id][0] if one.id in self._heartbeats else None
        most_s = self._gap_s
        if self._is_first:
            is_own = heartbeat is not None and heartbeat.at_s >= one.launched_at_s - SKEW_S
            most_s = inf if is_own else self._startup_s
        else:
            is_own = one.id in self._fresh
        if heartbeat is not None and not is_own:
            self._others[one.id] = heartbeat
        at_s = self._at_s or 0.0
        if not self._is_first and one.launched_at_s > at_s:
            return self._now_s - most_s  # that clock is ahead: this controller launches right after a look
        return self._now_s - age_s(at_s, one.launched_at_s, most_s=most_s)
