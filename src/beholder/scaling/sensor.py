"""The sensor of a real deployment: the queue's depth, the fleet's description and the heartbeats."""

from collections.abc import Callable

from beholder.clock import Clock, age_s
from beholder.fleet.port import Fleet, FleetInstance
from beholder.queue.port import Queue
from beholder.scaling.ages import LOOK_S_MAX, Ages
from beholder.scaling.heartbeats import delete_heartbeat, read_heartbeats, seen_of
from beholder.scaling.policy.observation import InstanceSeen, InstanceState, Observation, ServiceSeen
from beholder.store.port import Store

__all__ = ["FleetSensor"]

# A heartbeat without an instance is left for so long: the instance may be too new to be described.
_ORPHAN_S = 600.0


class FleetSensor:
    """Makes an observation of three calls: one depth, one description, one list.

    Args:
        queue: The input queue.
        fleet: The instances.
        results: The output bucket, where the heartbeats are.
        clock: The time.
        services: Returns the service times seen since the last look.
        startup_s: Expected startup time.
        look_s_max: Two looks are no further apart; see `scaling.ages`.
        unanswered: Returns how many more messages are sent and not answered than at the last look, which the
            depth may not tell yet.
    """

    def __init__(
        self,
        queue: Queue,
        fleet: Fleet,
        results: Store,
        clock: Clock,
        services: Callable[[], tuple[ServiceSeen, ...]] = tuple,
        *,
        startup_s: float = 200.0,
        look_s_max: float = LOOK_S_MAX,
        unanswered: Callable[[], int] = lambda: 0,
    ) -> None:
        self._queue = queue
        self._fleet = fleet
        self._results = results
        self._clock = clock
        self._services = services
        self._unanswered = unanswered
        self._ready_at_s: dict[str, float] = {}
        self._starting: set[str] = set()
        self._ages = Ages(look_s_max=look_s_max, startup_s=startup_s)

    def observe(self) -> Observation:
        """Return what there is now; see `Sensor.observe`.

        The queue is read before the fleet: a worker that announced its leaving before the last message came
        is then seen to drain. And it is read before the web processes' counts, which then have every message
        that it counts.
        """
        depth = self._queue.depth()
        unanswered = self._unanswered()
        read = read_heartbeats(self._results)
        described = self._fleet.describe()
        at_s = self._clock.now_s()
        now_s = self._ages.look(at_s)
        found, heartbeats = self._ages.instances(
            (_seen(one) for one in described), self._ages.heartbeats(read)
        )
        instances = seen_of(found, heartbeats, self._ready_at_s)
        self._remember(instances, now_s)
        there = {one.id for one in described}
        last_heartbeats = {one: heartbeat.at_s for one, heartbeat in heartbeats.items() if one not in there}
        for instance_id, last_s in last_heartbeats.items():
            if age_s(now_s, last_s) > _ORPHAN_S:
                delete_heartbeat(self._results, instance_id)
        return Observation(
            now_s=now_s,
            backlog=depth.backlog,
            in_flight=depth.in_flight,
            delayed=depth.delayed,
            unanswered=unanswered,
            instances=instances,
            services=self._services(),
            last_heartbeats=last_heartbeats,
            at_s=at_s,
        )

    def _remember(self, instances: tuple[InstanceSeen, ...], now_s: float) -> None:
        """Note when a pending instance was first seen in service; nothing of one that already was."""
        starting = {one.id for one in instances if one.state is InstanceState.PENDING}
        fresh = {one.id: one for one in instances if one.id in self._starting and one.id not in starting}
        there = {one.id for one in instances}
        kept = {one: at_s for one, at_s in self._ready_at_s.items() if one in there}
        self._ready_at_s = kept | {
            one: min(now_s, seen.last_heartbeat_at_s or now_s) for one, seen in fresh.items()
        }
        self._starting = starting


def _seen(one: FleetInstance) -> InstanceSeen:
    return InstanceSeen(
        id=one.id,
        state=InstanceState.DRAINING if one.is_ending else InstanceState.PENDING,
        launched_at_s=one.launched_at_s,
        instance_type=one.instance_type,
        spot=one.spot,
        price_per_hour=one.price_per_hour,
    )
