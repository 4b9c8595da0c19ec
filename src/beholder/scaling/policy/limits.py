"""The limits that the operator sets, and the constants of the policy."""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the fleet, and how the policy reads its goal.

    Args:
        min: Instances that are always kept.
        max: Instances at most, those that drain included.
        latency_goal_s: How long a request may take beyond a startup.
        budget_per_hour: The fleet's price per hour is not launched beyond this; None for no cap.
        warm_min: Instances kept beyond those that the load needs.
        startup_patience: Share of a startup that a request may wait besides the goal, 0 to 1. 1 reads the
            goal as a deadline of startup + goal for every request; with 0, a steady load is served
            within the goal.
        price_per_hour: The expected price of the next instance.
        slack_s_min: Part of the goal that a launch plans with at least; a goal of 0 would want endless
            instances for one message. A few times the service time.
        arrivals_tau_s: Time constant of the arrival rate; a startup's time or less.
        instance_type: Instance type of the next launch, where it is known.
        startup_s: Taken for the startup time until startups were seen.
        service_s: Taken for the instance time per message until replies were seen.
        tick_s: Seconds between two decisions.
        lag_s: How old the depths may be.
        visibility_timeout_s: After this, a message that no worker holds is visible again.
        hold_max: Messages that one instance holds at most.
        backoff_s: First pause after a refusal or a second failed startup in a row; it doubles.
        backoff_s_max: Longest pause.
        lifetime_s_max: An instance older than this is terminated once it is not busy; None for no limit.
        silence_s_max: An instance that was ready and wrote no heartbeat for this long is suspected dead.
    """

    min: int = 0
    max: int = 20
    latency_goal_s: float = 30.0
    budget_per_hour: float | None = None
    warm_min: int = 0
    startup_patience: float = 1.0
    price_per_hour: float = 0.0
    slack_s_min: float = 1.0
    arrivals_tau_s: float = 60.0
    instance_type: str = ""
    startup_s: float = 200.0
    service_s: float = 0.5
    tick_s: float = 5.0
    lag_s: float = 0.0
    visibility_timeout_s: float = 60.0
    hold_max: int = 10
    backoff_s: float = 15.0
    backoff_s_max: float = 600.0
    lifetime_s_max: float | None = 86_400.0
    silence_s_max: float = 180.0
