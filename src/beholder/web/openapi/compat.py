"""The operations in the forms of other services, for their clients."""

from functools import partial
from typing import Any

from beholder.errors import ModelNotFound, ModelVersionNotFound, StreamUnsupported
from beholder.web.openapi.errors import READ_ERRORS, ErrorForm, compat_errors, problems
from beholder.web.openapi.examples import error_example_in, job_example
from beholder.web.openapi.inputs import KEY, closed, image_body, json_options, webhook_member
from beholder.web.openapi.json_schema import ref
from beholder.web.openapi.operations import json_answer, operation
from beholder.web.ports import WebPorts
from beholder.web.routes.compat import cog, huggingface, kserve, rekognition, torchserve
from beholder.web.routes.parameters import OPTIONS
from beholder.web.webhooks.record import EVENTS

__all__ = ["compat_paths", "with_rekognition"]

_Doc = dict[str, Any]

_TAG = "Clients of other services"
_OPTIONS = ("TopK", "MinConfidence", "IdempotencyKey", "CancelAfter")
_HUGGING_FACE = ErrorForm(
    "application/json",
    lambda codes: _coded("HuggingFaceError", "error_type", codes),
    partial(error_example_in, huggingface.error_response),
)
_TORCHSERVE = ErrorForm(
    "application/json",
    lambda _: ref("schemas", "TorchServeError"),
    partial(error_example_in, torchserve.error_response),
)

_COG = ErrorForm(
    "application/json",
    lambda codes: _coded("CogError", "code", codes),
    partial(error_example_in, cog.error_response),
)
_KSERVE = ErrorForm(
    "application/json",
    lambda codes: _coded("KserveError", "code", codes),
    partial(error_example_in, kserve.error_response),
)


def compat_paths(ports: WebPorts) -> _Doc:
    """Return the paths of the clients of other services.

    Args:
        ports: The parts of the web tier; their limits and models are written into the document.
    """
    return {
        "/hf": {"post": _hugging_face(ports, "hugging_face", [])},
        "/hf/{model}": {"post": _hugging_face(ports, "hugging_face_model", ["ModelInPath"])},
        **_torchserve_paths(ports),
        **_kserve_paths(ports),
        **_cog_paths(ports),
    }


def with_rekognition(upload: _Doc) -> _Doc:
    """Return the operation of `POST /` with what AWS's clients of Rekognition send and read there.

    OpenAPI has one operation for a method of a path, whatever the headers of a request.
    """
    upload["description"] += (
        " With the header `X-Amz-Target: RekognitionService.DetectLabels`, request and answer have the form "
        "of Amazon Rekognition; so have errors, whose `__type` names the exception."
    )
    text = {"type": "string"}
    names = {"type": "array", "items": text}
    s3_object = closed(dict.fromkeys(("Bucket", "Name", "Version"), text), required=["Bucket", "Name"])
    filters = closed({"LabelInclusionFilters": names, "LabelExclusionFilters": names})
    request = closed(
        {
            "Image": closed({"Bytes": _BASE64, "S3Object": s3_object})
            | {"minProperties": 1, "maxProperties": 1},
            "MaxLabels": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
            "MinConfidence": {"type": "number", "minimum": 0, "maximum": 100, "default": 55},
            "Features": _one({"enum": ["GENERAL_LABELS"]}),
            "Settings": closed({"GeneralLabels": filters}),
        },
        "A request of DetectLabels.",
        required=["Image"],
    )
    answer: _Doc = {"type": "object", "description": "An answer of DetectLabels.", "required": ["Labels"]}
    label = {"Name": {"type": "string"}, "Confidence": {"type": "number", "minimum": 0, "maximum": 100}}
    answer["properties"] = {
        "Labels": {"type": "array", "items": {"type": "object", "properties": label}},
        "LabelModelVersion": {"type": "string"},
    }
    upload["requestBody"]["content"][rekognition.MEDIA_TYPE] = {"schema": request}
    error: _Doc = {"type": "object", "description": "An error of DetectLabels."}
    error["properties"] = {"__type": {"type": "string"}, "message": {"type": "string"}}
    error["required"] = list(error["properties"])
    for status, response in upload["responses"].items():
        if status != "202":
            schema = answer if status == "200" else error
            response["content"][rekognition.MEDIA_TYPE] = {"schema": schema}
            response["headers"]["x-amzn-requestid"] = ref("headers", "RequestId")
        if status not in ("200", "202"):
            response["headers"]["x-amzn-errortype"] = ref("headers", "ErrorType")
    return upload


def _hugging_face(ports: WebPorts, operation_id: str, in_path: list[str]) -> _Doc:
    labels = [
        {"label": one["name"], "score": one["confidence"]} for one in job_example(ports)["result"]["labels"]
    ]
    schema = {"type": "array", "items": ref("schemas", "HuggingFaceLabel")}
    body = image_body(ports, ("top_k", "min_confidence"))
    values = json_options(ports, ["top_k"])
    # One that the chosen model does not apply is refused.
    applied = sorted({one.applied_function for one in ports.models})
    values["function_to_apply"] = {"type": "string", "enum": applied}
    document = closed(
        {
            "inputs": {"type": "string", "description": "The image in base64, or as a data URL."},
            "parameters": closed(values),
            "options": {"type": "object", "description": "Not read."},
        },
        required=["inputs"],
    )
    body["content"]["application/json"] = {"schema": document}
    return operation(
        operation_id,
        _TAG,
        "Classify an image, for the InferenceClient of Hugging Face.",
        "The client takes the URL of this path: `InferenceClient(model=URL).image_classification(path)`.",
        {"200": _labels(schema, labels), **problems(compat_errors(), _HUGGING_FACE)},
        named=[*in_path, *_OPTIONS],
        body=body,
        error_form=_HUGGING_FACE,
    )


def _torchserve_paths(ports: WebPorts) -> _Doc:
    health = json_answer("TorchServeHealth", "Images can be accepted.", {"status": "Healthy"})
    unhealthy = json_answer("TorchServeHealth", "No image can be accepted.", {"status": "Unhealthy"})
    ping = operation(
        "torchserve_ping",
        _TAG,
        "Check whether images can be accepted, for clients of TorchServe.",
        "",
        {"200": health, "503": unhealthy},
        error_form=_TORCHSERVE,
    )
    named, path = ["ModelInPath"], "/predictions/{model}"
    with_version = [*named, "VersionInPath"]
    return {
        path: {
            "post": _torchserve(ports, "torchserve_post", named),
            "put": _with_cog(_torchserve(ports, "torchserve_put", ["ModelOrClientId"]), ports),
        },
        f"{path}/{{version}}": {
            "post": _torchserve(ports, "torchserve_post_version", with_version),
            "put": _torchserve(ports, "torchserve_put_version", with_version),
        },
        "/ping": {"get": ping},
    }


def _torchserve(ports: WebPorts, operation_id: str, in_path: list[str]) -> _Doc:
    labels = {one["name"]: one["confidence"] for one in job_example(ports)["result"]["labels"]}
    schema = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1}}
    errors = [*compat_errors(), ModelVersionNotFound] if "VersionInPath" in in_path else compat_errors()
    return operation(
        operation_id,
        _TAG,
        "Classify an image, for clients of TorchServe.",
        "",
        {"200": _labels(schema, labels), **problems(errors, _TORCHSERVE)},
        named=[*in_path, *_OPTIONS],
        body=image_body(ports, ("top_k", "min_confidence")),
        error_form=_TORCHSERVE,
    )


def _cog_paths(ports: WebPorts) -> _Doc:
    create = operation(
        "cog_create",
        _TAG,
        "Classify an image, for clients of Cog.",
        "A failed job is answered with 200, the status `failed` and its error.",
        {**_cog_answers(ports), **problems([*compat_errors(), StreamUnsupported], _COG)},
        named=["Prefer", *_OPTIONS],
        body={"required": True, "content": _cog_body(ports)},
        error_form=_COG,
    )
    canceled = json_answer("CogJob", "The job; canceled unless it was finished.", None)
    cancel = operation(
        "cog_cancel",
        _TAG,
        "Cancel a job, for clients of Cog.",
        "",
        {"200": canceled, **problems(READ_ERRORS, _COG)},
        named=["ClientId"],
        error_form=_COG,
    )
    health = json_answer("CogHealth", "Whether images can be accepted.", {"status": "READY"})
    return {
        "/predictions": {"post": create},
        "/predictions/{id}/cancel": {"post": cancel},
        "/health-check": {
            "get": operation(
                "cog_health",
                _TAG,
                "Check whether images can be accepted, for clients of Cog.",
                "",
                {"200": health},
                error_form=_COG,
            )
        },
    }


def _with_cog(put: _Doc, ports: WebPorts) -> _Doc:
    """Return the PUT of TorchServe's clients with what Cog's clients send and read at the same path."""
    put["description"] = (
        "If the body is JSON, the request is one of Cog's clients: the path has its id of the job, and a "
        "repetition gets the same job. Request, answer and errors then are those of `POST /predictions`."
    )
    put["requestBody"]["content"] |= _cog_body(ports)
    answers = _cog_answers(ports)
    schema = put["responses"]["200"]["content"]["application/json"]
    schema["schema"] = {"anyOf": [schema["schema"], ref("schemas", "CogJob")]}
    put["responses"]["202"] = answers["202"]
    for status, response in put["responses"].items():
        if status not in ("200", "202"):
            error = response["content"]["application/json"]
            error["schema"] = {"anyOf": [error["schema"], ref("schemas", "CogError")]}
    return put


def _cog_body(ports: WebPorts) -> _Doc:
    image = {"type": "string", "description": "The image as a data URL, or in base64."}
    values = closed({"image": image} | json_options(ports, OPTIONS), required=["image"])
    client_id = _CLIENT_ID | {"description": "The client's id of the job."}
    events = {
        "type": "array",
        "items": {"enum": EVENTS},
        "description": "The events that are sent; empty for all.",
    }
    webhook = webhook_member(ports)
    webhook |= {"webhook_events_filter": events} if webhook else {}
    request = closed({"id": client_id, "input": values} | webhook, required=["input"])
    return {"application/json": {"schema": request}}


def _cog_answers(ports: WebPorts) -> _Doc:
    job = job_example(ports)
    times = {name: job[name] for name in ("created_at", "started_at", "completed_at")}
    example = {
        "id": job["id"],
        "status": "succeeded",
        "output": job["result"]["labels"],
        "error": None,
        "logs": "",
        **times,
        "metrics": {"predict_time": job["metrics"]["service_ms"] / 1000},
    }
    of_job = {"x-job-id": ref("headers", "JobId"), "Preference-Applied": ref("headers", "PreferenceApplied")}
    return {
        "200": json_answer("CogJob", "The finished job.", example, of_job),
        "202": json_answer("CogJob", "Accepted and not finished.", None, of_job),
    }


def _kserve_paths(ports: WebPorts) -> _Doc:
    def get(operation_id: str, summary: str, answers: _Doc, named: list[str]) -> _Doc:
        of_model = problems([ModelNotFound, ModelVersionNotFound], _KSERVE) if named else {}
        return {
            "get": operation(
                f"kserve_{operation_id}",
                _TAG,
                summary,
                "",
                answers | of_model,
                named=named,
                error_form=_KSERVE,
            )
        }

    server = json_answer("KserveServer", "The service.", None)
    model = json_answer("KserveModel", "The model.", None)
    ready = {"200": _empty("Images can be accepted."), "503": _empty("No image can be accepted.")}
    live = {"200": _empty("The process answers.")}
    paths = {
        "/v2": get("server", "Describe the service, for clients of Triton.", {"200": server}, []),
        "/v2/health/live": get("live", "Check that the process answers, for clients of Triton.", live, []),
        "/v2/health/ready": get(
            "ready", "Check whether images can be accepted, for clients of Triton.", ready, []
        ),
    }
    of_model, of_version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    for path, suffix, named in (
        (of_model, "", ["ModelInPath"]),
        (of_version, "_version", ["ModelInPath", "VersionInPath"]),
    ):
        summary = "Describe a model, for clients of Triton."
        paths[path] = get(f"model{suffix}", summary, {"200": model}, named)
        summary = "Check whether a model takes images, for clients of Triton."
        paths[f"{path}/ready"] = get(f"model{suffix}_ready", summary, ready, named)
        paths[f"{path}/infer"] = {"post": _kserve_infer(ports, f"kserve_infer{suffix}", named)}
    return paths


def _kserve_infer(ports: WebPorts, operation_id: str, named: list[str]) -> _Doc:
    model = ports.models[0]
    best = job_example(ports)["result"]["labels"]
    classes = [f"{one['confidence']:.6f}:{one['index']}:{one['name']}" for one in best]
    output = {"name": "probabilities", "datatype": "BYTES", "shape": [len(classes)], "data": classes}
    answer = {"model_name": model.name, "model_version": model.version, "outputs": [output]}
    request = closed(
        {
            "id": {"type": "string"},
            "inputs": _one(_INPUT),
            "outputs": _one(_OUTPUT),
            "parameters": closed({"binary_data_output": {"type": "boolean"}}),
        },
        required=["inputs"],
    )
    done = _labels({"type": "object"}, answer)
    done["headers"]["Inference-Header-Content-Length"] = ref("headers", "JsonLength")
    done["content"]["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    errors = [*compat_errors(), *([ModelVersionNotFound] if "VersionInPath" in named else [])]
    return operation(
        operation_id,
        _TAG,
        "Classify an image, for clients of Triton.",
        "One input of datatype BYTES with one encoded image; in JSON it is base64. The output has the "
        "probabilities of all classes as FP32, or with the parameter `classification` the best as text.",
        {"200": done, **problems(errors, _KSERVE)},
        named=[*named, "IdempotencyKey", "CancelAfter"],
        body={
            "required": True,
            "content": {
                "application/json": {"schema": request},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        error_form=_KSERVE,
    )


# It becomes an idempotency key.
_CLIENT_ID = KEY | {"maxLength": 255}
_BASE64 = {"type": "string", "contentEncoding": "base64", "minLength": 1}
_INPUT = closed(
    {
        "name": {"type": "string"},
        "datatype": {"enum": ["BYTES"]},
        "shape": {"type": "array", "items": {"enum": [1]}, "minItems": 1},
        "data": {"type": "array", "items": _BASE64},
        "parameters": closed({"binary_data_size": {"type": "integer", "minimum": 1}}),
    },
    required=["name", "datatype", "shape"],
)
_OUTPUT = closed(
    {
        "name": {"type": "string"},
        "parameters": closed(
            {"classification": {"type": "integer", "minimum": 0}, "binary_data": {"type": "boolean"}}
        ),
    },
    required=["name"],
)


def _one(schema: _Doc) -> _Doc:
    return {"type": "array", "items": schema, "minItems": 1, "maxItems": 1}


def _empty(description: str) -> _Doc:
    return {"description": description, "headers": {"x-request-id": ref("headers", "RequestId")}}


def _labels(schema: _Doc, example: Any) -> _Doc:
    return {
        "description": "The labels, best first.",
        "headers": {"x-request-id": ref("headers", "RequestId"), "x-job-id": ref("headers", "JobId")},
        "content": {"application/json": {"schema": schema, "example": example}},
    }


def _coded(schema: str, member: str, codes: Any) -> _Doc:
    """Return the schema of an error whose `member` is one of these codes."""
    if not codes:
        return ref("schemas", schema)
    return {"allOf": [ref("schemas", schema), {"properties": {member: {"enum": list(codes)}}}]}
