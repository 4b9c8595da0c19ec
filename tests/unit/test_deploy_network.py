"""Which subnets a deployment takes, and the one sentence that says why none will do."""

from collections.abc import Sequence

import pytest

from beholder.deploy.network import Network, Seen, Subnet, Way, choose_network
from beholder.errors import DeployError

ZONES = ("a", "b", "c")


def subnet(zone: str, way: Way, number: int = 0) -> Subnet:
    return Subnet(
        f"subnet-{zone}{number}{way.name.lower()}",
        zone,
        f"rtb-{way.name.lower()}",
        way,
        f"10.0.{number}.0/24",
    )


def seen(subnets: Sequence[Subnet], endpoints: Sequence[str] = (), s3: Sequence[str] = ()) -> Seen:
    return Seen("vpc-1", "172.31.0.0/16", subnets, s3, endpoints)


def choose(
    what: Seen,
    *,
    is_internal: bool = False,
    has_balancer: bool = False,
    worker_zones: Sequence[str] = ZONES,
    web_zones: Sequence[str] = ZONES,
) -> Network:
    return choose_network(
        what,
        is_internal=is_internal,
        has_balancer=has_balancer,
        worker_zones=worker_zones,
        web_zones=web_zones,
    )


PUBLIC = [subnet(zone, Way.INTERNET) for zone in ZONES]
NAT = [subnet(zone, Way.NAT) for zone in ZONES]
ISOLATED = [subnet(zone, Way.NONE) for zone in ZONES]


def test_a_default_vpc_gives_one_public_subnet_per_zone_and_public_addresses() -> None:
    network = choose(seen([*PUBLIC, subnet("a", Way.INTERNET, 1)]))
    assert network.worker_subnets == ["subnet-a0internet", "subnet-b0internet", "subnet-c0internet"]
    assert network.has_public_addresses
    assert network.route_tables == ["rtb-internet"]
    assert "gateway endpoint of S3 is added" in network.reason


def test_private_subnets_are_taken_before_public_ones_for_an_internal_deployment() -> None:
    network = choose(seen([*PUBLIC, *NAT]), is_internal=True)
    assert not network.has_public_addresses
    assert set(network.worker_subnets) == {one.id for one in NAT}


def test_a_table_that_has_the_endpoint_of_s3_gets_no_second_one() -> None:
    assert choose(seen(PUBLIC, s3=["rtb-internet"])).route_tables == []


def test_subnets_without_a_way_out_will_do_where_the_vpc_has_the_endpoints() -> None:
    network = choose(seen(ISOLATED, endpoints=["sqs", "logs", "ec2"]), is_internal=True)
    assert not network.has_public_addresses


def test_workers_and_web_instances_run_where_their_types_are_offered() -> None:
    network = choose(seen(PUBLIC), worker_zones=["a", "b"], web_zones=["b", "c"])
    assert network.worker_subnets == ["subnet-a0internet", "subnet-b0internet"]
    assert network.web_subnets == ["subnet-b0internet", "subnet-c0internet"]


@pytest.mark.parametrize(
    ("what", "asked", "sentence"),
    [
        pytest.param(seen([]), {}, "has no subnets", id="a VPC without subnets"),
        pytest.param(seen(NAT), {}, "only private subnets", id="the internet cannot reach a private subnet"),
        pytest.param(
            seen(ISOLATED, endpoints=["sqs"]),
            {"is_internal": True},
            "no endpoint of logs, ec2",
            id="a subnet without a route hangs",
        ),
        pytest.param(
            seen(PUBLIC), {"worker_zones": ["z"]}, "of the workers", id="a type absent in all zones"
        ),
        pytest.param(
            seen(PUBLIC), {"web_zones": ["z"]}, "of the web instances", id="no zone for the web tier"
        ),
        pytest.param(seen(PUBLIC[:1]), {"has_balancer": True}, "two zones", id="a balancer in one zone"),
    ],
)
def test_what_will_not_do_is_refused_in_one_sentence(
    what: Seen, asked: dict[str, object], sentence: str
) -> None:
    with pytest.raises(DeployError, match=sentence) as refused:
        choose(what, **asked)  # type: ignore[arg-type]
    assert "\n" not in refused.value.message
