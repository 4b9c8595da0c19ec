"""A deployment behind a balancer with TLS: upgraded under load, no client sees it.

The emulator has balancers in name only; `ec2.balancer` plays the deployment's, for the names that DNS has.
"""

import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aws.awscli import aws_command, aws_json
from aws.emulators import REGION, ROOT, Emulator, emulator
from aws.end_to_end import WAIT_S, Clients, another, prepare, run
from aws.listing import everything
from beholder.deploy.account import Account
from beholder.deploy.bundle import Bundle
from beholder.deploy.stack import Stack
from ec2.balancer import Balancer
from ec2.harness import Ec2Harness
from helpers.certificates import make_certificate

pytestmark = [pytest.mark.aws, pytest.mark.slow]

NAME, HOST_NAME = "balanced", "photos.example.com"
HERE = ("127.0.0.9", 443)
HASTE = {"BEHOLDER_IDLE_S_MAX": "60", "BEHOLDER_DEPTH_LAG_S": "1", "BEHOLDER_TICK_S": "1"}
LOOK_S = 0.5


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the names that lead to the balancer."""
    names: set[str] = set()
    real: Callable[..., Any] = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: Any, **named: Any) -> Any:
        return real(HERE[0] if host in names else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Return the files of a certificate that this process trusts, and of its key."""
    made = make_certificate(tmp_path, [HOST_NAME])
    monkeypatch.setenv("SSL_CERT_FILE", str(made[0]))
    return made


@contextmanager
def playing(
    moto: Emulator, harness: Ec2Harness, tls: ssl.SSLContext, dns: set[str]
) -> Iterator[list[Balancer]]:
    """Play the deployment's balancer as soon as there is one; it comes into the list."""
    playing: list[Balancer] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(LOOK_S):
            if group := (outputs := Stack(Account(REGION), NAME).outputs()).get("TargetGroup"):
                playing.append(Balancer(moto, harness, group, HERE, tls))
                dns.add(outputs["BalancerHost"])
                return

    looker = threading.Thread(target=look)
    looker.start()
    try:
        yield playing
    finally:
        is_over.set()
        looker.join()
        for one in playing:
            one.close()


def read_by_aws(moto: Emulator, folder: Path) -> None:
    """Read what the commands made with AWS's own command line."""
    with aws_command(moto, folder):
        (stack,) = aws_json(folder, "cloudformation", "describe-stacks", "--stack-name", NAME)["Stacks"]
        told = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
        assert told["Url"] == f"https://{HOST_NAME}"
        group = ["--target-group-arn", told["TargetGroup"]]
        health = aws_json(folder, "elbv2", "describe-target-health", *group)["TargetHealthDescriptions"]
        assert [one["TargetHealth"]["State"] for one in health] == ["healthy"] * 2
        names = ["--auto-scaling-group-names", told["WebGroup"]]
        (tier,) = aws_json(folder, "autoscaling", "describe-auto-scaling-groups", *names)["AutoScalingGroups"]
        assert {one["InstanceId"] for one in tier["Instances"]} == {one["Target"]["Id"] for one in health}
        queue = aws_json(folder, "sqs", "get-queue-url", "--queue-name", told["InputQueue"])["QueueUrl"]
        asked = ["--queue-url", queue, "--attribute-names", "All"]
        queue_has = aws_json(folder, "sqs", "get-queue-attributes", *asked)["Attributes"]
        assert queue_has["MessageRetentionPeriod"] == str(14 * 86_400)
        objects = aws_json(folder, "s3api", "list-objects-v2", "--bucket", told["BundleBucket"])["Contents"]
        # Beside it is the state of the version that came through.
        assert [one["Key"] for one in objects if not one["Key"].startswith("states/")] == [
            one["ParameterValue"] for one in stack["Parameters"] if one["ParameterKey"] == "BundleKey"
        ]
        role = aws_json(folder, "iam", "get-role", "--role-name", told["WebRole"])["Role"]
        assert {"Key": "beholder:deployment", "Value": NAME} in role["Tags"]


def test_an_upgrade_behind_a_balancer_with_tls_is_seen_by_no_client(
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dns: set[str],
    certificate: tuple[Path, Path],
) -> None:
    # given
    moto = emulator("moto")
    image = prepare(moto, monkeypatch, [bundle, another(bundle, tmp_path)])
    arn = moto.client("acm").import_certificate(
        Certificate=certificate[0].read_bytes(), PrivateKey=certificate[1].read_bytes()
    )["CertificateArn"]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    before = everything(moto)
    with (
        Ec2Harness(moto.endpoint, HASTE, covered=[ROOT, Path(sys.prefix)]) as harness,
        playing(moto, harness, tls, dns) as balancers,
    ):
        # when: it is deployed before DNS knows its name
        options = ["--image", image, "--expose", "public", "--max", "1", "--instance-types", "c6a.large"]
        front = ["--front", "balancer", "--certificate", arn]
        made = run("deploy", NAME, *options, *front, "--yes").output
        # then: an image came through the balancer, and the record that lacks is named
        assert "an image came back recognised" in made
        assert f"{NAME} answers at https://{HOST_NAME}\n" in made
        assert f"{HOST_NAME} does not lead to the balancer yet: make it a CNAME of {NAME}-web-1." in made
        (balancer,) = balancers
        old = set(balancer.targets())
        assert len(old) == 2
        read_by_aws(moto, tmp_path)

        # when: an upgrade under load, with the name in DNS
        dns.add(HOST_NAME)
        key = made.partition("BEHOLDER_API_KEY=")[2].partition("\n")[0]
        clients = Clients(f"https://{HOST_NAME}", key, (ROOT / "samples" / "coffee.jpg").read_bytes())
        with clients.sending(at_once=2):
            upgraded = run("upgrade", NAME, "--yes").output
        # then: every request was answered rightly, by old instances and by new ones, and none by an error
        assert set(clients.answers) == {"espresso"}
        assert (set(balancer.answers) - {200, 202, 401}, balancer.faults) == (set(), [])
        # The canaries' new keys are known everywhere within a second: the first requests of deploy's and
        # upgrade's may come earlier.
        assert balancer.answers[401] <= 2
        print(balancer.answers, balancer.served)
        assert "does not lead to the balancer" not in upgraded
        harness.wait_for(lambda: old <= set(harness.ended), WAIT_S)
        new = set(balancer.targets())
        assert (len(new), new & old) == (2, set())
        assert set(balancer.served) == old | new

        # when
        run("destroy", NAME, "--yes", "--delete-data")
        # then
        assert everything(moto) - before == set()
