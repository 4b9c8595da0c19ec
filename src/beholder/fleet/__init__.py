"""The processes that do the work: on one machine, children of `beholder up`."""

from beholder.fleet.process import ChildSpec, Lifeline, follow_lifeline
from beholder.fleet.supervisor import Supervisor

__all__ = ["ChildSpec", "Lifeline", "Supervisor", "follow_lifeline"]
