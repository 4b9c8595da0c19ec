"""Instances start and serve with exactly the rights of the template, on an emulator that enforces them.

Instances are moto's, all that they call is ministack's: it checks signatures and policies, and moto does not.
"""

import base64
import json
import re
import secrets
import sys
import urllib.request
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from aws.emulators import REGION, ROOT, Emulator, own_ministack
from beholder.deploy.bundle import Bundle
from ec2.harness import Ec2Harness, End
from helpers.cloudformation import Rendered

pytestmark = [pytest.mark.aws, pytest.mark.slow]

WAIT_S = 300.0
PORT = 8080
ACCOUNT = "000000000000"
# AWS has no right of its own for a batch: who may send one may send ten. ministack asks for one of that name.
# Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html (2026-11)
BATCHED = ("sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")
REFUSED = re.compile(
    r"AccessDenied|Unauthorized|not authorized|SignatureDoesNotMatch|error: 40[03]", re.IGNORECASE
)
# The harness gives out the roles' credentials in EC2's place.
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}],
}


@pytest.fixture
def aws() -> Iterator[Emulator]:
    with own_ministack(AUTH="true") as aws:
        yield aws


@pytest.fixture
def harness(moto: Emulator, aws: Emulator) -> Iterator[Ec2Harness]:
    with Ec2Harness(moto.endpoint, covered=[ROOT, Path(sys.prefix)], services=aws.endpoint) as harness:
        yield harness


class Template:
    """A stack of the template: what instances call on ministack, how they are launched on moto."""

    def __init__(self, aws: Emulator, moto: Emulator, bundle: Bundle) -> None:
        self.aws, self.moto, self.bundle = aws, moto, bundle
        self.name = f"zoo-{secrets.token_hex(4)}"
        self.rendered = self._render(bundle.sha256)
        self._make_places()
        for role in ("web", "worker"):
            self._make_role(role)
        aws.client("s3").upload_file(str(bundle.path), self.bucket("bundles"), bundle.key)

    def bucket(self, kind: str) -> str:
        return f"{self.name}-{ACCOUNT}-{REGION}-{kind}"

    def launch(self, role: str, sha256: str = "") -> str:
        """Return the id of a new instance of a role; `sha256` is what it expects instead of the bundle's."""
        rendered = self._render(sha256) if sha256 else self.rendered
        data = {
            "ImageId": "ami-0123456789abcdef0",
            "UserData": base64.b64encode(rendered.user_data(f"{role.title()}Template").encode()).decode(),
            "IamInstanceProfile": {"Name": f"{self.name}-{REGION}-{role}"},
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required"},
        }
        ec2, name = self.moto.client("ec2"), f"{self.name}-{secrets.token_hex(4)}"
        ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        launched = ec2.run_instances(LaunchTemplate={"LaunchTemplateName": name}, MinCount=1, MaxCount=1)
        return str(launched["Instances"][0]["InstanceId"])

    def _render(self, sha256: str) -> Rendered:
        script = (resources.files("beholder.deploy") / "user_data.sh").read_text("utf-8")
        parameters = {
            "BundleKey": self.bundle.key,
            "BundleSha256": sha256,
            "StartScript": script,
            "Reach": "vpc",
            "Keys": "open",
            # No workers but the test's own.
            "FleetMax": "0",
        }
        return Rendered(
            parameters,
            {"AWS::StackName": self.name, "AWS::AccountId": ACCOUNT, "AWS::Region": REGION},
            {"WorkerTemplate": "lt-0123456789abcdef0", "WorkerTemplate.LatestVersionNumber": "1"},
        )

    def _make_places(self) -> None:
        for kind in ("input", "output", "bundles"):
            self.aws.client("s3").create_bucket(Bucket=self.bucket(kind))
        sqs = self.aws.client("sqs")
        dead = sqs.create_queue(QueueName=f"{self.name}-input-queue-dead")["QueueUrl"]
        redrive = {"deadLetterTargetArn": self.aws.arn_of(dead), "maxReceiveCount": 3}
        kept = {"RedrivePolicy": json.dumps(redrive), "MessageRetentionPeriod": "1209600"}
        sqs.create_queue(QueueName=f"{self.name}-input-queue", Attributes=kept)

    def _make_role(self, role: str) -> None:
        iam, name = self.aws.client("iam"), f"{self.name}-{REGION}-{role}"
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        statements = self.rendered.statements(f"{role.title()}Role")
        for one in statements:
            actions = [one["Action"]] if isinstance(one["Action"], str) else one["Action"]
            one["Action"] = [*actions, *(f"{action}Batch" for action in actions if action in BATCHED)]
        document = {"Version": "2012-10-17", "Statement": statements}
        iam.put_role_policy(RoleName=name, PolicyName="beholder", PolicyDocument=json.dumps(document))
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def test_the_rights_of_the_template_are_enough_to_start_to_serve_and_to_send_why_a_start_failed(
    aws: Emulator, moto: Emulator, harness: Ec2Harness, bundle: Bundle
) -> None:
    # given
    template = Template(aws, moto, bundle)
    web, worker = template.launch("web"), template.launch("worker")
    broken = template.launch("worker", "0" * 64)
    # when
    started = ("web.listening", web), ("worker.ready", worker)
    harness.wait_for(
        lambda: all(line in harness.console(one) or one in harness.ended for line, one in started), WAIT_S
    )
    consoles = {one: harness.console(one) for one in (web, worker)}
    assert not {web, worker} & set(harness.ended), consoles
    asked = urllib.request.Request(
        f"{harness.url(web, PORT)}/v1/classify", (ROOT / "samples" / "coffee.jpg").read_bytes()
    )
    with urllib.request.urlopen(asked, timeout=WAIT_S) as response:
        answer = json.load(response)
    harness.wait_for(lambda: broken in harness.ended, WAIT_S)
    # then
    assert answer["result"]["labels"][0]["name"] == "espresso"
    assert harness.ended[broken] is End.SHUT_DOWN
    listed = aws.client("s3").list_objects_v2(Bucket=template.bucket("output"), Prefix="fleet/")["Contents"]
    keys = {one["Key"] for one in listed}
    assert {f"fleet/failed-starts/{broken}", f"fleet/startups/{worker}.json"} <= keys
    # and: nothing was refused on the way
    refused = [
        line for one in (web, worker) for line in harness.console(one).splitlines() if REFUSED.search(line)
    ]
    assert refused == []
