"""Processes with exactly the rights that the documentation names, on an emulator that enforces them."""

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from aws.deployment import Deployment, Process, Web
from aws.emulators import REGION, Emulator, own_ministack
from beholder.store.keys import upload_result_key
from docs.pages import read, table

pytestmark = pytest.mark.aws

WAIT_S = 30.0
ACCOUNT = "000000000000"
# AWS has no right of its own for a batch: who may send one may send ten. ministack asks for one of that name.
# Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html (2026-11)
BATCHED = ("sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")
OF_THE_BUCKET = ("s3:ListBucket",)
# What a log says of a call that was refused.
REFUSED = re.compile(r"AccessDenied|not authorized|denied", re.IGNORECASE)


def documented(process: str) -> dict[str, list[str]]:
    """Return the actions that the page allows a process, by the words that name where."""
    (cell,) = (row[1] for row in table(read("docs/aws.md"), "process") if row[0] == process)
    found: dict[str, list[str]] = {}
    for clause in re.split(r"(?:^|; )on ", cell)[1:]:
        place = re.split(r" (?:`s3:|`sqs:|all that)", clause)[0]
        found[place] = re.findall(r"`((?:s3|sqs):\w+)`", clause)
        assert found[place], f"no action in {clause!r}"
    return found


def resources(place: str, prefix: str) -> list[str]:
    """Return the ARNs of what the page calls `place`."""
    bucket, queue = f"arn:aws:s3:::{prefix}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{prefix}"
    return {
        "both buckets": [f"{bucket}-input-bucket", f"{bucket}-output-bucket"],
        "the input bucket": [f"{bucket}-input-bucket"],
        "the output bucket": [f"{bucket}-output-bucket"],
        "`results/canceled/` of the output bucket": [f"{bucket}-output-bucket/results/canceled"],
        "the input queue": [f"{queue}-input-queue"],
        "the dead-letter queue": [f"{queue}-input-queue-dead"],
        "`<output_queue>-*`": [f"{queue}-output-queue-*"],
        "`*`": ["*"],
    }[place]


def policy(process: str, prefix: str) -> dict[str, Any]:
    statements = []
    for place, actions in documented(process).items():
        for action in actions:
            arns = resources(place, prefix)
            if action.startswith("s3:") and action not in OF_THE_BUCKET:
                arns = [f"{arn}/*" for arn in arns]
            names = [action, f"{action}Batch"] if action in BATCHED else [action]
            statements.append({"Effect": "Allow", "Action": names, "Resource": arns})
    return {"Version": "2012-10-17", "Statement": statements}


def make_user(aws: Emulator, name: str, *documents: Mapping[str, Any]) -> dict[str, str]:
    """Return the credentials of a new user, as environment variables."""
    iam = aws.client("iam")
    iam.create_user(UserName=name)
    for number, one in enumerate(documents):
        iam.put_user_policy(UserName=name, PolicyName=f"beholder-{number}", PolicyDocument=json.dumps(one))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


@dataclass
class Scene:
    """A deployment, and the two users of its processes."""

    aws: Emulator
    deployment: Deployment
    web_keys: dict[str, str]
    worker_keys: dict[str, str]

    @property
    def input_bucket(self) -> str:
        return f"{self.deployment.prefix}-input-bucket"

    @property
    def output_bucket(self) -> str:
        return f"{self.deployment.prefix}-output-bucket"

    def client(self, service: str, keys: Mapping[str, str]) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.aws.endpoint,
            **{name.lower(): value for name, value in keys.items()},
        )

    def start(self) -> tuple[Web, Process]:
        self.deployment.credentials = self.web_keys
        web = self.deployment.start_web()
        self.deployment.credentials = self.worker_keys
        worker = self.deployment.start_worker()
        worker.await_line(r"worker\.ready")
        return web, worker

    def results(self) -> list[str]:
        listed = self.aws.client("s3").list_objects_v2(Bucket=self.output_bucket)
        return [one["Key"] for one in listed.get("Contents", [])]


@pytest.fixture(scope="module")
def aws() -> Iterator[Emulator]:
    with own_ministack(AUTH="true") as aws:
        yield aws


@pytest.fixture
def scene(aws: Emulator, tmp_path: Path) -> Iterator[Scene]:
    with Deployment(aws, tmp_path) as deployment:
        keys = {
            one: make_user(aws, f"{deployment.prefix}-{one}", policy(one, deployment.prefix))
            for one in ("web", "worker")
        }
        yield Scene(aws, deployment, keys["web"], keys["worker"])


def post(url: str, data: bytes, kind: str = "application/octet-stream") -> bytes:
    asked = urllib.request.Request(url, data=data, headers={"Content-Type": kind})
    with urllib.request.urlopen(asked, timeout=WAIT_S) as answer:
        return bytes(answer.read())


def upload(url: str, image: bytes) -> str:
    """Send an image as the classic clients do; returns the label."""
    head = b'--b\r\nContent-Disposition: form-data; name="myfile"; filename="a.jpg"\r\n\r\n'
    return post(f"{url}/upload", head + image + b"\r\n--b--\r\n", "multipart/form-data; boundary=b").decode()


def classify(url: str, image: bytes) -> dict[str, Any]:
    job: dict[str, Any] = json.loads(post(f"{url}/v1/classify", image))
    return job


def rekognition(url: str) -> Any:
    credentials = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    return boto3.client("rekognition", endpoint_url=url, region_name=REGION, **credentials)


def drop_into(scene: Scene, image: bytes) -> None:
    """Let the bucket notify the queue, as the page says, and drop an image."""
    queue = scene.aws.arn_of(scene.deployment.input_url)
    sender = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
    }
    scene.aws.client("sqs").set_queue_attributes(
        QueueUrl=scene.deployment.input_url,
        Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [sender]})},
    )
    rule = {
        "QueueArn": queue,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "drop/"}]}},
    }
    s3 = scene.aws.client("s3")
    s3.put_bucket_notification_configuration(
        Bucket=scene.input_bucket, NotificationConfiguration={"QueueConfigurations": [rule]}
    )
    s3.put_object(Bucket=scene.input_bucket, Key="drop/a.jpg", Body=image)


def wait_until(holds: Callable[[], object], standing: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, standing()
        time.sleep(0.1)


def refusal(call: Callable[[], object]) -> str:
    """Return the code with which a call is refused, or '' where it is not."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 -- only where the emulator is

    try:
        call()
    except ClientError as exc:
        return str(exc.response["Error"]["Code"])
    return ""


def test_the_documented_rights_are_enough(scene: Scene, imagenet_100: Path, labelled: Path) -> None:
    # given
    small = min(imagenet_100.glob("*.JPEG")).read_bytes()
    large = max((path.read_bytes() for path in labelled.glob("*.JPEG")), key=len)
    assert len(large) > 250_000, "it would ride inside its message"
    web, worker = scene.start()
    # when
    jobs = [classify(web.url, image) for image in (small, large)]
    label = upload(web.url, small)
    theirs = rekognition(web.url).detect_labels(Image={"Bytes": small}, MinConfidence=0, MaxLabels=1)
    drop_into(scene, small)
    scene.aws.client("sqs").send_message(QueueUrl=scene.deployment.input_url, MessageBody='{"v": 99}')
    # then
    assert [job["status"] for job in jobs] == ["succeeded", "succeeded"]
    assert label == jobs[0]["result"]["labels"][0]["name"] == theirs["Labels"][0]["Name"]
    wait_until(lambda: upload_result_key("drop/a.jpg") in scene.results(), lambda: worker.lines)
    # and: the worker moves what it cannot read to the dead-letter queue, and the web process from there
    wait_until(
        lambda: any("unreadable" in key for key in scene.results()), lambda: (worker.lines, web.process.lines)
    )
    # and: nothing was refused on the way, nor at the web process's end
    assert web.process.stop() == 0
    worker.kill()  # told to end, it would wait for its poll
    left = scene.aws.client("sqs").list_queues(QueueNamePrefix=f"{scene.deployment.prefix}-output-queue")
    assert not left.get("QueueUrls")
    assert [line for line in worker.lines + web.process.lines if REFUSED.search(line)] == []


def test_the_documented_rights_are_not_too_many(scene: Scene) -> None:
    # given: an image of this deployment, and another deployment's bucket
    s3, other = scene.aws.client("s3"), scene.aws.make_bucket()
    other_queue = scene.aws.make_queue()
    s3.put_object(Bucket=scene.input_bucket, Key="images/a", Body=b"a")
    s3.put_object(Bucket=other, Key="images/a", Body=b"a")
    for keys in (scene.web_keys, scene.worker_keys):
        # when
        mine, ec2 = scene.client("s3", keys), scene.client("ec2", keys)
        sqs = scene.client("sqs", keys)
        # then: its own is open, so it is no refusal of the keys
        assert refusal(lambda mine=mine: mine.get_object(Bucket=scene.input_bucket, Key="images/a")) == ""
        # and: nothing of others is
        for call in (
            lambda mine=mine: mine.get_object(Bucket=other, Key="images/a"),
            lambda mine=mine: mine.put_object(Bucket=other, Key="images/b", Body=b"b"),
            lambda mine=mine: mine.list_objects_v2(Bucket=other),
        ):
            assert refusal(call) == "AccessDenied"
        assert "AccessDenied" in refusal(
            lambda sqs=sqs: sqs.send_message(QueueUrl=other_queue, MessageBody="a")
        )
        assert "Unauthorized" in refusal(ec2.describe_instances)
        assert "Unauthorized" in refusal(
            lambda ec2=ec2: ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"])
        )
    # and: a worker neither writes nor deletes images, nor takes what others wait for
    worker = scene.client("s3", scene.worker_keys)
    where = {"Bucket": scene.input_bucket, "Key": "images/a"}
    assert refusal(lambda: worker.delete_object(**where)) == "AccessDenied"
    assert refusal(lambda: worker.put_object(**where, Body=b"b")) == "AccessDenied"
    assert refusal(lambda: s3.get_object(**where)) == ""
    # and: a web process takes nothing from the input queue
    web = scene.client("sqs", scene.web_keys)
    assert "AccessDenied" in refusal(lambda: web.receive_message(QueueUrl=scene.deployment.input_url))
    assert refusal(lambda: scene.client("s3", scene.web_keys).delete_object(**where)) == ""
