"""The fleet's contract on every embedded backend."""

from collections.abc import Iterator

import pytest

from beholder.clock import MonotonicClock
from beholder.fleet import ChildSpec, Fleet, LocalFleet, MemoryFleet, Supervisor
from beholder.testing import FleetContract


class TestMemoryFleet(FleetContract):
    @pytest.fixture
    def fleet(self) -> Fleet:
        return MemoryFleet()


class TestLocalFleet(FleetContract):
    @pytest.fixture
    def fleet(self) -> Iterator[Fleet]:
        supervisor = Supervisor([], MonotonicClock())
        yield LocalFleet(
            supervisor, lambda number: ChildSpec(f"one-{number}", ("/bin/sleep", "600"), {}), room=5
        )
        supervisor.kill()
        supervisor.stop(drain_s=10)
