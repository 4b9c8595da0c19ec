"""What holds for every request and its answer: ids, methods, paths, and errors that are not foreseen."""

import asyncio
import logging
import re
from typing import Any

import pytest

from beholder.job import new_job_id
from beholder.telemetry.metrics import Telemetry
from beholder.web.middleware import RequestMiddleware
from helpers.asgi import call
from helpers.images import jpeg
from helpers.web_process import ASYNC, Web, is_problem

# --- what nobody foresaw ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "call_name"),
    [
        ("GET", "/v1/jobs/00000000-03e8-7000-8000-000000000000", "results.get"),
        ("POST", "/v1/classify", "images.put"),
    ],
)
def test_an_unexpected_error_is_a_problem_without_internal_details(
    web: Web, caplog: pytest.LogCaptureFixture, method: str, target: str, call_name: str
) -> None:
    # given
    web.recorder.failures[call_name] = ZeroDivisionError("a secret of ours")
    # when
    answer = web.ask(method, target, jpeg(1) if method == "POST" else b"", x_request_id="mine", **ASYNC)
    # then
    assert is_problem(answer, 500, "internal_error")
    for secret in (b"secret", b"Traceback", b"ZeroDivision", b".py"):
        assert secret not in answer.body
    record = next(one for one in caplog.records if one.levelno == logging.ERROR)
    assert record.action == "web.error"  # type: ignore[attr-defined]
    assert record.facts == {"request_id": "mine"}  # type: ignore[attr-defined]
    assert record.exc_info is not None
    # and the next request is served
    web.recorder.failures.clear()
    assert web.ask("POST", "/v1/classify", jpeg(1), **ASYNC).status == 202


def test_an_error_within_an_answer_that_has_begun_is_the_server_s_to_end() -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(call(RequestMiddleware(app, Telemetry()), "GET", "/"))


# --- every exchange -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mine", ["abc", "A-1_b.2", "x" * 64])
def test_the_caller_s_request_id_is_returned(web: Web, mine: str) -> None:
    for target in ("/healthz", "/nowhere"):
        assert web.ask("GET", target, x_request_id=mine).headers["x-request-id"] == mine


@pytest.mark.parametrize("theirs", ["", "x" * 65, "a b", "a\r\nset-cookie: b", "é", '<script>"'])
def test_an_invalid_request_id_is_replaced(web: Web, theirs: str) -> None:
    found = web.ask("GET", "/healthz", x_request_id=theirs).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", found)


def test_each_request_without_an_id_gets_a_new_id(web: Web) -> None:
    assert len({web.ask("GET", "/healthz").headers["x-request-id"] for _ in range(10)}) == 10


def test_no_answer_is_guessed_at_by_a_browser(web: Web) -> None:
    for target in ("/", "/nowhere", "/metrics"):
        assert web.ask("GET", target).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("GET", "/v1/classify", {"POST"}),
        ("PUT", "/", {"GET", "HEAD", "POST"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("PATCH", "/v1/jobs/x", {"GET", "HEAD", "PUT", "DELETE"}),
    ],
)
def test_another_method_is_refused_with_those_that_the_path_takes(
    web: Web, method: str, target: str, allow: set[str]
) -> None:
    answer = web.ask(method, target)
    assert is_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize("target", ["/nowhere", "/v1/classify/", "/v1/jobs/", "//", "/v1", "/healthz/x"])
def test_an_unknown_path_is_a_problem(web: Web, target: str) -> None:
    assert is_problem(web.ask("GET", target), 404, "path_not_found")


@pytest.mark.parametrize("job_id", ["none", "..", "x" * 5000, "{}", "00000000-03E8-7000-8000-000000000000"])
def test_what_is_no_job_id_reaches_no_bucket(web: Web, job_id: str) -> None:
    assert is_problem(web.ask("GET", f"/v1/jobs/{job_id}"), 404, "job_not_found")
    assert web.recorder.calls == [] or set(web.recorder.calls) == {"queue.depth"}


def test_an_unknown_job_is_looked_for_in_both_buckets(web: Web) -> None:
    assert is_problem(web.ask("GET", f"/v1/jobs/{new_job_id(1.0)}"), 404, "job_not_found")
    assert {"results.get", "images.list"} <= set(web.recorder.calls)


def test_labels_of_metrics_are_routes_and_not_what_callers_write(web: Web) -> None:
    # given
    targets = ["/x", "/y", "/%00", *(f"/v1/jobs/{new_job_id(float(number))}" for number in range(20))]
    for target in targets:
        web.ask("GET", target)
    for method in ("BREW", "MKCOL", "X" * 1000):
        web.ask(method, "/healthz")
    # when
    text = web.ask("GET", "/metrics").body.decode()
    # then
    routes = set(re.findall(r'beholder_requests_total\{.*?route="([^"]*)"', text))
    methods = set(re.findall(r'beholder_requests_total\{.*?method="([^"]*)"', text))
    assert {"unknown", "/v1/jobs/{job_id}", "/healthz"} <= routes
    known = {"/", "/upload", "/v1/classify", "/v1/jobs/{job_id}", "/healthz", "/metrics", "unknown"}
    known |= {"/v1/jobs/{job_id}/cancel"}
    assert routes <= known | {"/readyz", "/v1/models", "/v1/limits", "/openapi.json", "/docs"}
    assert methods <= {"GET", "POST", "PUT", "HEAD", "DELETE", "other"}
