"""The harness that makes an emulator's instances run does to them what EC2 would."""

import contextlib
import json
import secrets
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aws.emulators import REGION, Emulator
from ec2.account import Account
from ec2.harness import EVERY, Ec2Harness, End

pytestmark = pytest.mark.aws

WAIT_S = 60.0

# Says who it is and puts it on a queue, with credentials from the instance metadata and from nowhere else.
HELLO = f"""#!/bin/sh
touch /etc/made-in-a-guest
{sys.executable} - <<'PY'
import json, urllib.request
import boto3
def metadata(path, method="GET", **headers):
    request = urllib.request.Request("http://169.254.169.254/latest/" + path, method=method, headers=headers)
    return urllib.request.urlopen(request).read().decode()
token = metadata("api/token", "PUT", **{{"X-aws-ec2-metadata-token-ttl-seconds": "60"}})
known = {{"X-aws-ec2-metadata-token": token}}
session = boto3.Session(region_name="{REGION}")
told = {{
    "id": metadata("meta-data/instance-id", **known),
    "fleet": metadata("meta-data/tags/instance/fleet", **known),
    "credentials": session.get_credentials().method,
}}
session.client("sqs").send_message(QueueUrl="QUEUE", MessageBody=json.dumps(told))
PY
shutdown -h now
sleep 3600
"""

# Says on its console what it is told of an interruption, as soon as it is told.
WATCH = f"""#!/bin/sh
exec {sys.executable} - <<'PY'
import time
from beholder.fleet.imds import InstanceMetadata
metadata = InstanceMetadata()
print("life cycle", metadata.identity().life_cycle, flush=True)
# A rebalance recommendation may be read first, where both come between the two requests of one look.
while (notice := metadata.interruption()) is None or not notice.is_interruption:
    time.sleep(0.05)
print("told", notice.action, "in time" if notice.at_s > time.time() else "late", flush=True)
time.sleep(3600)
PY
"""

IDLE = "#!/bin/sh\necho up\nsleep 3600\n"


@pytest.fixture
def account(moto: Emulator) -> Account:
    return Account(moto)


@pytest.fixture
def harness(moto: Emulator) -> Iterator[Ec2Harness]:
    with Ec2Harness(moto.endpoint) as harness:
        yield harness


def unique(script: str) -> str:
    """Return user data that no other launch template has."""
    return f"{script}# {secrets.token_hex(8)}\n"


def processes_in(namespaces: set[str]) -> list[Path]:
    """Return the processes that are in any of these namespaces."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # What ended while we looked has no namespace any more.
        with contextlib.suppress(OSError):
            if str((process / "ns" / "pid").readlink()) in namespaces:
                found.append(process)
    return found


def mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def test_a_fleet_boots_works_with_its_role_and_terminates_itself(
    moto: Emulator, account: Account, harness: Ec2Harness
) -> None:
    queue = moto.make_queue()
    template = account.make_template(HELLO.replace("QUEUE", queue))

    ids = account.create_fleet(template, 3, tags={"fleet": "zoo"})

    harness.wait_for(lambda: len(harness.ended) == 3, WAIT_S)
    assert set(account.states(ids).values()) == {"terminated"}
    assert harness.ended == dict.fromkeys(ids, End.SHUT_DOWN)
    told = [json.loads(body) for body in received(moto, queue, 3)]
    assert sorted(one["id"] for one in told) == sorted(ids)
    assert {(one["fleet"], one["credentials"]) for one in told} == {("zoo", "iam-role")}
    assert not Path("/etc/made-in-a-guest").exists()


def received(moto: Emulator, queue: str, count: int) -> list[str]:
    sqs, bodies = moto.client("sqs"), []
    while len(bodies) < count:
        messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        assert messages, f"only {len(bodies)} messages came"
        bodies += [str(one["Body"]) for one in messages]
    return bodies


def test_what_shuts_down_is_stopped_where_its_launch_says_so(account: Account, harness: Ec2Harness) -> None:
    template = account.make_template(unique("#!/bin/sh\npoweroff\n"), shutdown_behavior="stop")

    ids = account.create_fleet(template, 1)

    harness.wait_for(lambda: harness.ended.get(ids[0]) is End.SHUT_DOWN, WAIT_S)
    assert account.states(ids) == {ids[0]: "stopped"}


def test_a_termination_through_the_api_ends_the_guest(account: Account, harness: Ec2Harness) -> None:
    (one, other) = account.create_fleet(account.make_template(unique(IDLE)), 2)
    harness.wait_for(lambda: all("up" in harness.console(instance) for instance in (one, other)), WAIT_S)
    namespace = harness.namespace(one)
    assert processes_in({namespace})

    account.terminate([one])

    harness.wait_for(lambda: harness.ended.get(one) is End.TERMINATED, WAIT_S)
    assert not processes_in({namespace})
    assert harness.is_alive(other)


def test_an_interruption_is_told_inside_before_it_comes(account: Account, harness: Ec2Harness) -> None:
    (spot,) = account.create_fleet(account.make_template(unique(WATCH)), 1, spot=True)
    harness.wait_for(lambda: "life cycle spot" in harness.console(spot), WAIT_S)

    harness.interrupt(spot, notice_s=10.0)

    harness.wait_for(lambda: "told terminate in time" in harness.console(spot), WAIT_S)
    harness.wait_for(lambda: harness.ended.get(spot) is End.INTERRUPTED, WAIT_S)
    assert account.states([spot]) == {spot: "terminated"}


def test_a_shutdown_that_hangs_leaves_the_instance_running(account: Account, harness: Ec2Harness) -> None:
    harness.hang_shutdown = EVERY
    script = unique("#!/bin/sh\nshutdown -h now\nsleep 3600\n")
    (hung,) = account.create_fleet(account.make_template(script), 1)

    harness.wait_for(lambda: harness.asked.get(hung) == ["shutdown"], WAIT_S)

    assert account.states([hung]) == {hung: "running"}
    assert harness.is_alive(hung)
    account.terminate([hung])
    harness.wait_for(lambda: harness.ended.get(hung) is End.TERMINATED, WAIT_S)


def test_a_forced_poweroff_ends_what_a_shutdown_does_not(account: Account, harness: Ec2Harness) -> None:
    harness.hang_shutdown = EVERY
    script = unique("#!/bin/sh\nshutdown -h now\npoweroff -f\n")

    (hung,) = account.create_fleet(account.make_template(script), 1)

    harness.wait_for(lambda: harness.ended.get(hung) is End.SHUT_DOWN, WAIT_S)
    assert harness.asked[hung] == ["shutdown", "poweroff"]


def test_nothing_from_within_ends_what_hangs_altogether(account: Account, harness: Ec2Harness) -> None:
    harness.hang_all = EVERY
    script = unique("#!/bin/sh\nshutdown -h now\npoweroff -f\n")

    (hung,) = account.create_fleet(account.make_template(script), 1)

    harness.wait_for(lambda: harness.asked.get(hung) == ["shutdown", "poweroff"], WAIT_S)
    assert harness.is_alive(hung)


def test_a_failed_boot_runs_no_user_data_and_keeps_its_instance(moto: Emulator, account: Account) -> None:
    with Ec2Harness(moto.endpoint, startup_failures=1.0) as harness:
        ids = account.create_fleet(account.make_template(unique(IDLE)), 2)

        harness.wait_for(lambda: len(harness.failed_startups) == 2, WAIT_S)
        harness.wait_for(lambda: all("user data ended" in harness.console(one) for one in ids), WAIT_S)

        assert not [one for one in ids if "up" in harness.console(one)]
        assert set(account.states(ids).values()) == {"running"}


def test_a_harness_leaves_nothing_behind(moto: Emulator, account: Account) -> None:
    before = mounts()
    with Ec2Harness(moto.endpoint) as harness:
        ids = account.create_fleet(account.make_template(unique(IDLE)), 2)
        harness.wait_for(lambda: all("up" in harness.console(one) for one in ids), WAIT_S)
        namespaces = {harness.namespace(one) for one in ids}
        folder = harness.folder

    assert harness.ended == dict.fromkeys(ids, End.CLOSED)
    assert set(account.states(ids).values()) == {"terminated"}
    assert not processes_in(namespaces)
    assert mounts() == before
    assert not folder.exists()
    assert not [one for one in threading.enumerate() if one.name in {"door", "ec2 harness"}]


def test_an_instance_that_was_there_before_is_left_alone(moto: Emulator, account: Account) -> None:
    template = account.make_template(unique(IDLE))
    (earlier,) = account.create_fleet(template, 1)

    with Ec2Harness(moto.endpoint) as harness:
        (later,) = account.create_fleet(template, 1)
        harness.wait_for(lambda: later in harness.startups, WAIT_S)

        assert earlier not in harness.startups
    account.terminate([earlier])
