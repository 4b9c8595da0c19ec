"""Webhooks over HTTP: what receivers get, and receivers that are slow, dead or unwilling."""

import json
import logging
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from beholder.errors import BackendUnavailable
from beholder.store.keys import webhook_key
from beholder.web.webhooks.sender import webhook_policy
from helpers.hooked_web import AT_ONCE, IMAGE, JSON, OLD_SECRET, SCHEMES, HookedWeb, hooked_web
from helpers.images import jpeg
from helpers.receiver import SECRET, WAIT_S, Receiver
from helpers.service import RunningService
from helpers.web_process import ASYNC, Web

# --- what a receiver gets -----------------------------------------------------------------------------------


def test_the_outcome_is_delivered_signed_by_both_secrets_and_the_record_goes(tmp_path: Path) -> None:
    with Receiver() as receiver, hooked_web(tmp_path) as service:
        job_id = service.submit(receiver.url())
        assert service.results.get(webhook_key(job_id))
        service.work()
        (delivery,) = receiver.await_count(1)
        service.await_no_record()
        job = service.ask("GET", f"/v1/jobs/{job_id}").json
    document = delivery.verified()
    assert document == {"type": "job.completed", "timestamp": document["timestamp"], "data": job}
    assert job["status"] == "succeeded"
    assert delivery.verified(OLD_SECRET) == document
    assert delivery.headers["content-type"] == "application/json"
    assert service.attempts("delivered") == 1
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 40).verify(delivery.body, delivery.headers)


@pytest.mark.parametrize("form", ["query", "form", "json"])
def test_a_webhook_is_passed_as_any_parameter(tmp_path: Path, form: str) -> None:
    with Receiver() as receiver, hooked_web(tmp_path) as service:
        url = receiver.url()
        if form == "query":
            service.submit(url)
        elif form == "form":
            parts = b"".join(
                b'--x\r\nContent-Disposition: form-data; name="' + name + b"\r\n\r\n" + value + b"\r\n"
                for name, value in ((b'webhook"', url.encode()), (b'image"; filename="a.jpg"', jpeg(1)))
            )
            headers = {"content_type": "multipart/form-data; boundary=x"} | ASYNC
            service.ask("POST", "/v1/classify", parts + b"--x--\r\n", **headers)
        else:
            body = json.dumps({"image": IMAGE, "webhook": url}).encode()
            service.ask("POST", "/v1/classify", body, **JSON, **ASYNC)
        service.work()
        (delivery,) = receiver.await_count(1)
    assert delivery.verified()["data"]["status"] == "succeeded"


def test_a_job_that_fails_is_delivered_too(tmp_path: Path) -> None:
    with Receiver() as receiver, hooked_web(tmp_path) as service:
        job_id = service.submit(receiver.url())
        for image in list(service.images.list("")):
            service.images.delete(image.key)
        service.work()
        (delivery,) = receiver.await_count(1)
    data = delivery.verified()["data"]
    assert (data["id"], data["status"], data["error"]["code"]) == (job_id, "failed", "image_gone")


def test_a_canceled_job_s_webhook_says_canceled_and_a_deleted_one_s_record_goes(tmp_path: Path) -> None:
    with Receiver() as receiver, hooked_web(tmp_path) as service:
        deleted, canceled = service.submit(receiver.url("/deleted")), service.submit(receiver.url())
        assert service.ask("DELETE", f"/v1/jobs/{deleted}").status == 204
        assert service.ask("POST", f"/v1/jobs/{canceled}/cancel").status == 200
        (delivery,) = receiver.await_count(1)
        service.await_no_record()
        service.work()
        after = receiver.await_count(1)
    assert (delivery.path, delivery.verified()["data"]["status"]) == ("/hook", "canceled")
    assert after == [delivery]


def test_a_repeated_key_sends_one_webhook_and_another_address_is_another_request(tmp_path: Path) -> None:
    with Receiver() as receiver, hooked_web(tmp_path) as service:
        target, key = f"/v1/classify?webhook={receiver.url()}", {"idempotency_key": "k"}
        first = service.ask("POST", target, jpeg(1), **ASYNC, **key)
        again = service.ask("POST", target, jpeg(1), **ASYNC, **key)
        service.work()
        receiver.await_count(1)
        service.await_no_record()
        third = service.ask("POST", target, jpeg(1), **ASYNC, **key)
        other = service.ask("POST", f"{target}2", jpeg(1), **ASYNC, **key)
        assert len(receiver.deliveries) == 1
    assert [one.status for one in (first, again, third, other)] == [202, 409, 200, 422]


@pytest.mark.parametrize("answers", [((200, {}),), ((500, {}), (200, {}))], ids=["taken", "refused once"])
def test_a_retry_has_the_webhook_of_the_job_that_failed(tmp_path: Path, answers: Any) -> None:
    with Receiver(*answers) as receiver, hooked_web(tmp_path) as service:
        job_id = service.submit(receiver.url())
        (image,) = service.images.list("")
        data = service.images.get(image.key)
        service.images.delete(image.key)
        service.work()
        service.await_no_record()
        service.images.put(image.key, data)
        retried = service.ask("POST", f"/v1/jobs/{job_id}/retry", **ASYNC)
        again = service.ask("POST", f"/v1/jobs/{job_id}/retry", **ASYNC)
        assert (retried.status, again.json["id"]) == (202, retried.json["id"])
        service.work()
        *failed, succeeded = receiver.await_count(len(answers) + 1)
        service.await_no_record()
        assert len(receiver.deliveries) == len(answers) + 1
        for one in (job_id, retried.json["id"]):
            assert service.ask("DELETE", f"/v1/jobs/{one}").status == 204
        assert not [one.key for one in service.results.list("") if "webhook-kept" in one.key]
    assert {one.verified()["data"]["status"] for one in failed} == {"failed"}
    assert succeeded.verified()["data"]["id"] == retried.json["id"]
    assert succeeded.headers["webhook-id"] not in {one.headers["webhook-id"] for one in failed}


# --- receivers that do not take it --------------------------------------------------------------------------


def trickle(handler: Any) -> None:
    """Begin an answer and never end it."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: ")
    handler.wfile.flush()
    handler.rfile.read(1)  # until the client has closed


def cut(handler: Any) -> None:
    handler.close_connection = True


@pytest.mark.parametrize(
    "answer",
    [(500, {}), (503, {"Retry-After": "0"}), (429, {"Retry-After": "0"}), (400, {}), cut],
    ids=["500", "503", "429", "400", "cut"],
)
def test_what_is_not_taken_is_sent_again_with_the_same_id(tmp_path: Path, answer: Any) -> None:
    with Receiver(answer, (204, {})) as receiver, hooked_web(tmp_path) as service:
        service.submit(receiver.url())
        service.work()
        first, second = receiver.await_count(2)
        service.await_no_record()
    assert first.verified() == second.verified()
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert (service.attempts("failed"), service.attempts("delivered")) == (1, 1)


def test_a_receiver_that_trickles_is_left_after_a_time(tmp_path: Path) -> None:
    with Receiver(trickle, (204, {})) as receiver, hooked_web(tmp_path, attempt_s_max=1.0) as service:
        service.submit(receiver.url())
        service.work()
        service.await_no_record()
        first, *_, last = receiver.await_count(2)
    assert first.headers["webhook-id"] == last.headers["webhook-id"]
    assert service.attempts("delivered") == 1  # a slow machine may need more than the second attempt


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    with Receiver() as elsewhere, Receiver((307, {"Location": elsewhere.url()})) as receiver:
        with hooked_web(tmp_path, pauses_s=()) as service:
            service.submit(receiver.url())
            service.work()
            service.await_no_record()
        assert len(receiver.deliveries) == 1
        assert elsewhere.deliveries == []
    assert service.attempts("given_up") == 1


def test_410_ends_a_delivery_and_no_other(tmp_path: Path) -> None:
    with Receiver((410, {}), (200, {})) as receiver, hooked_web(tmp_path) as service:
        for _ in range(2):
            service.submit(receiver.url())
        service.work()
        receiver.await_count(2)
        service.await_no_record()
        assert len(receiver.deliveries) == 2
    assert (service.attempts("gone"), service.attempts("delivered")) == (1, 1)


def test_a_delivery_is_given_up_after_its_last_attempt(tmp_path: Path) -> None:
    with Receiver((500, {})) as receiver, hooked_web(tmp_path) as service:
        service.submit(receiver.url())
        service.work()
        service.await_no_record()
        assert len(receiver.deliveries) == 1 + len(AT_ONCE)
    assert (service.attempts("failed"), service.attempts("given_up")) == (7, 1)


def test_a_receiver_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    """More deliveries hang than one host has places, and a request is answered meanwhile."""
    is_over = threading.Event()
    hanging: Callable[[Any], None] = lambda _: is_over.wait(WAIT_S) and None  # noqa: E731
    with Receiver(hanging) as dead, Receiver(host="127.0.0.2") as alive, hooked_web(tmp_path) as service:
        for _ in range(12):
            service.submit(dead.url())
        service.submit(alive.url())
        for _ in range(4):
            service.work()
        alive.await_count(1)
        assert len(dead.await_count(8)) == 8
        assert service.ask("GET", "/healthz").status == 200
        is_over.set()


# --- where webhooks go --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "https://10.0.0.7/",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://example.org:8443/",
        "https://user:word@example.org/",
        "ftp://example.org/",
        "nonsense",
    ],
)
def test_an_address_that_is_not_public_is_refused_at_once(tmp_path: Path, url: str) -> None:
    with hooked_web(tmp_path, policy=webhook_policy(frozenset({"https"}), ())) as service:
        answer = service.ask("POST", f"/v1/classify?webhook={url}", jpeg(1), **ASYNC)
        assert (answer.status, answer.json["code"]) == (400, "webhook_refused")
        assert not list(service.images.list(""))


def test_a_name_of_a_private_address_is_refused_when_it_is_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver() as receiver, caplog.at_level(logging.INFO):
        with hooked_web(
            tmp_path, policy=replace(webhook_policy(SCHEMES, ()), is_any_port=True), pauses_s=()
        ) as service:
            service.submit(f"http://localhost:{receiver.port}/token-of-the-caller")
            service.work()
            service.await_no_record()
        assert receiver.deliveries == []
    assert service.attempts("given_up") == 1
    (line,) = [one for one in caplog.records if getattr(one, "action", "") == "webhook.attempt"]
    assert "not sent to" in line.getMessage()
    said = "\n".join(f"{one.getMessage()} {one.__dict__}" for one in caplog.records)
    assert "token-of-the-caller" not in said
    assert SECRET not in said


def test_without_the_setting_a_webhook_is_refused(tmp_path: Path) -> None:
    with Web(tmp_path) as service:
        answer = service.ask("POST", "/v1/classify?webhook=https://example.org/", jpeg(1))
    assert (answer.status, answer.json["code"]) == (400, "webhook_refused")


# --- Cog's form ---------------------------------------------------------------------------------------------


def test_cog_s_events_come_in_order_with_the_prediction(tmp_path: Path) -> None:
    with Receiver() as receiver, hooked_web(tmp_path) as service:
        service.predict(id="mine", webhook=receiver.url())
        receiver.await_count(1)
        service.clock.advance(1.0)  # beyond Cog's 500 ms
        service.work()
        start, output, completed = [one.verified() for one in receiver.await_count(3)]
        ids = {one.headers["webhook-id"] for one in receiver.deliveries}
    assert [one["status"] for one in (start, output, completed)] == ["starting", "processing", "succeeded"]
    assert {one["id"] for one in (start, output, completed)} == {"mine"}
    assert start["output"] is None
    assert output["output"] == completed["output"]
    assert output["output"][0]["name"] == "cat"
    assert (output["completed_at"], completed["completed_at"] is None) == (None, False)
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (None, ["starting", "succeeded"]),  # `output` comes within 500 ms of `start`
        ([], ["starting", "succeeded"]),
        (["completed"], ["succeeded"]),
        (["output"], ["processing"]),
        (["output", "completed", "logs"], ["processing", "succeeded"]),
        (["start"], ["starting"]),
    ],
)
def test_cog_s_filter_chooses_the_events(tmp_path: Path, events: Any, expected: list[str]) -> None:
    with Receiver() as receiver, hooked_web(tmp_path) as service:
        service.predict(webhook=receiver.url(), webhook_events_filter=events)
        service.work()
        found = [one.verified()["status"] for one in receiver.await_count(len(expected))]
        service.await_no_record()
        assert len(receiver.deliveries) == len(expected)
    assert found == expected


def test_only_completed_is_sent_again(tmp_path: Path) -> None:
    with Receiver((500, {}), (500, {}), (500, {}), (200, {})) as receiver, hooked_web(tmp_path) as service:
        service.predict(webhook=receiver.url())
        receiver.await_count(1)
        service.clock.advance(1.0)
        service.work()
        service.await_no_record()
        found = [one.verified()["status"] for one in receiver.deliveries]
    assert found == ["starting", "processing", "succeeded", "succeeded"]


# --- other processes, and buckets that do not answer --------------------------------------------------------


def test_a_process_that_starts_delivers_what_is_left(tmp_path: Path) -> None:
    """Its predecessor accepted the job and died, and a worker finished it meanwhile."""
    first = HookedWeb(tmp_path)
    with Receiver() as receiver:
        with first:
            first.submit(receiver.url())
        first.work()
        assert receiver.deliveries == []
        with HookedWeb(tmp_path).on(first) as second:
            (delivery,) = receiver.await_count(1)
            second.await_no_record()
    assert delivery.verified()["data"]["status"] == "succeeded"


@pytest.mark.parametrize("takeover_s", [0.0, 3600.0])
def test_the_delivery_of_another_process_is_taken_over_once_it_is_overdue(
    tmp_path: Path, takeover_s: float
) -> None:
    first = HookedWeb(tmp_path, owner="web-1")
    with Receiver() as receiver:
        with first:
            job_id = first.submit(receiver.url())
        first.work()
        first.clock.advance(1.0)
        with HookedWeb(tmp_path, takeover_s=takeover_s).on(first) as second:
            if takeover_s:
                # The first look has another one follow; nothing is sent before it.
                assert second.recorder.await_call("results.list", WAIT_S)
                assert second.results.get(webhook_key(job_id))
                assert receiver.deliveries == []
            else:
                receiver.await_count(1)
                second.await_no_record()


def test_a_record_that_cannot_be_stored_refuses_the_upload(tmp_path: Path) -> None:
    with Receiver() as receiver, hooked_web(tmp_path) as service:
        service.recorder.failures["results.put"] = BackendUnavailable("store", "put", "away")
        answer = service.ask("POST", f"/v1/classify?webhook={receiver.url()}", jpeg(1), **ASYNC)
        service.recorder.failures.clear()
        assert (answer.status, answer.json["code"]) == (503, "backend_unavailable")
        assert service.queue.depth().backlog == 0
        assert not list(service.images.list(""))


def test_the_record_of_a_request_that_was_not_accepted_does_not_count(tmp_path: Path) -> None:
    """Its image was deleted, and its record could not be."""
    with Receiver() as receiver, hooked_web(tmp_path) as service:
        key = {"idempotency_key": "k"}
        service.recorder.failures["queue.send"] = BackendUnavailable("queue", "send", "away")
        service.recorder.failures["results.delete"] = BackendUnavailable("store", "delete", "away")
        first = service.ask("POST", "/v1/classify?webhook=https://example.org/", jpeg(1), **ASYNC, **key)
        service.recorder.failures.clear()
        again = service.ask("POST", f"/v1/classify?webhook={receiver.url()}", jpeg(1), **ASYNC, **key)
        service.work()
        (delivery,) = receiver.await_count(1)
    assert (first.status, again.status) == (503, 202)
    assert delivery.verified()["data"]["id"] == again.json["id"]


def test_a_webhook_survives_the_death_of_every_process(
    start_service: Callable[..., RunningService], tiny_model: Path, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text(SECRET)
    settings = {
        "model": tiny_model,
        "webhooks": "http",
        "webhook_secrets": secrets,
        "webhook_networks": "127.0.0.0/8",
    }
    with Receiver() as receiver:
        first = start_service(workers=0, **settings)  # so that no outcome comes before the death
        answer = first.classify(jpeg(1), f"?webhook={receiver.url()}", prefer="respond-async")
        first.stop(signal.SIGKILL)
        second = start_service(workers=1, **settings)
        (delivery,) = receiver.await_count(1)
        assert delivery.verified()["data"]["id"] == answer.json["id"]
        assert delivery.verified()["data"]["status"] == "succeeded"
        second.await_line("webhook.attempt: the receiver answered 200")
        assert SECRET not in "\n".join([*first.lines, *second.lines])
