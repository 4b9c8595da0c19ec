"""A deployment from its first minute to its last, by the commands alone, with instances that boot.

The emulator's Elastic IP is an address of this machine's loopback; a forwarder plays the part of the network
and leads it to whichever instance has it.
"""

import contextlib
import gzip
import hashlib
import io
import json
import shutil
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from aws.emulators import REGION, ROOT, Emulator, emulator
from aws.test_deploy import give_internet
from beholder.cli.main import beholder
from beholder.deploy.account import Account
from beholder.deploy.bundle import Bundle
from beholder.deploy.stack import Stack
from beholder.fleet.ec2 import DEPLOYMENT_TAG
from ec2.harness import Ec2Harness

pytestmark = [pytest.mark.aws, pytest.mark.slow]

PORT = 8080
WORKERS_MAX = 4
WAIT_S = 240.0
# Without these the test would wait for what takes real fleets minutes.
HASTE = {
    "BEHOLDER_IDLE_S_MAX": "8",
    "BEHOLDER_DEPTH_LAG_S": "1",
    "BEHOLDER_STARTUP_S": "60",
    "BEHOLDER_TICK_S": "1",
}
ASK_S = 0.5
HOLDER_S = 0.5


class Forwarder:
    """Leads connections to an address to the instance that has it.

    Args:
        moto: The emulator.
        harness: What boots its instances.
        address: The Elastic IP.
    """

    def __init__(self, moto: Emulator, harness: Ec2Harness, address: str) -> None:
        self._moto, self._harness, self._address = moto, harness, address
        self._doors: dict[str, tuple[str, int]] = {}
        self._asking, self._holder, self._asked_s = threading.Lock(), "", float("-inf")
        self._listener = socket.create_server((address, PORT), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def holder(self) -> str:
        """Return the instance that has the address, as it was within the last half second."""
        with self._asking:
            if time.monotonic() >= self._asked_s + HOLDER_S:
                self._holder, self._asked_s = self._ask(), time.monotonic()
            return self._holder

    def _ask(self) -> str:
        told = self._moto.client("ec2").describe_addresses(PublicIps=[self._address])["Addresses"][0]
        return str(told.get("InstanceId", ""))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, KeyError):
            holder = self.holder()
            if holder not in self._doors:  # each call opens one
                host, _, port = self._harness.url(holder, PORT).rpartition("//")[2].partition(":")
                self._doors.setdefault(holder, (host, int(port)))
            with socket.create_connection(self._doors[holder]) as server:
                back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class Clients:
    """Clients that send one photo after the other, and keep what they got.

    Args:
        url: Of the service.
        key: An API key.
    """

    def __init__(self, url: str, key: str) -> None:
        self._photo = large_photo()
        self._url, self._key = url, key
        self.answers: Counter[str] = Counter()

    @contextlib.contextmanager
    def sending(self, *, at_once: int, waits: bool) -> Iterator[None]:
        """Send one request after the other while the context lasts, and then wait for all outcomes.

        Args:
            at_once: How many clients do so.
            waits: Whether a request waits for its outcome; if not, a backlog builds up.
        """
        is_over, documents = threading.Event(), list[Any]()

        def send() -> None:
            prefer = "wait=60" if waits else "respond-async"
            while not is_over.is_set():
                documents.append(self._ask("/v1/classify", {"Prefer": prefer}, self._photo))

        threads = [threading.Thread(target=send) for _ in range(at_once)]
        for one in threads:
            one.start()
        try:
            yield
        finally:
            is_over.set()
            for one in threads:
                one.join()
        print(f"{len(documents)} requests")
        # One after the other: the emulator answers a hundred requests a second to everyone together.
        for document in documents:
            outcome = document
            while outcome.get("status") in {"queued", "running"}:
                time.sleep(ASK_S)
                outcome = self._ask(document["urls"]["get"])
            label = outcome["result"]["labels"][0]["name"] if "result" in outcome else str(outcome)
            self.answers[label] += 1

    def _ask(
        self, path: str, headers: Mapping[str, str] = MappingProxyType({}), body: bytes | None = None
    ) -> Any:
        headers = {"Authorization": f"Bearer {self._key}", **headers}
        request = urllib.request.Request(self._url + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as exc:
            return {"error": f"{exc.code} {exc.read()[:200]!r}"}
        except OSError as exc:
            return {"error": f"no answer: {exc}"}


def large_photo() -> bytes:
    """Return a photo of 35 megapixels, which takes a worker half a second and the emulator no longer."""
    with Image.open(ROOT / "samples" / "coffee.jpg") as photo:
        large = photo.resize((photo.width * 12, photo.height * 12), Image.Resampling.NEAREST)
    with io.BytesIO() as written:
        large.save(written, "PNG", compress_level=1)
        return written.getvalue()


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(beholder, arguments, catch_exceptions=False)
    print(f"$ beholder {' '.join(arguments)}\n{result.output}")
    assert result.exit_code == 0, result.output
    return result


def another(bundle: Bundle, folder: Path) -> Bundle:
    """Return a bundle with the same files and other bytes."""
    content = bundle.path.read_bytes() + gzip.compress(b"")
    path = folder / f"{hashlib.sha256(content).hexdigest()}.tar.gz"
    path.write_bytes(content)
    return Bundle(path, path.name.partition(".")[0])


def left_in(moto: Emulator, name: str) -> list[str]:
    """Return what every service still has with the deployment's name or tag."""
    ec2, iam = moto.client("ec2"), moto.client("iam")
    tagged = [{"Name": f"tag:{DEPLOYMENT_TAG}", "Values": [name]}]
    instances = [
        (one["InstanceId"], one["State"]["Name"])
        for each in ec2.describe_instances(Filters=tagged)["Reservations"]
        for one in each["Instances"]
    ]
    found: Sequence[Any] = [
        *[one for one, state in instances if state not in {"terminated", "shutting-down"}],
        *[one["VolumeId"] for one in ec2.describe_volumes(Filters=tagged)["Volumes"]],
        *[one["AllocationId"] for one in ec2.describe_addresses(Filters=tagged)["Addresses"]],
        *[one["GroupId"] for one in ec2.describe_security_groups(Filters=tagged)["SecurityGroups"]],
        *[one["LaunchTemplateName"] for one in ec2.describe_launch_templates()["LaunchTemplates"]],
        *moto.client("sqs").list_queues(QueueNamePrefix=name).get("QueueUrls", []),
        *[one["Name"] for one in moto.client("s3").list_buckets()["Buckets"]],
        *[one["RoleName"] for one in iam.list_roles()["Roles"]],
        *[one["InstanceProfileName"] for one in iam.list_instance_profiles()["InstanceProfiles"]],
        *[
            one["AutoScalingGroupName"]
            for one in moto.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        ],
        *[
            one["logGroupName"]
            for one in moto.client("logs").describe_log_groups(logGroupNamePrefix=f"/beholder/{name}")[
                "logGroups"
            ]
        ],
        *[one["AlarmName"] for one in moto.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        *[one["StackName"] for one in moto.client("cloudformation").describe_stacks()["Stacks"]],
    ]
    ours = {one for one, _ in instances}
    return [
        one for one in found if name in one or one in ours or one.startswith(("vol-", "eipalloc-", "sg-"))
    ]


def test_a_deployment_lives_grows_is_upgraded_under_load_and_leaves_nothing(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    moto, name = emulator("moto"), "e2e"
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    give_internet(moto)
    image = moto.client("ec2").describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])[
        "Images"
    ][0]["ImageId"]
    bundles = [bundle, another(bundle, tmp_path)]

    def build(folder: Path, _models: Sequence[Path], **_: object) -> Bundle:
        built = bundles.pop(0)
        return Bundle(Path(shutil.copy(built.path, folder)), built.sha256)

    monkeypatch.setattr("beholder.cli.deploying.build_bundle", build)
    with Ec2Harness(moto.endpoint, HASTE, covered=[ROOT, Path(sys.prefix)]) as harness:
        forwarders: list[Forwarder] = []

        def lead_address() -> None:
            """Lead the deployment's address as soon as there is one."""
            while not forwarders:
                # The emulator gives the addresses of a stack no tags.
                if address := Stack(Account(REGION), name).outputs().get("ElasticIp"):
                    forwarders.append(Forwarder(moto, harness, address))
                elif is_done.wait(0.5):
                    return

        is_done = threading.Event()
        leader = threading.Thread(target=lead_address)
        leader.start()
        try:
            # when: one command
            options = ["--image", image, "--expose", "cidr=127.0.0.0/8", "--max", str(WORKERS_MAX)]
            types = ["--instance-types", "c6a.large,c6i.large", "--latency-goal", "0.5"]
            made = run("deploy", name, *options, *types, "--yes").output
            # then: an image came through, and a key is there
            assert "an image came back recognised" in made
            url = made.partition(f"{name} answers at ")[2].partition("\n")[0]
            key = made.partition("BEHOLDER_API_KEY=")[2].partition("\n")[0]
            web = forwarders[0].holder()
            clients = Clients(url, key)

            def workers() -> list[str]:
                return [one for one in harness.startups if one not in webs and one not in harness.ended]

            webs = {web}
            harness.wait_for(lambda: not workers(), WAIT_S)

            # when: a step from zero
            with clients.sending(at_once=1, waits=False):
                # then: as many instances as may be come
                harness.wait_for(lambda: len(workers()) == WORKERS_MAX, WAIT_S)
            # and: every request was answered, and they leave again
            assert set(clients.answers) == {"espresso"}
            harness.wait_for(lambda: not workers(), WAIT_S)

            # when: an upgrade under load
            clients.answers.clear()
            with clients.sending(at_once=2, waits=True):
                run("upgrade", name, "--yes")
            # then: nothing is lost, and another instance has the address
            assert set(clients.answers) == {"espresso"}
            assert web in harness.ended
            assert forwarders[0].holder() in set(harness.startups) - set(harness.ended)

            # when
            run("destroy", name, "--yes", "--delete-data")
            # then
            assert left_in(moto, name) == []
            harness.wait_for(lambda: len(harness.ended) == len(harness.startups), WAIT_S)
        finally:
            is_done.set()
            leader.join()
            for one in forwarders:
                one.close()
