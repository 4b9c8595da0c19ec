"""The fleet room: the instances that run workers, on EC2 or as child processes of `beholder up`.

`Fleet` is the port; `LocalFleet` serves one machine, `Ec2Fleet` AWS, `MemoryFleet` tests.
"""

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
