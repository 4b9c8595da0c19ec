"""Our policy with each aim against the baselines over several traffics and seeds, as one table."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from beholder.scaling.policy.limits import Aim
from beholder.simulator.baselines import TUNED, make_baseline
from beholder.simulator.bound import least_hours
from beholder.simulator.cloud import WorldSettings
from beholder.simulator.compare import Comparison, geometric_mean, verdicts
from beholder.simulator.ours import Ours
from beholder.simulator.policy import Policy
from beholder.simulator.run import Figures, figures_of, pooled
from beholder.simulator.traffic import make_traffic
from beholder.simulator.world import simulate

__all__ = ["AIMS_TRAFFICS", "aims_table"]

AIMS_TRAFFICS = ("step", "ramp", "flash", "on-off", "trickle", "poisson-bursts", "heavy-bursts")
# Ray and SageMaker are never the best, and take the most time.
_SHIPPED = ("cortex", "keda", "buildkite-300s", "knative", "knative-100", "class-project")
_HEAD = (
    "startup, s",
    "service, s",
    "aim",
    "as shipped",
    "best in hindsight",
    "as quick too",
    "worst traffic",
    "times the bound",
    "p50, s",
    "cheaper and sooner",
)


def aims_table(settings: WorldSettings, traffics: Sequence[str], seeds: Sequence[int]) -> Iterator[str]:
    """Yield the lines of a Markdown table, one line for each aim.

    The ratios are geometric means over the traffics of our instance-hours against those of the cheapest
    baseline as good, by `simulator.compare`: as shipped; with the best target in hindsight, that is, as
    shipped or with its target set to goal / service time, a fourth or a sixteenth of that, for each traffic
    anew; and of those as quick too. The bound is what no schedule can undercut that knows all arrivals.

    Args:
        settings: The world; its seed does not count.
        traffics: Names of built-in traffics.
        seeds: The runs of all of them are pooled.
    """
    yield f"| {' | '.join(_HEAD)} |"
    yield "|" + "---|" * len(_HEAD)
    worlds = [replace(settings, seed=seed) for seed in seeds]
    baselines = [_played(name, traffic, worlds) for traffic in traffics for name in (*_SHIPPED, *TUNED)]
    for aim in Aim:
        ours = [_played(aim, traffic, worlds) for traffic in traffics]
        limits = settings.limits
        row = (
            f"{limits.startup_s:g}",
            f"{limits.service_s:g}",
            aim.value,
            *_against(ours, baselines, worlds),
        )
        yield f"| {' | '.join(row)} |"


def _against(
    ours: Sequence[Figures], baselines: Sequence[Figures], worlds: Sequence[WorldSettings]
) -> tuple[str, ...]:
    shipped = _verdicts(ours, [one for one in baselines if one.policy in _SHIPPED])
    tuned = _verdicts(ours, baselines)
    ratios = [one.ratio for one in tuned if one.ratio is not None]
    quick = (replace(one, best=one.quick).ratio for one in tuned)
    beaten = (f"{one.ours.traffic}: {' '.join(one.better_in_both)}" for one in tuned if one.better_in_both)
    return (
        _written(geometric_mean(one.ratio for one in shipped)),
        _written(geometric_mean(ratios)),
        _written(geometric_mean(quick)),
        _written(max(ratios, default=None)),
        _written(geometric_mean(one.instance_hours / _bound(one.traffic, worlds) for one in ours)),
        ", ".join(f"{one.traffic} {one.p50_s:.2f}" for one in ours),
        "; ".join(beaten) or "none",
    )


def _bound(traffic: str, worlds: Sequence[WorldSettings]) -> float:
    return sum(least_hours(make_traffic(traffic, one.seed), one) for one in worlds)


def _played(name: str, traffic: str, worlds: Sequence[WorldSettings]) -> Figures:
    runs = [simulate(_policy(name, one), make_traffic(traffic, one.seed), one) for one in worlds]
    limits = worlds[0].limits
    goal_s = limits.startup_s + limits.latency_goal_s
    return replace(figures_of(pooled(runs), goal_s=goal_s, price_per_hour=limits.price_per_hour), policy=name)


def _policy(name: str, world: WorldSettings) -> Policy:
    if name in tuple(Aim):
        return Ours(world.limits, queue_lag_s=world.queue_lag_s, aim=Aim(name))
    return make_baseline(name, world.limits)


def _verdicts(ours: Sequence[Figures], baselines: Sequence[Figures]) -> list[Comparison]:
    both = sorted((*ours, *baselines), key=lambda one: one.traffic)
    return verdicts(both, ours=ours[0].policy)


def _written(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"
