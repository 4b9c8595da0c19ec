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

__all__ = ["BASELINES", "make_baseline"]

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


def make_baseline(name: str, limits: WorldLimits) -> Policy:
    """Return a new policy; `name` is a key of BASELINES."""
    return BASELINES[name](limits)
