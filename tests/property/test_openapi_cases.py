"""3,000 requests that schemathesis makes of the OpenAPI document: no 5xx, no answer that is not described.

A web tier in this process with buckets and queues in memory, beside a worker whose model answers at once.
Some requests also meet a service that is full, late, locked, or broken behind its web tier.
"""

import base64
import copy
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beholder.api_keys import KnownKeys
from beholder.clock import ManualClock, SystemClock
from beholder.errors import BackendUnavailable, ImageTruncated
from beholder.job.ids import job_id_from_key
from beholder.model.port import Preprocessing
from beholder.queue.memory import MemoryQueue
from beholder.runner import Runner
from beholder.store.memory import MemoryStore
from beholder.web.app import WebApp, build_app
from beholder.web.limits import WebLimits
from beholder.web.openapi.document import build_openapi
from beholder.web.ports import ServedModel, WebPorts
from beholder.web.submission.reply_sources import PolledReplies
from beholder.web.webhooks.ports import WebhookPorts
from beholder.web.webhooks.schedule import Attempt
from beholder.web.webhooks.sender import WebhookSender, webhook_policy
from helpers.images import jpeg, png
from helpers.rig import LABELS, Rig, prepare
from helpers.web import Breaking, memory_ports

pytestmark = pytest.mark.slow

CASES_MIN = 3000
# Requests that the document allows, and requests that it does not, which take longer to make.
PER_READ = {"positive": 10, "negative": 10}
PER_IMAGE = {"positive": 172, "negative": 50}
GOOD, CUT, SMALL = jpeg(1), jpeg(2)[:-100], png(4, 4)
IMAGES = st.sampled_from([GOOD, GOOD, GOOD, png(9, 9), CUT, SMALL, b"", b"a text"]) | st.binary(max_size=40)
# A request that the document allows is refused for its image, a label or a key, and for nothing else.
REFUSED = re.compile(r'^{.*"(code|error_type)": ?"(bad_parameter|parameter_unknown)"')
UNDESCRIBABLE = re.compile(
    "no base64|body is no JSON|time in the job's id|with its zone|begins like a list in JSON"
    "|binary data is not one element|file_name names one image"
)
# Headers that HTTP itself has, or that every answer has.
COMMON_HEADERS = {"content-type", "content-length", "allow", "x-content-type-options"}


def text(image: bytes) -> str:
    return base64.b64encode(image).decode()


# Where the documents of each path hold the image.
DOCUMENTS: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "/v1/classify": lambda image: {"image": text(image)},
    "/v1/jobs/{job_id}": lambda image: {"image": text(image)},
    "/": lambda image: {"Image": {"Bytes": text(image)}},
    "/hf": lambda image: {"inputs": text(image)},
    "/predictions": lambda image: {"input": {"image": text(image)}},
    "/v2": lambda image: {
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [text(image)]}]
    },
}


@dataclass
class Service:
    """A web tier and its described operations, by their labels."""

    app: WebApp
    document: dict[str, Any]
    operations: dict[str, Any]


def service(ports: WebPorts) -> Service:
    import schemathesis  # noqa: PLC0415 -- it takes a second to import, in each process that collects tests

    document = strict(build_openapi(ports))
    found = [one.ok() for one in schemathesis.openapi.from_dict(document).get_all_operations()]
    return Service(build_app(ports), document, {one.label: one for one in found})


def decode(data: bytes, preprocessing: Preprocessing) -> Any:
    if data == CUT:
        raise ImageTruncated
    return prepare(data, preprocessing)


async def delivered(*_: Any) -> Attempt:
    return Attempt(HTTPStatus.NO_CONTENT)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    rig, runner, failing = Rig(tmp_path_factory.mktemp("rig")), Runner(), BackendUnavailable("a store", "put")
    full = MemoryQueue()
    full.send([b"waiting"])
    models = tuple(
        ServedModel(name, "1", "MIT", "", len(LABELS), "as-is", None) for name in ("first", "second")
    )
    common: dict[str, Any] = {
        "models": models,
        "labels": {one.reference: LABELS for one in models},
        "clock": rig.clock,
        "access_log": False,
    }
    at_work = {
        "queue": rig.queue,
        "replies": PolledReplies(rig.replies["web-0"], wait_s=0.01),
        "images": rig.images,
        "results": rig.results,
    }
    worker = rig.worker(wait_s=0.01, prepare=decode)
    runner.start("worker", worker.tick)
    sender = WebhookSender(webhook_policy(frozenset({"http", "https"}), ()))
    hooks = WebhookPorts(sender.check, delivered, (b"secret" * 4,), "web-0", chance=lambda: 0.5)
    brief = WebLimits(wait_s_default=0.001, wait_s_max=0.001)
    clock = SystemClock()
    made = {
        "healthy": service(memory_ports(**common, **at_work, webhooks=hooks)),
        "full": service(memory_ports(**common, queue=full, limits=WebLimits(backlog_max=1))),
        "late": service(memory_ports(**common, limits=brief)),
        "locked": service(memory_ports(**common | {"clock": clock}, keys=KnownKeys(MemoryStore(), clock))),
        "broken": service(memory_ports(**common, images=Breaking(failing), results=Breaking(failing))),
    }
    logging.disable(logging.CRITICAL)
    yield made
    logging.disable(logging.NOTSET)
    runner.stop()


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document, with no room for a member or a status that it does not name."""
    found = copy.deepcopy(document)
    for schema in found["components"]["schemas"].values():
        if "properties" in schema and "allOf" not in schema:
            schema.setdefault("additionalProperties", False)
    for item in found["paths"].values():
        for operation in item.values():
            operation["responses"]["405"] = operation["responses"].pop("default")
    return found


def new_ids(count: int) -> list[str]:
    """Return job ids that a caller may give to jobs, the same in each run but for their times."""
    now_s = ManualClock().now_s()
    return [job_id_from_key("caller", str(number), epoch_s=now_s) for number in range(count)]


def improve(case: Any, draw: Callable[[Any], Any], jobs: list[str]) -> None:
    """Make what schemathesis cannot guess more likely: images, labels, and jobs that exist."""
    for name in ("include", "exclude"):
        if case.query and name in case.query:
            case.query[name] = draw(st.sampled_from(["cat", "0,dog", "3", "unicorn"]))
    for name in ("job_id", "id"):
        if jobs[1:] and case.path_parameters and name in case.path_parameters:
            # Each operation draws the same places, and those of a deletion are gone for the others.
            there = jobs if case.method == "DELETE" else jobs[1:]
            there = new_ids(20) + there[:20] if case.method == "PUT" and name == "job_id" else there
            case.path_parameters[name] = draw(st.sampled_from(there))
    if isinstance(case.body, dict) and "json" in (case.media_type or "") and is_of_image(case):
        paths = [
            path for path in DOCUMENTS if case.path == path or (path != "/" and case.path.startswith(path))
        ]
        image = DOCUMENTS[paths[0]](draw(IMAGES)) if paths else {}
        case.body |= {name: merged(case.body.get(name), value) for name, value in image.items()}


def is_of_image(of: Any) -> bool:
    return of.method.lower() in ("post", "put") and not of.path.endswith(
        ("/cancel", "/retry", "/redrive", "/default", "/v1/uploads")
    )


def merged(generated: Any, value: Any) -> Any:
    return {**generated, **value} if isinstance(generated, dict) and isinstance(value, dict) else value


@dataclass
class Run:
    """Sends every case to the healthy service, and every fourth to one of the others, too, in turns."""

    services: dict[str, Service]
    cases: int = 0
    jobs: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    def send(self, case: Any, data: Any) -> None:
        if data.draw(st.integers(0, 3)):
            improve(case, data.draw, self.jobs)
        if "amz" in (case.media_type or ""):
            case.headers["X-Amz-Target"] = "RekognitionService.DetectLabels"
        self.cases += 1
        response = self.answer("healthy", case)
        is_allowed = case.meta.generation.mode.value == "positive"
        said = response.text if is_allowed and response.status_code == HTTPStatus.BAD_REQUEST else ""
        if REFUSED.search(said) and not UNDESCRIBABLE.search(said):
            failure = f"{case.operation.label}: allowed, but {said[:150]}"
            self.failures.setdefault(failure, case.as_curl_command())
        if response.status_code == HTTPStatus.OK and response.headers.get("content-type") == [
            "application/json"
        ]:
            document = response.json()
            self.jobs += [document["id"]] if isinstance(document, dict) and document.get("id") else []
        if self.cases % 4 == 0:
            others = [name for name in self.services if name != "healthy"]
            self.answer(others[self.cases // 4 % len(others)], case)

    def answer(self, name: str, case: Any) -> Any:
        service = self.services[name]
        case.operation = service.operations[case.operation.label]
        response = case.call(app=service.app)
        self.statuses[response.status_code] += 1
        for problem in problems(case, response, is_healthy=name == "healthy"):
            self.failures.setdefault(f"{name}: {case.operation.label}: {problem}", case.as_curl_command())
        return response


def problems(case: Any, response: Any, *, is_healthy: bool) -> Iterator[str]:
    """Yield what is wrong with an answer."""
    from schemathesis.specs.openapi import checks  # noqa: PLC0415 -- as in `service`

    status = response.status_code
    try:
        case.validate_response(
            response,
            checks=[
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_headers_conformance,
                checks.response_schema_conformance,
            ],
        )
    except BaseExceptionGroup as group:
        for one in group.exceptions:
            yield f"{type(one).__name__} {status}: {one}"
    # A service that cannot serve now says so with 503.
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and (
        is_healthy or status != HTTPStatus.SERVICE_UNAVAILABLE
    ):
        yield f"HTTP {status}"
    described = case.operation.definition.raw["responses"].get(str(status), {}).get("headers", {})
    undescribed = {name.lower() for name in response.headers} - {name.lower() for name in described}
    if undescribed - COMMON_HEADERS:
        yield f"HTTP {status} has {', '.join(sorted(undescribed - COMMON_HEADERS))}"


def test_no_answer_is_a_server_error_or_undescribed(services: dict[str, Service]) -> None:
    import schemathesis  # noqa: PLC0415 -- as in `service`
    from schemathesis import GenerationMode  # noqa: PLC0415

    for media_type in ("image/*", "application/octet-stream"):
        schemathesis.openapi.media_type(media_type, IMAGES)
    schemathesis.openapi.format("binary", IMAGES)
    schemathesis.serializer.alias("application/x-amz-json-1.1", "application/json")
    run = Run(services)
    for operation in services["healthy"].operations.values():
        is_image = operation.method in ("post", "put") and not operation.path.endswith(
            ("/cancel", "/retry", "/redrive", "/default")
        )
        for mode, count in (PER_IMAGE if is_image else PER_READ).items():
            for_each(operation.as_strategy(generation_mode=GenerationMode(mode)), run.send, count=count)
    print(run.cases, sorted(run.statuses.items()))
    shown = [f"{failure}\n{curl[:500]}" for failure, curl in run.failures.items()]
    assert not shown, "\n\n".join(shown)
    assert run.cases >= CASES_MIN
    assert {200, 202, 400, 401, 404, 409, 415, 422, 503} <= run.statuses.keys()
    assert run.statuses[200] > CASES_MIN / 4


def for_each(cases: Any, call: Callable[[Any, Any], None], *, count: int) -> None:
    """Call with so many cases, the same in each run."""

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, data=st.data())
    def run(case: Any, data: Any) -> None:
        call(case, data)

    run()
