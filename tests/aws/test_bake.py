"""`beholder bake` makes an image from which web and worker start without fetching anything."""

import json
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aws.emulators import REGION, ROOT, Emulator
from aws.stacks import Stack
from beholder.clock import SystemClock
from beholder.deploy.account import Account as DeployAccount
from beholder.deploy.bake import Bake
from beholder.deploy.bundle import Bundle
from beholder.deploy.waiting import Waiting
from beholder.errors import DeployError
from beholder.fleet.ec2 import DEPLOYMENT_TAG
from ec2.account import Account
from ec2.harness import Ec2Harness, End

pytestmark = [pytest.mark.aws, pytest.mark.slow, pytest.mark.usefixtures("calls_go_to_moto")]

WAIT_S = 300.0
PORT = 8080


@pytest.fixture
def harness(moto: Emulator) -> Iterator[Ec2Harness]:
    with Ec2Harness(moto.endpoint, covered=[ROOT, Path(sys.prefix)]) as harness:
        yield harness


def bake(stack: Stack, pause: Callable[[float], object] = lambda _s: threading.Event().wait(0.5)) -> str:
    return Bake(DeployAccount(REGION), stack.name, Waiting(SystemClock(), pause, print)).run()


def images(stack: Stack) -> list[str]:
    tagged = [{"Name": f"tag:{DEPLOYMENT_TAG}", "Values": [stack.name]}]
    return [one["ImageId"] for one in stack.moto.client("ec2").describe_images(Filters=tagged)["Images"]]


def launch(stack: Stack, role: str, image: str) -> str:
    """Return the id of a new instance of a role that starts from an image."""
    launched = stack.moto.client("ec2").run_instances(
        LaunchTemplate={"LaunchTemplateName": f"{stack.name}-{role}"}, ImageId=image, MinCount=1, MaxCount=1
    )
    return str(launched["Instances"][0]["InstanceId"])


def test_web_and_worker_start_from_a_baked_image_and_fetch_nothing(
    moto: Emulator, harness: Ec2Harness, bundle: Bundle
) -> None:
    # given: an image
    stack = Stack(moto, bundle)
    image = bake(stack)
    (baked,) = harness.startups
    assert harness.ended[baked] is End.SHUT_DOWN
    assert images(stack) == [image]
    assert Account(moto).states([baked]) == {baked: "terminated"}
    # and: nothing that could be fetched
    moto.client("s3").delete_object(Bucket=stack.outputs["BundleBucket"], Key=bundle.key)
    # when
    web, worker = launch(stack, "web", image), launch(stack, "worker", image)
    started = ("web.listening", web), ("worker.ready", worker)
    harness.wait_for(
        lambda: all(line in harness.console(one) or one in harness.ended for line, one in started), WAIT_S
    )
    assert list(harness.ended) == [baked], [harness.console(one) for one in (web, worker)]
    # then
    photo = (ROOT / "samples" / "coffee.jpg").read_bytes()
    asked = urllib.request.Request(f"{harness.url(web, PORT)}/v1/classify", photo)
    with urllib.request.urlopen(asked, timeout=WAIT_S) as response:
        answer = json.load(response)
    assert answer["result"]["labels"][0]["name"] == "espresso"
    for one, last in (worker, ["warm", "receiving"]), (web, ["ready"]):
        harness.wait_for(lambda one=one: stack.has_output(f"fleet/startups/{one}.json"), WAIT_S)
        startup = json.loads(stack.read_output(f"fleet/startups/{one}.json"))
        print(f"seconds since the launch: {startup}")
        assert set(startup) - {"kernel"} == {"launched", "user_data", "started", *last}


def test_an_instance_that_stops_without_a_word_becomes_no_image(
    moto: Emulator, harness: Ec2Harness, bundle: Bundle
) -> None:
    # given: a role that is gone, so that the instance can tell nothing
    stack = Stack(moto, bundle)
    iam, role = moto.client("iam"), stack.outputs["WorkerRole"]
    iam.remove_role_from_instance_profile(InstanceProfileName=role, RoleName=role)
    # when, then
    with pytest.raises(DeployError, match="stopped without telling why"):
        bake(stack)
    assert "ask the instance metadata" in harness.console(harness.startups[0])
    assert images(stack) == []


def test_a_bake_that_fails_or_is_interrupted_leaves_neither_an_instance_nor_an_image(
    moto: Emulator, harness: Ec2Harness, bundle: Bundle
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    stack = Stack(moto, bundle, BundleSha256="0" * 64)
    with pytest.raises(DeployError, match="verify the bundle"):
        bake(stack)
    with pytest.raises(KeyboardInterrupt):
        bake(stack, interrupt)
    assert images(stack) == []
    harness.wait_for(lambda: len(harness.ended) == len(harness.startups), WAIT_S)
    assert set(Account(moto).states(harness.startups).values()) == {"terminated"}
