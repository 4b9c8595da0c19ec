"""Contract suites: the tests that every backend of a port must pass, as classes for pytest.

A backend's author subclasses the suite of the port and gives fixtures that make the backend; each suite's
module says which. The same classes test beholder's own backends.
"""

from beholder.testing.fleet_contract import FleetContract
from beholder.testing.priority_contract import PriorityContract
from beholder.testing.queue_contract import QueueContract
from beholder.testing.store_contract import StoreContract

__all__ = ["FleetContract", "PriorityContract", "QueueContract", "StoreContract"]
