"""Parameters, bodies and headers for the OpenAPI document."""

from collections.abc import Sequence
from typing import Any

from beholder.job import Options
from beholder.web.openapi.examples import EXAMPLE_JOB_ID
from beholder.web.openapi.json_schema import schema_of
from beholder.web.ports import WebPorts
from beholder.web.submission.form import IMAGE_FIELDS

__all__ = ["headers", "image_body", "parameters"]

_Doc = dict[str, Any]

_TEXT = {"type": "string"}
_PREFER = (
    "`respond-async` answers 202 at once; `wait=5` waits at most 5 seconds. No wait is longer than "
    "{:g} seconds; one shorter than the work before it queues as `respond-async` does. "
    "Preference-Applied lists the preferences that were applied (RFC 7240)."
)
_IDEMPOTENCY = (
    "Identifies this request across repetitions: the same key with the same image and options gets the same "
    "job; 409 while that job runs, 422 for another image or other options."
)
_CANCEL_AFTER = (
    "A job that no worker begins within this time expires, and its answer is 410 `job_expired`. A number "
    "with ms, s, m or h, at least one second."
)
_FILE_NAME = "Name of the image, instead of the name of the form's file; {} characters are kept."
_MODEL_OR_ID = "Name of the model; if the body is JSON, the client's id of the job."
_REQUEST_ID = "Returned in the answer; an id that does not match the pattern is replaced."


def parameters(ports: WebPorts) -> _Doc:
    """Return every parameter by its name as a component."""
    limits, options = ports.limits, _options(ports)
    key = {"type": "string", "minLength": 1, "maxLength": limits.idempotency_key_chars_max}
    request_id = {"type": "string", "pattern": r"^[\w.\-]{1,64}$"}
    file_name = _FILE_NAME.format(limits.file_name_chars_max)
    prefer = _PREFER.format(limits.wait_s_max)
    job_id = {"type": "string", "format": "uuid"}
    version = {"type": "string", "enum": list(dict.fromkeys(one.version for one in ports.models))}
    model = {"type": "string", "enum": [one.name for one in ports.models]}
    return {
        "TopK": _option("top_k", options),
        "MinConfidence": _option("min_confidence", options),
        "ModelName": _option("model", options),
        "FileName": _parameter("query", "file_name", _TEXT, file_name, example="cat.jpg"),
        "Prefer": _parameter("header", "Prefer", _TEXT, prefer, example="respond-async"),
        "IdempotencyKey": _parameter("header", "Idempotency-Key", key, _IDEMPOTENCY, example="order-4711-2"),
        "CancelAfter": _parameter("header", "Cancel-After", _TEXT, _CANCEL_AFTER, example="30s"),
        "RequestId": _parameter("header", "x-request-id", request_id, _REQUEST_ID),
        "ModelInPath": _parameter("path", "model", model, "Name of the model.", required=True),
        "ModelOrClientId": _parameter("path", "model", _TEXT, _MODEL_OR_ID, required=True),
        "ClientId": _parameter(
            "path", "id", _TEXT, "The client's id of the job, or the job's id.", required=True
        ),
        "VersionInPath": _parameter("path", "version", version, "Version of the model.", required=True),
        "JobId": _parameter(
            "path",
            "job_id",
            job_id,
            "The id that the answer to an upload contains.",
            required=True,
            example=EXAMPLE_JOB_ID,
        ),
    }


def image_body(ports: WebPorts, options: Sequence[str], *, with_json: bool = False) -> _Doc:
    """Return the body of an upload.

    Args:
        ports: Their limits and models are written into it.
        options: The fields that may accompany the image.
        with_json: Whether the body may be JSON, too.
    """
    image_bytes_max = ports.limits.image.image_bytes_max
    image = {"type": "string", "format": "binary", "maxLength": image_bytes_max}
    fields = _options(ports)
    form = {
        "type": "object",
        "description": "One of the image's fields, and parameters, which must not contradict the query.",
        "properties": dict.fromkeys(IMAGE_FIELDS, image) | {name: fields[name] for name in options},
        "anyOf": [{"required": [name]} for name in IMAGE_FIELDS],
    }
    text = {"type": "string", "description": "The image in base64, or as a data URL with it."}
    document: _Doc = {
        "type": "object",
        "properties": {"image": text} | {name: fields[name] for name in options},
        "required": ["image"],
    }
    if ports.fetch is not None:
        address = {"type": "string", "format": "uri", "description": "Address of the image, instead of it."}
        document["properties"]["url"] = address
        del document["required"]
        document["anyOf"] = [{"required": ["image"]}, {"required": ["url"]}]
    return {
        "description": f"A JPEG, PNG, WebP, GIF, TIFF or BMP image of at most {image_bytes_max} bytes, as "
        "the body or as a field of a form. Its first bytes decide its type; headers and names do not matter.",
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "image/*": {"schema": image},
            "application/octet-stream": {"schema": image},
        }
        | ({"application/json": {"schema": document}} if with_json else {}),
    }


def headers() -> _Doc:
    """Return every header of an answer as a component."""
    seconds = {"type": "integer", "minimum": 1}
    path = f"/v1/jobs/{EXAMPLE_JOB_ID}"
    return {
        "RequestId": _header("Id of this request; name it when you report a problem."),
        "Location": _header("Path of the job.", example=path),
        "FailedJob": _header("Path of the job, if it was accepted and then failed."),
        "LookAgain": _header("Seconds after which to look again, while the job is unfinished.", seconds),
        "RetryAfter": _header("Seconds after which to try again.", seconds),
        "PreferenceApplied": _header("The preferences that were applied.", example="respond-async"),
        "JobId": _header("Id of the job with this label.", example=EXAMPLE_JOB_ID),
        "Challenge": _header("What the request lacks (RFC 6750)."),
        "Allow": _header("With 405: the methods that this path takes."),
    }


def _options(ports: WebPorts) -> dict[str, _Doc]:
    of_type, defaults = schema_of(Options)["properties"], Options()
    names = [model.name for model in ports.models]
    return {
        "top_k": of_type["top_k"] | {"maximum": ports.limits.top_k_max, "default": defaults.top_k},
        "min_confidence": of_type["min_confidence"] | {"default": defaults.min_confidence},
        "model": {
            "type": "string",
            "description": "The model that classifies; `/v1/models` lists the models.",
            "enum": names,
            "default": names[0],
        },
    }


def _option(name: str, options: dict[str, _Doc]) -> _Doc:
    schema = dict(options[name])
    return _parameter("query", name, schema, schema.pop("description"))


def _parameter(where: str, name: str, schema: _Doc, description: str, **more: Any) -> _Doc:
    return {"name": name, "in": where, "description": description, "schema": schema, **more}


def _header(description: str, schema: _Doc | None = None, **more: Any) -> _Doc:
    return {"description": description, "schema": schema or _TEXT, **more}
