"""The contract of every fleet, as a test class that an adapter's author subclasses.

Define a fixture that makes an empty fleet with room for at least three instances, and pytest runs the suite::

    from beholder.testing import FleetContract

    class TestMyFleet(FleetContract):
        @pytest.fixture
        def fleet(self):
            return MyFleet()

The adapter's own tests cover what a launch starts (a process, an EC2 instance).
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from beholder.fleet.port import Fleet

__all__ = ["FleetContract"]


class FleetContract:
    """The semantics of the `Fleet` port, one test each."""

    @pytest.fixture
    def fleet(self) -> Fleet:
        """Return an empty fleet; an adapter's test overrides this."""
        raise NotImplementedError

    def alive(self, fleet: Fleet) -> set[str]:
        """Return the ids of instances that are not ending; an adapter with late answers overrides this."""
        return {one.id for one in fleet.describe() if not one.is_ending}

    def test_an_empty_fleet_has_no_instances(self, fleet: Fleet) -> None:
        """Describe finds nothing before the first launch."""
        assert self.alive(fleet) == set()

    def test_a_launch_names_what_it_launched(self, fleet: Fleet) -> None:
        """The ids of a launch are those that describe returns."""
        launch = fleet.launch(count=2, token="one")  # noqa: S106 -- a name, no secret
        assert len(set(launch.ids)) == 2
        assert launch.refusals == ()
        assert self.alive(fleet) == set(launch.ids)

    def test_launches_add_up(self, fleet: Fleet) -> None:
        """Two launches with different tokens are two."""
        first, second = fleet.launch(count=1, token="one"), fleet.launch(count=2, token="two")  # noqa: S106
        assert self.alive(fleet) == {*first.ids, *second.ids}
        assert len(self.alive(fleet)) == 3

    def test_a_launch_repeated_with_its_token_is_one_launch(self, fleet: Fleet) -> None:
        """A retry after a lost answer launches nothing more and returns the same ids."""
        first = fleet.launch(count=2, token="again")  # noqa: S106
        again = fleet.launch(count=2, token="again")  # noqa: S106
        assert set(again.ids) == set(first.ids)
        assert self.alive(fleet) == set(first.ids)

    def test_the_same_token_from_many_threads_is_one_launch(self, fleet: Fleet) -> None:
        """Of launches with one token at the same moment one takes place."""
        start = threading.Barrier(4)

        def launch() -> frozenset[str]:
            start.wait(10)
            return frozenset(fleet.launch(count=1, token="race").ids)  # noqa: S106

        with ThreadPoolExecutor(4) as pool:
            launched = {one.result(30) for one in [pool.submit(launch) for _ in range(4)]}
        assert len(launched) == 1
        assert len(self.alive(fleet)) == 1

    def test_an_instance_has_its_launch_time(self, fleet: Fleet) -> None:
        """The launch time does not change."""
        fleet.launch(count=1, token="one")  # noqa: S106
        (first,) = fleet.describe()
        (again,) = fleet.describe()
        assert first.launched_at_s > 0
        assert again.launched_at_s == first.launched_at_s

    def test_terminated_instances_end_and_the_others_stay(self, fleet: Fleet) -> None:
        """Only the named instances are ended."""
        launch = fleet.launch(count=3, token="one")  # noqa: S106
        fleet.terminate(launch.ids[:2])
        assert self.alive(fleet) == {launch.ids[2]}

    def test_an_instance_that_is_gone_or_unknown_can_be_terminated(self, fleet: Fleet) -> None:
        """A second termination does nothing, and an unknown name is no error."""
        launch = fleet.launch(count=1, token="one")  # noqa: S106
        fleet.terminate(launch.ids)
        fleet.terminate([*launch.ids, "unknown"])
        assert self.alive(fleet) == set()

    def test_terminating_nothing_does_nothing(self, fleet: Fleet) -> None:
        """An empty list is allowed."""
        launch = fleet.launch(count=1, token="one")  # noqa: S106
        fleet.terminate([])
        assert self.alive(fleet) == set(launch.ids)
