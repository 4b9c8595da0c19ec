"""How many instances there should be: a pure policy, its controller, a worker's idle rule."""

from beholder.scaling.decision import Bound, Decision, Forecast, Record
from beholder.scaling.limits import Limits
from beholder.scaling.memory import Memory
from beholder.scaling.observation import InstanceSeen, InstanceState, Observation, ServiceSeen
from beholder.scaling.policy import decide

__all__ = [
    "Bound",
    "Decision",
    "Forecast",
    "InstanceSeen",
    "InstanceState",
    "Limits",
    "Memory",
    "Observation",
    "Record",
    "ServiceSeen",
    "decide",
]
