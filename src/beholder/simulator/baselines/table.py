"""The baselines by name, and the function that makes each."""

from collections.abc import Callable

from beholder.simulator.baselines.buildkite import Buildkite
from beholder.simulator.baselines.class_project import ClassProject
from beholder.simulator.baselines.cortex import Cortex
from beholder.simulator.baselines.keda import Keda
from beholder.simulator.baselines.knative import Knative
from beholder.simulator.baselines.ray_serve import RayServe
from beholder.simulator.baselines.sagemaker import SageMaker
from beholder.simulator.policy import Policy, WorldLimits

__all__ = ["BASELINES", "TUNED", "make_baseline"]

BASELINES: dict[str, Callable[[WorldLimits], Policy]] = {
    "cortex": Cortex,
    "ray": RayServe,
    "keda": Keda,
    "sagemaker": SageMaker,
    "sagemaker-uncapped": lambda limits: SageMaker(limits, is_scale_in_capped=False),
    "buildkite": Buildkite,
    "buildkite-300s": lambda limits: Buildkite(limits, out_cooldown_s=300.0),
    "knative": Knative,
    "knative-100": lambda limits: Knative(limits, concurrency=100.0),
    "class-project": ClassProject,
}

# Their one target set as vendors advise, messages per instance = goal / service time, and to parts of that.
_PARTS = {"": 1.0, "/4": 4.0, "/16": 16.0}


def _target(limits: WorldLimits, part: float) -> float:
    return max(1.0, limits.latency_goal_s / limits.service_s / part)


def _tuned(make: Callable[[WorldLimits, float], Policy], part: float) -> Callable[[WorldLimits], Policy]:
    return lambda limits: make(limits, _target(limits, part))


TUNED: dict[str, Callable[[WorldLimits], Policy]] = {
    f"{name}-goal{text}": _tuned(make, part)
    for name, make in (
        ("cortex", lambda limits, target: Cortex(limits, in_flight=target)),
        ("keda", lambda limits, target: Keda(limits, per_replica=target)),
        ("knative", lambda limits, target: Knative(limits, concurrency=target / 0.7)),
    )
    for text, part in _PARTS.items()
}


def make_baseline(name: str, limits: WorldLimits) -> Policy:
    """Return a new policy; `name` is a key of BASELINES or TUNED."""
    return (BASELINES | TUNED)[name](limits)
