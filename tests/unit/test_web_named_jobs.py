"""Jobs with an id that is known before: PUT with the caller's id, and the retry of a failed job."""

import json
from typing import Any

import pytest

from beholder.clock import utc_text
from beholder.job import new_job_id
from beholder.store.keys import dead_letter_key, image_key, image_prefix, result_key
from helpers.asgi import Answer
from helpers.images import jpeg
from helpers.service import multipart
from helpers.web_process import ASYNC, WAIT_S, Web, is_problem

DAY_S = 86_400.0


@pytest.fixture
def job_id(web: Web) -> str:
    return new_job_id(web.clock.now_s())


def put(web: Web, job_id: str, body: bytes, query: str = "", **headers: str) -> Answer:
    return web.ask("PUT", f"/v1/jobs/{job_id}{query}", body, **headers)


def retry(web: Web, job_id: str, **headers: str) -> Answer:
    return web.ask("POST", f"/v1/jobs/{job_id}/retry", **headers)


def messages(web: Web) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in web.queue.receive(count_max=10, wait_s=0)]


# --- PUT ----------------------------------------------------------------------------------------------------


def test_a_put_makes_the_job_of_this_id_and_a_repetition_gets_the_same(web: Web, job_id: str) -> None:
    waiting = web.begin("PUT", f"/v1/jobs/{job_id}?top_k=2&file_name=a.jpg", jpeg(1))
    web.work()
    first = waiting.result(WAIT_S)
    assert (first.status, first.json["id"], first.json["status"]) == (200, job_id, "succeeded")
    assert (first.json["input"]["file_name"], len(first.json["result"]["labels"])) == ("a.jpg", 2)
    again = put(web, job_id, jpeg(1), "?top_k=2&file_name=a.jpg")
    assert (again.status, again.body) == (200, first.body)
    assert web.ask("GET", f"/v1/jobs/{job_id}").body == first.body
    assert messages(web) == []


def test_another_image_or_other_options_for_the_same_id_are_refused(web: Web, job_id: str) -> None:
    assert put(web, job_id, jpeg(1), **ASYNC).status == 202
    for body, query in ((jpeg(2), ""), (jpeg(1), "?top_k=2")):
        assert is_problem(put(web, job_id, body, query, **ASYNC), 422, "idempotency_key_reused")
    assert [one["job"] for one in messages(web)] == [job_id]


def test_a_repetition_waits_for_the_unfinished_job_as_the_first_request_does(web: Web, job_id: str) -> None:
    # given: a request whose process died before it sent the message
    first = put(web, job_id, jpeg(1), **ASYNC)
    web.queue.ack([one.receipt for one in web.queue.receive(count_max=10, wait_s=0)])
    # when
    again = put(web, job_id, jpeg(1), **ASYNC)
    assert (again.status, again.json) == (202, first.json)
    waiting = web.begin("PUT", f"/v1/jobs/{job_id}", jpeg(1))
    web.work()
    # then: one message was sent, and both see its outcome
    answer = waiting.result(WAIT_S)
    assert (answer.status, answer.json["status"]) == (200, "succeeded")
    assert messages(web) == []


def test_the_time_of_a_job_is_the_services_own(web: Web) -> None:
    job_id = new_job_id(web.clock.now_s() - DAY_S / 2)
    created_at = put(web, job_id, jpeg(1), **ASYNC).json["created_at"]
    assert created_at == web.ask("POST", "/v1/classify", jpeg(1), **ASYNC).json["created_at"]
    assert web.ask("GET", f"/v1/jobs/{job_id}").json["created_at"] == created_at
    messages(web)


def test_what_names_no_new_job_is_refused_before_its_image_is_stored(web: Web, job_id: str) -> None:
    now_s = web.clock.now_s()
    for bad in ("mine", job_id.upper(), new_job_id(now_s - DAY_S - 1), new_job_id(now_s + DAY_S + 1)):
        assert is_problem(put(web, bad, jpeg(1)), 400, "bad_parameter")
    refused = put(web, job_id, jpeg(1), idempotency_key="k")
    assert is_problem(refused, 400, "idempotency_key_invalid")
    text = json.dumps({"upload": job_id}).encode()
    assert is_problem(put(web, job_id, text, content_type="application/json"), 404, "upload_not_found")
    body, content_type = multipart({"image": ("a.jpg", jpeg(1)), "file": ("b.jpg", jpeg(2))})
    assert is_problem(put(web, job_id, body, content_type=content_type), 400, "images_too_many")
    assert list(web.images.list(image_prefix(job_id))) == []


def test_the_id_of_a_job_that_was_made_otherwise_is_taken(web: Web) -> None:
    for name in ("?file_name=a.jpg", ""):
        made = web.ask("POST", f"/v1/classify{name}", jpeg(1), **ASYNC).json["id"]
        assert is_problem(put(web, made, jpeg(2), **ASYNC), 422, "idempotency_key_reused")
        assert len(list(web.images.list(image_prefix(made)))) == 1
    upload = web.ask("POST", "/v1/uploads", b'{"bytes": 3}').json["id"]
    assert web.ask("PUT", f"/v1/uploads/{upload}", jpeg(1)).status == 204
    assert is_problem(put(web, upload, jpeg(1), **ASYNC), 422, "idempotency_key_reused")
    messages(web)


def test_a_deleted_id_stays_deleted(web: Web, job_id: str) -> None:
    assert put(web, job_id, jpeg(1), **ASYNC).status == 202
    assert web.ask("DELETE", f"/v1/jobs/{job_id}").status == 204
    assert is_problem(put(web, job_id, jpeg(1), **ASYNC), 410, "job_deleted")
    assert list(web.images.list(image_prefix(job_id))) == []
    messages(web)


# --- retry --------------------------------------------------------------------------------------------------


def failed(web: Web, query: str = "", body: bytes = b"") -> dict[str, Any]:
    """Return a job that was given up, with its dead letter."""
    job: dict[str, Any] = web.ask("POST", f"/v1/classify{query}", body or jpeg(1), **ASYNC).json
    for _ in range(3):
        (received,) = web.queue.receive(count_max=1, wait_s=0)
        web.queue.nack([received.receipt])
    assert web.queue.receive(count_max=1, wait_s=0) == []
    web.clock.advance(2.0)
    error = {"code": "job_abandoned", "status": 500, "detail": "given up"}
    found = job | {"status": "failed", "error": error, "completed_at": utc_text(web.clock.now_s())}
    web.results.put(result_key(job["id"]), json.dumps(found).encode())
    web.results.put(dead_letter_key(job["id"]), b"{}")
    return found


def test_a_retry_is_a_new_job_and_the_failed_one_keeps_its_outcome(web: Web) -> None:
    job = failed(web, "?top_k=2&file_name=a.jpg")
    waiting = web.begin("POST", f"/v1/jobs/{job['id']}/retry")
    web.work()
    answer = waiting.result(WAIT_S)
    assert (answer.status, answer.json["status"]) == (200, "succeeded")
    assert answer.json["id"] > job["id"]
    assert answer.json["input"] == job["input"] | {"image_key": image_key(answer.json["id"], "image")}
    assert web.ask("GET", f"/v1/jobs/{job['id']}").json == job
    # and a repetition gets the same new job
    assert retry(web, job["id"]).body == answer.body
    assert messages(web) == []
    # which stays when the failed one is deleted
    assert web.ask("DELETE", f"/v1/jobs/{job['id']}").status == 204
    assert web.ask("GET", f"/v1/jobs/{answer.json['id']}").body == answer.body
    assert is_problem(retry(web, job["id"]), 404, "job_not_found")


def test_a_retry_that_fails_can_be_retried_itself(web: Web) -> None:
    job = failed(web)
    second = retry(web, job["id"], **ASYNC)
    assert (second.status, second.headers["location"]) == (202, f"/v1/jobs/{second.json['id']}")
    told = web.ask("GET", second.headers["location"]).json
    assert told == second.json | {"estimate": told["estimate"]}
    assert web.ask("POST", f"/v1/jobs/{second.json['id']}/cancel").status == 200
    assert is_problem(retry(web, second.json["id"]), 409, "job_not_failed")
    messages(web)


def test_only_what_failed_or_expired_runs_again(web: Web, job_id: str) -> None:
    queued = put(web, job_id, jpeg(1), **ASYNC).json["id"]
    assert is_problem(retry(web, queued), 409, "job_not_failed")
    web.work()
    assert is_problem(retry(web, queued), 409, "job_not_failed")
    assert is_problem(retry(web, new_job_id(0.0)), 404, "job_not_found")
    assert is_problem(retry(web, "x"), 404, "job_not_found")
    late = web.ask("POST", "/v1/classify", jpeg(1), cancel_after="1s", **ASYNC).json["id"]
    web.clock.advance(2.0)
    web.work()
    assert web.ask("GET", f"/v1/jobs/{late}").json["status"] == "expired"
    again = retry(web, late, cancel_after="1h", **ASYNC)
    assert again.status == 202
    (message,) = messages(web)
    assert message["deadline"] == pytest.approx(web.clock.now_s() + 3600)


def test_a_job_whose_image_or_model_is_gone_is_not_retried(web: Web) -> None:
    job = failed(web)
    web.images.delete(job["input"]["image_key"])
    assert is_problem(retry(web, job["id"]), 410, "image_gone")
    other = failed(web) | {"model": "first", "model_version": "0"}
    web.results.put(result_key(other["id"]), json.dumps(other).encode())
    assert is_problem(retry(web, other["id"]), 404, "model_version_not_found")
    assert messages(web) == []
