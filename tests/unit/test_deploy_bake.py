"""How the instance of a baked image is launched."""

import base64
from collections.abc import Mapping
from typing import Any, cast

import pytest

from beholder.clock import ManualClock
from beholder.deploy.account import Account
from beholder.deploy.bake import Bake
from beholder.deploy.waiting import Waiting
from beholder.errors import BackendDenied
from beholder.fleet.ec2 import DEPLOYMENT_TAG

SCRIPT = "#!/bin/bash\nROLE=worker\nBUNDLE_SHA256=abc\nBEHOLDER_OUTPUT_BUCKET=out\n"
INTERFACE = {"DeviceIndex": 0, "AssociatePublicIpAddress": False, "Groups": ["sg-1"]}


class Launching:
    """An account with the deployment zoo; EC2 refuses to launch, and what was asked is kept."""

    region = "eu-west-1"

    def __init__(self, subnets: str, interfaces: list[Mapping[str, Any]]) -> None:
        self.asked: dict[str, Any] = {}
        data = {"ImageId": "ami-1", "UserData": base64.b64encode(SCRIPT.encode()).decode()}
        stack = {"StackStatus": "UPDATE_COMPLETE", "Tags": [{"Key": DEPLOYMENT_TAG, "Value": "zoo"}]}
        outputs = {"Outputs": [{"OutputKey": "Subnets", "OutputValue": subnets}]}
        self._answers = {
            "describe_stacks": {"Stacks": [stack | outputs]},
            "describe_launch_template_versions": {
                "LaunchTemplateVersions": [{"LaunchTemplateData": data | {"NetworkInterfaces": interfaces}}]
            },
        }

    def call(self, service: str, action: str, **parameters: Any) -> Mapping[str, Any]:
        if action in self._answers:
            return self._answers[action]
        self.asked = parameters
        raise BackendDenied(service, action, "no more than this")


@pytest.mark.parametrize(
    ("subnets", "interfaces", "wanted"),
    [
        ("subnet-a,subnet-b", [INTERFACE], [{**INTERFACE, "SubnetId": "subnet-a"}]),
        ("", [INTERFACE], [INTERFACE]),
        ("subnet-a", [], []),
    ],
    ids=["a_subnet_of_the_workers", "none_is_known", "no_interface"],
)
def test_it_is_launched_where_workers_are(
    subnets: str, interfaces: list[Mapping[str, Any]], wanted: list[Mapping[str, Any]]
) -> None:
    """Without a subnet EC2 takes one of the default VPC, which an account may not have."""
    account, clock = Launching(subnets, interfaces), ManualClock()
    with pytest.raises(BackendDenied, match="no more than this"):
        Bake(cast("Account", account), "zoo", Waiting(clock, clock.advance, lambda _: None)).run()
    assert account.asked["NetworkInterfaces"] == wanted
    assert "BAKE=yes\n" in account.asked["UserData"]
