"""The web tier's application in this process: no socket, everything behind it in memory."""

import asyncio
import base64
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from beholder.errors import BackendUnavailable
from beholder.job import JobStatus, new_job_id
from beholder.store.keys import result_key
from beholder.web.app import build_app
from helpers.asgi import call
from helpers.images import jpeg
from helpers.service import multipart
from helpers.web_process import ASYNC, IMAGE_BYTES_MAX, WAIT_S, Web, is_problem

# --- an image and its answer --------------------------------------------------------------------------------


def test_an_image_is_answered_with_its_job(web: Web) -> None:
    waiting = web.begin("POST", "/v1/classify?top_k=2", jpeg(1))
    web.work()
    answer = waiting.result(WAIT_S)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    job = answer.json
    assert (job["status"], len(job["result"]["labels"])) == ("succeeded", 2)
    assert "preference-applied" not in answer.headers
    # and the bucket, from which any web process answers, says the same
    assert web.ask("GET", job["urls"]["get"]).body == answer.body == web.results.get(result_key(job["id"]))


def test_a_classic_client_gets_the_label_as_text(web: Web) -> None:
    body, content_type = multipart({"myfile": ("a.jpg", jpeg(1))})
    for path in ("/upload", "/"):
        waiting = web.begin("POST", path, body, content_type=content_type)
        web.work()
        answer = waiting.result(WAIT_S)
        assert (answer.status, answer.body) == (200, b"cat")
        assert answer.headers["content-type"].startswith("text/plain")
        assert web.ask("GET", f"/v1/jobs/{answer.headers['x-job-id']}").json["status"] == "succeeded"


def test_a_failed_job_is_a_problem_to_who_waits_and_a_job_to_who_asks(web: Web) -> None:
    # given: an image that disappears before a worker reads it
    for path in ("/v1/classify", "/upload"):
        waiting = web.begin("POST", path, jpeg(2))
        (received,) = web.queue.receive(count_max=1, wait_s=WAIT_S)
        web.images.delete(json.loads(received.body)["key"])
        web.queue.nack([received.receipt])
        web.work()
        # when
        answer = waiting.result(WAIT_S)
        # then
        assert is_problem(answer, 410, "image_gone")
        job = answer.json["job"]
        assert answer.headers["location"] == job["urls"]["get"]
        assert web.ask("GET", job["urls"]["get"]).json == job
        assert web.ask("GET", job["urls"]["get"]).status == 200


def test_who_does_not_wait_gets_a_place_to_look(tmp_path: Path) -> None:
    with Web(tmp_path) as web:  # what other tests sent would count
        # when
        answer = web.ask("POST", "/v1/classify", jpeg(1), **ASYNC)
        # then
        assert answer.status == 202
        assert answer.headers["preference-applied"] == "respond-async"
        assert answer.headers["retry-after"] == "1"
        location = answer.headers["location"]
        queued = web.ask("GET", location)
        assert queued.json == answer.json | {"estimate": queued.json["estimate"]}
        assert (queued.json["status"], queued.headers["retry-after"]) == ("queued", "1")
        # and with others before it, it is told the same as those who come behind them
        for seed in range(25):
            last = web.ask("POST", "/v1/classify", jpeg(seed), **ASYNC)
        # A job takes a tenth of a second, and 0.8 s a start, once it was noticed that no worker works.
        deadline_s = time.monotonic() + WAIT_S
        while web.ask("GET", last.headers["location"]).headers["retry-after"] != "4":
            assert time.monotonic() < deadline_s
        last = web.ask("POST", "/v1/classify", jpeg(25), **ASYNC)
        asked = web.ask("GET", last.headers["location"])
        assert last.headers["retry-after"] == asked.headers["retry-after"] == "4"
        assert web.ask("GET", location).headers["retry-after"] == "1"
        web.work()
        assert web.ask("GET", location).json["status"] == "succeeded"


def test_another_web_process_answers_from_the_buckets_alone(web: Web) -> None:
    # given: one that has neither started anything nor heard of the job
    location = web.ask("POST", "/v1/classify", jpeg(1), **ASYNC).headers["location"]
    other = build_app(web.ports())
    # then
    assert asyncio.run(call(other, "GET", location)).json["status"] == "queued"
    web.work()
    assert asyncio.run(call(other, "GET", location)).json["status"] == "succeeded"


def test_a_key_gives_the_same_document_again(web: Web) -> None:
    waiting = web.begin("POST", "/v1/classify", jpeg(1), idempotency_key="web-once")
    web.work()
    first = waiting.result(WAIT_S)
    again = web.ask("POST", "/v1/classify", jpeg(1), idempotency_key="web-once")
    assert (again.status, again.body) == (200, first.body)
    reused = web.ask("POST", "/v1/classify", jpeg(2), idempotency_key="web-once")
    assert is_problem(reused, 422, "idempotency_key_reused")


def test_a_lost_reply_costs_a_look_and_a_failing_look_costs_another(web: Web) -> None:
    """The sweep goes on after a backend's error and after a result that cannot be read."""
    # given: two who wait, for results whose replies never come
    ids: list[str] = []
    waiting = []
    for seed in (1, 2):
        waiting.append(web.begin("POST", "/v1/classify", jpeg(seed)))
        (received,) = web.queue.receive(count_max=1, wait_s=WAIT_S)
        ids.append(json.loads(received.body)["job"])
    document = web.ask("GET", f"/v1/jobs/{ids[1]}").json | {"status": "succeeded", "result": {"labels": []}}
    web.results.put(result_key(ids[0]), b"garbage")
    web.results.put(result_key(ids[1]), json.dumps(document).encode())
    web.recorder.failures["results.get"] = BackendUnavailable("folder store", "get")
    web.recorder.calls.clear()
    # when: the first looks fail
    web.clock.advance(3)
    assert web.recorder.await_call("results.get", WAIT_S)
    web.recorder.failures.clear()
    web.clock.advance(10)
    # then
    answer = waiting[1].result(WAIT_S)
    assert (answer.status, answer.json["id"]) == (200, ids[1])
    # and once the other's result can be read it is found too
    web.results.put(result_key(ids[0]), json.dumps(document | {"id": ids[0]}).encode())
    web.clock.advance(60)
    answer = waiting[0].result(WAIT_S)
    assert (answer.status, answer.json["id"]) == (200, ids[0])


# --- JSON ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
def test_json_may_hold_the_image_and_the_parameters(web: Web, prefix: str) -> None:
    body = json.dumps({"image": prefix + base64.b64encode(jpeg(1)).decode(), "top_k": 2, "model": None})
    waiting = web.begin("POST", "/v1/classify", body.encode(), content_type="application/json")
    web.work()
    answer = waiting.result(WAIT_S)
    assert (answer.status, len(answer.json["result"]["labels"])) == (200, 2)


@pytest.mark.parametrize(
    ("target", "document", "status", "code"),
    [
        ("", {"image": "?"}, 400, "bad_parameter"),
        ("", {"image": ""}, 400, "image_missing"),
        ("", {"picture": "aGVsbG8="}, 400, "parameter_unknown"),
        ("", {"image": "aGVsbG8=", "topk": 1}, 400, "parameter_unknown"),
        ("", {"image": "aGVsbG8="}, 415, "image_type_unsupported"),
        ("", {"image": "https://example.org/a.jpg"}, 415, "image_by_url"),
        ("?top_k=1", {"image": base64.b64encode(jpeg(1)).decode(), "top_k": 2}, 400, "parameter_repeated"),
    ],
)
def test_json_that_holds_no_image_is_refused(
    web: Web, target: str, document: Any, status: int, code: str
) -> None:
    body = json.dumps(document).encode()
    answer = web.ask("POST", f"/v1/classify{target}", body, content_type="application/json")
    assert is_problem(answer, status, code)


def test_the_type_of_json_is_not_trusted(web: Web) -> None:
    assert web.ask("POST", "/v1/classify", jpeg(1), content_type="application/json", **ASYNC).status == 202
    long = bytes(IMAGE_BYTES_MAX * 4 // 3)
    assert is_problem(
        web.ask("POST", "/v1/classify", long, content_type="application/json"), 413, "image_too_large"
    )
    text = json.dumps({"image": base64.b64encode(bytes(IMAGE_BYTES_MAX + 1)).decode()}).encode()
    refused = web.ask("POST", "/v1/classify", text, content_type="application/json")
    assert is_problem(refused, 413, "image_too_large")


# --- cancelling ---------------------------------------------------------------------------------------------


def test_a_canceled_job_has_its_outcome_at_once_and_for_good(web: Web) -> None:
    # given: a request that waits
    waiting = web.begin("POST", "/v1/classify", jpeg(1))
    (received,) = web.queue.receive(count_max=1, wait_s=WAIT_S)
    job_id = json.loads(received.body)["job"]
    # when
    canceled = web.ask("POST", f"/v1/jobs/{job_id}/cancel")
    # then
    assert (canceled.status, canceled.json["status"]) == (200, "canceled")
    assert is_problem(waiting.result(WAIT_S), 410, "job_canceled")
    # and what a worker finds later does not count
    web.queue.nack([received.receipt])
    web.work()
    assert web.ask("GET", f"/v1/jobs/{job_id}").body == canceled.body
    assert web.ask("POST", f"/v1/jobs/{job_id}/cancel").body == canceled.body


def test_what_is_finished_or_unknown_cannot_be_canceled(web: Web) -> None:
    waiting = web.begin("POST", "/v1/classify", jpeg(1))
    web.work()
    job = waiting.result(WAIT_S).json
    assert is_problem(web.ask("POST", f"/v1/jobs/{job['id']}/cancel"), 409, "job_finished")
    assert web.ask("GET", job["urls"]["get"]).json == job
    assert is_problem(web.ask("POST", f"/v1/jobs/{new_job_id(0.0)}/cancel"), 404, "job_not_found")
    assert is_problem(web.ask("POST", "/v1/jobs/x/cancel"), 404, "job_not_found")


# --- deleting -----------------------------------------------------------------------------------------------


def keys_of(web: Web, job_id: str) -> list[str]:
    """Return all that the buckets hold of a job, but for its outcome."""
    found = [*web.images.list(""), *web.results.list("")]
    return [one.key for one in found if job_id in one.key and one.key != result_key(job_id)]


def test_a_deleted_job_is_gone_with_its_image_and_its_result(web: Web) -> None:
    waiting = web.begin("POST", "/upload", jpeg(1))
    web.work()
    job_id = waiting.result(WAIT_S).headers["x-job-id"]
    assert len(keys_of(web, job_id)) == 2  # the image and the label
    # when
    deleted = web.ask("DELETE", f"/v1/jobs/{job_id}")
    # then
    assert (deleted.status, deleted.body) == (204, b"")
    assert keys_of(web, job_id) == []
    assert b"jpg" not in web.results.get(result_key(job_id))
    assert is_problem(web.ask("GET", f"/v1/jobs/{job_id}"), 404, "job_not_found")
    assert is_problem(web.ask("POST", f"/v1/jobs/{job_id}/cancel"), 404, "job_not_found")
    # and again, as a client does that got no answer
    assert web.ask("DELETE", f"/v1/jobs/{job_id}").status == 204
    assert is_problem(web.ask("DELETE", f"/v1/jobs/{new_job_id(0.0)}"), 404, "job_not_found")


def test_a_job_that_is_deleted_while_it_runs_does_not_come_back(web: Web) -> None:
    # given: a request that waits, and a worker that has its message
    waiting = web.begin("POST", "/v1/classify", jpeg(1))
    (received,) = web.queue.receive(count_max=1, wait_s=WAIT_S)
    job_id = json.loads(received.body)["job"]
    # when
    assert web.ask("DELETE", f"/v1/jobs/{job_id}").status == 204
    # then
    assert is_problem(waiting.result(WAIT_S), 410, "job_deleted")
    web.queue.nack([received.receipt])
    web.work()
    assert is_problem(web.ask("GET", f"/v1/jobs/{job_id}"), 404, "job_not_found")
    assert keys_of(web, job_id) == []


def test_the_key_of_a_deleted_job_stores_no_image(web: Web) -> None:
    waiting = web.begin("POST", "/v1/classify", jpeg(1), idempotency_key="deleted")
    web.work()
    job_id = waiting.result(WAIT_S).json["id"]
    assert web.ask("DELETE", f"/v1/jobs/{job_id}").status == 204
    # when
    again = web.ask("POST", "/v1/classify", jpeg(1), idempotency_key="deleted")
    # then
    assert is_problem(again, 410, "job_deleted")
    assert keys_of(web, job_id) == []


def test_a_delete_that_died_halfway_is_finished_by_the_next(web: Web) -> None:
    job_id = web.ask("POST", "/v1/classify", jpeg(1), **ASYNC).json["id"]
    web.recorder.failures["images.delete"] = BackendUnavailable("store", "delete")
    assert is_problem(web.ask("DELETE", f"/v1/jobs/{job_id}"), 503, "backend_unavailable")
    assert is_problem(web.ask("GET", f"/v1/jobs/{job_id}"), 404, "job_not_found")
    web.recorder.failures.clear()
    assert web.ask("DELETE", f"/v1/jobs/{job_id}").status == 204
    web.work()
    assert keys_of(web, job_id) == []


# --- the service itself -------------------------------------------------------------------------------------


def test_the_service_describes_itself(web: Web) -> None:
    assert web.ask("GET", "/healthz").json == {"status": "ok"}
    assert web.ask("GET", "/v1/models").json["default"] == "first"
    assert web.ask("GET", "/v1/limits").json["image_bytes_max"] == IMAGE_BYTES_MAX
    assert web.ask("GET", "/").json["version"] == "1.2.3"
    assert web.ask("GET", "/openapi.json").json["openapi"].startswith("3.")
    page = web.ask("GET", "/", accept="text/html,*/*")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["vary"] == "accept"
    docs = web.ask("GET", "/docs").body
    assert b"__OPENAPI__" not in docs
    head = web.ask("HEAD", "/healthz")
    assert head.status == 200


def test_metrics_are_prometheus_text(web: Web) -> None:
    web.queue.send([b"x"])
    answer = web.ask("GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'beholder_queue_depth{state="backlog"} 1.0' in answer.body
    # a queue that does not answer costs its own series only
    web.recorder.failures["queue.depth"] = BackendUnavailable("sqlite queue", "depth")
    answer = web.ask("GET", "/metrics")
    assert answer.status == 200
    assert b"beholder_queue_depth{" not in answer.body


def test_readiness_names_every_backend_that_does_not_answer(web: Web) -> None:
    assert web.ask("GET", "/readyz").json == {"status": "ready", "problems": []}
    web.recorder.failures["queue.depth"] = BackendUnavailable("sqlite queue", "depth")
    web.recorder.failures["results.get"] = BackendUnavailable("folder store", "list")
    answer = web.ask("GET", "/readyz")
    assert (answer.status, answer.json["status"], len(answer.json["problems"])) == (503, "unready", 2)
    # and is alive all the same
    assert web.ask("GET", "/healthz").status == 200


def test_accepted_jobs_and_their_outcomes_are_counted(tmp_path: Path) -> None:
    with Web(tmp_path) as web:
        waiting = web.begin("POST", "/v1/classify", jpeg(1))
        web.work()
        waiting.result(WAIT_S)
        assert web.count("beholder_jobs_total", state="queued") == 1
    # the listener counts after it has woken who waits; it has stopped by now
    assert web.count("beholder_jobs_total", state=str(JobStatus.SUCCEEDED)) == 1
    assert web.count("beholder_requests_total", route="/v1/classify", method="POST", status="200") == 1


def test_what_is_run_beside_the_application_starts_and_stops_with_it(tmp_path: Path) -> None:
    # given
    rig, ticked, before = Web(tmp_path), threading.Event(), threads()

    def tick() -> float:
        ticked.set()
        return 3600.0

    rig.app = build_app(rig.ports(), ticks={"clerk": tick})
    # when
    with rig:
        assert ticked.wait(WAIT_S)
        assert threads() >= before + Counter(["clerk", "replies", "admission", "submit-0"])
    # then
    assert threads() == before


def threads() -> Counter[str]:
    """Count the threads by name."""
    return Counter(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))
