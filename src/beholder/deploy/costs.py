"""What a deployment costs, by a table of prices that has a date."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

from beholder.deploy.account import Account
from beholder.errors import BackendError

__all__ = ["Costs", "hourly_costs", "instance_prices", "price_table", "prices_in"]

_HOURS_PER_MONTH = 730
# A root device of 8 GB, which is what the stock image asks for.
_DISK_GB = 8
_SPOT_S = 3600.0
_SYSTEM = "Linux/UNIX"


@cache
def price_table() -> Mapping[str, Any]:
    """Return the list prices of this version of beholder, in dollars, with their region and date."""
    table: Mapping[str, Any] = json.loads((resources.files("beholder.deploy") / "prices.json").read_text())
    return table


def instance_prices(account: Account, types: Sequence[str], *, spot: bool, now_s: float) -> dict[str, float]:
    """Return the dollars per hour of instance types, as the setting `prices` has them.

    On-demand prices are those of the table, spot prices those that EC2 tells for the last hour: the highest
    of the zones. A price that nobody tells is left out.
    """
    listed = price_table()["dollars_per_hour"]
    prices = {one: float(listed[one]) for one in types if one in listed}
    if spot:
        prices |= _spot_prices(account, types, datetime.fromtimestamp(now_s - _SPOT_S, UTC))
    return prices


def prices_in(text: str) -> dict[str, float]:
    """Return the prices that a stack's parameter has, as `instance_prices` returns them."""
    pairs = [one.partition("=") for one in text.split(",") if "=" in one]
    return {name: float(price) for name, _, price in pairs}


def _spot_prices(account: Account, types: Sequence[str], since: datetime) -> dict[str, float]:
    try:
        told = account.pages(
            "ec2",
            "describe_spot_price_history",
            "SpotPriceHistory",
            InstanceTypes=list(types),
            ProductDescriptions=[_SYSTEM],
            StartTime=since,
        )
    except BackendError:  # the plan is the poorer, the deployment is not
        return {}
    prices: dict[str, float] = {}
    for one in told:
        # An emulator tells of all types.
        if one["InstanceType"] in types:
            key = f"{one['InstanceType']}/spot"
            prices[key] = max(prices.get(key, 0.0), float(one["SpotPrice"]))
    return prices


@dataclass(frozen=True)
class Costs:
    """Dollars per hour.

    Args:
        idle: Without an image for a long time: the web tier alone.
        instance: Of one worker at most; None where the price of a type is unknown.
    """

    idle: float | None
    instance: float | None


def hourly_costs(parameters: Mapping[str, str], prices: Mapping[str, float]) -> Costs:
    """Return what a deployment costs per hour.

    Args:
        parameters: Of the template.
        prices: Of the workers' types, as `instance_prices` returns them.
    """
    table = price_table()
    web_price = table["dollars_per_hour"].get(parameters["WebInstanceType"])
    address = table["public_address_per_hour"] if parameters["PublicAddresses"] == "yes" else 0.0
    beside = address + _DISK_GB * table["disk_gb_per_month"] / _HOURS_PER_MONTH
    count = int(parameters["WebInstances"])
    idle = None if web_price is None else count * (web_price + beside)
    if idle is not None and parameters["Front"] == "balancer":
        addresses = len(parameters["WebSubnets"].split(",")) if parameters["Reach"] == "internet" else 0
        idle += table["balancer_per_hour"] + addresses * table["public_address_per_hour"]
    share = float(parameters["OnDemandShare"])
    each: list[float] = []
    for one in parameters["InstanceTypes"].split(","):
        if one not in prices:
            return Costs(idle, None)
        each.append(share * prices[one] + (1 - share) * prices.get(f"{one}/spot", prices[one]))
    return Costs(idle, max(each) + beside)
