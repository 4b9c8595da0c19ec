"""The processes that do the work: on one machine, children of `beholder up`."""

from beholder.fleet.local import LocalFleet
from beholder.fleet.memory import MemoryFleet
from beholder.fleet.port import Fleet, FleetInstance, Launch
from beholder.fleet.process import ChildSpec, ParentDeathPipe, follow_parent
from beholder.fleet.supervisor import Supervisor

__all__ = [
    "ChildSpec",
    "Fleet",
    "FleetInstance",
    "Launch",
    "LocalFleet",
    "MemoryFleet",
    "ParentDeathPipe",
    "Supervisor",
    "follow_parent",
]
