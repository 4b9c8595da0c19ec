"""`beholder doctor` on an emulator: what it reads of an account, and what it prints."""

import functools
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from aws.emulators import Emulator
from beholder.cli.main import beholder
from beholder.clock import ManualClock, SystemClock
from beholder.deploy.account import Account
from beholder.deploy.doctor import Finding, Level, check_before
from beholder.deploy.doctor.names import check_names
from beholder.deploy.doctor.requirements import read_parameters
from beholder.errors import BackendDenied
from beholder.fleet.ec2 import DEPLOYMENT_TAG

pytestmark = [pytest.mark.aws, pytest.mark.usefixtures("calls_go_to_moto")]

# Regions that no other test uses, because what is done here to a default VPC stays.
REGION = "us-west-2"
NO_VPC = "ap-south-1"
PRIVATE = "ca-central-1"


@pytest.fixture
def name() -> str:
    return f"zoo-{secrets.token_hex(4)}"


@pytest.fixture
def account(moto: Emulator) -> Iterator[Account]:
    """The account in a region whose default VPC has a way out, as AWS makes it and moto does not."""
    ec2 = moto.client("ec2", REGION)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.describe_route_tables()["RouteTables"][0]["RouteTableId"]
    way = {"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}
    ec2.create_route(**way, GatewayId=gateway)
    yield account_in(REGION)
    ec2.delete_route(**way)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)


@functools.cache
def account_in(region: str) -> Account:
    """Return the account; to make its clients takes seconds."""
    return Account(region)


def checked(account: Account, name: str) -> dict[str, Finding]:
    """Return the worst finding of each check."""
    order = [Level.OK, Level.WARNING, Level.PROBLEM]
    findings = check_before(account, name, read_parameters(account, name), SystemClock())
    return {one.check: one for one in sorted(findings, key=lambda one: order.index(one.level))}


def test_an_account_that_is_ready(account: Account, name: str) -> None:
    found = checked(account, name)

    assert {check for check, one in found.items() if one.level is Level.OK} == {
        "region",
        "identity",
        "clock",
        "VPC",
        "worker subnets",
        "web subnets",
        "worker instance types",
        "web instance types",
        "names",
    }
    # moto has neither the quotas of EC2, nor scores, nor Ubuntu's parameters.
    assert {one.level for one in found.values()} == {Level.OK, Level.WARNING}


def test_no_default_vpc(moto: Emulator, name: str) -> None:
    ec2 = moto.client("ec2", NO_VPC)
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    for vpc in ec2.describe_vpcs()["Vpcs"]:
        ec2.delete_vpc(VpcId=vpc["VpcId"])

    finding = checked(account_in(NO_VPC), name)["VPC"]

    assert finding.level is Level.PROBLEM
    assert "no VPC" in finding.sentence
    assert finding.command == f"aws ec2 create-default-vpc --region {NO_VPC}"


def test_a_vpc_without_a_route_out_is_told_before_anything_hangs(moto: Emulator, name: str) -> None:
    finding = checked(account_in(PRIVATE), name)["VPC"]

    assert finding.level is Level.PROBLEM
    assert "only private subnets" in finding.sentence


def test_another_vpc_than_the_default_one_is_checked_where_it_is_named(
    account: Account, moto: Emulator, name: str
) -> None:
    ec2 = moto.client("ec2", REGION)
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]

    def of_vpc(*options: str) -> list[dict[str, str]]:
        run = CliRunner().invoke(beholder, ["doctor", name, "--region", account.region, "--json", *options])
        return [one for one in map(json.loads, run.stdout.splitlines()) if one["check"] == "VPC"]

    try:
        assert [one["level"] for one in of_vpc()] == ["ok"]
        (private,) = of_vpc("--vpc", vpc)
        (missing,) = of_vpc("--vpc", "vpc-0123456789abcdef0")
    finally:
        ec2.delete_subnet(SubnetId=subnet)
        ec2.delete_vpc(VpcId=vpc)
    assert (private["level"], "only private subnets" in private["sentence"]) == ("problem", True)
    assert vpc in private["sentence"]
    assert f"there is no VPC vpc-0123456789abcdef0 in {REGION}" in missing["sentence"]


def test_an_image_id_of_another_region_on_the_emulator(account: Account, moto: Emulator, name: str) -> None:
    image = moto.client("ec2", REGION).describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    elsewhere = "ami-0123456789abcdef0"
    moto.client("cloudformation", REGION).create_stack(
        StackName=name,
        TemplateBody=json.dumps(
            {
                "Parameters": {"ImageId": {"Type": "String"}},
                "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
            }
        ),
        Parameters=[{"ParameterKey": "ImageId", "ParameterValue": elsewhere}],
        Tags=[{"Key": DEPLOYMENT_TAG, "Value": name}],
    )

    finding = checked(account, name)["image"]

    assert finding.level is Level.PROBLEM
    assert f"{REGION} has no image {elsewhere}" in finding.sentence
    assert image != elsewhere


def test_names_that_are_taken(account: Account, moto: Emulator, name: str) -> None:
    moto.client("sqs", REGION).create_queue(QueueName=f"{name}-input-queue")
    moto.client("ec2", REGION).create_launch_template(
        LaunchTemplateName=f"{name}-worker", LaunchTemplateData={"InstanceType": "t3.small"}
    )

    finding = checked(account, name)["names"]

    assert finding.level is Level.PROBLEM
    assert f"launch template {name}-worker" in finding.sentence
    assert f"{name}-input-queue" in finding.sentence


@pytest.mark.parametrize("name", ["Zoo", "2zoo", "z" * 28, "zoo_1"])
def test_a_name_that_no_deployment_can_have(name: str) -> None:
    (finding,) = check_names(Account(REGION), name)

    assert (finding.level, "27 lower-case letters" in finding.sentence) == (Level.PROBLEM, True)


def test_without_an_identity_nothing_else_is_asked(
    account: Account, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def call(_: Account, service: str, action: str, **__: Any) -> Any:
        asked.append(action)
        raise BackendDenied(service, action, "InvalidClientTokenId: The security token is invalid")

    monkeypatch.setattr(Account, "call", call)

    findings = check_before(account, name, {}, SystemClock())

    assert asked == ["get_caller_identity"]
    assert [(one.check, one.level) for one in findings] == [("region", Level.OK), ("identity", Level.PROBLEM)]
    assert f"{REGION} is not enabled" in findings[-1].sentence


def test_a_clock_that_is_wrong_stops_the_checks(account: Account, name: str) -> None:

    findings = check_before(account, name, {}, ManualClock())

    assert (findings[-1].check, findings[-1].level) == ("clock", Level.PROBLEM)


def test_the_command_prints_findings_and_fails_if_there_is_a_problem(
    account: Account, moto: Emulator, name: str
) -> None:
    ready = CliRunner().invoke(beholder, ["doctor", name, "--region", account.region])
    private = CliRunner().invoke(beholder, ["doctor", name, "--region", PRIVATE, "--json"])

    assert ready.exit_code == 0, ready.output
    assert f"ok       names: the names of {name} are free" in ready.output.splitlines()
    assert private.exit_code == 1
    documents = [json.loads(line) for line in private.output.splitlines()]
    assert {"check", "level", "sentence", "command"} == documents[0].keys()
    assert "problem" in [one["level"] for one in documents if one["check"] == "VPC"]
