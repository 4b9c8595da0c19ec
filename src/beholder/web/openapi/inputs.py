"""Parameters, bodies and headers for the OpenAPI document."""

from collections.abc import Sequence
from typing import Any

from beholder.job import JobStatus, Options
from beholder.web.openapi.examples import EXAMPLE_JOB_ID
from beholder.web.openapi.json_schema import schema_of
from beholder.web.ports import WebPorts
from beholder.web.routes.job_lists import LIMIT_DEFAULT, LIMIT_MAX
from beholder.web.routes.tags import TAG
from beholder.web.submission.form import IMAGE_FIELDS

__all__ = [
    "KEY",
    "closed",
    "headers",
    "image_body",
    "json_options",
    "model_names",
    "parameters",
    "path_parameter",
    "webhook_member",
    "webhook_named",
]

_Doc = dict[str, Any]

_TEXT = {"type": "string"}
# An empty parameter of the query is refused.
_TIME = {"type": "string", "format": "date-time"}
_GIVEN = {"type": "string", "minLength": 1}
# Durations from a second to a week; fractions are taken, too.
_DURATION = {
    "type": "string",
    "pattern": r"^([1-9]\d{3,7}ms|[1-9]\d{0,4}s?|[1-9]\d{0,3}m|([1-9]\d?|1[0-5]\d|16[0-8])h)$",
}
_OWN_ID = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
# Spaces and quotation marks at the ends do not count.
KEY = {"type": "string", "minLength": 1, "pattern": r"^[!#-~]([ -~]*[!#-~])?$"}
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
_FILTERS = {
    "include": "The labels that alone are ranked; confidences stay as they are. Names, class numbers or "
    "WordNet ids, {} at most, with commas between them, or as a list in JSON.",
    "exclude": "The labels that are left out, as in `include`; a label that is in both is left out.",
}
_ADDRESS = {"type": "string", "format": "uri", "pattern": "^https?://"}
_TAG = {"type": "string", "pattern": f"^{TAG}$"}
_TAG_MEANS = (
    "A word of yours for the job, such as an order's number: the job has it as `input.tag`, and the list "
    "filters by it."
)
_WEBHOOK = (
    "An address that the outcome is sent to, as a POST of `{type, timestamp, data}` with the job as `data`, "
    "signed as Standard Webhooks says; tried again for hours."
)
# Entries that are not blank, with commas between them, or a list in JSON, whose form no pattern can say.
_LABELS = r"\s*\[|\s*[^\s,\[][^,]*(,[^,]*[^\s,][^,]*)*$"
_OR_LIST: _Doc = {"type": ["string", "array"], "items": {"type": ["string", "integer"], "pattern": r"\S"}}
_CACHE_CONTROL = (
    "`no-cache` and `no-store` have the image recognised even if its result is remembered (RFC 9111)."
)
_MODEL_OR_ID = "Name of the model; if the body is JSON, the client's id of the job."
_REQUEST_ID = "Returned in the answer; an id that does not match the pattern is replaced."


def parameters(ports: WebPorts) -> _Doc:
    """Return every parameter by its name as a component."""
    limits, options = ports.limits, _options(ports)
    key = KEY | {"maxLength": limits.idempotency_key_chars_max}
    request_id = {"type": "string", "pattern": r"^[\w.\-]{1,64}$"}
    file_name = _FILE_NAME.format(limits.file_name_chars_max)
    prefer = _PREFER.format(limits.wait_s_max)
    job_id = {"type": "string", "format": "uuid"}
    version = {"type": "string", "enum": list(dict.fromkeys(one.version for one in ports.models))}
    model = {"type": "string", "enum": model_names(ports)}
    webhook = _parameter("query", "webhook", _ADDRESS, _WEBHOOK, example="https://example.org/hook")
    tag = _parameter("query", "tag", _TAG, _TAG_MEANS, example="order-4711")
    own_id = {"type": "string", "pattern": _OWN_ID}
    return {
        "TopK": _option("top_k", options),
        "MinConfidence": _option("min_confidence", options),
        "ModelName": _option("model", options),
        "Include": _option("include", options),
        "Exclude": _option("exclude", options),
        "FileName": _parameter("query", "file_name", _GIVEN, file_name, example="cat.jpg"),
        "Prefer": _parameter("header", "Prefer", _TEXT, prefer, example="respond-async"),
        "IdempotencyKey": _parameter("header", "Idempotency-Key", key, _IDEMPOTENCY, example="order-4711-2"),
        "CancelAfter": _parameter("header", "Cancel-After", _DURATION, _CANCEL_AFTER, example="30s"),
        "CacheControl": _parameter("header", "Cache-Control", _TEXT, _CACHE_CONTROL, example="no-cache"),
        "RequestId": _parameter("header", "x-request-id", request_id, _REQUEST_ID),
        "ModelInPath": _parameter("path", "model", model, "Name of the model.", required=True),
        "ModelOrClientId": _parameter("path", "model", _TEXT, _MODEL_OR_ID, required=True),
        "ClientId": _parameter(
            "path", "id", _TEXT, "The client's id of the job, or the job's id.", required=True
        ),
        "VersionInPath": _parameter("path", "version", version, "Version of the model.", required=True),
        "UploadId": _parameter(
            "path", "upload_id", job_id, "The id of the link.", required=True, example=EXAMPLE_JOB_ID
        ),
        "OwnJobId": _parameter(
            "path", "job_id", own_id, "A new UUIDv7 of yours.", required=True, example=EXAMPLE_JOB_ID
        ),
        "JobId": _parameter(
            "path",
            "job_id",
            job_id,
            "The id that the answer to an upload contains.",
            required=True,
            example=EXAMPLE_JOB_ID,
        ),
        "Tag": tag,
        **dict.fromkeys(webhook_named(ports), webhook),
    } | _list_parameters()


def _list_parameters() -> dict[str, _Doc]:
    """Return the parameters of a list of jobs."""
    return {
        "Limit": _parameter(
            "query",
            "limit",
            {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
            "How many jobs at most.",
        ),
        "Cursor": _parameter(
            "query",
            "cursor",
            {"type": "string", "pattern": _OWN_ID},
            "The `next` of the page before.",
            example=EXAMPLE_JOB_ID,
        ),
        "Status": _parameter(
            "query", "status", {"type": "string", "enum": list(JobStatus)}, "Only jobs with this status."
        ),
        "Label": _parameter("query", "label", _GIVEN, "Only jobs whose result has this label, by its name."),
        "OfTag": _parameter("query", "tag", _TAG, "Only jobs with this tag of their caller."),
        "Since": _parameter("query", "since", _TIME, "Only jobs whose ids have this time or a later one."),
        "Until": _parameter("query", "until", _TIME, "Only jobs whose ids have an earlier time."),
    }


def webhook_named(ports: WebPorts) -> tuple[str, ...]:
    """Return the parameter that names a webhook's address; none if there are no webhooks."""
    return () if ports.webhooks is None else ("Webhook",)


def webhook_member(ports: WebPorts) -> _Doc:
    """Return the field or member that names a webhook's address; none if there are no webhooks."""
    return {} if ports.webhooks is None else {"webhook": _ADDRESS | {"description": _WEBHOOK}}


def path_parameter(name: str, schema: _Doc, description: str, example: str) -> _Doc:
    """Return a parameter that is a part of the path."""
    return _parameter("path", name, schema, description, required=True, example=example)


def image_body(
    ports: WebPorts, options: Sequence[str], *, is_classify: bool = False, is_one: bool = False
) -> _Doc:
    """Return the body of an upload.

    Args:
        ports: Their limits and models are written into it.
        options: The fields that may accompany the image.
        is_classify: Whether the body may be JSON, and a form may hold several images.
        is_one: Whether it is for one new job alone.
    """
    image_bytes_max = ports.limits.image.image_bytes_max
    image = {"type": "string", "format": "binary", "minLength": 1, "maxLength": image_bytes_max}
    fields, more = _options(ports), {}
    if is_classify:
        more = webhook_member(ports) | {"tag": _TAG | {"description": _TAG_MEANS}}
    several = {"type": "array", "items": image, "minItems": 1, "maxItems": ports.limits.multipart_images_max}
    field = {"anyOf": [image, several]} if is_classify and not is_one else image
    form = closed(
        dict.fromkeys(IMAGE_FIELDS, field) | {name: fields[name] for name in options} | more,
        ("The images' fields" if is_classify and not is_one else "One of the image's fields")
        + ", and parameters, which must not contradict the query.",
    )
    form["anyOf"] = [{"required": [name]} for name in IMAGE_FIELDS]
    text = {"type": "string", "description": "The image in base64, or as a data URL with it."}
    document = closed({"image": text} | json_options(ports, options) | more, required=["image"])
    instead = _instead_of_image(ports)
    if is_one:
        del instead["upload"]
    if instead:
        document["properties"] |= instead
        del document["required"]
        document["anyOf"] = [{"required": [name]} for name in ("image", *instead)]
    return {
        "description": f"A JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or HEIC image of at most {image_bytes_max} "
        "bytes, as the body or as a field of a form. Its first bytes decide its type, not its "
        "name.",
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "image/*": {"schema": image},
            "application/octet-stream": {"schema": image},
        }
        | ({"application/json": {"schema": document}} if is_classify else {}),
    }


def _instead_of_image(ports: WebPorts) -> dict[str, _Doc]:
    """Return the members that may name the image instead of holding it."""
    found: dict[str, _Doc] = {
        "upload": {"type": "string", "format": "uuid", "description": "A direct upload."}
    }
    if ports.fetchers.url is not None:
        found["url"] = {"type": "string", "format": "uri", "description": "Address of the image."}
    if ports.fetchers.s3 is not None:
        text = {"type": "string"}
        members = {"bucket": text, "key": text, "version": text}
        found["s3"] = {
            "description": "The image's object in S3, as `s3://bucket/key` or in its parts.",
            "anyOf": [
                {"type": "string", "pattern": "^s3://[^/]+/.+"},
                closed(members, required=["bucket", "key"]),
            ],
        }
    return found


def model_names(ports: WebPorts) -> list[str]:
    """Return what a request may call the models: their names, and their names with their versions."""
    return [*dict.fromkeys(one.name for one in ports.models), *(one.reference for one in ports.models)]


def json_options(ports: WebPorts, names: Sequence[str]) -> _Doc:
    """Return the options of a request as members of a JSON document."""
    fields = _options(ports)
    return {name: fields[name] | (_OR_LIST if name in _FILTERS else {}) for name in names}


def closed(properties: _Doc, description: str = "", *, required: Sequence[str] = ()) -> _Doc:
    """Return the schema of an object in a request; another member is refused."""
    found: _Doc = {"type": "object", "properties": properties, "additionalProperties": False}
    if description:
        found["description"] = description
    return found | {"required": list(required)} if required else found


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
        "JobId": _header("Id of the job, if the image was accepted.", example=EXAMPLE_JOB_ID),
        "Challenge": _header("What the request lacks (RFC 6750)."),
        "ContentSecurityPolicy": _header("What the page may load: files of this service."),
        "CacheControl": _header("A browser asks again each time."),
        "ETag": _header("Names this version of the file."),
        "Vary": _header("The header of the request that decides on the form of the answer."),
        "JsonLength": _header("Bytes of the JSON, if tensors follow in binary form.", {"type": "integer"}),
        "EmbeddingSize": _header("With bytes: how many values the embedding has.", {"type": "integer"}),
        "EmbeddingNormalised": _header(
            "With bytes: whether the embedding has length 1.", {"type": "string", "enum": ["true", "false"]}
        ),
        "ErrorType": _header("To AWS's clients: the exception that they raise."),
        "Allow": _header("With 405: the methods that this path takes."),
    }


def _options(ports: WebPorts) -> dict[str, _Doc]:
    of_type, defaults = schema_of(Options)["properties"], Options()
    return {
        "top_k": of_type["top_k"] | {"maximum": ports.limits.top_k_max, "default": defaults.top_k},
        "min_confidence": of_type["min_confidence"] | {"default": defaults.min_confidence},
        "model": {
            "type": "string",
            "description": "The model that classifies, by its name, or with its version as `name@version`; "
            "without it the default of `/v1/models`.",
            "enum": model_names(ports),
        },
    } | {
        name: {
            "type": "string",
            "pattern": f"^$|^({_LABELS})",
            "description": text.format(ports.limits.filter_labels_max),
        }
        for name, text in _FILTERS.items()
    }


def _option(name: str, options: dict[str, _Doc]) -> _Doc:
    schema = options[name] | ({"pattern": f"^({_LABELS})"} if name in _FILTERS else {})
    return _parameter("query", name, schema, schema.pop("description"))


def _parameter(where: str, name: str, schema: _Doc, description: str, **more: Any) -> _Doc:
    return {"name": name, "in": where, "description": description, "schema": schema, **more}


def _header(description: str, schema: _Doc | None = None, **more: Any) -> _Doc:
    return {"description": description, "schema": schema or _TEXT, **more}
