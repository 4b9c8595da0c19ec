"""What a person asks of a deployment becomes the template's parameters, costs, and lines; or is refused."""

import io
import math
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from beholder.clock import ManualClock
from beholder.deploy.account import Account
from beholder.deploy.bundle import read_models
from beholder.deploy.costs import hourly_costs, instance_prices, price_table
from beholder.deploy.network import Network
from beholder.deploy.plan import Plan, make_plan
from beholder.deploy.wanted import INSTANCE_TYPES, Exposure, Image, Wanted, parameters_of
from beholder.errors import BackendDenied, ConfigError, DeployError
from helpers.cloudformation import Rendered

NETWORK = Network(
    "vpc-1", "10.0.0.0/16", ["a", "b"], ["a", "b"], ["10.0.0.0/24", "10.0.1.0/24"], True, ["rtb-1"], "why"
)
NEW: Mapping[str, Any] = {
    "exposure": Exposure("192.0.2.7/32"),
    "network": NETWORK,
    "image": Image("ami-1", "/dev/sda1"),
    "prices": {"c7a.large": 0.1, "c7a.large/spot": 0.04},
    "script": "start",
}
AS_IT_IS: Mapping[str, Any] = NEW | {"exposure": None, "network": None, "image": None}

WITH_TLS: Mapping[str, Any] = {"front": "balancer", "certificate": "arn:c", "host_name": "a.example.com"}


def new(**options: Any) -> dict[str, str]:
    return parameters_of(Wanted(**options), {}, **NEW)


def test_a_new_deployment_has_the_template_s_defaults_and_the_network_that_was_chosen() -> None:
    parameters = Rendered().template["Parameters"]
    defaults = {key: str(parameters[key]["Default"]) for key in new() if "Default" in parameters[key]}
    assert new() == defaults | {
        "InstanceTypes": ",".join(INSTANCE_TYPES),
        "ExposeCidr": "192.0.2.7/32",
        "Reach": "internet",
        "VpcId": "vpc-1",
        "WorkerSubnets": "a,b",
        "WebSubnets": "a,b",
        "ProxyCidrs": "10.0.0.0/24,10.0.1.0/24",
        "PublicAddresses": "yes",
        "RouteTables": "rtb-1",
        "ImageId": "ami-1",
        "RootDevice": "/dev/sda1",
        "Prices": "c7a.large=0.1,c7a.large/spot=0.04",
        "StartScript": "start",
        "WebInstances": "1",
        "OldestMessageSeconds": "430",
    }


@pytest.mark.parametrize(
    ("option", "parameters"),
    [
        ({"fleet_max": 7}, {"FleetMax": "7"}),
        ({"fleet_max": 0}, {"FleetMax": "0"}),
        ({"instance_types": ["a.large", "b.large"]}, {"InstanceTypes": "a.large,b.large"}),
        ({"on_demand_share": 1.0}, {"OnDemandShare": "1"}),
        ({"latency_goal_s": 0.25}, {"LatencyGoal": "0.25", "OldestMessageSeconds": "401"}),
        ({"budget_per_hour": 2.5}, {"BudgetPerHour": "2.5"}),
        ({"budget_per_hour": math.inf}, {"BudgetPerHour": "none"}),
        ({"front": "balancer"}, {"Front": "balancer", "WebInstances": "2"}),
        ({"models": ["one", "two"]}, {"Models": "one,two"}),
        ({"aim": "deadline"}, {"Aim": "deadline"}),
        ({"alarm_email": "ops@example.com"}, {"AlarmEmail": "ops@example.com"}),
        (
            WITH_TLS,
            {
                "Front": "balancer",
                "WebInstances": "2",
                "CertificateArn": "arn:c",
                "HostName": "a.example.com",
            },
        ),
    ],
    ids=lambda one: next(iter(one)),
)
def test_an_option_changes_its_parameters_alone(option: dict[str, Any], parameters: dict[str, str]) -> None:
    assert new(**option) == new() | parameters
    if "Front" in parameters:  # it changes the address
        return
    before = new() | {"BundleKey": "b", "LatencyGoal": "30"}
    assert parameters_of(Wanted(**option), before, **AS_IT_IS) == before | parameters


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"wanted": Wanted(front="balancer")}, "--front"),
        ({"exposure": Exposure("10.0.0.0/16", is_internal=True)}, "--expose internal"),
        ({"network": replace(NETWORK, vpc="vpc-2")}, "--vpc"),
    ],
    ids=["front", "reach", "vpc"],
)
def test_what_cannot_change_in_place_is_refused_in_one_sentence(change: dict[str, Any], option: str) -> None:
    given = {"wanted": Wanted(), "before": new(), **AS_IT_IS, **change}
    with pytest.raises(ConfigError) as refused:
        parameters_of(**given)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{option} cannot change in place, because clients would lose the address")


@pytest.mark.parametrize("cidr", ["0.0.0.0/1", "128.0.0.0/1", "64.0.0.0/7", "0.0.0.0/0"])
def test_a_network_wider_than_anyone_owns_is_public(cidr: str) -> None:
    with pytest.raises(ConfigError, match="needs TLS for its API keys"):
        parameters_of(Wanted(), {}, **NEW | {"exposure": Exposure(cidr)})


def test_a_network_that_one_owner_has_is_not_public() -> None:
    given = parameters_of(Wanted(), {}, **NEW | {"exposure": Exposure("9.0.0.0/8")})
    assert given["ExposeCidr"] == "9.0.0.0/8"


@pytest.mark.parametrize("source", ["stock", "given"])
def test_a_stack_remembers_whether_its_image_was_given(source: str) -> None:
    image = Image("ami-2", "/dev/sda1", is_stock=source == "stock")
    given = parameters_of(Wanted(), new(), **AS_IT_IS | {"image": image})
    assert (given["ImageId"], given["ImageSource"]) == ("ami-2", source)


def test_what_no_option_names_stays_as_it_is() -> None:
    before = new(fleet_max=7, budget_per_hour=2.5, front="balancer", models=["one"]) | {"BundleKey": "b"}
    assert parameters_of(Wanted(), before, **AS_IT_IS) == before


def test_a_deployment_inside_its_vpc_has_no_tls_to_give() -> None:
    inside = parameters_of(Wanted(), {}, **NEW | {"exposure": Exposure("0.0.0.0/0", is_internal=True)})
    assert (inside["Reach"], inside["CertificateArn"]) == ("vpc", "")


@pytest.mark.parametrize(
    ("options", "cidr", "problems"),
    [
        ({"certificate": "arn:c"}, "192.0.2.7/32", ["--certificate needs --front balancer"]),
        ({"front": "balancer"}, "0.0.0.0/0", ["--expose public, as any network wider than a /8, needs TLS"]),
        ({"certificate": "arn:c"}, "0.0.0.0/0", ["--certificate needs --front balancer"]),
        ({"host_name": "a.example.com"}, "192.0.2.7/32", ["--host-name needs --certificate"]),
        ({"front": "balancer", "certificate": "arn:c"}, "0.0.0.0/0", []),
    ],
    ids=[
        "certificate_without_balancer",
        "public_without_certificate",
        "public_instance",
        "name_without_certificate",
        "public_with_tls",
    ],
)
def test_what_does_not_go_together_is_refused(
    options: dict[str, str], cidr: str, problems: list[str]
) -> None:
    given = NEW | {"exposure": Exposure(cidr)}
    if not problems:
        assert parameters_of(Wanted(**cast("Any", options)), {}, **given)["CertificateArn"] == "arn:c"
        return
    with pytest.raises(ConfigError) as refused:
        parameters_of(Wanted(**cast("Any", options)), {}, **given)
    assert [
        one for one, expected in zip(refused.value.problems, problems, strict=True) if expected not in one
    ] == []


# --- from where it is reached -------------------------------------------------------------------------------


class Reading:
    """An account with a VPC and one instance type; a call that would change something is an error."""

    region = "eu-west-1"

    def call(self, _service: str, action: str, **_: Any) -> Mapping[str, Any]:
        answers: Mapping[str, Mapping[str, Any]] = {
            "describe_stacks": {"Errors": [{"ErrorCode": "ValidationError"}]},
            "describe_images": {"Images": [{"RootDeviceName": "/dev/sda1"}]},
            "get_caller_identity": {"Account": "123456789012"},
        }
        return answers[action]

    def pages(self, _service: str, action: str, _member: str, **_: Any) -> list[Any]:
        table = {"RouteTableId": "rtb-1", "Associations": [{"Main": True}]}
        routes = [{"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1"}]
        subnet = {"SubnetId": "subnet-1", "AvailabilityZone": "eu-west-1a", "CidrBlock": "10.0.0.0/24"}
        offered = [
            {"InstanceType": one, "Location": "eu-west-1a"} for one in ("c6a.large", "c6i.large", "t3.small")
        ]
        answers: Mapping[str, list[Any]] = {
            "describe_vpcs": [{"VpcId": "vpc-1", "CidrBlock": "10.0.0.0/16", "IsDefault": True}],
            "describe_route_tables": [table | {"Routes": routes}],
            "describe_subnets": [subnet],
            "describe_vpc_endpoints": [],
            "describe_instance_type_offerings": offered,
            "describe_spot_price_history": [],
        }
        return answers[action]


class Upgraded(Reading):
    """A deployment whose stock image, or image that was given, is an old one."""

    def __init__(self, source: str) -> None:
        self.before = new(instance_types=["c6a.large"]) | {"ImageSource": source, "BundleKey": "b"}

    def call(self, service: str, action: str, **parameters: Any) -> Mapping[str, Any]:
        told = [{"ParameterKey": key, "ParameterValue": one} for key, one in self.before.items()]
        tags = [{"Key": "beholder:deployment", "Value": "zoo"}]
        stack = {"StackStatus": "UPDATE_COMPLETE", "Tags": tags, "Parameters": told}
        answers: Mapping[str, Mapping[str, Any]] = {
            "describe_stacks": {"Stacks": [stack]},
            "get_template": {"TemplateBody": "old"},
            "get_parameter": {"Parameter": {"Value": "ami-newest"}},
            "head_object": {"Metadata": {"beholder-version": "0.0.1"}},
        }
        return answers[action] if action in answers else super().call(service, action, **parameters)


@pytest.mark.parametrize(
    ("source", "image", "is_upgrade", "found"),
    [
        ("stock", None, True, ("ami-newest", "stock")),
        ("given", None, True, ("ami-1", "given")),
        ("stock", None, False, ("ami-1", "stock")),
        ("given", "stock", True, ("ami-newest", "stock")),
        ("given", "stock", False, ("ami-newest", "stock")),
        ("stock", "ami-2", True, ("ami-2", "given")),
    ],
)
def test_an_upgrade_takes_the_newest_stock_image_unless_one_was_given(
    source: str,
    image: str | None,
    is_upgrade: bool,  # noqa: FBT001
    found: tuple[str, str],
) -> None:
    account = cast("Account", Upgraded(source))
    made = make_plan(account, "zoo", Wanted(), image=image, clock=ManualClock(), is_upgrade=is_upgrade)
    assert (made.parameters["ImageId"], made.parameters["ImageSource"]) == found
    assert any(line.startswith("  version    beholder 0.0.1 -> ") for line in made.lines())
    assert f"  version    image {'ami-1 -> ' if found[0] != 'ami-1' else ''}{found[0]}" in "\n".join(
        made.lines()
    )


def plan(expose: str | None, types: list[str] | None = None, address: str = "198.51.100.9") -> Plan:
    return make_plan(
        cast("Account", Reading()),
        "zoo",
        Wanted(instance_types=types),
        expose=expose,
        image="ami-1",
        find_address=lambda: address,
        clock=ManualClock(),
    )


@pytest.mark.parametrize(
    ("expose", "cidr", "reach"),
    [
        (None, "198.51.100.9/32", "internet"),
        ("mine", "198.51.100.9/32", "internet"),
        ("cidr=203.0.113.0/24", "203.0.113.0/24", "internet"),
        ("cidr=203.0.113.5", "203.0.113.5/32", "internet"),
    ],
)
def test_who_reaches_it(expose: str | None, cidr: str, reach: str) -> None:
    given = plan(expose).parameters
    assert (given["ExposeCidr"], given["Reach"]) == (cidr, reach)


@pytest.mark.parametrize(
    "expose",
    [
        "cidr=10.0.0.0/8x",
        "cidr=10.0.0.1/8",
        "cidr=2001:db8::/32",
        "cidr=10.0.0.0/33",
        "cidr=10.0.0.0/8,11.0.0.0/8",
        "cidr=",
        "everyone",
        "10.0.0.0/8",
        "",
    ],
)
def test_a_network_that_is_none_is_refused_in_one_sentence(expose: str) -> None:
    with pytest.raises(ConfigError) as refused:
        plan(expose)
    (problem,) = refused.value.problems
    assert problem.startswith("--expose takes mine, internal, public or cidr=ADDRESSES, not ")


def test_an_own_address_of_ipv6_is_refused_with_what_to_give() -> None:
    with pytest.raises(ConfigError, match=r"cidr=ADDRESSES, not .*2001:db8::1/32"):
        plan("mine", address="2001:db8::1")


def test_types_that_the_region_lacks_are_left_out_by_default_and_refused_by_name() -> None:
    assert plan(None).parameters["InstanceTypes"] == "c6a.large,c6i.large"
    assert "left out   eu-west-1 does not offer c7a.large" in plan(None).notes
    with pytest.raises(
        DeployError, match=r"eu-west-1 does not offer c7a\.large; choose others by --instance-types"
    ):
        plan(None, ["c7a.large", "c6a.large"])


# --- costs --------------------------------------------------------------------------------------------------


def costs(prices: Mapping[str, float], **parameters: str) -> tuple[float | None, float | None]:
    found = hourly_costs(new(instance_types=["c7a.large"]) | parameters, prices)
    return found.idle, found.instance


def test_a_balancer_and_its_addresses_cost_beside_the_instances() -> None:
    table, prices = price_table(), {"c7a.large": 0.1}
    one, _ = costs(prices)
    two, _ = costs(prices, WebInstances="2")
    balanced, _ = costs(prices, WebInstances="2", Front="balancer")
    inside, _ = costs(prices, WebInstances="2", Front="balancer", Reach="vpc")
    assert one
    assert two == pytest.approx(2 * one)
    assert inside == pytest.approx(two + table["balancer_per_hour"])
    assert balanced == pytest.approx(two + table["balancer_per_hour"] + 2 * table["public_address_per_hour"])


def test_workers_cost_what_is_bought() -> None:
    prices = {"c7a.large": 0.1, "c7a.large/spot": 0.04}
    _, spot = costs(prices)
    _, on_demand = costs(prices, OnDemandShare="1")
    _, half = costs(prices, OnDemandShare="0.5")
    assert spot
    assert on_demand == pytest.approx(spot + 0.06)
    assert half == pytest.approx(spot + 0.03)
    assert costs({"c7a.large": 0.1})[1] == on_demand  # no spot price is known


def test_an_unknown_type_makes_the_cost_unknown_and_the_plan_says_so() -> None:
    assert costs({})[1] is None
    assert costs({"c7a.large": 0.1}, WebInstanceType="x9.huge") == (None, pytest.approx(0.1, abs=0.01))


def test_spot_prices_that_may_not_be_read_are_left_out() -> None:
    class Refusing:
        def pages(self, service: str, action: str, *_: Any, **__: Any) -> list[Any]:
            raise BackendDenied(service, action)

    prices = instance_prices(cast("Account", Refusing()), ["c7a.large", "x9.huge"], spot=True, now_s=1e9)
    assert list(prices) == ["c7a.large"]


# --- the plan in words --------------------------------------------------------------------------------------


def lines(before: Mapping[str, str], prices: Mapping[str, float], **changed: str) -> list[str]:
    given = new(instance_types=["c7a.large"]) | changed
    made = Plan(
        "zoo",
        "eu-west-1",
        "1",
        "",
        before,
        given,
        "vpc-1",
        hourly_costs(given, prices),
        template="new",
        template_before="old",
        versions=("0.1", "0.2"),
        notes=["left out"],
    )
    return made.lines()


def test_a_plan_for_a_new_deployment_says_what_will_be_there() -> None:
    told = "\n".join(lines({}, {"c7a.large": 0.1}))
    for part in (
        "deployment zoo in eu-west-1, account 1",
        "one t3.small, replaced if it fails, at a fixed address, plain HTTP",
        "from the internet, by 192.0.2.7/32 alone, with an API key",
        "0 to 20 of c7a.large, spot",
        "at 20 workers $",
        "left out",
        "beholder:deployment=zoo, but that rtb-1 get the route of the gateway endpoint of S3, but that the",
        "account gets the role that spot needs",
        "eu-west-1 has other list prices, which beholder does not know",
    ):
        assert part in told
    assert "it exists" not in told


def test_a_plan_for_a_deployment_that_exists_says_what_changes_and_no_more() -> None:
    before = new(instance_types=["c7a.large"]) | {"Prices": "old"}
    assert "it exists; its settings stay" in lines(before, {})
    told = lines(before, {}, FleetMax="40", OnDemandShare="1", Front="balancer", WebInstances="2")
    start = told.index("it exists; these parameters change:")
    assert told[start + 1 : start + 4] == [
        "  FleetMax: 20 -> 40",
        "  Front: instance -> balancer",
        "  OnDemandShare: 0 -> 1",
    ]
    assert "  costs      at 40 workers unknown" in told
    assert [line for line in told if line.startswith("  version ")] == [
        "  version    beholder 0.1 -> 0.2",
        "  version    template cba06b57 -> 11507a0e",
        "  version    image ami-1, as it is",
        "  version    models efficientnet-lite0, as it is",
    ]
    assert any("2 t3.small behind a balancer with plain HTTP" in line for line in told)


# --- models that stay ---------------------------------------------------------------------------------------


def test_the_models_of_a_bundle_are_read_back_and_nothing_else(tmp_path: Path) -> None:
    archive = tmp_path / "running.tar.gz"
    with tarfile.open(archive, "w:gz") as bundle:
        for name in ("start.sh", "models/one/model.xml", "models/one/labels.txt", "models/two/model.xml"):
            member = tarfile.TarInfo(name)
            member.size = 1
            bundle.addfile(member, io.BytesIO(b"x"))
    (tmp_path / "out").mkdir()

    found = read_models(archive, tmp_path / "out")

    assert found == [tmp_path / "out" / "models" / one for one in ("one", "two")]
    assert (found[0] / "labels.txt").read_bytes() == b"x"
    assert not (tmp_path / "out" / "start.sh").exists()


def test_what_is_no_bundle_is_told(tmp_path: Path) -> None:
    (tmp_path / "running.tar.gz").write_bytes(b"no archive")
    with pytest.raises(DeployError, match=r"running.tar.gz is no bundle"):
        read_models(tmp_path / "running.tar.gz", tmp_path)
