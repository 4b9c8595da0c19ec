"""The fleet's contract on EC2, as moto plays it.

ministack is left out: its CreateFleet launches no spot instances and drops the template's user data.
"""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from aws.emulators import REGION, Emulator, emulator
from beholder.fleet import Fleet
from beholder.fleet.template import InstanceTemplate
from beholder.testing import FleetContract

pytestmark = pytest.mark.aws


@pytest.fixture(scope="module")
def aws() -> Emulator:
    return emulator("moto")


@pytest.fixture(scope="module")
def template_name(aws: Emulator) -> str:
    """A launch template, and its name."""
    ec2 = aws.client("ec2")
    (image, *_) = ec2.describe_images(Owners=["amazon"])["Images"]
    name = f"template-{secrets.token_hex(4)}"
    data = {
        "ImageId": image["ImageId"],
        "InstanceType": "c7i.large",
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    return name


@pytest.fixture
def make_fleet(aws: Emulator, template_name: str) -> Iterator[Any]:
    """Makes a fleet: of its deployment, with what its template says besides."""
    from beholder.fleet.ec2 import Ec2Fleet  # noqa: PLC0415 -- only where boto3 is
    from beholder.fleet.ec2_client import Ec2Client  # noqa: PLC0415

    clients = []

    def make(deployment: str, **template: Any) -> tuple[Fleet, Ec2Client]:
        clients.append(Ec2Client(region=REGION, endpoint=aws.endpoint))
        return Ec2Fleet(clients[-1], deployment, InstanceTemplate(template_name, **template)), clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def deployment() -> str:
    return f"zoo-{secrets.token_hex(4)}"


class TestEc2Fleet(FleetContract):
    @pytest.fixture
    def fleet(self, make_fleet: Any, deployment: str) -> Fleet:
        fleet: Fleet = make_fleet(deployment)[0]
        return fleet


def test_another_process_knows_a_launch_by_its_tag(make_fleet: Any, deployment: str) -> None:
    """A token that an earlier process used launches nothing, though this emulator ignores client tokens."""
    # given
    first, _ = make_fleet(deployment)
    launched = first.launch(count=2, token="t1")  # noqa: S106 -- a name
    # when
    second, client = make_fleet(deployment)
    again = second.launch(count=2, token="t1")  # noqa: S106
    # then
    assert set(again.ids) == set(launched.ids)
    assert len(second.describe()) == 2
    assert "CreateFleet" not in client.calls


def test_tags_types_and_lifecycles_are_those_that_were_asked_for(
    aws: Emulator, make_fleet: Any, deployment: str
) -> None:
    # given
    prices = {"c7a.large": 0.10, "c7a.large/spot": 0.04}
    fleet, _ = make_fleet(
        deployment, instance_types=("c7a.large", "c6a.large"), on_demand_share=0.5, prices=prices
    )
    # when
    launch = fleet.launch(count=4, token="t1")  # noqa: S106
    # then
    seen = fleet.describe()
    assert {one.instance_type for one in seen} == {
        "c7a.large"
    }  # this emulator takes the first override alone
    assert sorted((one.spot, one.price_per_hour) for one in seen) == [
        (False, 0.10),
        (False, 0.10),
        (True, 0.04),
        (True, 0.04),
    ]
    found = aws.client("ec2").describe_instances(InstanceIds=[launch.ids[0]])
    tags = {one["Key"]: one["Value"] for one in found["Reservations"][0]["Instances"][0]["Tags"]}
    assert tags == {
        "beholder:deployment": deployment,
        "beholder:launch": "t1",
        "Name": f"{deployment}-worker",
    }


def test_instances_of_other_deployments_are_neither_seen_nor_ended(
    aws: Emulator, make_fleet: Any, deployment: str, template_name: str
) -> None:
    # given: one without tags, one of another deployment
    ec2 = aws.client("ec2")
    asked = {"LaunchTemplate": {"LaunchTemplateName": template_name}, "MinCount": 1, "MaxCount": 1}
    untagged = ec2.run_instances(**asked)["Instances"][0]["InstanceId"]
    other, _ = make_fleet(f"{deployment}-2")
    (foreign,) = other.launch(count=1, token="t1").ids  # noqa: S106
    fleet, _ = make_fleet(deployment)
    ours = fleet.launch(count=1, token="t1").ids  # noqa: S106
    assert len(ours) == 1
    assert ours[0] not in (untagged, foreign)
    # when
    fleet.terminate([untagged, foreign, *ours, "i-0123456789abcdef0"])
    # then
    states = {
        one["InstanceId"]: one["State"]["Name"]
        for group in ec2.describe_instances(InstanceIds=[untagged, foreign, *ours])["Reservations"]
        for one in group["Instances"]
    }
    assert states[untagged] == "running"
    assert states[foreign] == "running"
    assert states[ours[0]] in ("shutting-down", "terminated")


def test_a_stopped_instance_is_ending_and_can_be_terminated(
    aws: Emulator, make_fleet: Any, deployment: str
) -> None:
    """Its volume costs, so it is not forgotten."""
    fleet, _ = make_fleet(deployment)
    (stopped,) = fleet.launch(count=1, token="t1").ids  # noqa: S106
    aws.client("ec2").stop_instances(InstanceIds=[stopped])
    (seen,) = fleet.describe()
    assert seen.is_ending
    fleet.terminate([stopped])
    assert fleet.describe() == []


def test_a_missing_template_is_a_refusal(aws: Emulator, deployment: str) -> None:
    from beholder.fleet.ec2 import Ec2Fleet  # noqa: PLC0415
    from beholder.fleet.ec2_client import Ec2Client  # noqa: PLC0415

    client = Ec2Client(region=REGION, endpoint=aws.endpoint)
    launch = Ec2Fleet(client, deployment, InstanceTemplate("nobody")).launch(count=1, token="t1")  # noqa: S106
    client.close()
    assert launch.ids == ()
    assert "no such template" in launch.refusals[0]


def test_instances_beyond_one_page_are_read_from_the_next(
    make_fleet: Any, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The emulator takes 20 s of CPU for 1,001 instances; five are the smallest page that EC2 has.
    monkeypatch.setattr("beholder.fleet.ec2_client._PAGE_INSTANCES", 5)
    fleet, client = make_fleet(deployment)
    launched = fleet.launch(count=11, token="t1").ids  # noqa: S106 -- a name
    before = client.calls["DescribeInstances"]

    found = [instance.id for instance in fleet.describe()]

    assert sorted(found) == sorted(launched)
    assert len(found) == 11
    assert client.calls["DescribeInstances"] - before == 3
