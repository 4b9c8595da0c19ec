"""How many instances there should be: a pure policy, its controller, a worker's idle rule."""

from beholder.scaling.policy.decision import Bound, Decision, Forecast
from beholder.scaling.policy.limits import Limits
from beholder.scaling.policy.observation import InstanceSeen, InstanceState, Observation, ServiceSeen
from beholder.scaling.policy.policy import decide
from beholder.scaling.policy.state import PolicyState
from beholder.scaling.records.record import Record

__all__ = [
    "Bound",
    "Decision",
    "Forecast",
    "InstanceSeen",
    "InstanceState",
    "Limits",
    "Observation",
    "PolicyState",
    "Record",
    "ServiceSeen",
    "decide",
]
