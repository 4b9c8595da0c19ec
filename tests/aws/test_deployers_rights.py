"""The commands on a deployment get on with the deployer's policy, enforced before each of their calls."""

import secrets
from pathlib import Path

import pytest
from click.testing import CliRunner

from aws.emulators import REGION, Emulator
from aws.enforcement import ACCOUNT, Enforcement
from aws.stacks import make_stack
from aws.test_deploy import World, give_internet
from aws.test_destroy import make_everything, stack_of
from beholder.cli.main import beholder
from beholder.clock import ManualClock, SystemClock
from beholder.deploy.account import Account
from beholder.deploy.bake import Bake
from beholder.deploy.destroy import Destroy
from beholder.deploy.doctor.check import check
from beholder.deploy.inventory import KINDS, find_all
from beholder.deploy.waiting import Waiting
from beholder.errors import BackendDenied
from beholder.fleet.ec2 import DEPLOYMENT_TAG

pytestmark = [pytest.mark.aws, pytest.mark.usefixtures("calls_go_to_moto")]


@pytest.fixture
def name() -> str:
    return f"zoo-{secrets.token_hex(4)}"


@pytest.fixture
def enforcement(moto: Emulator, name: str) -> Enforcement:
    return Enforcement(moto, name)


def destroyer(name: str) -> Destroy:
    clock = ManualClock()
    return Destroy(Account(REGION), name, Waiting(clock, clock.advance, lambda _: None))


def test_destroy_deletes_every_kind(
    moto: Emulator, name: str, enforcement: Enforcement, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack_of(moto, name)
    make_everything(moto, name)
    enforcement.install(monkeypatch)
    assert {one.kind for one in find_all(Account(REGION), name)} == {kind.name for kind in KINDS}

    assert destroyer(name).run(delete_data=True) == []

    assert {
        "ec2:terminateinstances",
        "s3:deleteobjectversion",
        "cloudformation:deletestack",
    } <= enforcement.checked


def test_what_is_anothers_cannot_be_deleted(
    moto: Emulator, name: str, enforcement: Enforcement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a command of ours did by mistake, the policy would stop it."""
    other = f"{name}-2"
    make_everything(moto, other)
    before = find_all(Account(REGION), other)

    with monkeypatch.context() as patched:
        enforcement.install(patched)
        for kind in KINDS:
            for one in (found for found in before if found.kind == kind.name):
                with pytest.raises(BackendDenied):
                    kind.delete(Account(REGION), one.id)

    assert find_all(Account(REGION), other) == before


def test_bake(moto: Emulator, name: str, enforcement: Enforcement, monkeypatch: pytest.MonkeyPatch) -> None:
    make_stack(moto.client("cloudformation"), moto, name)
    ec2, clock = moto.client("ec2"), ManualClock()
    enforcement.install(monkeypatch)

    def pause(seconds: float) -> None:
        clock.advance(seconds)
        tagged = [{"Name": f"tag:{DEPLOYMENT_TAG}", "Values": [name]}]
        (launched,) = ec2.describe_instances(Filters=tagged)["Reservations"]
        # what its user data does in the end
        instance = launched["Instances"][0]["InstanceId"]
        bucket = f"{name}-{ACCOUNT}-{REGION}-output"
        moto.client("s3").put_object(Bucket=bucket, Key=f"fleet/startups/{instance}.json", Body=b"{}")
        ec2.stop_instances(InstanceIds=[instance])

    image = Bake(Account(REGION), name, Waiting(clock, pause, lambda _: None)).run()

    (disk,) = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"]
    (snapshot,) = ec2.describe_snapshots(SnapshotIds=[disk["Ebs"]["SnapshotId"]])["Snapshots"]
    assert {"Key": DEPLOYMENT_TAG, "Value": name} in snapshot["Tags"], "destroy would not find it"
    assert {"ec2:runinstances", "ec2:createimage"} <= enforcement.checked


def test_deploy_upgrade_and_rollback(moto: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give_internet(moto)
    world = World(moto, tmp_path)
    enforcement = Enforcement(moto, world.name)
    enforcement.install(monkeypatch)

    world.deploy(world.bundle("first"))
    world.deploy(world.bundle("second"))
    world.roll_back()

    assert len(world.canaries) == 3
    assert {"cloudformation:executechangeset", "autoscaling:setdesiredcapacity"} <= enforcement.checked


def test_doctor_and_status_look_at_everything(
    moto: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    give_internet(moto)
    world = World(moto, tmp_path)
    world.deploy(world.bundle("first"))
    enforcement = Enforcement(moto, world.name)
    enforcement.install(monkeypatch)

    findings = check(Account(REGION), world.name, SystemClock())
    CliRunner().invoke(beholder, ["status", world.name, "--region", REGION], catch_exceptions=False)

    # what doctor may not look at is a warning that says so
    assert [one for one in findings if "AccessDenied" in one.sentence] == []
    assert enforcement.refused == []
