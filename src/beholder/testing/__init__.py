"""Contract suites: the tests that every adapter of a port must pass, as classes for pytest.

An adapter's author subclasses the suite of the port and defines fixtures that make the adapter; the module of
each suite lists them. The same classes test beholder's own adapters.
"""

from beholder.testing.fleet_contract import FleetContract
from beholder.testing.priority_contract import PriorityContract
from beholder.testing.queue_contract import QueueContract
from beholder.testing.store_contract import StoreContract

__all__ = ["FleetContract", "PriorityContract", "QueueContract", "StoreContract"]
