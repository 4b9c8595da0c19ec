"""A web process and a worker behind a faulty network: right answers, or the error that the taxonomy names.

What each fault does to the adapters alone is told by `test_sqs_faults.py` and `test_s3_faults.py`.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from aws.deployment import Deployment, Web
from aws.emulators import emulator
from aws.faulty import (
    Again,
    Fault,
    FaultyProxy,
    Request,
    done_twice,
    entries_failed,
    late,
    lost_reply,
    received_backwards,
    reset,
    s3_error,
    sqs_error,
    stall,
)
from aws.faulty_system import IMAGES, SETTLED_S, Answer, Photo, System, fetch, keys_of, post

pytestmark = pytest.mark.aws

# Each step of an image's way: the operation, and a part of the queue's name or of the object's path.
_SQS_STEPS = {
    "send": ("SendMessageBatch", "-input-queue "),
    "receive": ("ReceiveMessage", "-input-queue "),
    "ack": ("DeleteMessageBatch", "-input-queue "),
    "reply": ("SendMessageBatch", "-output-queue-"),
    "hear": ("ReceiveMessage", "-output-queue-"),
    "ack the reply": ("DeleteMessageBatch", "-output-queue-"),
    "depth": ("GetQueueAttributes", "-input-queue "),
}
_S3_STEPS = {
    "put the image": ("PUT", "-input-bucket/"),
    "get the image": ("GET", "-input-bucket/images/"),
    "put the outcome": ("PUT", "-output-bucket/results/"),
}


@pytest.fixture(scope="module")
def photos(labelled: Path) -> list[Photo]:
    paths = sorted(labelled.glob("*.JPEG"))[: 3 * IMAGES : 3]
    return [Photo(path.name, path.read_bytes()) for path in paths]


@pytest.fixture(scope="module")
def shared(photos: list[Photo], tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    aws = emulator("ministack")
    settings = {"visibility_timeout_s": 4, "inline_bytes_max": 60_000, "batch_max": 4}  # some are fetched
    with (
        FaultyProxy(aws.endpoint, wait_s_max=2) as proxy,
        Deployment(aws, tmp_path_factory.mktemp("faults"), proxy.endpoint, **settings) as deployment,
    ):
        yield System(deployment, proxy, photos)


@pytest.fixture
def system(shared: System) -> Iterator[System]:
    yield shared
    shared.proxy.clear()


def inject(system: System, sqs: Sequence[Fault], s3: Sequence[Fault]) -> None:
    """Let these faults hit every step of the image's way, each step in turn."""
    for faults, steps in ((sqs, _SQS_STEPS), (s3, _S3_STEPS)):
        for operation, where in steps.values():
            system.proxy.inject(operation, *faults, where=where)


# --- what passes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sqs", "s3"),
    [
        (sqs_error(403, "RequestThrottled", "RequestThrottled"), s3_error(503, "SlowDown")),
        (sqs_error(500, "InternalFailure"), s3_error(500, "InternalError")),
        (stall(0.5), stall(0.5)),
        (reset, reset),
        (lost_reply, lost_reply),
    ],
    ids=["throttled", "5xx", "stalled", "reset", "lost reply"],
)
def test_what_passes_is_met_by_nobody(system: System, sqs: Fault, s3: Fault) -> None:
    inject(system, [sqs], [s3])
    assert system.wave().errors == []


def test_a_time_out_is_tried_again(system: System) -> None:
    for step in ("send", "ack"):
        operation, where = _SQS_STEPS[step]
        system.proxy.inject(operation, stall(5.5), where=where)  # SQS has 5 s to answer
    assert system.wave().errors == []


# --- what the operator must mend ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sqs", "s3", "times"),
    [
        (sqs_error(403, "ExpiredToken"), s3_error(400, "ExpiredToken"), 2),
        (sqs_error(403, "SignatureDoesNotMatch"), s3_error(403, "RequestTimeTooSkewed"), 1),
    ],
    ids=["expired credentials", "clock skew"],
)
def test_a_refusal_is_told_to_who_sends_and_the_worker_goes_on_once_it_ends(
    system: System, sqs: Fault, s3: Fault, times: int
) -> None:
    # given
    inject(system, [sqs] * times, [s3])
    # when
    run = system.wave()
    # then
    assert run.errors
    assert {one.body["code"] for one in run.errors} == {"backend_denied"}


@pytest.mark.parametrize(
    ("operation", "where", "fault", "retry_after"),
    [
        ("PUT", "-input-bucket/", s3_error(404, "NoSuchBucket"), "30"),
        ("PUT", "-input-bucket/", s3_error(403, "InvalidAccessKeyId"), "30"),
        ("PUT", "-input-bucket/", s3_error(403, "AccessDenied"), "30"),
        ("PUT", "-input-bucket/", s3_error(400, "KMS.DisabledException"), "5"),
        (*_SQS_STEPS["send"], sqs_error(403, "InvalidClientTokenId"), "30"),
        (*_SQS_STEPS["send"], sqs_error(403, "AccessDenied"), "30"),
        (*_SQS_STEPS["send"], sqs_error(400, "AWS.SimpleQueueService.NonExistentQueue"), "30"),
        (*_SQS_STEPS["send"], sqs_error(400, "KmsDisabled"), "5"),
    ],
)
def test_what_an_operator_mends_is_503_meanwhile_and_needs_no_restart(
    system: System, operation: str, where: str, fault: Fault, retry_after: str
) -> None:
    system.proxy.inject(operation, fault, where=where)
    refused = post(system.web.url, system.photos[0])
    assert (refused.status, refused.retry_after) == (503, retry_after)
    assert system.send(system.photos[:1]).errors == []


def test_a_worker_that_starts_in_a_bad_moment_waits_for_a_better_one(system: System) -> None:
    # given: an outage, and permissions that have not spread yet
    refused = [sqs_error(403, "InvalidClientTokenId")] * 3
    system.proxy.inject("GetQueueAttributes", *refused, where="-input-queue-dead ")
    system.proxy.inject("GET", *[s3_error(403, "AccessDenied")] * 2, where="-output-bucket/readyz")
    # when
    worker = system.deployment.start_worker("worker-late")
    # then
    worker.await_line(r"start\.retry")
    worker.await_line(r"worker\.ready")
    worker.stop()


@pytest.mark.parametrize(
    ("operation", "where", "faults", "code"),
    [
        ("PUT", "-input-bucket/", [s3_error(503, "SlowDown")] * 5, "backend_throttled"),
        ("PUT", "-input-bucket/", [s3_error(500, "InternalError")] * 5, "backend_unavailable"),
        (*_SQS_STEPS["send"], [sqs_error(400, "ThrottlingException")] * 4, "backend_throttled"),
        (*_SQS_STEPS["send"], [reset] * 4, "backend_unavailable"),
        (
            *_SQS_STEPS["send"],
            [entries_failed({"0"}, "ThrottlingException", is_sender_fault=False)] * 4,
            "backend_throttled",
        ),
    ],
)
def test_what_lasts_is_answered_with_its_own_code_and_the_next_image_passes(
    system: System, operation: str, where: str, faults: list[Fault], code: str
) -> None:
    system.proxy.inject(operation, *faults, where=where)
    refused = post(system.web.url, system.photos[0])
    assert (refused.status, refused.body["code"]) == (503, code)
    assert refused.retry_after == "5"
    assert system.proxy.unmet() == []
    assert system.send(system.photos[:1]).errors == []
    system.check_nothing_is_lost(set())


def test_a_key_whose_message_was_sent_though_nobody_was_told_may_be_used_again(system: System) -> None:
    # given
    photo = max(
        system.photos, key=lambda one: len(one.data)
    )  # not inside its message, so the worker misses it
    headers = {"Idempotency-Key": "lost four times"}
    operation, where = _SQS_STEPS["send"]
    system.proxy.inject(operation, *[lost_reply] * 4, where=where)
    is_taken_back = threading.Event()

    def take_back(request: Request) -> None:
        request.answer(*request.forward())
        is_taken_back.set()

    def get_afterwards(request: Request) -> None:
        is_taken_back.wait(SETTLED_S)
        request.answer(*request.forward())

    system.proxy.inject("DELETE", take_back, where="-input-bucket/images/")
    system.proxy.inject("GET", *[get_afterwards] * 4, where="-input-bucket/images/")
    results = set(system.keys("output", "results/"))
    # when
    refused = post(system.web.url, photo, **headers)
    system.wait_until(lambda: set(system.keys("output", "results/")) - results and system.depth() == 0)
    system.send(system.photos[:1])  # whose reply comes after those of the first attempt
    answer = post(system.web.url, photo, **headers)
    # then
    assert (refused.status, refused.body["code"]) == (503, "backend_unavailable")
    assert (answer.status, answer.body.get("status")) == (200, "succeeded"), answer
    assert answer.body["result"]["labels"][0]["name"] == system.expected[photo.name]
    system.check_nothing_is_lost({answer.body["id"]})


def test_a_look_at_a_job_names_what_the_bucket_did(system: System) -> None:
    (job,) = system.send(system.photos[:1]).jobs
    system.proxy.inject("GET", *[s3_error(503, "SlowDown")] * 5, where="-output-bucket/results/")
    refused = fetch(f"{system.web.url}/v1/jobs/{job}")
    assert (refused.status, refused.body["code"], refused.retry_after) == (503, "backend_throttled", "5")
    assert fetch(f"{system.web.url}/v1/jobs/{job}").body["status"] == "succeeded"


# --- messages -----------------------------------------------------------------------------------------------


def test_batches_that_fail_in_part_are_finished(system: System) -> None:
    failed = entries_failed({"0", "2"}, "InternalError", is_sender_fault=False)
    for step in ("send", "ack", "reply", "ack the reply"):
        operation, where = _SQS_STEPS[step]
        system.proxy.inject(operation, failed, failed, where=where)
    assert system.wave().errors == []


def test_messages_that_come_twice_are_answered_once(system: System) -> None:
    # given
    for step in ("send", "reply"):
        operation, where = _SQS_STEPS[step]
        system.proxy.inject(operation, *[done_twice] * 6, where=where)
    for step in ("receive", "hear"):
        operation, where = _SQS_STEPS[step]
        again = Again()
        system.proxy.inject(operation, *[again.first, again.second] * 4, where=where)
    # when
    run = system.wave()
    # then
    assert run.errors == []


def test_messages_in_any_order_reach_their_callers(system: System) -> None:
    for step in ("send", "reply"):
        operation, where = _SQS_STEPS[step]
        system.proxy.inject(operation, *[late(1.0)] * 2, where=where)
    for step in ("receive", "hear"):
        operation, where = _SQS_STEPS[step]
        system.proxy.inject(operation, *[received_backwards] * 6, where=where)
    assert system.wave().errors == []


def test_what_is_no_message_is_kept_aside_and_what_asks_nothing_is_let_go(system: System) -> None:
    # given
    broken = ['{"v": 1, "job": 5}', "no JSON at all", '{"of": "somebody else"}']
    sqs = system.deployment.emulator.client("sqs")
    # when
    for body in [*broken, '{"Records": []}']:
        sqs.send_message(QueueUrl=system.deployment.input_url, MessageBody=body)
    system.wait_until(lambda: len(system.keys("output", "dead/")) == len(broken))
    system.wait_until(lambda: system.depth() == 0)
    # then
    s3, bucket = system.deployment.emulator.client("s3"), f"{system.deployment.prefix}-output-bucket"
    kept = system.keys("output", "dead/unreadable/")
    assert {s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode() for key in kept} == set(broken)
    for key in kept:
        s3.delete_object(Bucket=bucket, Key=key)
    assert system.wave().errors == []


def test_an_object_that_is_dropped_into_the_bucket_has_its_result_beside(system: System) -> None:
    # given
    aws, bucket = system.deployment.emulator, f"{system.deployment.prefix}-input-bucket"
    rule = {
        "QueueArn": aws.arn_of(system.deployment.input_url),
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "drop/"}]}},
    }
    s3 = aws.client("s3")
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [rule]}
    )
    photo = system.photos[0]
    # when
    s3.put_object(Bucket=bucket, Key="drop/a b/ü.jpg", Body=photo.data)
    # then
    system.wait_until(lambda: "results/drop/a b/ü.jpg" in system.keys("output", "results/drop/"))
    output = f"{system.deployment.prefix}-output-bucket"
    job = json.load(s3.get_object(Bucket=output, Key="results/drop/a b/ü.jpg")["Body"])
    assert job["status"] == "succeeded"
    assert job["result"]["labels"][0]["name"] == system.expected[photo.name]


# --- queues that go -----------------------------------------------------------------------------------------


def test_a_reply_queue_deleted_under_its_web_process_costs_no_answer(system: System) -> None:
    # given
    url = system.reply_url
    # when
    system.deployment.emulator.client("sqs").delete_queue(QueueUrl=url)
    # then
    assert system.wave().errors == []
    system.web.process.await_line(r"reply_queue\.replaced")
    assert system.wave().errors == []


def test_an_input_queue_deleted_and_made_again_is_told_to_who_sends_and_used_again(system: System) -> None:
    # given
    sqs, url = system.deployment.emulator.client("sqs"), system.deployment.input_url
    names = ["RedrivePolicy", "VisibilityTimeout"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    # when
    sqs.delete_queue(QueueUrl=url)
    # then
    refused = [post(system.web.url, photo) for photo in system.photos[:3]]
    assert {(one.status, one.body["code"], one.retry_after) for one in refused} == {(503, "queue_gone", "30")}
    assert fetch(f"{system.web.url}/readyz").status == 503
    # when
    sqs.create_queue(QueueName=url.rpartition("/")[2], Attributes=attributes)
    # then
    assert system.wave().errors == []
    # An answer of /readyz stands for a few seconds, so that who asks often costs little.
    system.wait_until(lambda: fetch(f"{system.web.url}/readyz").status == 200)


# --- an image that kills its worker -------------------------------------------------------------------------


def test_a_job_whose_workers_die_fails_with_a_reason_and_a_redrive_makes_it_good(
    photos: list[Photo], tmp_path: Path
) -> None:
    aws, photo = emulator("moto"), max(photos, key=lambda one: len(one.data))
    # The caller waits for as long as three workers take to start and to die.
    waits = {"wait_s_default": SETTLED_S, "wait_s_max": SETTLED_S}
    settings = {"visibility_timeout_s": 2, "inline_bytes_max": 0} | waits
    with (
        FaultyProxy(aws.endpoint, wait_s_max=2) as proxy,
        Deployment(aws, tmp_path, proxy.endpoint, **settings) as deployment,
    ):
        # given
        web = deployment.start_web()
        waiting = _sent(web, photo)
        # when
        for number in range(3):
            _let_die(deployment, proxy, f"worker-{number}")
        deployment.start_worker("worker-3").await_line(r"worker\.ready")
        answer = waiting()
        # then
        assert (answer.status, answer.body["code"]) == (500, "job_abandoned")
        job_id = answer.body["job"]["id"]
        job = fetch(f"{web.url}/v1/jobs/{job_id}").body
        assert (job["status"], job["error"]["code"]) == ("failed", "job_abandoned")
        assert "worker dying" in job["error"]["detail"]
        assert keys_of(deployment, "output", "dead/") == [f"dead/{job_id}.json"]
        assert keys_of(deployment, "input", "images/") == [f"images/{job_id}/{photo.name}"]
        # when
        listed = _redrive(deployment)
        sent_back = _redrive(deployment, "--all")
        # then
        assert job_id in listed
        assert "1 dead letter" in listed
        assert "sent back: failed as job_abandoned" in sent_back
        deadline_s = time.monotonic() + SETTLED_S
        while (job := fetch(f"{web.url}/v1/jobs/{job_id}").body)["status"] != "succeeded":
            assert time.monotonic() < deadline_s, job
            time.sleep(0.05)  # the worker is another process
        assert job["result"]["labels"][0]["name"] == post(web.url, photo).body["result"]["labels"][0]["name"]
        assert keys_of(deployment, "output", "dead/") == []


def _sent(web: Web, photo: Photo) -> Callable[[], Answer]:
    """Send a photo in a thread; the function returned waits for its answer."""
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(post(web.url, photo)))
    thread.start()

    def answer() -> Answer:
        thread.join(SETTLED_S)
        (one,) = answers
        return one

    return answer


def _let_die(deployment: Deployment, proxy: FaultyProxy, name: str) -> None:
    """Start a worker on an instance of its own, and kill it when it fetches an image."""
    is_fetching = threading.Event()

    def fetching(request: Request) -> None:
        is_fetching.set()
        request.reset()

    proxy.inject("GET", fetching, where="-input-bucket/images/")
    worker = deployment.start_worker(name)
    assert is_fetching.wait(SETTLED_S), "\n".join(worker.lines)
    worker.kill()


def _redrive(deployment: Deployment, *options: str) -> str:
    command = ["redrive", "--backend", "aws", "--prefix", deployment.prefix, *options]
    done = subprocess.run(
        [sys.executable, "-m", "beholder", *command],
        env=deployment.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
