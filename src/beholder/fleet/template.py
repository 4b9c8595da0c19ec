"""What an instance of the fleet is launched from; declared here, set by the operator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from beholder.setting import Setting

__all__ = ["InstanceTemplate"]


@dataclass(frozen=True)
class InstanceTemplate:
    """The launch template and the choices that are not in it."""

    launch_template: Annotated[
        str,
        "EC2 launch template of the workers, by name or id; web processes then scale the fleet.",
        Setting(words={"none": ""}),
    ] = ""
    launch_template_version: Annotated[
        str, "Version of the launch template; $Default is the version that its owner chose.", Setting()
    ] = "$Default"
    instance_types: Annotated[
        tuple[str, ...],
        "Types that a worker's instance may have, in order of preference; auto is the template's.",
        Setting(words={"auto": ()}),
    ] = ()
    subnets: Annotated[
        tuple[str, ...],
        "Subnets of the workers, one in each zone that may be used; auto is the template's.",
        Setting(words={"auto": ()}),
    ] = ()
    on_demand_share: Annotated[float, "Share of instances that are not spot.", Setting(0, 1)] = 0.0
    prices: Annotated[
        Mapping[str, float],
        "Dollars per hour of instance types, such as c7a.large=0.10,c7a.large/spot=0.04.",
        Setting(words={"none": {}}),
    ] = field(default_factory=dict)

    def price_per_hour(self, instance_type: str, *, spot: bool) -> float:
        """Return the price of an instance; 0 if the settings have no price."""
        full = self.prices.get(instance_type, 0.0)
        return self.prices.get(f"{instance_type}/spot", full) if spot else full
