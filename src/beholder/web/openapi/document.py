"""The HTTP interface as an OpenAPI 3.1 document, for `/openapi.json` and `/docs`.

The operations are written by hand rather than derived from the routes, because no signature says what matters
to a caller (when a 202 comes, what Retry-After means). Tests compare them with the route table, the error
tree and the limits. The schemas follow the types of the documents.
"""

from typing import Any

from beholder.errors import BackendUnavailable, EmbeddingUnsupported
from beholder.web.key_check import scope_needed
from beholder.web.openapi.compat import compat_paths, with_rekognition
from beholder.web.openapi.errors import (
    DEFAULT_ERRORS,
    error_codes,
    error_table,
    image_errors,
    key_problems,
    problems,
    visible_errors,
)
from beholder.web.openapi.examples import job_example
from beholder.web.openapi.fleet import FLEET_PARAMETERS, fleet_paths
from beholder.web.openapi.inputs import (
    closed,
    headers,
    image_body,
    model_names,
    parameters,
    webhook_named,
)
from beholder.web.openapi.jobs import job_paths
from beholder.web.openapi.json_schema import ref
from beholder.web.openapi.operations import json_answer, operation, unfinished
from beholder.web.openapi.pages import PAGE_HEADERS, PAGE_PARAMETERS, page_paths
from beholder.web.openapi.schemas import schemas
from beholder.web.openapi.uploads import upload_paths
from beholder.web.ports import WebPorts
from beholder.web.routes.parameters import OPTIONS
from beholder.web.routes.responses import EMBEDDING_TYPE

__all__ = ["build_openapi"]

_Doc = dict[str, Any]

_INTRODUCTION = """\
Send an image and get what it shows. Every image becomes a job: it is stored, queued and classified by a \
worker. Its outcome is returned on the same connection, or fetched later under `/v1/jobs/{job_id}`.

Confidences are probabilities from 0 to 1. Times are RFC 3339 in UTC, durations in `metrics` milliseconds. \
Every answer has an `x-request-id`. Every GET endpoint answers HEAD as well.

A POST ignores no parameter: one that is unknown, repeated or empty is an error. A GET takes none, but for \
`/v1/jobs`.

## Errors

An error is a problem document (`application/problem+json`, RFC 9457). Its `code` is stable and meant for \
programs, its `detail` is meant for people. A code marked *again* may succeed when the same request is sent \
again; if the answer has a `Retry-After`, wait that many seconds first.

"""
_TAGS = {
    "Classify": "Send an image.",
    "Jobs": "Fetch an outcome later.",
    "Clients of other services": "The forms that clients of other services write and read.",
    "Service": "The models, limits and instances of the service.",
    "Operation": "For load balancers and monitoring.",
    "Pages": "For people.",
}
_SECURITY_SCHEMES = {
    "Bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same API key."},
}
_NAMED = ("MinConfidence", "ModelName", "Include", "Exclude", "FileName")
_UPLOAD_HEADERS = ("IdempotencyKey", "CancelAfter", "CacheControl")
_JOB_FAILED = (
    "If the job was accepted and then failed, the error contains it as `job`, and Location names it."
)

_SEVERAL = (
    "A form may hold several images. Each is a job of its own, with the same options, and the answer is a "
    "list in their order: 202 while one is unfinished, otherwise 200, also if some are refused. If none is "
    "accepted and another try may help, the answer is that error."
)


def build_openapi(ports: WebPorts) -> _Doc:
    """Return the OpenAPI document of the web tier.

    Args:
        ports: The parts of the web tier; their limits and models are written into the document.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "beholder",
            "summary": "Image recognition as a service.",
            "description": _INTRODUCTION + error_table(),
            "version": ports.version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This service."}],
        "security": [],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": _with_security(_paths(ports)) if ports.keys else _paths(ports),
        "components": {
            "parameters": parameters(ports) | FLEET_PARAMETERS | PAGE_PARAMETERS,
            "headers": headers(),
            "schemas": schemas(ports, error_codes(visible_errors())),
            "securitySchemes": _SECURITY_SCHEMES if ports.keys else {},
        },
    }


def _paths(ports: WebPorts) -> _Doc:
    own = {
        "/v1/classify": {"post": _classify(ports)},
        "/v1/embed": {"post": _embed(ports)},
        "/upload": {"post": _upload("upload", ports)},
        "/": {"get": _index(), "post": with_rekognition(_upload("upload_at_root", ports))},
        "/v1/models": {"get": _get("list_models", "Service", "List the models.", "Models")},
        "/v1/models/default": {"put": _put_default(ports)},
        "/v1/limits": {"get": _get("get_limits", "Service", "List the limits.", "Limits")},
        "/openapi.json": {
            "get": _page("openapi", "Service", "This document, for programs.", "application/json")
        },
        "/healthz": {"get": _get("healthz", "Operation", "Check that the process answers.", "Health")},
        "/readyz": {"get": _readyz()},
        "/metrics": {
            "get": _page("metrics", "Operation", "Metrics in the Prometheus text format.", "text/plain")
        },
    }
    return own | fleet_paths() | page_paths() | job_paths(ports) | upload_paths(ports) | compat_paths(ports)


def _with_security(paths: _Doc) -> _Doc:
    """Add to each operation that needs an API key the scope that the key must have."""
    for path, item in paths.items():
        for method, described in item.items():
            scope = scope_needed(method.upper(), path)
            if scope is not None:
                described["security"] = [{name: [str(scope)]} for name in _SECURITY_SCHEMES]
                responses = described["responses"]
                described["responses"] = key_problems(responses["default"]) | responses
    return paths


def _classify(ports: WebPorts) -> _Doc:
    applied = {"Preference-Applied": ref("headers", "PreferenceApplied")}
    later = applied | {"Retry-After": ref("headers", "LookAgain")}
    done = json_answer(
        "Job", "The job with its labels; of several images, a list.", job_example(ports), later
    )
    accepted = unfinished(applied)
    for answer in (done, accepted):
        media = answer["content"]["application/json"]
        media["schema"] = {"anyOf": [media["schema"], ref("schemas", "Items")]}
    return operation(
        "classify",
        "Classify",
        "Classify an image, or the images of a form.",
        f"Waits {ports.limits.wait_s_default:g} seconds for the labels unless Prefer says otherwise, and "
        "answers 202 with the unfinished job if they do not arrive in that time. "
        + _JOB_FAILED
        + " "
        + _SEVERAL,
        {"200": done, "202": accepted, **problems(image_errors())},
        named=["TopK", *_NAMED, "Tag", *webhook_named(ports), "Prefer", *_UPLOAD_HEADERS],
        body=image_body(ports, OPTIONS, is_classify=True),
    )


def _embed(ports: WebPorts) -> _Doc:
    """Return the operation that is as classifying, but for its options and its answer."""
    found = _classify(ports)
    done = found["responses"]["200"]
    done["description"] = "The job with its embedding; of several images, a list."
    done["content"]["application/json"].pop("example")
    done["content"][EMBEDDING_TYPE] = {"schema": {"type": "string", "format": "binary"}}
    done["headers"] |= {
        name: ref("headers", key)
        for name, key in (
            ("x-job-id", "JobId"),
            ("x-embedding-size", "EmbeddingSize"),
            ("x-embedding-normalised", "EmbeddingNormalised"),
        )
    }
    named = ("ModelName", "FileName", "Tag", *webhook_named(ports), "Prefer", *_UPLOAD_HEADERS)
    return operation(
        "embed",
        "Classify",
        "Compute the embedding of an image, or of the images of a form.",
        "The embedding is what the model's last layers read of the image, scaled to length 1: images alike "
        "have embeddings whose dot product is near 1. Waits and jobs are as for labels. With "
        f"`Accept: {EMBEDDING_TYPE}` the embedding of one image comes as float32, the lowest byte first. "
        + _SEVERAL,
        {**found["responses"], **problems((*image_errors(), EmbeddingUnsupported))},
        named=named,
        body=image_body(ports, ("model",), is_classify=True),
    )


def _upload(operation_id: str, ports: WebPorts) -> _Doc:
    done = json_answer(
        "Job",
        "The best label as text; if min_confidence left none, the job.",
        None,
        {"x-job-id": ref("headers", "JobId")},
    )
    done["content"] = {"text/plain": {"schema": {"type": "string"}, "example": "tabby"}} | done["content"]
    failed = problems(image_errors())
    for response in failed.values():
        if "Location" in response["headers"]:
            response["headers"]["x-job-id"] = ref("headers", "JobId")
    return operation(
        operation_id,
        "Classify",
        "Classify an image and answer in plain text.",
        "For classic load generators, which send a form with `myfile` and read one label. Waits "
        f"{ports.limits.wait_s_default:g} seconds, then answers 202. " + _JOB_FAILED,
        {"200": done, "202": unfinished({}), **failed},
        named=[*_NAMED, *_UPLOAD_HEADERS],
        body=image_body(ports, [name for name in OPTIONS if name != "top_k"]),
    )


def _put_default(ports: WebPorts) -> _Doc:
    chosen = {"type": "string", "enum": model_names(ports), "description": "The model."}
    document = closed({"model": chosen}, required=["model"])
    return operation(
        "set_default_model",
        "Service",
        "Make a model the default.",
        "The default is used if a request names no model. Every web process knows it within a second, also "
        "after a restart. A job keeps the model that was chosen when it was accepted.",
        {
            "200": json_answer("Models", "The models, the new default first.", None),
            **problems(DEFAULT_ERRORS),
        },
        body={"required": True, "content": {"application/json": {"schema": document}}},
    )


def _index() -> _Doc:
    varies = {"Vary": ref("headers", "Vary")} | PAGE_HEADERS
    listed = json_answer(
        "Index", "The list of endpoints; the page if Accept asks for text/html.", None, varies
    )
    listed["content"]["text/html"] = {"schema": {"type": "string"}}
    return operation(
        "index",
        "Pages",
        "The page for photos.",
        "A program gets the list of endpoints.",
        {"200": listed},
    )


def _readyz() -> _Doc:
    ready = json_answer("Readiness", "Images can be accepted.", {"status": "ready", "problems": []})
    error = BackendUnavailable("sqlite queue", "depth")
    problem = {"part": "input queue", "code": error.code, "detail": error.detail}
    unready = json_answer(
        "Readiness",
        "The queue or a bucket does not answer, or the process will end.",
        {"status": "unready", "problems": [problem]},
        {"Retry-After": ref("headers", "RetryAfter")},
    )
    answers = {"200": ready, "503": unready}
    return operation("readyz", "Operation", "Check whether images can be accepted.", "", answers)


def _get(operation_id: str, tag: str, summary: str, schema: str) -> _Doc:
    return operation(operation_id, tag, summary, "", {"200": json_answer(schema, summary, None)})


def _page(operation_id: str, tag: str, summary: str, media_type: str) -> _Doc:
    kind = "object" if media_type == "application/json" else "string"
    answer = {
        "description": summary,
        "headers": {"x-request-id": ref("headers", "RequestId")},
        "content": {media_type: {"schema": {"type": kind}}},
    }
    return operation(operation_id, tag, summary, "", {"200": answer})
