"""What operators read of each request, and what anonymous callers do not."""

import asyncio
import inspect
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request

from beholder.errors import BackendError, BeholderError, ConfigError, JobError, RequestError, all_errors
from beholder.job import Failure, Job, JobInput, JobStatus, new_job_id
from beholder.store.keys import result_key
from beholder.telemetry.log import configure_logging
from beholder.telemetry.metrics import Telemetry
from beholder.web.limits import WebLimits
from beholder.web.middleware import RequestMiddleware
from helpers.asgi import Gone, call
from helpers.images import jpeg
from helpers.web import Ask, Breaking, ask, memory_ports

SECRET = "/var/lib/x\\y <arn:aws:s3:::a-bucket> https://key@host:9000/q?X-Amz-Signature=s3cr3t"  # noqa: S105 -- it looks like one, which is the point
JOB_ID = new_job_id(1_700_000_000.0)
ASYNC = {"prefer": "respond-async"}
# What callers are told of these is about their own request or image.
TOLD = (RequestError, JobError)
ERRORS = [error for error in all_errors() if error.__module__.startswith("beholder.")]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Hold the lines of the log as JSON, and give the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    configure_logging(level="debug", process="web-0", form="json", stream=written)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(log: io.StringIO, action: str = "web.access") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in found if line["action"] == action]


def made(error: type[BeholderError]) -> BeholderError:
    """Return an error whose message holds secrets, and that came from one which holds them too."""
    raised: BeholderError
    raised = error("a backend", "an operation", SECRET) if issubclass(error, BackendError) else error(SECRET)
    raised.__cause__ = OSError(28, SECRET)
    return raised


def asked(**ports: Any) -> list[Any]:
    """Return the answers of every route, with ports of which some break."""
    requests = [
        Ask("POST", "/v1/classify", jpeg(1), ASYNC),
        Ask("POST", "/upload", jpeg(1)),
        Ask("POST", "/v1/classify", jpeg(1), {"idempotency_key": "a", **ASYNC}),
        *(
            Ask("GET", path)
            for path in (
                f"/v1/jobs/{JOB_ID}",
                "/v1/fleet",
                "/readyz",
                "/metrics",
                "/v1/models",
                "/v1/limits",
                "/",
            )
        ),
    ]
    return ask(memory_ports(limits=WebLimits(wait_s_default=0.01), **ports), *requests)


# --- what callers are not told ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.parametrize("broken", ["queue", "images", "results"])
def test_internal_details_of_an_error_are_logged_and_never_answered(
    error: type[BeholderError], broken: str, log: io.StringIO
) -> None:
    # when
    answers = asked(**{broken: Breaking(made(error))})
    # then
    failed = [answer for answer in answers if answer.status >= 500]
    for answer in answers:
        whole = answer.body.decode() + repr(answer.headers)
        for word in (
            () if issubclass(error, TOLD) else ("s3cr3t", "/var/lib", "arn:", "https://key", "a backend")
        ):
            assert word not in whole, whole
    causes = [line["cause"] for line in lines(log) if "cause" in line]
    assert len(causes) >= len(failed)
    assert all("s3cr3t" in cause for cause in causes if cause.startswith(f"{error.code}: ")), causes


def test_every_kind_of_error_that_names_its_inside_was_met(log: io.StringIO) -> None:
    """The test above would pass where nothing fails."""
    for broken in ("queue", "images", "results"):
        answers = asked(**{broken: Breaking(made(BackendError))})
        assert any(answer.status == 503 for answer in answers)
    assert {line["path"] for line in lines(log) if line["status"] == 503} >= {
        "/v1/classify",
        "/upload",
        f"/v1/jobs/{JOB_ID}",
        "/v1/fleet",
        "/readyz",
    }


@pytest.mark.parametrize("error", [BackendError, ConfigError, BeholderError])
def test_a_detail_is_the_class_s_own_sentence(error: type[BeholderError]) -> None:
    assert made(error).detail == " ".join(inspect.cleandoc(error.__doc__ or "").split("\n\n")[0].split())
    assert SECRET in made(error).message


def test_readiness_names_parts_codes_and_sentences() -> None:
    error = made(BackendError)
    (answer,) = ask(memory_ports(queue=Breaking(error), results=Breaking(error)), Ask("GET", "/readyz"))
    assert (answer.status, int(answer.headers["retry-after"]) > 0) == (503, True)
    told = {"code": "backend_error", "detail": error.detail}
    assert answer.json == {
        "status": "unready",
        "problems": [{"part": "input queue", **told}, {"part": "output bucket", **told}],
    }


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nowhere", 404),
        ("BREW", "/upload", 405),
        ("GET", "/v1/jobs/x", 404),
        ("POST", "/upload", 400),
    ],
)
def test_every_error_is_a_problem_document(method: str, target: str, status: int) -> None:
    (answer,) = ask(memory_ports(), Ask(method, target))
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json["code"]


# --- the line of a request ----------------------------------------------------------------------------------


def test_each_request_has_one_log_line(log: io.StringIO) -> None:
    body = jpeg(1)
    accepted, _ = ask(
        memory_ports(),
        Ask("POST", "/v1/classify?top_k=1", body, {"x_request_id": "mine", **ASYNC}),
        Ask("GET", "/healthz"),
    )
    first, second = lines(log)
    assert isinstance(first.pop("at"), float)
    assert isinstance(first.pop("ms"), float)
    assert first == {
        "level": "info",
        "process": "web-0",
        "action": "web.access",
        "message": "answered",
        "method": "POST",
        "path": "/v1/classify",
        "route": "/v1/classify",
        "status": 202,
        "bytes_in": len(body),
        "bytes_out": len(accepted.body),
        "client": "",
        "request_id": "mine",
        "job_id": accepted.json["id"],
    }
    assert (second["path"], second["level"]) == ("/healthz", "debug")


def test_an_error_of_the_caller_has_its_code(log: io.StringIO) -> None:
    ask(memory_ports(), Ask("POST", "/v1/classify?topk=2"), Ask("GET", "/nowhere"), Ask("PUT", "/upload"))
    assert [(line["status"], line["code"], line["level"]) for line in lines(log)] == [
        (400, "parameter_unknown", "info"),
        (404, "path_not_found", "info"),
        (405, "method_not_allowed", "info"),
    ]
    assert not any("cause" in line for line in lines(log))


def test_a_failed_job_is_the_cause_of_its_5xx(log: io.StringIO) -> None:
    # given: the outcome of an earlier request with this key
    ports = memory_ports(limits=WebLimits(wait_s_default=0.01))
    ask_it = Ask("POST", "/v1/classify", jpeg(1), {"idempotency_key": "a"})
    (first,) = ask(ports, ask_it)
    gone = Failure("job_abandoned", 500, "Every attempt died.")
    done = Job(first.json["id"], JobStatus.FAILED, 1.0, input=JobInput("k", "a.jpg", 1), error=gone)
    ports.results.put(result_key(done.id), json.dumps(done.to_dict()).encode())
    # when
    (answer,) = ask(ports, ask_it)
    # then
    assert (answer.status, answer.json["code"]) == (500, "job_abandoned")
    line = lines(log)[-1]
    assert (line["job_id"], line["code"], line["level"]) == (done.id, "job_abandoned", "error")
    assert line["cause"] == "job_abandoned: Every attempt died."


def test_a_line_holds_no_query_no_header_and_no_body(log: io.StringIO) -> None:
    secrets = {"authorization": "Bearer s3cr3t", "cookie": "s3cr3t", "idempotency_key": "s3cr3t"}
    for target in ("/v1/classify?token=s3cr3t", "/v1/classify?model=s3cr3t", "/healthz?s3cr3t"):
        ask(memory_ports(), Ask("POST", target, b"s3cr3t", {"content_type": "s3cr3t", **secrets}))
    assert len(lines(log)) == 3
    assert "s3cr3t" not in log.getvalue()


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    "path",
    ["/a\nforged line", "/\x1b[31mred", "/" + "x" * 5000, "/\x00\x7f\x9b", "/%0d%0a", "/\u2028", "/é\udcff"],
)
def test_a_path_cannot_write_lines_of_its_own(path: str, form: str, log: io.StringIO) -> None:
    configure_logging(level="info", process="web-0", form=form, stream=log)

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    for raw in ({}, {"raw_path": path.encode("utf-8", "surrogatepass")}):
        asyncio.run(RequestMiddleware(app, Telemetry())({**scope, **raw}, _nothing, _ignore))
    written = log.getvalue()
    assert len(written.splitlines()) == 2
    assert all(line.isprintable() and len(line) < 700 for line in written.splitlines())


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_cause_cannot_write_lines_of_its_own(form: str, log: io.StringIO) -> None:
    configure_logging(level="info", process="web-0", form=form, stream=log)
    error = BackendError("x", "y", "first\nforged\r\x1b[2J\u2028line" + "z" * 10_000)
    ask(memory_ports(results=Breaking(error)), Ask("GET", "/v1/fleet"))
    (line,) = [one for one in log.getvalue().splitlines() if "web.access" in one]
    assert line.isprintable()
    assert "forged" in line
    assert len(line) < 4000


def test_without_the_access_log_only_failed_requests_are_logged(log: io.StringIO) -> None:
    ports = memory_ports(access_log=False, results=Breaking(made(BackendError)))
    ask(ports, Ask("GET", "/v1/limits"), Ask("GET", "/nowhere"), Ask("GET", "/v1/fleet"))
    assert [line["status"] for line in lines(log)] == [503]


def test_a_client_that_leaves_within_its_upload_is_499(log: io.StringIO) -> None:
    async def leave() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await Request(scope, receive, send).body()

        with pytest.raises(Gone):
            await call(RequestMiddleware(app, Telemetry()), "POST", "/upload", [b"abc"], leaves=True)

    asyncio.run(leave())
    (line,) = lines(log)
    assert (line["status"], line["bytes_in"], line["level"]) == (499, 3, "info")


@pytest.mark.parametrize("error", [ZeroDivisionError("inside"), BackendError("a", "b", "inside")])
def test_an_error_after_the_answer_began_is_logged(error: Exception, log: io.StringIO) -> None:
    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    for is_all_logged in (True, False):
        with pytest.raises(type(error)):
            asyncio.run(call(RequestMiddleware(app, Telemetry(), is_all_logged=is_all_logged), "GET", "/"))
    for line in lines(log):
        assert (line["status"], line["is_cut"], line["level"]) == (200, True, "error")
        assert "inside" in line["cause"]
    assert len(lines(log)) == 2


def test_a_cancelled_request_is_logged(log: io.StringIO) -> None:
    async def scenario() -> None:
        begun = asyncio.Event()

        async def app(*_: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(call(RequestMiddleware(app, Telemetry()), "GET", "/"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    (line,) = lines(log)
    assert (line["status"], line["level"]) == (499, "info")


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def _ignore(_: Any) -> None:
    pass
