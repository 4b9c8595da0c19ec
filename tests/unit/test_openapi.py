"""The OpenAPI document agrees with what it describes: routes, errors, limits and real answers."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import pytest
from openapi_spec_validator import validate
from starlette.routing import Route, Router

from beholder.api_keys import KnownKeys
from beholder.clock import ManualClock
from beholder.documents import Count
from beholder.errors import BackendError, ConfigError, JobError, RequestError, all_errors
from beholder.job import Failure, Job, JobInput, JobStatus, Label, Metrics
from beholder.job.job import Result
from beholder.queue.memory import MemoryQueue
from beholder.store.memory import MemoryStore
from beholder.telemetry.metrics import Telemetry
from beholder.web.app import build_app
from beholder.web.openapi.document import build_openapi
from beholder.web.openapi.inputs import parameters
from beholder.web.openapi.json_schema import schema_of
from beholder.web.ports import ServedModel, WebPorts
from beholder.web.routes.compat.rekognition import MEDIA_TYPE
from beholder.web.routes.parameters import CLASSIFY, OPTIONS
from beholder.web.submission.form import IMAGE_FIELDS
from beholder.web.submission.reply_sources import PolledReplies
from beholder.web.webhooks.ports import WebhookPorts
from beholder.web.webhooks.schedule import Attempt
from helpers.openapi import faults, resolve, schema

HEALTH = re.compile(r"/readyz|/ping|/v2/.*ready")
METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}


@pytest.fixture(scope="module")
def ports() -> WebPorts:
    model = ServedModel("a-model", "7", "Apache-2.0", "https://example.org/a-model", 1000, "centre-crop", 224)
    return WebPorts(
        queue=MemoryQueue(),
        replies=PolledReplies(MemoryQueue()),
        reply_to=lambda: "replies",
        images=MemoryStore(),
        results=MemoryStore(),
        models=(model,),
        clock=ManualClock(),
        version="1.2.3",
    )


@pytest.fixture(scope="module")
def document(ports: WebPorts) -> dict[str, Any]:
    return build_openapi(ports)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def walk(node: Any, where: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of the document with its place."""
    if isinstance(node, dict):
        yield where, node
        for name, child in node.items():
            yield from walk(child, f"{where}/{name}")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from walk(child, f"{where}/{index}")


@pytest.mark.parametrize("keys", [None, KnownKeys(MemoryStore(), ManualClock())], ids=["open", "locked"])
def test_the_document_is_valid_openapi(ports: WebPorts, keys: KnownKeys | None) -> None:
    validate(build_openapi(replace(ports, keys=keys)))


def test_a_webhook_is_described_where_one_may_be_asked_for(ports: WebPorts) -> None:
    async def post(*_: Any) -> Attempt:
        raise AssertionError("nothing is sent")

    hooked = build_openapi(replace(ports, webhooks=WebhookPorts(str, post, (), "web-0")))
    validate(hooked)
    described = {
        operation["operationId"]
        for _, _, operation in operations(hooked)
        if "webhook" in json.dumps([operation["parameters"], operation.get("requestBody")]).lower()
    }
    assert described == {"classify", "embed", "put_job", "cog_create", "torchserve_put"}
    assert '"webhook' not in json.dumps(build_openapi(ports)["paths"]).replace('"webhook_refused"', "")


# --- against the code ---------------------------------------------------------------------------------------


def test_every_route_is_described_and_every_description_is_a_route(
    document: dict[str, Any], ports: WebPorts
) -> None:
    router = build_app(replace(ports, telemetry=Telemetry()))._app
    assert isinstance(router, Router)
    served = {
        (method.lower(), route.path)
        for route in router.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert {(method, path) for method, path, _ in operations(document)} == served


def test_a_path_holds_nothing_but_methods_because_the_index_lists_them(document: dict[str, Any]) -> None:
    assert {method for method, _, _ in operations(document)} <= METHODS


def test_every_code_that_a_caller_may_see_is_in_the_table_and_in_the_problem_schema(
    document: dict[str, Any],
) -> None:
    visible = {e.code for e in all_errors() if issubclass(e, (RequestError, JobError, BackendError))}
    hidden = {e.code for e in all_errors() if issubclass(e, ConfigError)}
    in_table = set(re.findall(r"^\| `(\w+)` \| \d{3} \|", document["info"]["description"], re.MULTILINE))
    in_schema = set(schema(document, "Problem")["properties"]["code"]["enum"])
    assert in_table == in_schema == visible | {"internal_error"}
    assert not in_table & hidden


def test_an_upload_names_each_error_of_its_image_under_its_status(document: dict[str, Any]) -> None:
    elsewhere = {"bad_request", "job_failed", "job_not_found", "path_not_found", "method_not_allowed"}
    elsewhere |= {
        "outcome_late",
        "model_version_not_found",
        "job_finished",
        "job_not_failed",
        "dead_letter_not_found",
        "embedding_unsupported",
        "stream_unsupported",
        "upload_link_expired",
    }
    expected = {
        (str(e.http_status), e.code)
        for e in all_errors()
        if issubclass(e, (RequestError, JobError)) and e.code not in elsewhere
    }
    for path in ("/v1/classify", "/upload", "/"):
        responses = document["paths"][path]["post"]["responses"]
        named = {
            (status, code)
            for status, response in responses.items()
            for code in response["content"].get("application/problem+json", {}).get("examples", {})
        }
        assert expected <= named


@pytest.mark.parametrize(
    ("method", "path", "codes"),
    [
        ("post", "/v1/classify", {"500": set(), "503": {"storage_full", "queue_gone"}}),
        ("post", "/upload", {"500": set(), "503": {"storage_full", "queue_gone"}}),
        ("post", "/", {"500": set(), "503": {"storage_full", "queue_gone"}}),
        ("get", "/v1/jobs/{job_id}", {"500": set(), "503": set()}),
        ("get", "/v1/fleet", {"500": set(), "503": set()}),
    ],
)
def test_each_error_of_a_backend_is_named_under_its_status(
    document: dict[str, Any], method: str, path: str, codes: dict[str, set[str]]
) -> None:
    responses = document["paths"][path][method]["responses"]
    examples = {
        status: responses[status]["content"]["application/problem+json"]["examples"] for status in codes
    }
    assert examples["500"].keys() >= {"internal_error"} | codes["500"]
    backend = {"backend_unavailable", "backend_throttled", "backend_denied"}
    assert examples["503"].keys() >= backend | codes["503"]


def test_a_retryable_error_has_a_retry_after(document: dict[str, Any]) -> None:
    responses = document["paths"]["/v1/classify"]["post"]["responses"]
    assert "Retry-After" in responses["503"]["headers"]
    assert {"Location", "Retry-After", "Preference-Applied"} <= responses["202"]["headers"].keys()


def test_the_form_has_the_fields_that_are_read(document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/classify"]["post"]["requestBody"]["content"]
    form = content["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {*IMAGE_FIELDS, *OPTIONS, "tag"}
    assert {"image/*", "application/octet-stream"} <= content.keys()


def test_the_limits_are_those_of_the_service(document: dict[str, Any], ports: WebPorts) -> None:
    limits = schema(document, "Limits")
    assert limits["properties"].keys() == ports.limits.to_dict().keys()
    top_k = document["components"]["parameters"]["TopK"]["schema"]
    assert top_k["maximum"] == ports.limits.top_k_max
    key = document["components"]["parameters"]["IdempotencyKey"]["schema"]
    assert key["maxLength"] == ports.limits.idempotency_key_chars_max


@pytest.mark.parametrize("status", list(JobStatus))
def test_a_job_of_any_status_keeps_its_schema(document: dict[str, Any], status: JobStatus) -> None:
    done = {
        "started_at_s": 2.0,
        "completed_at_s": 3.0,
        "model": "a-model",
        "model_version": "7",
        "metrics": Metrics(1.0, 2.0, 3.0, 4.0, 2, 1),
    }
    outcome: dict[str, Any] = {
        JobStatus.SUCCEEDED: {"result": Result((Label("cat", 1, 0.9),)), **done},
        JobStatus.FAILED: {"error": Failure("image_truncated", 422, "The image ends early."), **done},
    }.get(status, {})
    job = Job("id", status, 1.0, input=JobInput("id/a.jpg", "a.jpg", 12), **outcome)
    assert faults(document, schema(document, "Job"), job.to_dict()) == []


def test_models_and_limits_keep_their_schemas(document: dict[str, Any], ports: WebPorts) -> None:
    models = {"default": "a-model", "default_version": "1", "models": [asdict(one) for one in ports.models]}
    assert faults(document, schema(document, "Models"), models) == []
    assert faults(document, schema(document, "Limits"), ports.limits.to_dict()) == []


def undescribed(schemas: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the types of documents, and their fields, that no sentence describes."""
    return [
        (name, field)
        for name, one in schemas.items()
        for field, schema in ({"": one} | one["properties"]).items()
        if not schema.get("description", "").endswith(".")
    ]


def test_every_type_of_document_and_every_field_of_it_is_described(document: dict[str, Any]) -> None:
    assert undescribed(document["components"]["schemas"]) == [], "describe it in its dataclass"


def test_a_new_field_without_a_description_is_found() -> None:
    @dataclass
    class New:
        """A document."""

        old: Annotated[Count, "It was there before."]
        new: str

    assert undescribed({"New": schema_of(New)}) == [("New", "new")]


# --- within itself ------------------------------------------------------------------------------------------


def test_it_is_json(document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(document)) == document


def test_every_reference_leads_somewhere_and_every_component_is_used(document: dict[str, Any]) -> None:
    used = {node["$ref"] for _, node in walk(document) if "$ref" in node}
    held = {
        f"#/components/{kind}/{name}"
        for kind, components in document["components"].items()
        for name in components
    }
    assert used == held


def test_operations_have_ids_of_their_own_tags_that_exist_and_their_path_parameters(
    document: dict[str, Any],
) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    ids = []
    for _, path, operation in operations(document):
        ids.append(operation["operationId"])
        assert set(operation["tags"]) <= tags
        parameters = [resolve(document, one) for one in operation["parameters"]]
        in_path = {one["name"] for one in parameters if one["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))
        assert all(one["required"] for one in parameters if one["in"] == "path")
        names = [(one["in"], one["name"].lower()) for one in parameters]
        assert len(names) == len(set(names))
    assert len(ids) == len(set(ids))


def test_every_response_is_described_and_every_error_of_our_own_paths_is_a_problem(
    document: dict[str, Any],
) -> None:
    for method, path, operation in operations(document):
        is_ours = operation["tags"] != ["Clients of other services"]
        error_type = "application/problem+json" if is_ours else "application/json"
        for status, response in operation["responses"].items():
            assert response["description"], (method, path, status)
            assert "x-request-id" in response["headers"]
            if status != "default" and int(status) >= 400 and not HEALTH.fullmatch(path):
                also = [MEDIA_TYPE] if (method, path) == ("post", "/") else []
                assert list(response["content"]) == [error_type, *also]


def test_every_example_keeps_its_schema(document: dict[str, Any]) -> None:
    checked = 0
    for where, node in walk(document):
        if not isinstance(node.get("schema"), dict) and "type" not in node:
            continue
        of = node.get("schema", node)
        examples = [node["example"]] if "example" in node else []
        given = node.get("examples", {})
        examples += [one["value"] for one in given.values()] if isinstance(given, dict) else given
        for example in examples:
            assert faults(document, of, example) == [], where
            checked += 1
    assert checked > 50


def test_the_parameters_of_an_image_are_those_that_its_path_takes(ports: WebPorts) -> None:
    paths, named = build_openapi(ports)["paths"], parameters(ports)
    taken = {"/v1/classify": {*CLASSIFY} - {"webhook"}, "/v1/embed": {"model", "tag", "file_name"}}
    for path, options in taken.items():
        operation = paths[path]["post"]
        found = [named[one["$ref"].rpartition("/")[2]] for one in operation["parameters"]]
        assert {one["name"] for one in found if one["in"] == "query"} == options
        of_json = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
        assert of_json.keys() - {"image", "upload", "url", "s3"} == options - {"file_name"}
