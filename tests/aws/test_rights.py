"""The roles of the template and the deployer's policy, on an emulator that enforces them.

ministack knows neither the conditions of EC2 nor the ARNs of every service. What needs them is in
`tests/unit/test_rights_of_ec2.py` and `tests/aws/test_deployers_rights.py`, where a helper evaluates them.
"""

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from huggingface_hub import InferenceClient

from aws.deployment import Deployment, Process, Web
from aws.emulators import REGION, Emulator, own_ministack
from aws.stacks import make_stack
from aws.test_permissions import ACCOUNT, BATCHED, REFUSED, refusal, wait_until
from beholder.client import Client
from beholder.deploy.deployer_policy import deployer_policy
from beholder.store.keys import CANCELED, upload_result_key
from helpers.iam import listed

pytestmark = pytest.mark.aws

NAME, OTHER = "zoo", "zoo-2"
PURPOSES = ("input", "output", "bundles")


def bucket(purpose: str, name: str = NAME) -> str:
    return f"{name}-{ACCOUNT}-{REGION}-{purpose}"


@dataclass
class Scene:
    """Two deployments, and the credentials of one's deployer and roles, as environment variables."""

    aws: Emulator
    credentials: dict[str, dict[str, str]]

    def client(self, who: str, service: str) -> Any:
        """Return a boto3 client of 'deployer', 'web' or 'worker'."""
        keys = {name.lower(): value for name, value in self.credentials[who].items()}
        return boto3.client(service, region_name=REGION, endpoint_url=self.aws.endpoint, **keys)

    def url(self, queue: str, name: str = NAME) -> str:
        return f"{self.aws.endpoint}/{ACCOUNT}/{name}-{queue}"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with own_ministack(AUTH="true") as aws:
        make_deployer(aws)
        keys = {"deployer": assume(aws, "deployer")}
        scene = Scene(aws, keys)
        make_stack(scene.client("deployer", "cloudformation"), aws, NAME)
        make_stack(aws.client("cloudformation"), aws, OTHER)
        keys |= {role: assume(aws, f"{NAME}-{REGION}-{role}") for role in ("web", "worker")}
        for purpose in PURPOSES:
            put = on_s3("put_object", purpose, "images/a", Body=b"")
            assert refusal(lambda put=put: put(scene, "deployer")) == "AccessDenied", "it came without TLS"
        fill(aws)
        yield scene


def make_deployer(aws: Emulator) -> None:
    """Make a role of people, with the deployer's policies."""
    iam = aws.client("iam")
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole"}]}
    trust["Statement"][0]["Principal"] = {"Service": "ec2.amazonaws.com"}
    iam.create_role(RoleName="deployer", AssumeRolePolicyDocument=json.dumps(trust))
    for name, document in deployer_policy(NAME, ACCOUNT, REGION, "aws").items():
        iam.put_role_policy(RoleName="deployer", PolicyName=name, PolicyDocument=json.dumps(document))


def assume(aws: Emulator, role: str) -> dict[str, str]:
    """Return credentials of a role, with a session token, as an instance gets them."""
    iam = aws.client("iam")
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for statement in document["Statement"]:
            actions = listed(statement["Action"])
            statement["Action"] = actions + [f"{one}Batch" for one in actions if one in BATCHED]
            if "logs:CreateLogStream" in actions:  # AWS asks for a stream's ARN, ministack for the group's
                statement["Resource"] = [statement["Resource"], statement["Resource"].removesuffix(":*")]
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    trust["Statement"][0]["Principal"] = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}  # instead of EC2
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))
    arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
    given = aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="i-0a")["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
    }


def fill(aws: Emulator) -> None:
    """Put objects into the buckets of both, without the bucket policies, which demand TLS."""
    s3 = aws.client("s3")
    for name in (NAME, OTHER):
        for purpose in PURPOSES:
            s3.delete_bucket_policy(Bucket=bucket(purpose, name))
            for key in ("images/a", "results/a", "keys/a", "fleet/heartbeats/a", "bundle"):
                s3.put_object(Bucket=bucket(purpose, name), Key=key, Body=b"a")


# --- the running system -------------------------------------------------------------------------------------


@dataclass
class Running:
    """A web process and a worker with the rights of their roles, and an API key that the deployer made."""

    web: Web
    worker: Process
    key: str

    def post(self, path: str, data: bytes) -> dict[str, Any]:
        headers = {"Content-Type": "application/octet-stream", "Authorization": f"Bearer {self.key}"}
        asked = urllib.request.Request(self.web.url + path, data=data, headers=headers)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            job: dict[str, Any] = json.loads(answer.read())
        return job


@pytest.fixture
def running(scene: Scene, tmp_path: Path) -> Iterator[Running]:
    own = {
        "prefix": NAME,
        "input_bucket": bucket("input"),
        "output_bucket": bucket("output"),
        "keys": "on",
    }
    deployment = Deployment(scene.aws, tmp_path, **own)
    with contextlib.ExitStack() as stack:
        stack.push(deployment.__exit__)
        deployment.credentials = scene.credentials["deployer"]
        made = subprocess.run(
            [sys.executable, "-m", "beholder", "keys", "create", "first", "--data-dir", str(tmp_path)],
            env=deployment.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        deployment.credentials = scene.credentials["web"]
        web = deployment.start_web()
        deployment.credentials = scene.credentials["worker"]
        worker = deployment.start_worker()
        worker.await_line(r"worker\.ready")
        yield Running(web, worker, made.stdout.strip())


def test_the_roles_are_enough_for_the_running_system(
    scene: Scene, running: Running, imagenet_100: Path, labelled: Path
) -> None:
    # given: an image that rides inside its message, and one that does not
    small = min(imagenet_100.glob("*.JPEG")).read_bytes()
    large = max((path.read_bytes() for path in labelled.glob("*.JPEG")), key=len)
    s3 = scene.aws.client("s3")

    def results() -> list[str]:
        listed = s3.list_objects_v2(Bucket=bucket("output"))
        return [one["Key"] for one in listed.get("Contents", [])]

    # when: both, an upload into the bucket, and a message that nobody can read
    jobs = [running.post("/v1/classify", image) for image in (small, large)]
    s3.put_object(Bucket=bucket("input"), Key="drop/a.jpg", Body=small)
    scene.aws.client("sqs").send_message(QueueUrl=scene.url("input-queue"), MessageBody='{"v": 99}')
    # then
    assert [job["status"] for job in jobs] == ["succeeded", "succeeded"]
    # and: the same label for Hugging Face's client and for our own, whose idempotency keys need more calls
    best = jobs[0]["result"]["labels"][0]["name"]
    theirs = InferenceClient(model=f"{running.web.url}/hf", token=running.key)
    assert theirs.image_classification(small)[0].label == best
    with Client(running.web.url, api_key=running.key) as ours:
        twice = [ours.classify(small, idempotency_key="once") for _ in range(2)]
        assert ours.wait(ours.submit(small)).labels[0].name == best
    assert twice[0].id == twice[1].id
    assert twice[0].labels[0].name == best
    lines = running.web.process.lines, running.worker.lines
    wait_until(lambda: upload_result_key("drop/a.jpg") in results(), lambda: lines)
    wait_until(lambda: any("unreadable" in key for key in results()), lambda: lines)
    assert running.web.process.stop() == 0
    running.worker.kill()  # told to end, it would wait for its poll
    assert [line for each in lines for line in each if REFUSED.search(line)] == []


@pytest.mark.parametrize("role", ["web", "worker"])
def test_the_start_of_an_instance_has_its_rights(scene: Scene, role: str) -> None:
    s3 = scene.client(role, "s3")
    assert s3.get_object(Bucket=bucket("bundles"), Key="bundle")["Body"].read() == b"a"
    for key in ("fleet/failed-starts/i-0a", "fleet/startups/i-0a.json"):
        s3.put_object(Bucket=bucket("output"), Key=key, Body=b"a")
    shipped = subprocess.run(
        [sys.executable, "-m", "beholder", "ship-logs", f"/beholder/{NAME}", f"{role}/i-0a"],
        input="a line",
        env=scene.credentials[role] | {"AWS_ENDPOINT_URL": scene.aws.endpoint, "BEHOLDER_REGION": REGION},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert REFUSED.search(shipped.stderr) is None, shipped.stderr


# --- what must be refused -----------------------------------------------------------------------------------

Try = Callable[[Scene, str], object]


def on_s3(action: str, purpose: str, key: str = "", name: str = NAME, **more: Any) -> Try:
    def call(scene: Scene, who: str) -> object:
        where = {"Bucket": bucket(purpose, name)} | ({"Key": key} if key else {})
        return getattr(scene.client(who, "s3"), action)(**where, **more)

    return call


def on_sqs(action: str, queue: str, name: str = NAME, **more: Any) -> Try:
    def call(scene: Scene, who: str) -> object:
        return getattr(scene.client(who, "sqs"), action)(QueueUrl=scene.url(queue, name), **more)

    return call


def on(service: str, action: str, **parameters: Any) -> Try:
    def call(scene: Scene, who: str) -> object:
        return getattr(scene.client(who, service), action)(**parameters)

    return call


ROLE, POLICY = f"{NAME}-{REGION}-web", json.dumps({"Version": "2012-10-17", "Statement": []})


def test_a_worker_deletes_the_marks_of_canceled_jobs(scene: Scene) -> None:
    s3, mark = scene.client("worker", "s3"), {"Bucket": bucket("output"), "Key": f"{CANCELED}a"}
    scene.client("web", "s3").put_object(Body=b"", **mark)
    s3.delete_object(**mark)
    assert s3.list_objects_v2(Bucket=mark["Bucket"], Prefix=CANCELED)["KeyCount"] == 0


OTHER_ROLE = f"{OTHER}-{REGION}-web"
FORBIDDEN: list[tuple[str, str, Try]] = [
    ("worker", "reads an API key", on_s3("get_object", "output", "keys/a")),
    ("worker", "makes an API key", on_s3("put_object", "output", "keys/b", Body=b"")),
    ("worker", "writes a bundle", on_s3("put_object", "bundles", "bundle", Body=b"")),
    ("worker", "deletes a bundle", on_s3("delete_object", "bundles", "bundle")),
    ("worker", "lists bundles", on_s3("list_objects_v2", "bundles")),
    ("worker", "writes an image", on_s3("put_object", "input", "images/b", Body=b"")),
    ("worker", "deletes an image", on_s3("delete_object", "input", "images/a")),
    ("worker", "deletes a result", on_s3("delete_object", "output", "results/a")),
    ("worker", "deletes a bucket", on_s3("delete_bucket", "output")),
    ("worker", "opens a bucket", on_s3("put_bucket_policy", "output", Policy=POLICY)),
    ("worker", "reads another deployment's image", on_s3("get_object", "input", "images/a", OTHER)),
    ("worker", "empties the queue", on_sqs("purge_queue", "input-queue")),
    ("worker", "deletes the queue", on_sqs("delete_queue", "input-queue")),
    ("worker", "takes dead letters", on_sqs("receive_message", "input-queue-dead")),
    ("worker", "looks at instances", on("ec2", "describe_instances")),
    ("worker", "launches", on("ec2", "run_instances", ImageId="ami-0a", MinCount=1, MaxCount=1)),
    ("worker", "ends an instance", on("ec2", "terminate_instances", InstanceIds=["i-0123456789abcdef0"])),
    (
        "worker",
        "changes a role",
        on("iam", "put_role_policy", RoleName=ROLE, PolicyName="a", PolicyDocument=POLICY),
    ),
    ("worker", "deletes the log", on("logs", "delete_log_group", logGroupName=f"/beholder/{NAME}")),
    ("web", "makes an API key", on_s3("put_object", "output", "keys/b", Body=b"")),
    ("web", "deletes an API key", on_s3("delete_object", "output", "keys/a")),
    ("web", "writes a bundle", on_s3("put_object", "bundles", "bundle", Body=b"")),
    ("web", "deletes a bucket", on_s3("delete_bucket", "input")),
    ("web", "takes from the input queue", on_sqs("receive_message", "input-queue")),
    ("web", "sends to another deployment", on_sqs("send_message", "input-queue", OTHER, MessageBody="a")),
    ("web", "writes for another deployment", on_s3("put_object", "output", "results/b", OTHER, Body=b"")),
    ("web", "makes any queue", on("sqs", "create_queue", QueueName=f"{OTHER}-output-queue-a")),
    (
        "web",
        "changes a role",
        on("iam", "put_role_policy", RoleName=ROLE, PolicyName="a", PolicyDocument=POLICY),
    ),
    ("web", "deletes the stack", on("cloudformation", "delete_stack", StackName=NAME)),
    (
        "web",
        "ends a balancer's group",
        on("autoscaling", "delete_auto_scaling_group", AutoScalingGroupName=f"{NAME}-web"),
    ),
    ("deployer", "deletes another deployment's bucket", on_s3("delete_bucket", "input", name=OTHER)),
    ("deployer", "reads another deployment's key", on_s3("get_object", "output", "keys/a", OTHER)),
    ("deployer", "makes any bucket", on("s3", "create_bucket", Bucket="some-other-bucket")),
    ("deployer", "deletes another deployment's queue", on_sqs("delete_queue", "input-queue", OTHER)),
    ("deployer", "deletes another deployment's stack", on("cloudformation", "delete_stack", StackName=OTHER)),
    (
        "deployer",
        "changes another role",
        on("iam", "put_role_policy", RoleName=OTHER_ROLE, PolicyName="a", PolicyDocument=POLICY),
    ),
    (
        "deployer",
        "makes any role",
        on("iam", "create_role", RoleName="admin", AssumeRolePolicyDocument=POLICY),
    ),
    (
        "deployer",
        "gives a role a managed policy",
        on(
            "iam",
            "attach_role_policy",
            RoleName=ROLE,
            PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess",
        ),
    ),
    ("deployer", "makes a user", on("iam", "create_user", UserName="mallory")),
    ("deployer", "makes a key", on("iam", "create_access_key", UserName="somebody")),
    (
        "deployer",
        "deletes another deployment's log",
        on("logs", "delete_log_group", logGroupName=f"/beholder/{OTHER}"),
    ),
]


@pytest.mark.parametrize(
    ("who", "what", "call"), FORBIDDEN, ids=[f"{who} {what}" for who, what, _ in FORBIDDEN]
)
def test_what_a_role_must_not_do_is_refused(scene: Scene, who: str, what: str, call: Try) -> None:
    del what
    refused = refusal(lambda: call(scene, who))
    assert "AccessDenied" in refused or refused == "UnauthorizedOperation", refused


def test_the_deployer_may_do_with_the_own_deployment_what_is_refused_with_another(scene: Scene) -> None:
    s3, sqs = scene.client("deployer", "s3"), scene.client("deployer", "sqs")
    s3.put_object(Bucket=bucket("bundles"), Key="second", Body=b"a")
    assert s3.get_object(Bucket=bucket("output"), Key="keys/a")
    for action in ("list_objects_v2", "list_object_versions", "get_bucket_location"):
        getattr(s3, action)(Bucket=bucket("bundles"))
    s3.delete_objects(Bucket=bucket("bundles"), Delete={"Objects": [{"Key": "second"}]})
    assert sqs.get_queue_attributes(QueueUrl=scene.url("input-queue"), AttributeNames=["All"])
    assert sqs.list_queue_tags(QueueUrl=scene.url("input-queue", OTHER)), "destroy looks at tags of both"
    assert scene.client("deployer", "iam").get_role(RoleName=ROLE)
    assert scene.client("deployer", "cloudformation").describe_stack_events(StackName=NAME)
