"""The form of Amazon Rekognition's DetectLabels, for the AWS SDKs with another endpoint.

Source: the API model of Rekognition 2016-06-27 in botocore 1.44 (JSON 1.1, `DetectLabels`); Amazon
Rekognition's API reference, DetectLabels (2026-11): without MinConfidence, labels from 55 per cent on.
"""

import json
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from beholder.errors import (
    BackendError,
    BackendThrottled,
    BadParameter,
    BeholderError,
    BucketFailed,
    BucketRefused,
    ImageHeaderInvalid,
    ImageMissing,
    ImagePixelsTooMany,
    ImageSideTooLong,
    ImageTooLarge,
    ImageTruncated,
    ImageTypeUnsupported,
    ImageUndecodable,
    LabelUnknown,
    OutcomeLate,
    Overloaded,
    PathNotFound,
    RequestError,
    Unauthorized,
)
from beholder.job import Job, Label
from beholder.web.limits import WebLimits
from beholder.web.problems import error_headers
from beholder.web.routes.classification import Classification
from beholder.web.served_models import ServedModels
from beholder.web.submission.json_body import check_members, decode_base64, read_json, read_s3_object
from beholder.web.submission.upload import Upload, UploadFormat, find_image
from beholder.web.wordnet import IMAGENET_CLASSES, parents_of

__all__ = ["MEDIA_TYPE", "RekognitionRoute", "error_response", "is_for_rekognition"]

MEDIA_TYPE = "application/x-amz-json-1.1"
_TARGET, _DETECT_LABELS = "x-amz-target", "RekognitionService.DetectLabels"
_MEMBERS = {"Image", "MaxLabels", "MinConfidence", "Features", "Settings"}
_FILTERS = {"LabelInclusionFilters": "include", "LabelExclusionFilters": "exclude"}
_OPTIONS = ("top_k", "min_confidence", *_FILTERS.values())
_MIN_CONFIDENCE = 55.0
_SHOWN_CHARS_MAX = 50
_TYPES: tuple[tuple[str, tuple[type[BeholderError], ...]], ...] = (
    ("UnknownOperationException", (PathNotFound,)),
    ("AccessDeniedException", (Unauthorized,)),
    ("ThrottlingException", (Overloaded, OutcomeLate, BackendThrottled)),
    ("InvalidS3ObjectException", (BucketRefused, BucketFailed)),
    ("ImageTooLargeException", (ImageTooLarge, ImagePixelsTooMany, ImageSideTooLong)),
    (
        "InvalidImageFormatException",
        (ImageTypeUnsupported, ImageHeaderInvalid, ImageTruncated, ImageUndecodable),
    ),
    ("InternalServerError", (BackendError,)),
    ("InvalidParameterException", (RequestError,)),
)


class RekognitionRoute:
    """The endpoint of Rekognition's clients.

    Args:
        classification: Classifies the image of a request.
    """

    def __init__(self, classification: Classification) -> None:
        self._classification = classification

    async def call(self, request: Request) -> Response:
        """`POST /` with `X-Amz-Target`: the labels that DetectLabels would answer with."""
        target = request.headers[_TARGET]
        if target != _DETECT_LABELS:
            shown = target[:_SHOWN_CHARS_MAX]
            raise PathNotFound(f"there is no operation {shown!r} here; {_DETECT_LABELS} is served")
        models = await self._classification.models.get()
        find = partial(_find, models)
        upload_format = UploadFormat(_OPTIONS, find=find, is_base64=lambda _: True)
        job, result = await self._classification.result_of(request, upload_format)
        document = {
            "Labels": [_label(models, job, one) for one in result.labels],
            "LabelModelVersion": job.model_version,
        }
        return _json(document, headers={"x-amzn-requestid": request.scope["request_id"], "x-job-id": job.id})


def is_for_rekognition(scope: Scope) -> bool:
    """Return whether a request is one of an AWS SDK."""
    if scope["path"] != "/" or scope["method"] != "POST":
        return False
    return any(name == _TARGET.encode() for name, _ in scope["headers"])


def _label(models: ServedModels, job: Job, label: Label) -> dict[str, Any]:
    is_imagenet = any(one.name == job.model and one.classes == IMAGENET_CLASSES for one in models.models)
    parents = parents_of(label.name) if is_imagenet else []
    return {
        "Name": label.name,
        "Confidence": label.confidence * 100,
        "Instances": [],
        "Parents": [{"Name": name} for name in parents],
        "Aliases": [],
        "Categories": [],
    }


def error_response(error: BeholderError, request_id: str) -> Response:
    """Return an error as the AWS SDKs read it: its type names the exception that they raise."""
    name = next((name for name, errors in _TYPES if isinstance(error, errors)), "InternalServerError")
    headers = error_headers(error) | {"x-amzn-errortype": name, "x-amzn-requestid": request_id}
    return _json({"__type": name, "message": error.detail}, error.http_status, headers)


def _find(models: ServedModels, _: Headers, body: bytes, limits: WebLimits) -> Upload:
    """Return the image and the options in a body."""
    document = read_json(body)
    check_members(document, _MEMBERS, "the request")
    if document.get("Features", ["GENERAL_LABELS"]) != ["GENERAL_LABELS"]:
        raise BadParameter("Features may be GENERAL_LABELS; the service computes no image properties")
    count = min(int(_number(document, "MaxLabels", limits.top_k_max, 1, 2**31 - 1)), limits.top_k_max)
    # A multi-label model has thresholds of its own, which 0 asks for.
    least = 0.0 if models.models[0].is_multi_label else _MIN_CONFIDENCE
    percent = _number(document, "MinConfidence", least, 0, 100)
    filters = _filters_in(models, document.get("Settings") or {})
    fields = {"top_k": str(count), "min_confidence": f"{percent / 100:.9f}"}
    return replace(_upload_in(document, limits), fields=fields | filters)


def _filters_in(models: ServedModels, settings: Any) -> dict[str, str]:
    """Return the filters in the settings of a request as options.

    Clients know labels of Amazon's model that no other has. These match nothing, so they are left out, unless
    no label would be left to include.
    """
    check_members(settings, {"GeneralLabels"}, "Settings")
    filters = settings.get("GeneralLabels") or {}
    check_members(filters, _FILTERS, "Settings.GeneralLabels")
    options = {}
    for member, names in filters.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadParameter("a filter is no list of names of labels; send one")
        known = [name for name in names if models.knows(name)]
        if names and not known and _FILTERS[member] == "include":
            shown = ", ".join(names)[:_SHOWN_CHARS_MAX]
            raise LabelUnknown(
                f"{member} has no label of the model, but {shown!r}; include one of its labels"
            )
        if known:
            options[_FILTERS[member]] = json.dumps(known)
    return options


def _upload_in(document: dict[str, Any], limits: WebLimits) -> Upload:
    image = document.get("Image")
    if isinstance(image, dict) and image.get("S3Object") is not None:
        if image.get("Bytes") is not None:
            raise BadParameter("Image has Bytes and S3Object; send one of them")
        return Upload(b"", "image", s3=read_s3_object(image["S3Object"], ("Bucket", "Name", "Version")))
    text = image.get("Bytes") if isinstance(image, dict) else None
    if not isinstance(text, str) or not text:
        raise ImageMissing("the request has no Image.Bytes; send the image there, in base64")
    return find_image(Headers(raw=[]), decode_base64(text, "Image.Bytes"), limits)


def _number(document: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = document.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadParameter(f"{name} is {str(value)[:_SHOWN_CHARS_MAX]!r}; send a number from {low} to {high}")
    return value


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(document, ensure_ascii=False), status, headers, MEDIA_TYPE)
