"""The first message wakes the controller of a fleet that is at nothing, and only it."""

import threading

from beholder.scaling.activator import Activator


def awaited(*, is_at_zero: bool = True) -> Activator:
    first = Activator(threading.Event())
    first.listen(is_at_zero=is_at_zero)
    return first


def test_the_first_message_rings_and_the_second_does_not() -> None:
    first = awaited()
    first.sent(1)
    assert first.notifier.is_set()
    first.notifier.clear()
    first.sent(1)
    assert not first.notifier.is_set()


def test_it_rings_again_where_a_tick_launched_nothing() -> None:
    first = awaited()
    first.sent(1)
    first.notifier.clear()
    first.listen(is_at_zero=True)
    first.sent(1)
    assert first.notifier.is_set()


def test_where_instances_are_nothing_rings() -> None:
    first = awaited(is_at_zero=False)
    first.sent(3)
    assert not first.notifier.is_set()
    assert first.sent_count == 3
