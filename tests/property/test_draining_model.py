"""Every interleaving of senders, workers that leave, crashes and a controller: no message is left behind.

The workers of this small world run the real `DrainProtocol`. In the strict world the controller looks only
when something has happened: once, at any time after a message was sent or the last worker in service was
lost. It launches a worker if a message exists, be it visible, in flight or delayed, and none is in service.
So leaving workers must see what the controller cannot, and a flaw in the protocol shows as a message that
exists while no worker lives and the controller will not look again. The real controller looks every few
seconds, which would hide a flaw behind a startup.

If a worker makes a final poll, the counts that it checks afterwards may be old, but the poll is not. What a
lost worker held was in flight, which no poll shows: then the controller looks once more, as above.

A worker that finds an older one in service leaves without a check. It finds it by its heartbeat, which a lost
worker leaves behind: then the strict controller looks once more after that heartbeat has expired, at any
time. The real one sees within a few seconds that the instance is gone, and looks at every tick.

Small strict worlds are explored completely. Random walks go further, in a larger strict world and in one
whose controller looks at any time, by counts that lag.
"""

import enum
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beholder.clock import ManualClock
from beholder.draining.protocol import (
    Announced,
    DrainDecision,
    DrainLimits,
    DrainProtocol,
    DrainState,
    FinalPoll,
    IdleTimeout,
)
from beholder.queue.port import Depth

pytestmark = pytest.mark.pure

# Times are whole seconds. The counts lag by up to one; the protocol allows two.
LAG_S = 1.0
DELAY_S = 3.0
VISIBILITY_S = 3.0
IDLE_S = 1.0
STRICT = DrainLimits(lag_s=2.0, check_every_s=1.0, retry_s=0.0, in_flight_s_max=1e9)
# After this time the heartbeat of a lost worker has expired.
HEARTBEAT_S = 1.0
# Times further away than this make no difference.
FAR_S = 2.0


@dataclass(frozen=True)
class Rules:
    """The rules of a world; most fields are flaws, so that the tests are seen to fail.

    Args:
        sends: How many messages are sent.
        crashes: How many workers are lost.
        notices: How many workers are interrupted.
        workers: How many serve at first.
        limits: Of the protocol.
        counts: What the protocol sees of the queue's counts.
        is_announced: The controller hears when a worker drains.
        can_delay: A message may be sent that is not visible at once.
        is_watched: The controller looks at any time and not only when something has happened.
        is_young_trusting: A worker with an older one in service leaves without a check.
        is_age_agreed: The workers agree on who is older; otherwise each takes all others for older.
        is_trust_late: The others are listed after the announcement and not before.
        is_drain_seen: A worker that drains is not taken for one in service.
        is_heartbeat_expiring: The heartbeat of a lost worker counts for HEARTBEAT_S only.
        is_polled: A worker makes a final poll once it is paused, and then waits for no counts. The
            controller looks once more when what a lost worker held is visible again.
        is_poll_late: That poll begins after the announcement and not before.
    """

    sends: int = 1
    crashes: int = 0
    notices: int = 0
    workers: int = 1
    limits: DrainLimits = STRICT
    counts: Callable[[Depth], Depth] = lambda depth: depth
    is_announced: bool = True
    can_delay: bool = True
    is_watched: bool = False
    is_young_trusting: bool = False
    is_age_agreed: bool = True
    is_trust_late: bool = True
    is_drain_seen: bool = True
    is_heartbeat_expiring: bool = True
    is_polled: bool = False
    is_poll_late: bool = True


@dataclass(frozen=True, eq=False)
class Waiting:
    """A message that no worker holds."""

    visible_at_s: float
    was_received: bool = False


class Member:
    """A worker, as the protocol sees it; the higher its number, the younger it is."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        self.is_trusting = False
        self.is_paused = False
        self.is_receiving = True
        self.is_holding = False
        self.is_noticed = False
        self.is_stale = False
        self.final_poll: FinalPoll | None = None
        self.idle_at_s = world.clock.now_s()
        self.announced: Announced = "in_service"  # a starting worker counts as well
        self.protocol = DrainProtocol(
            self,
            self,
            depth=lambda: world.rules.counts(world.depth(is_stale=self.is_stale)),
            announce=self.announce,
            leave=lambda: None,
            clock=world.clock,
            limits=world.rules.limits,
        )

    def decide(self, idle_s: float) -> DrainDecision:
        rules = self.world.rules
        if not rules.is_trust_late and not self.is_trusting and self.is_older_there():
            self.is_trusting = True
            return DrainDecision(leaves=False, reason="it lists the others first")
        return replace(IdleTimeout(IDLE_S).decide(idle_s), needs_check=not rules.is_young_trusting)

    def is_final_check_needed(self) -> bool:
        return not (self.is_older_there() if self.world.rules.is_trust_late else self.is_trusting)

    def before_exit(self) -> None:
        pass

    def is_older_there(self) -> bool:
        return any(number < self.number for number in self.world.heartbeats(self))

    def pause(self) -> None:
        if not self.is_paused and self.world.rules.is_poll_late:
            self.final_poll = None
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused, self.is_receiving = False, not self.is_holding

    def drain(self) -> None:
        if self.is_holding:
            self.release()

    @property
    def is_paused_and_empty(self) -> bool:
        is_polled = self.final_poll is not None or not self.world.rules.is_polled or self.is_noticed
        return self.is_paused and is_polled and not self.is_receiving and not self.is_holding

    @property
    def idle_since_s(self) -> float | None:
        return None if self.is_holding else self.idle_at_s

    def announce(self, state: Announced) -> None:
        if self.world.rules.is_announced:
            self.announced = state

    def release(self) -> None:
        self.world.waiting.append(Waiting(self.world.clock.now_s(), was_received=True))
        self.finish()

    def finish(self) -> None:
        self.is_holding, self.is_receiving = False, not self.is_paused
        self.idle_at_s = self.world.clock.now_s()

    def save(self) -> "SavedMember":
        """Return everything that may change, for `restore`."""
        return self, vars(self).copy(), vars(self.protocol).copy()

    def key(self) -> tuple[object, ...]:
        """Return everything that can matter for what follows, in a strict world."""
        now_s = self.world.clock.now_s()
        state = self.protocol.state
        is_idle = state is DrainState.SERVING and not self.is_holding
        return (
            *self.world.facts_of(self),
            *self.world.facts_of_protocol(self.protocol),
            since(self.idle_at_s, now_s) if is_idle else None,
            since(self.protocol._empty_since_s, now_s) if state is DrainState.CHECKING else None,
        )


SavedMember = tuple[Member, dict[str, object], dict[str, object]]


def restore(saved: SavedMember) -> Member:
    """Return the member as it was when it was saved."""
    member, of_member, of_protocol = saved
    vars(member).update(of_member)
    vars(member.protocol).update(of_protocol)
    return member


def plain_names(thing: object, *, but: set[str]) -> list[str]:
    """Return the attributes that a key shows as they are: plain values, and no times."""
    return [name for name, value in vars(thing).items() if is_plain(value) and name not in but]


def is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | float | str | enum.Enum)


def since(at_s: float, now_s: float) -> float:
    """Return a value that is the same at whatever moment the same happened."""
    return max(-FAR_S, min(FAR_S, at_s - now_s))


class World:
    """A queue, its senders, a controller and its workers; `steps` says what may happen next."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.clock = ManualClock(1000.0)
        self.waiting: list[Waiting] = []
        self.left = {"send": rules.sends, "crash": rules.crashes, "notice": rules.notices}
        self.owed_looks = 0
        self.members = [Member(self, number) for number in range(rules.workers)]
        self.launched = rules.workers
        # Lost workers: when each wrote its last heartbeat, and when the controller is to look.
        self.lost: dict[int, float] = {}
        self.late_looks: list[float] = []
        # The counts at the start of the last second and of this one.
        self.past = (Depth(0, 0, 0), Depth(0, 0, 0))
        sample = Member(self, 0)
        is_trust_early = rules.is_young_trusting and not rules.is_trust_late
        # The order of the members implies their numbers.
        void = {"number", "idle_at_s"} if is_trust_early else {"number", "idle_at_s", "is_trusting"}
        self.facts_of = attrgetter(*plain_names(sample, but=void))
        # A strict world makes no pause before a retry and has endless patience.
        void = {"_empty_since_s", "_retry_at_s", "_put_off_since_s"}
        self.facts_of_protocol = attrgetter(*plain_names(sample.protocol, but=void))
        self.member_keys: dict[tuple[object, ...], int] = {}

    def save(self) -> "SavedWorld":
        """Return everything that may change, for `restore`."""
        return SavedWorld(
            self.clock.now_s(),
            tuple(self.waiting),
            tuple(self.left.items()),
            self.owed_looks,
            tuple(member.save() for member in self.members),
            self.launched,
            tuple(self.lost.items()),
            tuple(self.late_looks),
            self.past,
        )

    def restore(self, saved: "SavedWorld") -> None:
        """Go back to what was saved."""
        self.clock.advance(saved.now_s - self.clock.now_s())
        self.waiting, self.left = list(saved.waiting), dict(saved.left)
        self.owed_looks, self.past = saved.owed_looks, saved.past
        self.members = [restore(member) for member in saved.members]
        self.launched, self.lost, self.late_looks = saved.launched, dict(saved.lost), list(saved.late_looks)

    def key(self) -> tuple[object, ...]:
        """Return everything that can matter for what follows, in a strict world."""
        now_s = self.clock.now_s()
        waiting = sorted((max(0.0, one.visible_at_s - now_s), one.was_received) for one in self.waiting)
        keys = self.member_keys
        members = [keys.setdefault(member.key(), len(keys)) for member in self.members]
        lost: list[object] = []
        if not self.rules.is_young_trusting:
            members.sort()
        else:
            numbers = [member.number for member in self.members]
            lost = [
                (sum(one < number for one in numbers), since(at_s, now_s))
                for number, at_s in sorted(self.lost.items())
                if self.is_fresh(at_s)
            ]
        looks = [since(at_s, now_s) for at_s in self.late_looks]
        return (
            *map(tuple, (waiting, members, lost, looks, self.left.values())),
            self.owed_looks,
            *self.past,
        )

    # --- the state ---

    @property
    def messages(self) -> int:
        return len(self.waiting) + sum(member.is_holding for member in self.members)

    def visible(self) -> list[Waiting]:
        return [one for one in self.waiting if one.visible_at_s <= self.clock.now_s()]

    def depth(self, *, is_stale: bool) -> Depth:
        if is_stale:
            return self.past[0]
        backlog = len(self.visible())
        delayed = sum(not one.was_received for one in self.waiting if one.visible_at_s > self.clock.now_s())
        return Depth(backlog, self.messages - backlog - delayed, delayed)

    @property
    def is_message_lost(self) -> bool:
        """Say whether a message exists that neither a worker nor the controller will ever see."""
        is_over = not self.members and not self.owed_looks and not self.late_looks
        return bool(self.messages) and is_over and not self.rules.is_watched

    @property
    def is_served(self) -> bool:
        """Say whether the controller sees a worker in service."""
        return any(member.announced == "in_service" for member in self.members)

    def is_fresh(self, written_at_s: float) -> bool:
        return not self.rules.is_heartbeat_expiring or self.clock.now_s() - written_at_s <= HEARTBEAT_S

    def heartbeats(self, reader: Member) -> list[int]:
        """Return the numbers of the workers in service, as one of them sees them."""
        is_seen = not self.rules.is_drain_seen
        alive = [one.number for one in self.members if is_seen or one.announced == "in_service"]
        lost = [number for number, written_at_s in self.lost.items() if self.is_fresh(written_at_s)]
        found = [number for number in alive + lost if number != reader.number]
        return found if self.rules.is_age_agreed else [-1 for _ in found]

    def miss(self, lost: Member) -> None:
        """A worker is gone: the cloud informs the controller, which acts if none is in service."""
        self.owed_looks += not self.is_served
        if self.rules.is_young_trusting and lost.announced == "in_service":
            now_s = self.clock.now_s()
            self.lost[lost.number] = now_s
            self.late_looks.append(now_s + HEARTBEAT_S)

    # --- what may happen ---

    def steps(self) -> Iterator[tuple[str, int]]:
        """Yield each step that is possible now, and the worker that takes it."""
        yield "second", 0
        if self.left["send"]:
            yield "send", 0
            if self.rules.can_delay:
                yield "send_delayed", 0
        if self.owed_looks or self.rules.is_watched:
            yield "control", 0
        if any(at_s < self.clock.now_s() for at_s in self.late_looks):
            yield "control_late", 0
        if self.rules.is_watched:
            yield "control_stale", 0
        for number, member in enumerate(self.members):
            yield from ((step, number) for step, is_possible in self.steps_of(member).items() if is_possible)

    def steps_of(self, member: Member) -> dict[str, bool]:
        can_receive = member.is_receiving and not member.is_holding
        return {
            "tick": True,
            "tick_stale": member.protocol.state is DrainState.CHECKING,
            "finish": member.is_holding,
            "release": member.is_holding and member.is_paused,
            "receive": can_receive and bool(self.visible()),
            "close": member.is_receiving and member.is_paused,
            "crash": bool(self.left["crash"]),
            "notice": bool(self.left["notice"]) and not member.is_noticed,
            "poll": self.rules.is_polled and self.can_poll(member),
        }

    def can_poll(self, member: Member) -> bool:
        is_due = member.is_paused == self.rules.is_poll_late and member.final_poll is None
        return is_due and not member.is_holding and not (member.is_paused and member.is_receiving)

    def do(self, step: str, number: int) -> None:
        name, _, variant = step.partition("_")
        getattr(self, f"do_{name}")(number, variant)

    def do_second(self, _: int, __: str) -> None:
        self.clock.advance(1.0)
        self.past = (self.past[1], self.depth(is_stale=False))

    def do_send(self, _: int, is_delayed: str) -> None:
        self.left["send"] -= 1
        self.waiting.append(Waiting(self.clock.now_s() + (DELAY_S if is_delayed else 0.0)))
        self.owed_looks += 1

    def do_control(self, _: int, variant: str) -> None:
        if variant == "late":
            self.late_looks.pop(0)
        else:
            self.owed_looks = max(0, self.owed_looks - 1)
        depth = self.depth(is_stale=variant == "stale")
        if depth.backlog + depth.in_flight + depth.delayed and not self.is_served:
            self.members.append(Member(self, self.launched))
            self.launched += 1

    def do_tick(self, number: int, is_stale: str) -> None:
        member = self.members[number]
        member.is_stale = bool(is_stale)
        member.protocol.tick()
        member.is_stale = False
        if member.protocol.state is DrainState.LEFT:
            assert not member.is_holding, "a message would leave with it"
            assert not member.is_receiving, "a message may still come to it"
            self.members.remove(member)
            if member.is_noticed:
                self.miss(member)

    def do_finish(self, number: int, _: str) -> None:
        self.members[number].finish()

    def do_release(self, number: int, _: str) -> None:
        self.members[number].release()

    def do_receive(self, number: int, _: str) -> None:
        self.waiting.remove(self.visible()[0])
        self.members[number].is_holding, self.members[number].is_receiving = True, False

    def do_close(self, number: int, _: str) -> None:
        self.members[number].is_receiving = False

    def do_poll(self, number: int, _: str) -> None:
        self.members[number].final_poll = FinalPoll.FOUND if self.visible() else FinalPoll.EMPTY

    def do_crash(self, number: int, _: str) -> None:
        self.left["crash"] -= 1
        member = self.members.pop(number)
        if member.is_holding:
            self.waiting.append(Waiting(self.clock.now_s() + VISIBILITY_S, was_received=True))
            if self.rules.is_polled:
                self.late_looks.append(self.clock.now_s() + VISIBILITY_S)
        self.miss(member)

    def do_notice(self, number: int, _: str) -> None:
        self.left["notice"] -= 1
        self.members[number].is_noticed = True
        self.members[number].protocol.interrupt()

    # --- how it must end ---

    def run_on(self) -> None:
        """Go on without further accidents; every worker has a turn each second."""
        for _ in range(40):
            for step, number in [one for one in self.steps() if one[0].startswith("control")]:
                self.do(step, number)
            for kind in ("receive", "finish", "close", "poll", "tick_stale", "tick", "tick"):
                for member in list(self.members):
                    if member in self.members and (kind, self.members.index(member)) in set(self.steps()):
                        self.do(kind, self.members.index(member))
            self.do("second", 0)


class SavedWorld(NamedTuple):
    """A world as it was: nothing in it changes any more."""

    now_s: float
    waiting: tuple[Waiting, ...]
    left: tuple[tuple[str, int], ...]
    owed_looks: int
    members: tuple[SavedMember, ...]
    launched: int
    lost: tuple[tuple[int, float], ...]
    late_looks: tuple[float, ...]
    past: tuple[Depth, Depth]


def find_loss(rules: Rules, worlds_max: int) -> tuple[list[str], int]:
    """Explore all worlds that follow from these rules; return the steps to a loss and their number."""
    world = World(rules)
    seen = {world.key()}
    todo: deque[tuple[SavedWorld, tuple[str, ...]]] = deque([(world.save(), ())])
    while todo:
        saved, way = todo.popleft()
        world.restore(saved)
        if world.is_message_lost:
            return list(way), len(seen)
        for place, (step, number) in enumerate(list(world.steps())):
            if place:
                world.restore(saved)
            world.do(step, number)
            if (key := world.key()) not in seen:
                seen.add(key)
                todo.append((world.save(), (*way, f"{step} {number}")))
        assert len(seen) < worlds_max, "the world is too large for this test"
    return [], len(seen)


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Silence the log: there are thousands of lines."""
    log = logging.getLogger("beholder.draining.protocol")
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(logging.NOTSET)


# --- every interleaving of a small world --------------------------------------------------------------------

# Counts may be of any age: the protocol waits for none of them.
POLL = Rules(is_polled=True, can_delay=False)
# Without delayed messages. A crash or a notice as well makes too many worlds; random walks cover those.
TRUST = Rules(workers=2, is_young_trusting=True, can_delay=False)
SMALL = [
    pytest.param(Rules(), id="one worker"),
    pytest.param(Rules(workers=0), id="none at first"),
    pytest.param(Rules(crashes=1), id="a crash"),
    pytest.param(Rules(notices=1), id="a spot notice", marks=pytest.mark.slow),
    pytest.param(POLL, id="a final poll"),
    # Two workers that poll make too many worlds; random walks cover those.
    pytest.param(replace(POLL, crashes=1), id="a final poll and a crash", marks=pytest.mark.slow),
    pytest.param(Rules(workers=2), id="two workers", marks=pytest.mark.slow),
    pytest.param(Rules(workers=2, crashes=1), id="two workers and a crash", marks=pytest.mark.slow),
    pytest.param(TRUST, id="the younger of two trusts", marks=pytest.mark.slow),
    pytest.param(
        replace(TRUST, is_age_agreed=False), id="each takes the other for older", marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize("rules", SMALL)
def test_no_interleaving_leaves_a_message_behind(rules: Rules) -> None:
    way, worlds = find_loss(rules, worlds_max=200_000)
    assert way == []
    assert worlds > 100


FLAWED = [
    pytest.param(Rules(counts=lambda _: Depth(0, 0, 0)), id="no check"),
    pytest.param(Rules(counts=lambda seen: replace(seen, backlog=0)), id="visible ones overlooked"),
    pytest.param(Rules(counts=lambda seen: replace(seen, delayed=0)), id="delayed ones overlooked"),
    pytest.param(
        Rules(counts=lambda seen: replace(seen, in_flight=0), workers=2, crashes=1),
        id="those in flight overlooked",
        marks=pytest.mark.slow,
    ),
    pytest.param(Rules(limits=replace(STRICT, lag_s=0.0)), id="one check"),
    pytest.param(Rules(limits=replace(STRICT, lag_s=LAG_S)), id="a last check within the lag"),
    pytest.param(Rules(is_announced=False), id="not announced"),
    pytest.param(replace(POLL, is_poll_late=False), id="a poll from before the announcement"),
    pytest.param(replace(POLL, is_announced=False), id="a final poll, not announced"),
    pytest.param(
        Rules(limits=replace(STRICT, in_flight_s_max=0.0), workers=2, crashes=1),
        id="no patience with those in flight",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        replace(TRUST, is_trust_late=False, is_age_agreed=False),
        id="two that trust each other",
        marks=pytest.mark.slow,
    ),
    pytest.param(replace(TRUST, is_drain_seen=False), id="trust in one that drains", marks=pytest.mark.slow),
    pytest.param(
        replace(TRUST, is_heartbeat_expiring=False, crashes=1),
        id="trust in a lost worker's heartbeat for ever",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("rules", FLAWED)
def test_a_flawed_protocol_leaves_a_message_behind(rules: Rules) -> None:
    way, _ = find_loss(rules, worlds_max=200_000)
    assert way != []


# --- long walks through larger worlds -----------------------------------------------------------------------

WATCHED = DrainLimits(lag_s=2.0, check_every_s=1.0, retry_s=1.0, in_flight_s_max=4.0)
LARGE = [
    pytest.param(Rules(sends=4, crashes=2, notices=1, workers=3), id="strict"),
    pytest.param(
        Rules(sends=4, crashes=2, notices=1, workers=0, limits=WATCHED, is_watched=True), id="watched"
    ),
    pytest.param(Rules(sends=4, crashes=2, notices=1, workers=4, is_young_trusting=True), id="trusting"),
    pytest.param(
        Rules(
            sends=4, crashes=2, notices=1, workers=3, is_young_trusting=True, is_polled=True, can_delay=False
        ),
        id="polled",
    ),
]


@pytest.mark.parametrize("rules", LARGE)
@settings(max_examples=200)
@given(choices=st.lists(st.integers(0, 10**6), min_size=80, max_size=80))
def test_every_message_is_served_and_then_the_fleet_is_gone(rules: Rules, choices: list[int]) -> None:
    # given
    world = World(rules)
    for choice in choices:
        steps = list(world.steps())
        world.do(*steps[choice % len(steps)])
        assert not world.is_message_lost
    # when
    world.run_on()
    # then
    assert world.messages == 0
    assert world.members == []
