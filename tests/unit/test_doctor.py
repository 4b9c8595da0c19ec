"""What doctor decides, of what it has read."""

from collections.abc import Sequence
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from beholder.aws.regions import regions_of
from beholder.deploy.doctor import Finding, Level
from beholder.deploy.doctor.access import judge_clock, judge_region
from beholder.deploy.doctor.capacity import (
    ON_DEMAND,
    SPOT,
    InstanceType,
    judge_image,
    judge_quota,
    judge_spot_capacity,
    judge_types,
)
from beholder.deploy.doctor.endpoints import judge_endpoints
from beholder.deploy.doctor.finding import attempt
from beholder.deploy.doctor.names import judge_names
from beholder.deploy.doctor.requirements import Requirements
from beholder.deploy.doctor.subnets import endpoint_services, judge_subnets
from beholder.deploy.inventory import Found
from beholder.deploy.network import Seen, Subnet, Way
from beholder.errors import BackendDenied, BackendUnavailable

REGION = "eu-west-1"
NOW_S = 1_800_000_000.0
NEEDS = Requirements(
    name="zoo",
    image="ami-1",
    instance_types=["c7a.large", "c6a.large", "c7i.large"],
    web_instance_type="t3.small",
    fleet_max=20,
    on_demand_share=0.0,
    vpc="vpc-1",
    worker_subnets=["subnet-a", "subnet-b"],
    web_subnets=["subnet-a"],
    has_public_addresses=True,
    route_tables=[],
)


def only(findings: Sequence[Finding]) -> Finding:
    (finding,) = findings
    return finding


# --- region and clock ---------------------------------------------------------------------------------------


def test_a_region_that_lacks_a_service() -> None:
    finding = only(judge_region(REGION, {"sqs": {"us-east-1"}, "ec2": {"us-east-1", REGION}}))

    assert finding.level is Level.PROBLEM
    assert finding.sentence == "eu-west-1 lacks a service that a deployment needs: sqs"
    assert finding.command == "beholder doctor --region us-east-1"


def test_a_region_that_is_written_wrong_names_the_one_that_is_meant() -> None:
    finding = only(judge_region("us-eats-1", {"ec2": regions_of("ec2")}))

    assert (finding.level, finding.command) == (Level.PROBLEM, "beholder doctor --region us-east-1")


def test_a_region_newer_than_botocore_is_no_problem() -> None:
    assert only(judge_region("mars-olympus-7", {"ec2": regions_of("ec2")})).level is Level.WARNING


@pytest.mark.parametrize("region", ["us-east-1", "cn-north-1", "us-gov-west-1", "eusc-de-east-1"])
def test_every_partition_has_a_region_with_every_service(region: str) -> None:
    assert only(judge_region(region, {one: regions_of(one) for one in ("ec2", "sqs")})).level is Level.OK


@pytest.mark.parametrize(
    ("ahead_s", "level", "word"),
    [
        (0, Level.OK, "agrees"),
        (100, Level.WARNING, "ahead"),
        (-100, Level.WARNING, "behind"),
        (301, Level.PROBLEM, "ahead"),
    ],
)
def test_a_clock_that_is_wrong(ahead_s: float, level: Level, word: str) -> None:
    headers = {"date": formatdate(NOW_S - ahead_s, usegmt=True)}

    finding = only(judge_clock({"ResponseMetadata": {"HTTPHeaders": headers}}, NOW_S))

    assert (finding.level, word in finding.sentence) == (level, True)


def test_an_answer_without_a_date_says_nothing_of_clocks() -> None:
    assert judge_clock({}, NOW_S) == []


# --- network ------------------------------------------------------------------------------------------------


def network(*ways: Way, endpoints: Sequence[str] = (), s3_route_tables: Sequence[str] = ()) -> Seen:
    subnets = [
        Subnet(f"subnet-{letter}", f"{REGION}{letter}", f"rtb-{letter}", way, "10.0.0.0/24")
        for letter, way in zip("abcdef", ways, strict=False)
    ]
    return Seen("vpc-1", "10.0.0.0/16", subnets, s3_route_tables, endpoints)


def test_a_subnet_without_a_route_in_which_instances_hang() -> None:
    findings = judge_subnets(network(Way.INTERNET, Way.NONE), NEEDS, REGION)

    (problem,) = [one for one in findings if one.level is Level.PROBLEM]
    assert problem.check == "worker subnets"
    assert "hang in subnet-b in eu-west-1b, because they do not reach S3, SQS" in problem.sentence
    assert "com.amazonaws.eu-west-1.s3 --route-table-ids rtb-b" in problem.command
    assert "com.amazonaws.eu-west-1.sqs" in problem.command
    assert "subnet-a" not in problem.command


def test_an_internet_gateway_serves_no_instance_without_a_public_address() -> None:
    needs = replace(NEEDS, has_public_addresses=False)

    findings = judge_subnets(network(Way.INTERNET, Way.NAT), needs, REGION)

    assert [(one.check, one.level) for one in findings] == [
        ("worker subnets", Level.PROBLEM),
        ("worker subnets", Level.OK),
        ("web subnets", Level.PROBLEM),
    ]
    assert "public addresses" in findings[0].sentence


def test_a_private_network_that_cannot_fetch_what_it_installs() -> None:
    """All that an instance fetches is in S3; the stack's gateway endpoint, or another, is the way."""
    sqs_alone = network(Way.NONE, endpoints=["sqs", "ec2"])
    needs = replace(NEEDS, worker_subnets=["subnet-a"])

    problem = judge_subnets(sqs_alone, needs, REGION)[0]
    assert "do not reach S3:" in problem.sentence

    for seen, made in (
        (sqs_alone, ["rtb-a"]),
        (replace(sqs_alone, s3_route_tables=["rtb-a"]), []),
        (replace(sqs_alone, endpoints=["sqs", "ec2", "s3"]), []),
    ):
        findings = judge_subnets(seen, replace(needs, route_tables=made), REGION)
        assert {one.level for one in findings} == {Level.OK}


def test_subnets_with_the_same_want_are_one_finding() -> None:
    findings = judge_subnets(network(Way.NONE, Way.NONE), replace(NEEDS, web_subnets=[]), REGION)

    assert "subnet-a in eu-west-1a, subnet-b in eu-west-1b" in only(findings).sentence
    assert "--subnet-ids subnet-a subnet-b" in only(findings).command


def test_a_subnet_of_another_vpc() -> None:
    findings = judge_subnets(network(Way.INTERNET), NEEDS, REGION)

    assert "vpc-1 has no subnet subnet-b" in [one.sentence for one in findings]


# --- endpoints ----------------------------------------------------------------------------------------------

ENDPOINT = {
    "VpcEndpointId": "vpce-1",
    "ServiceName": "com.amazonaws.eu-west-1.sqs",
    "PrivateDnsEnabled": True,
    "Groups": [{"GroupId": "sg-1"}],
}


def rule(cidr: str, protocol: str = "tcp", **ports: int) -> dict[str, Any]:
    return {"IpProtocol": protocol, "IpRanges": [{"CidrIp": cidr}], **ports}


@pytest.mark.parametrize(
    ("admitted", "level"),
    [
        (rule("10.0.0.0/16", FromPort=443, ToPort=443), Level.OK),
        (rule("10.0.0.0/8", FromPort=0, ToPort=65535), Level.OK),
        (rule("0.0.0.0/0", "-1"), Level.OK),
        (rule("10.0.1.0/24", FromPort=443, ToPort=443), Level.WARNING),  # a part of the VPC
        (rule("10.0.0.0/16", FromPort=80, ToPort=80), Level.WARNING),
        (rule("10.0.0.0/16", "udp", FromPort=443, ToPort=443), Level.WARNING),
        # The VPC's default group lets its own members in, and instances are not among them.
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}]}, Level.WARNING),
    ],
)
def test_an_endpoint_that_lets_instances_in(admitted: dict[str, Any], level: Level) -> None:
    finding = only(judge_endpoints([ENDPOINT], {"sg-1": [admitted]}, "10.0.0.0/16", REGION))

    assert finding.level is level
    if level is Level.WARNING:
        assert "no rule of sg-1 lets 10.0.0.0/16 reach vpce-1, the endpoint of SQS" in finding.sentence
        assert "--group-id sg-1 --protocol tcp --port 443 --cidr 10.0.0.0/16" in finding.command


def test_an_endpoint_without_the_usual_name() -> None:
    rules = {"sg-1": [rule("10.0.0.0/16", "-1")]}

    finding = only(judge_endpoints([{**ENDPOINT, "PrivateDnsEnabled": False}], rules, "10.0.0.0/16", REGION))

    assert finding.level is Level.PROBLEM
    assert finding.command.endswith("--vpc-endpoint-id vpce-1 --private-dns-enabled")


def test_endpoints_count_only_for_subnets_without_a_way_out() -> None:
    assert endpoint_services(network(Way.INTERNET, Way.NAT), NEEDS) == set()
    assert endpoint_services(network(Way.INTERNET, Way.NONE), NEEDS) == {"sqs"}
    assert endpoint_services(network(Way.NONE, Way.NONE), NEEDS) == {"sqs", "ec2"}


# --- instance types -----------------------------------------------------------------------------------------


def types(**zones: str) -> dict[str, InstanceType]:
    """Return types, given as c7a_large='ab' with the letters of their zones."""
    named = {name.replace("_", "."): letters for name, letters in zones.items()}
    return {
        name: InstanceType(name, 2, {f"{REGION}{letter}" for letter in letters})
        for name, letters in named.items()
    }


ZONES = [f"{REGION}a", f"{REGION}b"]


def test_a_type_that_is_absent_in_a_zone_is_told_with_the_zones_that_have_it() -> None:
    finding = only(judge_types("worker", ["c7a.large"], types(c7a_large="b"), ZONES, REGION))

    assert finding.level is Level.WARNING
    assert finding.sentence == "c7a.large is not offered in eu-west-1a, but in eu-west-1b"


def test_a_type_that_is_absent_in_all_zones_of_the_subnets() -> None:
    finding = only(judge_types("web", ["t3.small"], types(t3_small="c"), ZONES, REGION))

    assert (finding.level, "in no zone of the subnets" in finding.sentence) == (Level.PROBLEM, True)


def test_a_type_that_is_missing_is_a_warning_while_another_is_left() -> None:
    seen = types(c7a_large="ab", c6g_large="ab")
    seen["c6g.large"] = replace(seen["c6g.large"], is_x86=False)

    findings = judge_types("worker", ["c7a.large", "c7x.large", "c6g.large"], seen, ZONES, REGION)
    alone = judge_types("worker", ["c7x.large", "c6g.large"], seen, ZONES, REGION)

    assert {one.level for one in findings} == {Level.WARNING}
    assert {one.level for one in alone} == {Level.PROBLEM}
    assert [one.sentence for one in alone] == [
        "the region has no instance type c7x.large",
        "c6g.large is not x86-64, the bundle is",
    ]


def test_types_that_every_zone_offers() -> None:
    assert only(judge_types("worker", ["c7a.large"], types(c7a_large="ab"), ZONES, REGION)).level is Level.OK


# --- quotas and capacity ------------------------------------------------------------------------------------


def test_a_quota_raised_for_spot_where_on_demand_was_meant() -> None:
    """Each finding has the name and the code of its own quota, also in the command."""
    spot = judge_quota(SPOT, 256, 40, 2, REGION)
    on_demand = judge_quota(ON_DEMAND, 5, 46, 2, REGION)

    assert (spot.check, spot.level) == ("spot quota", Level.OK)
    assert "Spot Instance Requests" in spot.sentence
    assert (on_demand.check, on_demand.level) == ("on-demand quota", Level.WARNING)
    assert "Running On-Demand Standard" in on_demand.sentence
    assert "--quota-code L-1216C47A --desired-value 46 --region eu-west-1" in on_demand.command


def test_a_quota_below_one_instance() -> None:
    assert judge_quota(SPOT, 0, 40, 2, REGION).level is Level.PROBLEM


def test_spot_capacity_that_is_missing_is_told_before_the_deployment() -> None:
    low = judge_spot_capacity(NEEDS, 2)

    assert low.level is Level.WARNING
    assert "chance of 20 spot instances of these types 2 of 10" in low.sentence
    assert "on-demand instances take the place" in low.sentence
    assert judge_spot_capacity(NEEDS, 9).level is Level.OK
    assert judge_spot_capacity(NEEDS, None).level is Level.WARNING


# --- the image ----------------------------------------------------------------------------------------------


def test_an_image_id_of_another_region() -> None:
    finding = judge_image(NEEDS, REGION, None)

    assert finding.level is Level.PROBLEM
    assert "an image id counts in one region" in finding.sentence
    assert finding.command.startswith("beholder deploy zoo --region eu-west-1")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"State": "pending"}, "state is pending"),
        ({"Architecture": "arm64"}, "architecture is arm64"),
        ({"RootDeviceType": "instance-store"}, "root device is instance-store"),
        ({}, ""),
    ],
)
def test_an_image_that_cannot_start(wrong: dict[str, str], said: str) -> None:
    image = {"State": "available", "Architecture": "x86_64", "RootDeviceType": "ebs", **wrong}

    finding = judge_image(NEEDS, REGION, image)

    assert (finding.level, said in finding.sentence) == (Level.PROBLEM if wrong else Level.OK, True)


# --- names --------------------------------------------------------------------------------------------------


def test_a_name_that_is_taken_by_someone_else() -> None:
    found = [Found("queue", "zoo-input-queue", is_ours=False)]

    finding = only(judge_names("zoo", REGION, found, has_stack=False))

    assert (finding.level, finding.command) == (Level.PROBLEM, "beholder deploy ANOTHER-NAME")
    assert "queue zoo-input-queue lacks the tag" in finding.sentence


def test_what_an_earlier_deployment_left_is_in_the_way_unless_the_stack_takes_it_over() -> None:
    role, bucket = Found("role", "zoo-eu-west-1-web"), Found("bucket", "zoo-1-input")

    finding = only(judge_names("zoo", REGION, [role, bucket], has_stack=False))

    assert (finding.level, finding.command) == (Level.PROBLEM, "beholder destroy zoo --region eu-west-1")
    assert "bucket" not in finding.sentence
    assert only(judge_names("zoo", REGION, [role], has_stack=True)).level is Level.OK
    assert only(judge_names("zoo", REGION, [bucket], has_stack=False)).level is Level.OK


# --- checks that cannot be made -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BackendDenied("ec2", "describe_images", "UnauthorizedOperation: no"), "it is refused: ec2: desc"),
        (
            BackendUnavailable("ec2", "describe_images", "<html>\nmore"),
            "a service does not answer: ec2: desc",
        ),
    ],
)
def test_a_check_that_cannot_be_made_is_a_warning_of_one_line(error: Exception, said: str) -> None:
    def fail() -> Any:
        raise error

    finding = only(attempt("image", fail))

    assert (finding.check, finding.level) == ("image", Level.WARNING)
    assert said in finding.sentence
    assert "\n" not in finding.sentence


def test_the_line_of_a_finding_has_its_command_below() -> None:
    finding = Finding("image", Level.PROBLEM, "no image", "beholder deploy zoo")

    assert finding.line() == "problem  image: no image\n         beholder deploy zoo"
    assert "\n" not in Finding("image", Level.OK, "here").line()
