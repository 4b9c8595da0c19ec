"""`beholder deploy` on an emulator: what it makes, changes, resumes, and takes back when it fails."""

import base64
import functools
import secrets
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from aws.emulators import REGION, Emulator, emulator
from beholder.cli.main import beholder
from beholder.clock import ManualClock
from beholder.deploy.account import Account
from beholder.deploy.bundle import Bundle
from beholder.deploy.bundle_bucket import BundleBucket, State
from beholder.deploy.deploy import Deploy
from beholder.deploy.doctor import Level
from beholder.deploy.doctor.after import check_deployment
from beholder.deploy.inventory import bucket_names, find_all
from beholder.deploy.plan import Plan, make_plan
from beholder.deploy.stack import Stack
from beholder.deploy.waiting import Waiting
from beholder.deploy.wanted import Wanted
from beholder.deploy.web_tier import WebTier
from beholder.errors import BackendDenied, ConfigError, DeployError
from beholder.fleet.ec2 import DEPLOYMENT_TAG
from helpers.certificates import make_certificate

pytestmark = pytest.mark.aws

TYPES = ("c6a.large", "c6i.large")


@functools.cache
def account() -> Account:
    """Return the account of all tests of this process: each makes its clients once."""
    return Account(REGION)


def give_internet(moto: Emulator) -> None:
    """Give the default VPC its way out, which AWS's has and the emulator's has not."""
    ec2 = moto.client("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    of_vpc = [{"Name": "vpc-id", "Values": [vpc]}]
    table = ec2.describe_route_tables(Filters=of_vpc)["RouteTables"][0]
    if not any(one.get("DestinationCidrBlock") == "0.0.0.0/0" for one in table["Routes"]):
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        ec2.create_route(
            RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway
        )


@dataclass
class World:
    """A deployment on the emulator, whose web instances are ready when a wait has looked at them once.

    Args:
        moto: The emulator.
        folder: For bundles.
    """

    moto: Emulator
    folder: Path
    name: str = field(default_factory=lambda: f"zoo-{secrets.token_hex(4)}")
    lines: list[str] = field(default_factory=list)
    canaries: list[str] = field(default_factory=list)
    broken_bundles: set[str] = field(default_factory=set)
    canary_problem: str = ""

    def __post_init__(self) -> None:
        self.account = account()
        self.clock = ManualClock()
        self.waiting = Waiting(self.clock, self.pause, self.lines.append)
        self.stack = Stack(self.account, self.name)

    def bundle(self, content: str) -> Bundle:
        sha256 = content.encode().hex().ljust(64, "0")
        path = self.folder / f"{sha256}.tar.gz"
        path.write_bytes(content.encode())
        return Bundle(path, sha256)

    def plan(self, **options: Any) -> Plan:
        asked = {}
        if not self.stack.parameters():
            images = self.moto.client("ec2").describe_images()["Images"]
            asked = {"expose": "cidr=192.0.2.7/32", "image": images[0]["ImageId"]}
        given = {key: options.pop(key) for key in ("expose", "image", "vpc") if key in options}
        wanted = Wanted(**{"instance_types": TYPES, **options})
        return make_plan(self.account, self.name, wanted, clock=self.clock, **asked | given)

    def deploy(self, bundle: Bundle, *, drain: bool = False, **options: Any) -> str:
        work = Deploy(self.account, self.name, self.waiting)
        work.settle()
        return work.run(self.plan(**options), bundle, canary=self.canary, drain=drain)

    def roll_back(self) -> str:
        work = Deploy(self.account, self.name, self.waiting)
        return work.roll_back(work.earlier(self.plan()), canary=self.canary)

    def canary(self, url: str, _host_name: str) -> None:
        self.canaries.append(url)
        if self.canary_problem:
            raise DeployError(self.canary_problem)

    def pause(self, seconds: float) -> None:
        """Let time pass: web instances are ready and take a free address, or fail: their bundle is broken."""
        self.clock.advance(seconds)
        for instance, bundle in self.web_instances().items():
            kind = "failed-starts/{}" if bundle in self.broken_bundles else "startups/{}.json"
            self.moto.client("s3").put_object(
                Bucket=bucket_names(self.account, self.name)[1],
                Key="fleet/" + kind.format(instance),
                Body=b"unpack the bundle: tar: no such file",
            )
            if bundle not in self.broken_bundles and self.holder() not in self.web_instances():
                self.move_address(instance)

    def holder(self) -> str:
        """Return the instance that has the Elastic IP; the emulator takes it from none that has ended."""
        return str(self._address().get("InstanceId", ""))

    def move_address(self, instance: str) -> None:
        self.moto.client("ec2").associate_address(
            AllocationId=self._address()["AllocationId"], InstanceId=instance, AllowReassociation=True
        )

    def _address(self) -> Any:
        ip = self.stack.outputs()["ElasticIp"]
        return self.moto.client("ec2").describe_addresses(PublicIps=[ip])["Addresses"][0]

    def web_instances(self) -> dict[str, str]:
        """Return the keys of the bundles that the running web instances were launched with, by their ids."""
        ec2 = self.moto.client("ec2")
        groups = self.moto.client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[f"{self.name}-web"]
        )["AutoScalingGroups"]
        found = {}
        for one in groups[0]["Instances"] if groups else []:
            versions = ec2.describe_launch_template_versions(
                LaunchTemplateName=f"{self.name}-web", Versions=[one["LaunchTemplate"]["Version"]]
            )
            script = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]
            text = base64.b64decode(script).decode()
            found[one["InstanceId"]] = text.partition("BUNDLE=")[2].partition("\n")[0].rpartition("/")[2]
        return found

    def state_before(self) -> State:
        """Return the state to which a rollback would go."""
        found = BundleBucket(self.account, self.name).read_state(self.stack.parameters()["PreviousState"])
        assert found
        return found

    def shape(self) -> Any:
        """Return what there is, without what differs from run to run."""
        found = [(one.kind, one.is_ours) for one in find_all(self.account, self.name)]
        parameters = self.stack.parameters()
        return sorted(found), parameters, sorted(self.web_instances().values())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    moto = emulator("moto")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    give_internet(moto)
    return World(moto, tmp_path)


def test_a_new_deployment_is_made_its_bundle_uploaded_and_its_web_tier_proven(world: World) -> None:
    url = world.deploy(world.bundle("one"))

    assert url.startswith("http://")
    assert world.canaries == [url]
    assert world.stack.status().endswith("_COMPLETE")
    assert list(world.web_instances().values()) == [world.bundle("one").key]
    bucket = world.stack.outputs()["BundleBucket"]
    head = world.moto.client("s3").head_object(Bucket=bucket, Key=world.bundle("one").key)
    assert head["Metadata"] == {
        "models": "efficientnet-lite0",
        "message-version": "1",
        "beholder-version": version("beholder"),
    }
    assert all(one.is_ours for one in find_all(world.account, world.name))


def test_a_second_run_changes_nothing_that_no_option_names(world: World) -> None:
    world.deploy(world.bundle("one"), fleet_max=7)
    before = world.shape()
    world.deploy(world.bundle("one"))
    assert world.shape() == before
    world.deploy(world.bundle("one"), fleet_max=9)
    changed = {"FleetMax": "9", "PreviousState": world.stack.parameters()["PreviousState"]}
    assert world.stack.parameters() == before[1] | changed
    assert world.state_before().parameters == before[1]


def test_a_new_bundle_replaces_the_web_instance_once_its_successor_came_through(world: World) -> None:
    world.deploy(world.bundle("one"))
    (old,) = world.web_instances()
    seen = []
    world.canary = lambda *_: seen.append(sorted(world.web_instances().values()))  # type: ignore[method-assign]

    world.deploy(world.bundle("two"))

    assert seen == [sorted([world.bundle("one").key, world.bundle("two").key])]
    assert list(world.web_instances().values()) == [world.bundle("two").key]
    assert old not in world.web_instances()
    assert world.state_before().parameters["BundleKey"] == world.bundle("one").key


def test_clients_meet_the_new_version_once_an_image_came_through_it(world: World) -> None:
    """Until then the address leads to the old instance, and the image goes to the new one's own."""
    url = world.deploy(world.bundle("one"))
    (old,) = world.web_instances()
    seen = []

    def canary(url: str, _host_name: str) -> None:
        (new,) = set(world.web_instances()) - {old}
        told = world.moto.client("ec2").describe_instances(InstanceIds=[new])["Reservations"][0]
        seen.append((url, told["Instances"][0]["PublicIpAddress"], world.holder()))

    world.canary = canary  # type: ignore[method-assign]
    world.deploy(world.bundle("two"))

    (given, own, holder) = seen[0]
    assert (given, holder, len(seen)) == (f"http://{own}:8080", old, 1)
    assert given != url
    assert [world.holder()] == list(world.web_instances()) != [old]


def test_the_address_stays_where_it_is_while_a_version_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deploy(world.bundle("one"))
    (old,) = world.web_instances()
    world.canary_problem = "an image that was sent did not come back recognised"
    moved: list[str] = []
    monkeypatch.setattr(WebTier, "_move_address", lambda _self, instance: moved.append(instance))

    with pytest.raises(DeployError, match="is as it was"):
        world.deploy(world.bundle("two"))

    assert (moved, world.holder()) == ([], old)


def test_a_first_web_instance_that_fails_is_not_launched_for_ever(world: World) -> None:
    world.broken_bundles.add(world.bundle("one").key)
    with pytest.raises(DeployError, match="did not start: unpack the bundle: tar: no such file"):
        world.deploy(world.bundle("one"))
    assert (world.web_instances(), world.stack.parameters()["WebInstances"]) == ({}, "0")

    world.broken_bundles.clear()
    world.deploy(world.bundle("one"))
    assert list(world.web_instances().values()) == [world.bundle("one").key]


@pytest.mark.parametrize("fault", ["start", "canary"])
def test_a_version_that_fails_leaves_the_one_before_in_place(world: World, fault: str) -> None:
    world.deploy(world.bundle("one"))
    (old,) = world.web_instances()
    if fault == "start":
        world.broken_bundles.add(world.bundle("two").key)
    else:
        world.canary_problem = "an image that was sent did not come back recognised"

    with pytest.raises(DeployError, match="is as it was"):
        world.deploy(world.bundle("two"))

    assert list(world.web_instances()) == [old]
    assert world.stack.parameters()["BundleKey"] == world.bundle("one").key
    group = world.moto.client("autoscaling").describe_auto_scaling_groups(
        AutoScalingGroupNames=[f"{world.name}-web"]
    )["AutoScalingGroups"][0]
    assert group["DesiredCapacity"] == 1
    # and the next run brings the new version, once it works
    world.broken_bundles.clear()
    world.canary_problem = ""
    world.deploy(world.bundle("two"))
    assert list(world.web_instances().values()) == [world.bundle("two").key]


def test_a_rollback_brings_the_version_before_back_and_can_be_taken_back(world: World) -> None:
    world.deploy(world.bundle("one"))
    with pytest.raises(DeployError, match="no earlier version"):
        world.roll_back()
    world.deploy(world.bundle("two"))
    world.roll_back()
    assert list(world.web_instances().values()) == [world.bundle("one").key]
    world.roll_back()
    assert list(world.web_instances().values()) == [world.bundle("two").key]


def test_a_rollback_restores_whatever_the_last_change_changed(world: World) -> None:
    world.deploy(world.bundle("one"), fleet_max=7)
    before, template = world.stack.parameters(), world.stack.template()
    images = world.moto.client("ec2")
    other = images.register_image(Name=world.name, Architecture="x86_64", RootDeviceName="/dev/sda1")[
        "ImageId"
    ]
    newer = replace(world.plan(image=other, fleet_max=9), template=template + "\n# newer\n")
    Deploy(world.account, world.name, world.waiting).run(newer, world.bundle("two"), canary=world.canary)
    assert (world.stack.parameters()["ImageId"], world.stack.template()) == (other, newer.template)

    earlier = Deploy(world.account, world.name, world.waiting).earlier(world.plan())
    world.roll_back()

    told = "\n".join(earlier.lines())
    assert f"version    image {other} -> {before['ImageId']}" in told
    assert "  FleetMax: 9 -> 7" in told
    after = world.stack.parameters()
    assert after | {"PreviousState": before["PreviousState"]} == before
    assert world.stack.template() == template
    assert world.state_before().parameters["ImageId"] == other


def test_an_upgrade_that_was_interrupted_and_then_fails_ends_with_the_version_that_serves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack has the new version already; the instance that serves tells which one came through."""
    world.deploy(world.bundle("one"), fleet_max=7)
    (old,) = world.web_instances()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(WebTier, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            world.deploy(world.bundle("two"))
    assert world.stack.parameters()["BundleKey"] == world.bundle("two").key
    world.broken_bundles.add(world.bundle("two").key)

    with pytest.raises(DeployError, match="is as it was"):
        world.deploy(world.bundle("two"))

    assert list(world.web_instances()) == [old]
    parameters = world.stack.parameters()
    assert (parameters["BundleKey"], parameters["FleetMax"]) == (world.bundle("one").key, "7")


def test_a_price_that_alters_replaces_no_web_instance(world: World) -> None:
    world.deploy(world.bundle("one"))
    (old,) = world.web_instances()
    plan = world.plan()
    dearer = replace(plan, parameters={**plan.parameters, "Prices": "c6a.large/spot=9"})

    work = Deploy(world.account, world.name, world.waiting)
    work.run(dearer, world.bundle("one"), canary=world.canary)
    assert list(world.web_instances()) == [old]

    work.run(dearer, world.bundle("two"), canary=world.canary)
    assert world.stack.parameters()["Prices"] == "c6a.large/spot=9"


def test_an_instance_whose_steps_were_deleted_long_after_its_start_is_ready(world: World) -> None:
    world.deploy(world.bundle("one"))
    (old,) = world.web_instances()
    outputs = world.stack.outputs()
    world.moto.client("s3").delete_object(Bucket=outputs["OutputBucket"], Key=f"fleet/startups/{old}.json")
    thirty_days_s = 30 * 86_400.0
    launched_s = time.time()
    waiting = Waiting(ManualClock(launched_s + thirty_days_s), world.pause, world.lines.append)

    WebTier(world.account, outputs, waiting).replace(1, lambda _own: world.canary("again", ""))

    assert (list(world.web_instances()), world.canaries[-1]) == ([old], "again")


def test_a_group_that_was_deleted_by_hand_is_told_with_the_way_out(world: World) -> None:
    world.deploy(world.bundle("one"))
    world.moto.client("autoscaling").delete_auto_scaling_group(
        AutoScalingGroupName=f"{world.name}-web", ForceDelete=True
    )
    with pytest.raises(DeployError, match=f"run beholder destroy {world.name}, then deploy"):
        world.deploy(world.bundle("two"))


def test_the_role_that_spot_needs_is_made_once_and_never_for_on_demand(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = Account.call

    def call(self: Account, service: str, action: str, **parameters: Any) -> Any:
        if action == "create_service_linked_role":
            asked.append(parameters["AWSServiceName"])
            raise BackendDenied(service, action, "AccessDenied: not you")
        return real(self, service, action, **parameters)

    monkeypatch.setattr(Account, "call", call)
    world.deploy(world.bundle("one"), on_demand_share=1.0)
    assert asked == []
    world.deploy(world.bundle("one"), on_demand_share=0.0)
    assert asked == ["spot.amazonaws.com"]
    assert any("service-linked role of spot" in line for line in world.lines)


def test_a_plan_has_the_host_name_of_its_certificate_and_refuses_one_that_does_not_cover_it(
    world: World, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path, ["photos.example.com"])
    arn = world.moto.client("acm").import_certificate(
        Certificate=certificate.read_bytes(), PrivateKey=key.read_bytes()
    )["CertificateArn"]
    plan = world.plan(front="balancer", certificate=arn)
    assert plan.parameters["HostName"] == "photos.example.com"
    assert "2 t3.small behind a balancer with TLS for photos.example.com" in "\n".join(plan.lines())
    with pytest.raises(DeployError, match=r"is for photos\.example\.com, not for www\.example\.com"):
        world.plan(front="balancer", certificate=arn, host_name="www.example.com")


@pytest.mark.parametrize("expose", ["cider", "cidr=home", "cidr=203.0.113.7/24", "cidr=2001:db8::/32"])
def test_addresses_that_nobody_has_are_refused(world: World, expose: str) -> None:
    with pytest.raises(ConfigError, match=f"not '{expose}'"):
        world.plan(expose=expose)


@pytest.mark.parametrize("command", [["upgrade"], ["deploy", "--rollback"]], ids=" ".join)
def test_without_a_deployment_the_command_that_makes_one_is_named(world: World, command: list[str]) -> None:
    result = CliRunner().invoke(beholder, [*command, world.name, "--region", REGION])
    assert isinstance(result.exception, DeployError)
    assert f"beholder deploy {world.name} makes one" in result.exception.message


def test_a_model_that_the_bundle_would_not_have_is_refused(world: World) -> None:
    images = world.moto.client("ec2").describe_images()["Images"]
    options = ["--region", REGION, "--image", images[0]["ImageId"], "--expose", "internal", "--plan"]
    result = CliRunner().invoke(beholder, ["deploy", world.name, *options, "--model", "mushrooms"])
    assert isinstance(result.exception, ConfigError)
    assert "mushrooms is neither efficientnet-lite0 nor" in result.exception.message


def speak(world: World, bundle: Bundle, version: str) -> None:
    """Let a bundle in the bucket say that it speaks another version of messages."""
    bucket = world.stack.outputs()["BundleBucket"]
    world.moto.client("s3").put_object(
        Bucket=bucket,
        Key=bundle.key,
        Body=b"old",
        Metadata={"models": "efficientnet-lite0", "message-version": version},
    )


def test_a_version_that_shares_no_queue_is_refused_until_the_queue_may_run_empty(world: World) -> None:
    world.deploy(world.bundle("one"))
    speak(world, world.bundle("one"), "0")
    before = world.shape()
    with pytest.raises(DeployError, match=r"read messages of version 0, .* --drain stops the service"):
        world.deploy(world.bundle("two"))
    assert world.shape() == before

    sqs = world.moto.client("sqs")
    queue = sqs.get_queue_url(QueueName=world.stack.outputs()["InputQueue"])["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="of the old version")
    pause, seen = world.waiting.pause, []

    def serve(seconds: float) -> object:
        seen.append(sorted(world.web_instances().values()))
        if len(seen) == 3:  # a worker of the old version takes a while
            sqs.purge_queue(QueueUrl=queue)
        return pause(seconds)

    world.waiting.pause = serve
    world.deploy(world.bundle("two"), drain=True)
    assert seen[:3] == [[], [], []]
    assert list(world.web_instances().values()) == [world.bundle("two").key]
    with pytest.raises(DeployError, match="the earlier version reads messages of version 0 alone"):
        world.roll_back()


def test_a_queue_that_does_not_run_empty_lets_the_service_run_on(world: World) -> None:
    world.deploy(world.bundle("one"))
    speak(world, world.bundle("one"), "0")
    sqs = world.moto.client("sqs")
    queue = sqs.get_queue_url(QueueName=world.stack.outputs()["InputQueue"])["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="of the old version")
    world.waiting.pause = lambda _seconds: world.clock.advance(1800)

    with pytest.raises(DeployError, match="runs on as it was"):
        world.deploy(world.bundle("two"), drain=True)

    assert list(world.web_instances().values()) == [world.bundle("one").key]


def test_the_running_bundle_is_fetched_with_its_models(world: World, tmp_path: Path) -> None:
    world.deploy(world.bundle("one"))
    bucket = BundleBucket(world.account, world.name)
    fetched = bucket.fetch(world.bundle("one").key, tmp_path)
    assert fetched is not None
    assert fetched.read_bytes() == b"one"
    assert bucket.fetch("none.tar.gz", tmp_path) is None


def test_a_plan_and_a_no_change_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a part of the options is blank."""
    image = world.moto.client("ec2").describe_images()["Images"][0]["ImageId"]
    given = ["deploy", world.name, "--region", REGION, "--image", image, "--expose", "cidr=192.0.2.0/24"]
    given += ["--instance-types", " c6a.large, ,c6i.large,", "--budget-per-hour", "none"]
    changed: list[str] = []
    real = Account.call

    def call(self: Account, service: str, action: str, **parameters: Any) -> Any:
        if not action.startswith(("describe", "list", "get", "head", "simulate")):
            changed.append(action)
        return real(self, service, action, **parameters)

    monkeypatch.setattr(Account, "call", call)

    planned = CliRunner().invoke(beholder, [*given, "--plan"])
    refused = CliRunner().invoke(beholder, given, input="n\n")

    assert (planned.exit_code, refused.exit_code) == (0, 1), planned.output
    assert "0 to 20 of c6a.large,c6i.large, spot" in planned.output
    assert refused.output.startswith(planned.output.partition("  costs")[0])
    assert "go ahead? [y/N]: n" in refused.output
    assert (changed, world.stack.status()) == ([], "")


def test_a_stack_of_someone_else_is_refused(world: World) -> None:
    world.moto.client("cloudformation").create_stack(
        StackName=world.name, TemplateBody='{"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}'
    )
    with pytest.raises(ConfigError, match=DEPLOYMENT_TAG):
        world.deploy(world.bundle("one"))


def test_doctor_finds_each_version_as_its_stack_has_it(world: World) -> None:
    """moto's CloudFormation makes no alarms."""

    def wrong() -> list[str]:
        stack = world.stack.describe()
        assert stack
        findings = check_deployment(world.account, world.name, stack)
        return [one.check for one in findings if one.level is not Level.OK]

    world.deploy(world.bundle("one"))
    assert wrong() == ["alarms"]
    world.deploy(world.bundle("two"), fleet_max=7)
    assert wrong() == ["alarms"]
    world.roll_back()
    assert wrong() == ["alarms"]
