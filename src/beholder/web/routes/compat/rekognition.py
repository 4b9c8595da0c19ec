"""The form of Amazon Rekognition's DetectLabels, for the AWS SDKs with another endpoint.

Source: the API model of Rekognition 2016-06-27 in botocore 1.44 (JSON 1.1, `DetectLabels`); Amazon
Rekognition's API reference, DetectLabels (2026-11): without MinConfidence, labels from 55 per cent on.
"""

import json
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from beholder.api_keys.errors import KeyMissing, KeyRefused, ScopeMissing
from beholder.errors import (
    BackendError,
    BackendThrottled,
    BadParameter,
    BeholderError,
    ImageByUrl,
    ImageHeaderInvalid,
    ImageMissing,
    ImagePixelsTooMany,
    ImageSideTooLong,
    ImageTooLarge,
    ImageTruncated,
    ImageTypeUnsupported,
    ImageUndecodable,
    OutcomeLate,
    Overloaded,
    PathNotFound,
    RequestError,
)
from beholder.job import Job, Label
from beholder.web.limits import WebLimits
from beholder.web.problems import error_headers
from beholder.web.routes.classification import Classification
from beholder.web.routes.compat.wordnet import IMAGENET_CLASSES, parents_of
from beholder.web.submission.json_body import check_members, decode_base64, read_json
from beholder.web.submission.upload import Upload, UploadFormat, find_image

__all__ = ["MEDIA_TYPE", "RekognitionRoute", "error_response", "is_for_rekognition"]

MEDIA_TYPE = "application/x-amz-json-1.1"
_TARGET, _DETECT_LABELS = "x-amz-target", "RekognitionService.DetectLabels"
_MEMBERS = {"Image", "MaxLabels", "MinConfidence", "Features", "Settings"}
_FILTERS = {"LabelInclusionFilters", "LabelExclusionFilters"}
_MIN_CONFIDENCE = 55.0
_SHOWN_CHARS_MAX = 50
_TYPES: tuple[tuple[str, tuple[type[BeholderError], ...]], ...] = (
    ("UnknownOperationException", (PathNotFound,)),
    ("AccessDeniedException", (KeyMissing, KeyRefused, ScopeMissing)),
    ("ThrottlingException", (Overloaded, OutcomeLate, BackendThrottled)),
    ("InvalidS3ObjectException", (ImageByUrl,)),
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
        asked = _DetectLabels(self._classification.limits.top_k_max)
        upload_format = UploadFormat(("top_k", "min_confidence"), find=asked.find, is_base64=lambda _: True)
        job, result = await self._classification.result_of(request, upload_format)
        document = {
            "Labels": [self._label(job, one) for one in asked.filtered(result.labels)],
            "LabelModelVersion": job.model_version,
        }
        return _json(document, headers={"x-amzn-requestid": request.scope["request_id"], "x-job-id": job.id})

    def _label(self, job: Job, label: Label) -> dict[str, Any]:
        is_imagenet = any(
            one.name == job.model and one.classes == IMAGENET_CLASSES for one in self._classification.models
        )
        parents = parents_of(label.name) if is_imagenet else []
        return {
            "Name": label.name,
            "Confidence": label.confidence * 100,
            "Instances": [],
            "Parents": [{"Name": name} for name in parents],
            "Aliases": [],
            "Categories": [],
        }


def is_for_rekognition(scope: Scope) -> bool:
    """Return whether a request is one of an AWS SDK."""
    if scope["path"] != "/" or scope["method"] != "POST":
        return False
    return any(name == _TARGET.encode() for name, _ in scope["headers"])


def error_response(error: BeholderError, request_id: str) -> Response:
    """Return an error as the AWS SDKs read it: its type names the exception that they raise."""
    name = next((name for name, errors in _TYPES if isinstance(error, errors)), "InternalServerError")
    headers = error_headers(error) | {"x-amzn-errortype": name, "x-amzn-requestid": request_id}
    return _json({"__type": name, "message": error.detail}, error.http_status, headers)


class _DetectLabels:
    """What one request asks for; `find` reads it from the body.

    Args:
        count_max: Labels at most.
    """

    def __init__(self, count_max: int) -> None:
        self._count = self._count_max = count_max
        self._included: set[str] = set()
        self._excluded: set[str] = set()

    def find(self, _: Headers, body: bytes, limits: WebLimits) -> Upload:
        """Return the image and the options in a body."""
        document = read_json(body)
        check_members(document, _MEMBERS, "the request")
        if document.get("Features", ["GENERAL_LABELS"]) != ["GENERAL_LABELS"]:
            raise BadParameter("Features may be GENERAL_LABELS; the service computes no image properties")
        self._count = min(int(_number(document, "MaxLabels", self._count_max, 1, 2**31 - 1)), self._count_max)
        percent = _number(document, "MinConfidence", _MIN_CONFIDENCE, 0, 100)
        self._read_filters(document.get("Settings") or {})
        upload = find_image(Headers(raw=[]), _image_in(document), limits)
        # Filters come before the count, so every label is asked for if there are any.
        count = self._count_max if self._included or self._excluded else self._count
        fields = {"top_k": str(count), "min_confidence": f"{percent / 100:.9f}"}
        return Upload(upload.data, upload.file_name, fields)

    def filtered(self, labels: tuple[Label, ...]) -> list[Label]:
        """Return the labels that the filters leave, best first and as many as were asked for."""
        kept = [
            one
            for one in labels
            if one.name.lower() not in self._excluded
            and (not self._included or one.name.lower() in self._included)
        ]
        return kept[: self._count]

    def _read_filters(self, settings: Any) -> None:
        check_members(settings, {"GeneralLabels"}, "Settings")
        filters = settings.get("GeneralLabels") or {}
        check_members(filters, _FILTERS, "Settings.GeneralLabels")
        for names in filters.values():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise BadParameter("a filter is no list of names of labels; send one")
        self._included = {name.lower() for name in filters.get("LabelInclusionFilters", ())}
        self._excluded = {name.lower() for name in filters.get("LabelExclusionFilters", ())}


def _image_in(document: dict[str, Any]) -> bytes:
    image = document.get("Image")
    if isinstance(image, dict) and image.get("S3Object") is not None:
        raise ImageByUrl(
            "Image.S3Object is an address; the service reads no buckets of its callers: send Bytes"
        )
    text = image.get("Bytes") if isinstance(image, dict) else None
    if not isinstance(text, str) or not text:
        raise ImageMissing("the request has no Image.Bytes; send the image there, in base64")
    return decode_base64(text, "Image.Bytes")


def _number(document: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = document.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadParameter(f"{name} is {str(value)[:_SHOWN_CHARS_MAX]!r}; send a number from {low} to {high}")
    return value


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(document, ensure_ascii=False), status, headers, MEDIA_TYPE)
