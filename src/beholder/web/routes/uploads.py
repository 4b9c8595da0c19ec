"""The routes of direct uploads: a link to send an image to, and, on one machine, that link itself."""

import re
from dataclasses import dataclass
from http import HTTPMethod
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from beholder.documents import to_document
from beholder.errors import BadParameter
from beholder.web.access_log import entry_of
from beholder.web.limits import WebLimits
from beholder.web.submission.direct_uploads import MEDIA_TYPE_PATTERN, DirectUploads
from beholder.web.submission.json_body import read_small_json
from beholder.web.submission.upload import read_body
from beholder.web.submission.upload_budget import UploadBudget

__all__ = ["UploadRoutes"]

_MEMBERS = ("bytes", "content_type")
_ANY_TYPE = "application/octet-stream"
_BYTES_MAX = 2**40  # far more than an image may have


@dataclass(frozen=True, slots=True)
class UploadRoutes:
    """The endpoints of direct uploads.

    Args:
        uploads: Makes links, and keeps what is sent to those that lead here.
        budget: The bytes of uploads that may be in memory.
        limits: What a request may ask for.
    """

    uploads: DirectUploads
    budget: UploadBudget
    limits: WebLimits

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/uploads", self.create, methods=[HTTPMethod.POST]),
            Route("/v1/uploads/{upload_id}", self.put, methods=[HTTPMethod.PUT]),
        ]

    async def create(self, request: Request) -> Response:
        """`POST /v1/uploads`: a link to send one image to."""
        document = await read_small_json(request, _MEMBERS, self.limits)
        size_bytes = _bytes_in(document.get("bytes"))
        content_type = document.get("content_type", _ANY_TYPE)
        if not isinstance(content_type, str) or not re.fullmatch(MEDIA_TYPE_PATTERN, content_type):
            raise BadParameter("content_type is no media type; write one such as image/jpeg")
        owner = entry_of(request.scope).key_id
        link = await self.uploads.new_link(owner, size_bytes, content_type, str(request.base_url))
        return JSONResponse(to_document(link), 201)

    async def put(self, request: Request) -> Response:
        """`PUT /v1/uploads/{upload_id}`: the image of a link."""
        upload_id: str = request.path_params["upload_id"]
        self.uploads.check_link(upload_id)
        with self.budget.reserve() as reservation:
            data = await read_body(request, self.limits, reservation)
            await self.uploads.store(entry_of(request.scope).key_id, upload_id, data)
        return Response(status_code=204)


def _bytes_in(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _BYTES_MAX:
        raise BadParameter("bytes is no number of bytes; say how many the image has")
    return value
