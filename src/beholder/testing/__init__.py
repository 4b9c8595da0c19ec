"""Contract suites: what every backend of a port must do, as test classes for pytest.

A backend's author subclasses the suite of the port and gives fixtures that make the backend; each suite's
module says which. beholder's own backends are tested by the same classes.
"""

from beholder.testing.fleet_contract import FleetContract
from beholder.testing.priority_contract import PriorityContract
from beholder.testing.queue_contract import QueueContract
from beholder.testing.store_contract import StoreContract

__all__ = ["FleetContract", "PriorityContract", "QueueContract", "StoreContract"]
