"""The limits that the operator sets, and the constants of the policy."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Aim", "Limits"]


class Aim(StrEnum):
    """How the policy reads the goal."""

    STEADY = "steady"
    """95 of 100 requests are answered within the goal, wherever their load could be served by instances that
    were there or could have been booted in time; a steady load is served near the service time."""
    DEADLINE = "deadline"
    """Every request may take a startup and the goal, and the fleet is as small as that allows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of the fleet, and how the policy reads its goal.

    Args:
        min: Instances that are always kept.
        max: Instances at most, those that drain included.
        latency_goal_s: How long a request may take; a startup is added where none could be launched in time,
            and with `Aim.DEADLINE` for every request.
        aim: How the goal is read.
        budget_per_hour: The fleet's price per hour is not launched beyond this; None for no cap.
        warm_min: Instances kept beyond those that the load needs.
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
    aim: Aim = Aim.STEADY
    budget_per_hour: float | None = None
    warm_min: int = 0
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
