"""The schemas of the OpenAPI document, and the examples that stand beside them.

The examples are made by the code that makes the real answers, so they cannot drift from it; the schemas are
written out, because they say what the code cannot, and a test holds them against the examples.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from beholder.errors import BackendError, BeholderError, ImageTypeUnsupported
from beholder.job import Job, JobInput, JobStatus, Label, Metrics, Options
from beholder.store.keys import image_key
from beholder.web.ports import WebPorts
from beholder.web.problems import problem_of

__all__ = [
    "EXAMPLE_JOB_ID",
    "accepted_example",
    "error_example",
    "job_example",
    "object_of",
    "or_null",
    "ref",
    "said",
    "schemas",
]

EXAMPLE_JOB_ID = "019f0a2b-5c1d-7e3f-8a4b-6c7d8e9f0a1b"
_CREATED_AT_S = 1_767_225_600.0
_REQUEST_ID = "5f0c7a1e9b7d4c3aa2e6d1f08b94c7e2"

_INPUT = JobInput(image_key(EXAMPLE_JOB_ID, "cat.jpg"), "cat.jpg", 34_306)

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_MS = {"type": "number", "minimum": 0}
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}

_LIMITS = {
    "image_bytes_max": "Length of an image file, in bytes.",
    "image_pixels_max": "Width times height of an image.",
    "image_side_max": "The longer side of an image, in pixels.",
    "image_side_min": "The shorter side of an image, in pixels.",
    "top_k_max": "Labels that a request may ask for.",
    "multipart_overhead_bytes_max": "What a multipart body may hold beside the image, in bytes.",
    "multipart_parts_max": "Fields that a multipart body may have, the image included.",
    "multipart_head_bytes_max": "Length of the headers of one field of a multipart body, in bytes.",
    "file_name_chars_max": "Characters kept of a file's name.",
    "idempotency_key_chars_max": "Length of an Idempotency-Key.",
    "wait_s_default": "How long a request waits for its answer when it does not say, in seconds.",
    "wait_s_max": "Longest wait that a request may ask for, in seconds.",
    "backlog_max": "Waiting jobs beyond which new ones are refused with 503.",
    "asynchronous_share": "Share of backlog_max and of uploads_bytes_max that asynchronous jobs may fill.",
    "heavy_pixels_min": "Pixels from which an image counts as heavy; those of a JPEG count a quarter.",
    "waiters_max": "Requests that may wait for their answer at once.",
    "uploads_bytes_max": "Bytes of uploads held in memory at once.",
    "upload_s_max": "How long one upload may take, in seconds.",
    "connections_max": "Open connections of one web process; beyond it idle and slow ones are closed.",
    "transfer_s_min": "How long a client may send or read where connections_max is reached, in seconds.",
    "head_bytes_max": "Length of a request's line and headers, in bytes.",
    "headers_max": "Headers of a request, its trailers included.",
    "head_s_max": "How long a request's line and headers may take, in seconds.",
    "keep_alive_s": "How long a connection stays open between two requests, in seconds.",
    "pipelined_max": "Requests of one connection that may wait for their answers.",
    "chunk_overhead_bytes_max": "What a chunked body may hold beside its data and a share of it, in bytes.",
    "chunk_overhead_share": "That share of its data.",
    "send_s_max": "How long a client may leave an answer unread, in seconds.",
    "linger_s_max": "How long a client may take to end after its connection's last answer, in seconds.",
    "linger_bytes_max": "What it may send meanwhile, in bytes.",
}


def ref(kind: str, name: str) -> dict[str, Any]:
    """Return a reference to a component; `kind` is such as 'schemas'."""
    return {"$ref": f"#/components/{kind}/{name}"}


def schemas(ports: WebPorts, codes: Iterable[str]) -> dict[str, Any]:
    """Return every schema of the document by name.

    Args:
        ports: What the web tier works with; its models and limits are the examples.
        codes: The error codes that a caller may see.
    """
    return {
        "Job": _job(),
        "JobInput": _job_input(),
        "Options": _options(ports),
        "Label": _label(),
        "Failure": _failure(),
        "Metrics": _metrics(),
        "Problem": _problem(codes),
        "Models": _models(),
        "Model": _model(ports),
        "Limits": _limits(ports),
        "Index": _index(ports),
        "Health": object_of("The process answers.", {"status": {"const": "ok"}}),
        "Readiness": _readiness(),
    }


def job_example(ports: WebPorts) -> dict[str, Any]:
    """Return a job that succeeded."""
    model = ports.models[0]
    labels = (("tabby", 281, 0.6214), ("Egyptian cat", 285, 0.2057), ("tiger cat", 282, 0.0931))
    return Job(
        id=EXAMPLE_JOB_ID,
        status=JobStatus.SUCCEEDED,
        created_at_s=_CREATED_AT_S,
        options=Options(top_k=3),
        input=_INPUT,
        started_at_s=_CREATED_AT_S + 0.004,
        completed_at_s=_CREATED_AT_S + 0.031,
        model=model.name,
        model_version=model.version,
        labels=tuple(Label(*label) for label in labels),
        metrics=Metrics(
            queue_ms=3.9, decode_ms=4.6, infer_ms=17.2, service_ms=26.8, batch_size=2, receive_count=1
        ),
    ).to_dict()


def accepted_example() -> dict[str, Any]:
    """Return a job that still waits."""
    return Job(EXAMPLE_JOB_ID, JobStatus.QUEUED, _CREATED_AT_S, Options(top_k=3), _INPUT).to_dict()


def error_example(error: type[BeholderError]) -> dict[str, Any]:
    """Return the problem document that an error is answered with."""
    raised = error("sqlite queue", "send") if issubclass(error, BackendError) else error()
    document: dict[str, Any] = json.loads(bytes(problem_of(raised, _REQUEST_ID).body))
    return document


def object_of(
    description: str, properties: dict[str, Any], *, optional: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """Return an object's schema; every property is always there but the `optional` ones."""
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": required,
        **more,
    }


def or_null(schema: dict[str, Any], description: str) -> dict[str, Any]:
    """Return a schema that also takes null."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}], "description": description}
    return {**schema, "type": [schema["type"], "null"], "description": description}


def said(schema: dict[str, Any], description: str) -> dict[str, Any]:
    """Return a schema with what it means."""
    return {**schema, "description": description}


def _job() -> dict[str, Any]:
    time = {"type": "string", "format": "date-time"}
    labels = {"type": "array", "items": ref("schemas", "Label"), "description": "Best first."}
    properties = {
        "id": {"type": "string", "format": "uuid", "description": "UUIDv7: ids sort by time of creation."},
        "status": {
            "enum": [str(status) for status in JobStatus],
            "description": "The last four are terminal and never change.",
        },
        "created_at": said(time, "When the image was taken in."),
        "started_at": or_null(time, "When a worker received it."),
        "completed_at": or_null(time, "When its outcome was known."),
        "model": or_null(_TEXT, "The model that ran, or the one asked for while none has."),
        "model_version": or_null(_TEXT, "Version of the model that ran."),
        "input": or_null(ref("schemas", "JobInput"), "The image and how it was sent."),
        "result": {
            "anyOf": [object_of("What was recognised.", {"labels": labels}), {"type": "null"}],
            "description": "Once succeeded.",
        },
        "error": or_null(ref("schemas", "Failure"), "Once failed or expired."),
        "metrics": or_null(ref("schemas", "Metrics"), "Where the time went."),
        "urls": object_of("Where to go on.", {"get": said(_TEXT, "Path of this job.")}),
    }
    return object_of("One image to classify, and its outcome.", properties)


def _job_input() -> dict[str, Any]:
    properties = {
        "image_key": said(_TEXT, "Key of the image in the input bucket."),
        "file_name": said(_TEXT, "As sent, cut to file_name_chars_max."),
        "image_bytes": said(_COUNT, "Length of the file."),
        "options": ref("schemas", "Options"),
    }
    return object_of("The image of a job.", properties)


def _options(ports: WebPorts) -> dict[str, Any]:
    top_k = {"type": "integer", "minimum": 1, "maximum": ports.limits.top_k_max}
    properties = {
        "model": or_null(_TEXT, "Name of the model; null for the default."),
        "top_k": said(top_k, "Labels at most."),
        "min_confidence": said(_PROBABILITY, "Labels below this are left out."),
    }
    return object_of("What the caller asked of the classifier.", properties)


def _label() -> dict[str, Any]:
    properties = {
        "name": said(_TEXT, "The label's text."),
        "index": said(_COUNT, "Class number within the model."),
        "confidence": said(_PROBABILITY, "Softmax probability."),
    }
    return object_of("One thing that the image may show.", properties)


def _failure() -> dict[str, Any]:
    properties = {
        "code": said(_TEXT, "Stable; one of the error codes."),
        "status": said({"type": "integer"}, "HTTP status that a waiting caller was answered with."),
        "detail": said(_TEXT, "What is wrong and what to do."),
    }
    return object_of("Why a job failed.", properties)


def _metrics() -> dict[str, Any]:
    properties = {
        "queue_ms": said(_MS, "From the job's creation to the worker's receipt of its message."),
        "decode_ms": said(_MS, "Decoding and resizing of this image."),
        "infer_ms": said(_MS, "The model's run over the batch that held this image."),
        "service_ms": said(_MS, "From receipt to the result in hand."),
        "batch_size": said(_COUNT, "Images that the model saw at once."),
        "receive_count": said(_COUNT, "How often the message had been received, this time included."),
    }
    return object_of("Where the time went, in milliseconds.", properties)


def _problem(codes: Iterable[str]) -> dict[str, Any]:
    properties = {
        "type": said({"type": "string", "format": "uri"}, "urn:beholder:problem: and the code."),
        "title": said(_TEXT, "The status in words."),
        "status": said({"type": "integer", "minimum": 400, "maximum": 599}, "The HTTP status."),
        "detail": said(_TEXT, "For people: what is wrong and what to do."),
        "code": {"type": "string", "enum": list(codes), "description": "For programs; never renamed."},
        "request_id": said(_TEXT, "The x-request-id of this answer."),
        "job": said(ref("schemas", "Job"), "Where a job was taken in and then failed: that job."),
    }
    example = error_example(ImageTypeUnsupported)
    return object_of("An error (RFC 9457).", properties, optional=("job",), examples=[example])


def _models() -> dict[str, Any]:
    properties = {
        "default": said(_TEXT, "The model used where a request names none."),
        "models": {"type": "array", "items": ref("schemas", "Model"), "minItems": 1},
    }
    return object_of("Every model served.", properties)


def _model(ports: WebPorts) -> dict[str, Any]:
    properties = {
        "name": said(_TEXT, "Names the model in requests and answers."),
        "version": said(_TEXT, "Echoed in every answer."),
        "licence": said(_TEXT, "SPDX identifier of the weights' licence."),
        "source": said(_TEXT, "Where the weights come from."),
        "classes": said(_COUNT, "How many things it tells apart."),
        "preprocessing": said(_TEXT, "How an image's pixels become the model's input."),
        "input_size": or_null(_COUNT, "Side of its input in pixels; null where it takes any size."),
    }
    return object_of("A model.", properties, examples=[asdict(ports.models[0])])


def _limits(ports: WebPorts) -> dict[str, Any]:
    values = ports.limits.to_dict()
    properties = {
        name: {
            "type": "integer" if isinstance(value, int) else "number",
            "description": _LIMITS.get(name, ""),
        }
        for name, value in values.items()
    }
    return object_of("Everything that is bounded.", properties, examples=[values])


def _index(ports: WebPorts) -> dict[str, Any]:
    properties = {
        "name": {"const": "beholder"},
        "version": said(_TEXT, f"Of the service, such as {ports.version}."),
        "endpoints": said({"type": "array", "items": _TEXT}, "Method and path of each endpoint."),
        "openapi": said(_TEXT, "Path of this document."),
        "docs": said(_TEXT, "Path of this document as a page."),
    }
    return object_of("What is served.", properties)


def _readiness() -> dict[str, Any]:
    problem = {
        "part": {"type": "string", "enum": ["input queue", "input bucket", "output bucket"]},
        "code": said(_TEXT, "Of the error, as in problem documents."),
        "detail": said(_TEXT, "The same for people."),
    }
    properties = {
        "status": {"type": "string", "enum": ["ready", "unready"]},
        "problems": {
            "type": "array",
            "items": object_of("A part that does not answer; the log has the cause.", problem),
            "description": "What does not answer.",
        },
    }
    return object_of("Whether images can be taken in.", properties)
