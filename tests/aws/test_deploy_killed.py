"""`beholder deploy` and `beholder destroy` are killed at any point, and end where they would have ended."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import pytest

from aws.emulators import CREDENTIALS, ROOT
from aws.listing import everything
from aws.test_deploy import World, world
from beholder.deploy.account import Account
from beholder.deploy.destroy import Destroy
from beholder.deploy.inventory import bucket_names
from beholder.fleet.ec2 import DEPLOYMENT_TAG

pytestmark = [pytest.mark.aws, pytest.mark.slow]
__all__ = ["world"]

LOOKS = ("describe", "list", "get", "head")
POINTS = 10
SEED = 10


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class Seam:
    """Where a run may end: right after each call that changes something, in each wait, and in the canary.

    Args:
        world: The deployment; its calls, waits and canaries pass here.
        monkeypatch: Takes the seam out after the test.
    """

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self._end: int | None = None
        real, pause, canary = Account.call, world.waiting.pause, world.canary

        def call(account: Account, service: str, action: str, **parameters: Any) -> Any:
            answer = real(account, service, action, **parameters)
            if not action.startswith(LOOKS):
                self._step(action)
            return answer

        def wait(seconds: float) -> object:
            self._step("wait")
            return pause(seconds)

        def check(url: str, host_name: str) -> None:
            self._step("canary")
            canary(url, host_name)

        monkeypatch.setattr(Account, "call", call)
        monkeypatch.setattr(world.waiting, "pause", wait)
        monkeypatch.setattr(world, "canary", check)

    def count(self, run: Callable[[], object]) -> int:
        """Return how many steps a run takes that nothing disturbs."""
        self.steps, self._end = [], None
        run()
        return len(self.steps)

    def kill(self, run: Callable[[], object], end: int) -> str:
        """End a run after so many steps, and return its last one; empty if it came to its end before."""
        self.steps, self._end = [], end
        try:
            run()
        except Killed:
            return f"{end}: {self.steps[-1]}"
        finally:
            self._end = None
        return ""

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) == self._end:
            raise Killed


def points(count: int) -> list[int]:
    """Return ten points spread over so many steps, the first and the last among them; fewer where all are."""
    if count <= POINTS:
        return list(range(1, count + 1))
    draw = random.Random(SEED)
    return sorted({1, count, *draw.sample(range(2, count), POINTS - 2)})


def serve(world: World) -> None:
    """Do what a running service does to its account: a reply queue and a photo, old and new."""
    world.moto.client("sqs").create_queue(
        QueueName=f"{world.name}-output-queue-web-1-0", tags={DEPLOYMENT_TAG: world.name}
    )
    for body in (b"old", b"new"):
        world.moto.client("s3").put_object(
            Bucket=bucket_names(world.account, world.name)[0], Key="1", Body=body
        )


def destroy(world: World, *, delete_data: bool = True) -> None:
    """Take the deployment down; what it returns was listed at its end, service by service."""
    left = Destroy(world.account, world.name, world.waiting).run(delete_data=delete_data)
    assert left == []


@pytest.fixture
def seam(world: World, monkeypatch: pytest.MonkeyPatch) -> Seam:
    return Seam(world, monkeypatch)


def test_a_first_deployment_and_its_end_are_each_killed_at_ten_points(world: World, seam: Seam) -> None:
    bundle = world.bundle("one")
    making = seam.count(lambda: world.deploy(bundle))
    undisturbed = world.shape()
    serve(world)
    ending = seam.count(lambda: destroy(world))

    for at, end in zip_longest(points(making), points(ending), fillvalue=1):
        last = seam.kill(lambda: world.deploy(bundle), at)
        assert last
        world.deploy(bundle)
        assert world.shape() == undisturbed, last
        serve(world)
        last = seam.kill(lambda: destroy(world), end)
        assert last
        destroy(world)
        assert world.stack.status() == "", last


def test_an_upgrade_is_killed_at_ten_points(world: World, seam: Seam) -> None:
    world.deploy(world.bundle("zero"))
    making = seam.count(lambda: world.deploy(world.bundle("one")))
    undisturbed, before = world.shape(), world.bundle("one")

    for at in points(making):
        bundle = world.bundle(str(at))
        last = seam.kill(lambda: world.deploy(bundle), at)  # noqa: B023 -- called at once
        assert last
        world.deploy(bundle)
        changed = {"BundleKey": bundle.key, "BundleSha256": bundle.sha256}
        changed["PreviousState"] = world.stack.parameters()["PreviousState"]
        assert world.shape() == (undisturbed[0], undisturbed[1] | changed, [bundle.key]), last
        assert world.state_before().parameters["BundleKey"] == before.key, last
        assert [world.holder()] == list(world.web_instances()), last
        before = bundle


def test_a_destroy_follows_a_deploy_that_was_killed_half_way(world: World, seam: Seam) -> None:
    bundle = world.bundle("one")
    making = seam.count(lambda: world.deploy(bundle))
    destroy(world)

    for at in points(making)[::2]:
        last = seam.kill(lambda: world.deploy(bundle), at)
        assert last
        destroy(world)
        assert world.stack.status() == "", last


def test_a_deploy_follows_a_destroy_that_was_killed_half_way(world: World, seam: Seam) -> None:
    """Reply queues of the old service go with the new one's end; doctor's check of names says so before."""
    bundle = world.bundle("one")
    world.deploy(bundle)
    undisturbed = world.shape()

    last = "not at all"
    for at in range(1, POINTS + 1):
        last = seam.kill(lambda: destroy(world, delete_data=False), at)
        world.deploy(bundle)
        assert world.shape() == undisturbed, last
        if not last:
            break
    assert not last, f"a destroy takes more than {POINTS} steps"


def kill_at(world: World, does: str, line: str) -> None:
    """Do something to the deployment in another process, and end that by SIGKILL when it tells a line."""
    script = f"""
import sys
from pathlib import Path
from aws.emulators import Emulator
from aws.test_deploy import World
from aws.test_deploy_killed import destroy
world = World(Emulator("moto", sys.argv[1]), Path(sys.argv[2]), name=sys.argv[3])
world.waiting.tell = lambda line: print(line, flush=True)
{does}
"""
    arguments = [world.moto.endpoint, str(world.folder), world.name]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | CREDENTIALS | {"PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert any(line in one for one in lines)
        process.kill()
    assert process.wait() == -signal.SIGKILL


def test_processes_that_deploy_and_destroy_are_killed_by_sigkill_and_others_go_on(world: World) -> None:
    before = everything(world.moto)
    kill_at(world, 'world.deploy(world.bundle("one"))', "resources change")

    world.deploy(world.bundle("one"))
    assert list(world.web_instances().values()) == [world.bundle("one").key]

    kill_at(world, "destroy(world)", "stopped the web tier")

    destroy(world)
    assert everything(world.moto) - before == set()
