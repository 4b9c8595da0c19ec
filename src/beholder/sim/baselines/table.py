"""Which baselines there are, and how each is made."""

from collections.abc import Callable

from beholder.sim.baselines.buildkite import Buildkite
from beholder.sim.baselines.class_project import ClassProject
from beholder.sim.baselines.cortex import Cortex
from beholder.sim.baselines.keda import Keda
from beholder.sim.baselines.knative import Knative
from beholder.sim.baselines.ray_serve import RayServe
from beholder.sim.baselines.sagemaker import SageMaker
from beholder.sim.law import Law, Limits

__all__ = ["BASELINES", "make_baseline"]

BASELINES: dict[str, Callable[[Limits], Law]] = {
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


def make_baseline(name: str, limits: Limits) -> Law:
    """Return a new law with no memory; `name` is a key of BASELINES."""
    return BASELINES[name](limits)
