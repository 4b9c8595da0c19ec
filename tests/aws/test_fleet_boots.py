"""The fleet follows demand on instances that really boot: a controller launches, workers leave by themselves.

Web processes are real, and so are the workers, each in a guest of its own. Times are short by settings.
"""

import contextlib
import json
import os
import secrets
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aws.deployment import Deployment, Web
from aws.emulators import REGION, Emulator
from beholder.draining.idle_gaps import IDLE_GAPS_KEY
from beholder.draining.idle_limit import STAY_S_MIN
from beholder.fleet.ec2 import DEPLOYMENT_TAG
from beholder.scaling import Record
from beholder.scaling.records.decision_log import read_records
from beholder.store.port import Store
from ec2.account import Account
from ec2.harness import Ec2Harness, End

pytestmark = [pytest.mark.aws, pytest.mark.slow]

WAIT_S = 150.0
# A heartbeat may be late on a busy machine, and a live worker must not be taken for one that hangs.
SILENCE_S = 15.0
IDLE = f"#!/bin/sh\n# {secrets.token_hex(8)}\nsleep 3600\n"


@pytest.fixture
def harness(moto: Emulator, request: pytest.FixtureRequest) -> Iterator[Ec2Harness]:
    with Ec2Harness(moto.endpoint, **getattr(request, "param", {})) as harness:
        yield harness


@pytest.fixture
def deployment(moto: Emulator, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment whose web processes scale a fleet of up to three, and look twice a second."""
    with Deployment(moto, tmp_path, depth_lag_s=1, silence_s_max=SILENCE_S) as deployment:
        deployment.configure(
            launch_template=Account(moto).make_template(user_data(deployment)),
            instance_types="t3.small,t3a.small",
            fleet_max=3,
            latency_goal_s=1,
            startup_s=15,
            tick_s=0.5,
        )
        yield deployment


def user_data(deployment: Deployment, **more: object) -> str:
    """Return what an instance runs: a worker that is started again if it dies, and leaves when idle.

    Args:
        deployment: Whose worker it is.
        more: Settings besides, by name in capitals; None takes one away.
    """
    settings = {
        "BACKEND": "aws",
        "REGION": REGION,
        "PREFIX": deployment.prefix,
        "CONSUMERS": 1,
        "IDLE_S_MAX": 3,
        "DEPTH_LAG_S": 1,
        "SILENCE_S_MAX": SILENCE_S,
        "LEAVE_BY": "shutdown",
    } | more
    lines = [f"export BEHOLDER_{name}={value}" for name, value in settings.items() if value is not None]
    loop = f"until {sys.executable} -m beholder worker --data-dir /var/lib/beholder; do sleep 1; done"
    return "\n".join(["#!/bin/sh", *lines, loop, f"# {secrets.token_hex(8)}", ""])


def send(web: Web, images: Sequence[bytes]) -> list[str]:
    """Send images without waiting for the answers; returns the ids of their jobs."""
    found = []
    for image in images:
        asked = urllib.request.Request(
            f"{web.url}/v1/classify", data=image, headers={"Prefer": "wait=0"}, method="POST"
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            found.append(json.load(answer)["id"])
    return found


def statuses(web: Web, jobs: Sequence[str]) -> list[str]:
    found = []
    for job in jobs:
        with urllib.request.urlopen(f"{web.url}/v1/jobs/{job}", timeout=30) as answer:
            found.append(str(json.load(answer)["status"]))
    return found


def wait_until(holds: Callable[[], object], what: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, what()
        time.sleep(0.25)


def await_all(web: Web, jobs: Sequence[str], harness: Ec2Harness) -> None:
    """Wait until every job succeeded."""

    def standing() -> object:
        consoles = {one: harness.console(one)[-1500:] for one in harness.startups}
        return statuses(web, jobs), harness.ended, web.process.lines[-20:], consoles

    wait_until(lambda: set(statuses(web, jobs)) == {"succeeded"}, standing)


def store_of(deployment: Deployment) -> Store:
    """Return the deployment's output bucket."""
    from beholder.store.s3 import S3Store  # noqa: PLC0415 -- only where obstore is

    bucket = f"{deployment.prefix}-output-bucket"
    return S3Store(bucket, region=REGION, endpoint=deployment.emulator.endpoint)


def records(deployment: Deployment) -> list[Record]:
    """Return the deployment's decision log; stop its web processes before."""
    return list(read_records(store_of(deployment), time.time() - 3600, time.time()))


def tags_of(deployment: Deployment, instances: Sequence[str]) -> list[dict[str, str]]:
    found = deployment.emulator.client("ec2").describe_instances(InstanceIds=list(instances))
    return [
        {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}
        for group in found["Reservations"]
        for one in group["Instances"]
    ]


def alive_of(deployment: Deployment) -> list[str]:
    """Return the instances of a deployment that have not ended."""
    found = deployment.emulator.client("ec2").describe_instances(
        Filters=[
            {"Name": f"tag:{DEPLOYMENT_TAG}", "Values": [deployment.prefix]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
        ]
    )
    return [one["InstanceId"] for group in found["Reservations"] for one in group["Instances"]]


@pytest.fixture
def images(imagenet_100: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(imagenet_100.glob("*.JPEG"))[:60]]


def test_the_fleet_grows_with_a_backlog_and_goes_by_itself(
    deployment: Deployment, harness: Ec2Harness, moto: Emulator, images: list[bytes]
) -> None:
    """With as many consumers as by default, and with the idle limit that the workers compute themselves."""
    # given: no instance of this deployment, and one of another
    template = Account(moto).make_template(user_data(deployment, CONSUMERS=4, IDLE_S_MAX=None, STARTUP_S=15))
    deployment.configure(launch_template=template)
    (foreign,) = Account(moto).create_fleet(Account(moto).make_template(IDLE), 1)
    web = deployment.start_web()
    harness.wait_for(lambda: foreign in harness.startups, WAIT_S)
    # when
    jobs = send(web, images)
    # then: every image is recognised by instances that the controller launched
    await_all(web, jobs, harness)
    # and: each leaves by its own shutdown, one that was launched last for the end of the backlog too, and the
    # other one is left alone
    harness.wait_for(lambda: not alive_of(deployment), WAIT_S)
    ours = [one for one in harness.startups if one != foreign]
    launched = tags_of(deployment, ours)
    assert {one["beholder:deployment"] for one in launched} == {deployment.prefix}
    assert all(one["beholder:launch"] for one in launched)
    harness.wait_for(lambda: set(harness.ended) >= set(ours), WAIT_S)
    ends = {harness.ended[one] for one in ours}
    assert ends == {End.SHUT_DOWN}, "\n".join(
        [*web.process.lines[-30:], *(harness.console(one) for one in ours)]
    )
    assert harness.is_alive(foreign)
    # and: the last one has recorded when it became idle
    recorded = json.loads(store_of(deployment).get(IDLE_GAPS_KEY))
    assert recorded["idle_since_s"] < time.time() - STAY_S_MIN
    # and: the log tells why
    web.process.stop()
    kept = records(deployment)
    assert sorted(one for record in kept for one in record.launched) == sorted(ours)
    assert all(record.decision.alive + len(record.launched) <= 3 for record in kept)
    assert not any(record.terminated for record in kept)
    assert all(record.decision.reason for record in kept)


def test_the_reaper_ends_a_worker_that_hangs_while_it_drains(
    deployment: Deployment, harness: Ec2Harness, images: list[bytes]
) -> None:
    # given: a worker that has announced that it drains, alone however long its startup took
    deployment.configure(fleet_max=1)
    web = deployment.start_web()
    await_all(web, send(web, images[:1]), harness)
    (instance,) = harness.startups
    harness.wait_for(lambda: "drain.begun" in harness.console(instance), WAIT_S)
    # when: it stops in the middle of that, with every thread
    for process in processes_in(harness.namespace(instance)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGSTOP)
    # then
    harness.wait_for(lambda: instance in harness.ended, WAIT_S)
    assert harness.ended[instance] is End.TERMINATED
    web.process.await_line(rf"controller\.terminate.*{instance}")
    # and: the next image finds a new one, though the long poll of the hung one may take it first: then it
    # comes back once its visibility timeout is over
    await_all(web, send(web, images[1:2]), harness)
    assert len(harness.startups) > 1


def processes_in(namespace: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((process / "ns" / "pid").readlink()) == namespace:
                found.append(int(process.name))
    return found


def taken(web: Web) -> int:
    """Return how often a web process took the lease."""
    return sum("lease.taken" in line for line in web.process.lines)


def test_when_the_leader_is_killed_another_web_process_leads(
    deployment: Deployment, harness: Ec2Harness, images: list[bytes]
) -> None:
    # given: two web processes, the first of which leads
    first = deployment.start_web("web-0")
    first.process.await_line(r"lease\.taken")
    second = deployment.start_web("web-1")
    jobs = send(second, images[:20])
    harness.wait_for(lambda: harness.startups, WAIT_S)
    # One that got no processor for long has lost the lease to the other.
    leader, other = (second, first) if taken(second) else (first, second)
    before = taken(other)
    # when: it dies with instances on their way
    leader.process.kill()
    harness.wait_for(lambda: taken(other) > before, WAIT_S)
    # then: nothing is lost, nothing is launched twice, and what is left over goes
    jobs += send(other, images[20:])
    await_all(other, jobs, harness)
    harness.wait_for(lambda: set(harness.ended) == set(harness.startups), WAIT_S)
    assert set(harness.ended.values()) == {End.SHUT_DOWN}
    other.process.stop()
    highest = max(sum(record.states.values()) for record in records(deployment))
    assert highest <= 3


# The third startup fails, and the sixth.
@pytest.mark.parametrize("harness", [{"startup_failures": 0.34}], indirect=True)
def test_the_queue_is_drained_though_a_third_of_the_startups_fail(
    deployment: Deployment, harness: Ec2Harness, images: list[bytes]
) -> None:
    # given
    web = deployment.start_web()
    # when
    jobs = send(web, images)
    # then: others do the work, and go
    await_all(web, jobs, harness)
    # and: what never came up is given up
    harness.wait_for(lambda: harness.failed_startups, WAIT_S)
    harness.wait_for(lambda: set(harness.ended) >= set(harness.startups), WAIT_S)
    failed = set(harness.failed_startups)
    assert {harness.ended[one] for one in failed} == {End.TERMINATED}
    assert {harness.ended[one] for one in harness.startups if one not in failed} == {End.SHUT_DOWN}
    web.process.stop()
    terminated = {one.id: one.cause for record in records(deployment) for one in record.terminated}
    assert terminated == dict.fromkeys(failed, "startup")


def test_a_leaked_instance_of_the_deployment_is_found_and_terminated(
    deployment: Deployment, harness: Ec2Harness, moto: Emulator
) -> None:
    """A controller died after its launch, and what it launched never came up."""
    # given
    account = Account(moto)
    template = account.make_template(f"{IDLE}# leaked\n")
    (untagged,) = account.create_fleet(template, 1)
    tags: dict[str, Any] = {"beholder:deployment": deployment.prefix, "beholder:launch": "of-one-that-died"}
    (leaked,) = account.create_fleet(template, 1, tags=tags)
    (foreign,) = account.create_fleet(template, 1, tags=tags | {"beholder:deployment": "another"})
    harness.wait_for(lambda: {untagged, leaked, foreign} <= set(harness.startups), WAIT_S)
    # when
    web = deployment.start_web()
    # then
    harness.wait_for(lambda: leaked in harness.ended, WAIT_S)
    assert harness.ended == {leaked: End.TERMINATED}
    assert harness.is_alive(untagged)
    assert harness.is_alive(foreign)
    web.process.await_line(rf"controller\.terminate.*{leaked}")


def test_a_minimum_whose_instances_shut_down_at_once_is_launched_with_pauses(
    deployment: Deployment, harness: Ec2Harness, moto: Emulator
) -> None:
    """There were 34 launches in 75 s: with nothing in the queue, none counted as a failed startup."""
    # given
    template = Account(moto).make_template(f"#!/bin/sh\n# {secrets.token_hex(8)}\nshutdown -h now\n")
    deployment.configure(launch_template=template, fleet_min=1)
    started_s = time.monotonic()
    web = deployment.start_web()

    def fleet() -> dict[str, Any]:
        with urllib.request.urlopen(f"{web.url}/v1/fleet", timeout=30) as answer:
            return dict(json.load(answer))

    # when: three have ended
    wait_until(lambda: len(fleet()["failed_startups"]) >= 3, lambda: (fleet(), web.process.lines[-20:]))
    took_s = time.monotonic() - started_s
    # then: the second comes at once, the others after 15, 30, 60 s
    found = fleet()
    assert found["launched_total"] <= 4
    assert took_s >= 15.0
    assert set(found["failed_startups_total"]) <= {"ended", "unseen"}
    told = {one["id"] for one in found["failed_startups"]}
    assert told <= set(harness.startups) | set(harness.failed_startups)
    web.process.await_line(r"controller\.startup_failed")
