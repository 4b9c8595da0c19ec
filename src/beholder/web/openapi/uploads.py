"""Direct uploads in the OpenAPI document."""

from typing import Any

from beholder.errors import (
    BackendDenied,
    BackendFull,
    BackendThrottled,
    BackendUnavailable,
    BadParameter,
    BeholderError,
    ImageMissing,
    ImageTooLarge,
    KeyMissing,
    KeyRefused,
    Overloaded,
    ParameterRepeated,
    ParameterUnknown,
    ScopeMissing,
    UploadLinkExpired,
    UploadNotFound,
    UploadTaken,
    UploadTooSlow,
)
from beholder.web.openapi.errors import problems
from beholder.web.openapi.inputs import closed
from beholder.web.openapi.json_schema import ref
from beholder.web.openapi.operations import json_answer, operation
from beholder.web.ports import WebPorts
from beholder.web.submission.direct_uploads import MEDIA_TYPE_PATTERN

__all__ = ["upload_paths"]

_Doc = dict[str, Any]
_BOTH = (
    KeyMissing,
    KeyRefused,
    ScopeMissing,
    ImageMissing,
    ImageTooLarge,
    UploadTooSlow,
    Overloaded,
    BackendUnavailable,
    BackendThrottled,
    BackendDenied,
    BeholderError,
)


def upload_paths(ports: WebPorts) -> _Doc:
    """Return the paths of direct uploads."""
    bytes_max = ports.limits.image.image_bytes_max
    members = {
        "bytes": {
            "type": "integer",
            "minimum": 1,
            "maximum": bytes_max,
            "description": "Length of the image.",
        },
        "content_type": {
            "type": "string",
            "pattern": MEDIA_TYPE_PATTERN,
            "default": "application/octet-stream",
            "description": "Type that the PUT will state.",
        },
    }
    wanted = {"schema": closed(members, required=["bytes"])}
    create = operation(
        "create_upload",
        "Classify",
        "Get a link to send an image to.",
        "Send the image to `url` with `method` and `headers`, then `id` as `upload` to `/v1/classify`. On "
        "AWS the link leads to S3, and the image does not pass this service.",
        {
            "201": json_answer("Upload", "The link.", None),
            **problems([*_BOTH, BadParameter, ParameterRepeated, ParameterUnknown]),
        },
        body={"required": True, "content": {"application/json": wanted}},
    )
    put = operation(
        "put_upload",
        "Classify",
        "Send the image of a link.",
        "A link takes one image. On AWS links lead to S3 instead.",
        {
            "204": {
                "description": "The image is stored.",
                "headers": {"x-request-id": ref("headers", "RequestId")},
            },
            **problems([*_BOTH, BackendFull, UploadNotFound, UploadTaken, UploadLinkExpired]),
        },
        named=["UploadId"],
        body={
            "required": True,
            "content": {"*/*": {"schema": {"type": "string", "format": "binary", "maxLength": bytes_max}}},
        },
    )
    return {"/v1/uploads": {"post": create}, "/v1/uploads/{upload_id}": {"put": put}}
