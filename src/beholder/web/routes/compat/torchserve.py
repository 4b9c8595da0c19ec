"""The form of TorchServe's inference API, with its image classifier's answers.

Source: TorchServe 0.12, docs/inference_api.md (predictions, health check), `ErrorResponse.java`, and
`ts/torch_handler/image_classifier.py`, which answers with the five best labels.
"""

from dataclasses import dataclass
from http import HTTPMethod, HTTPStatus
from typing import Annotated

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from beholder.documents import Form, to_document
from beholder.errors import BeholderError, ModelNotFound, ModelVersionNotFound
from beholder.web.problems import error_headers
from beholder.web.readiness import Readiness
from beholder.web.routes.classification import Classification
from beholder.web.submission.upload import UploadFormat

__all__ = [
    "TorchServeErrorDocument",
    "TorchServeHealthDocument",
    "TorchServeRoutes",
    "error_response",
    "is_for_torchserve",
]

_FORMAT = UploadFormat(("top_k", "min_confidence"))
_PREDICTIONS, _PING = "/predictions", "/ping"
_TYPES = {
    HTTPStatus.UNAUTHORIZED: "InvalidKeyException",
    HTTPStatus.FORBIDDEN: "InvalidKeyException",
    HTTPStatus.NOT_FOUND: "ResourceNotFoundException",
    HTTPStatus.METHOD_NOT_ALLOWED: "MethodNotAllowedException",
    HTTPStatus.REQUEST_TIMEOUT: "RequestTimeoutException",
    HTTPStatus.CONFLICT: "ConflictStatusException",
    HTTPStatus.SERVICE_UNAVAILABLE: "ServiceUnavailableException",
}


@dataclass(frozen=True, slots=True)
class TorchServeErrorDocument:
    """An error in TorchServe's form."""

    code: Annotated[int, Form(minimum=400, maximum=599), "The HTTP status."]
    type: Annotated[str, "The exception that TorchServe names for such an error."]
    message: Annotated[str, "What is wrong and what to do, for people."]


@dataclass(frozen=True, slots=True)
class TorchServeHealthDocument:
    """The health of the service in TorchServe's form."""

    status: Annotated[str, "`Healthy`, or `Unhealthy` if no image can be accepted."]


class TorchServeRoutes:
    """The endpoints of TorchServe's clients.

    Args:
        classification: Classifies the image of a request.
        readiness: Whether images can be accepted.
    """

    def __init__(self, classification: Classification, readiness: Readiness) -> None:
        self._classification = classification
        self._readiness = readiness

    def routes(self) -> list[Route]:
        """Return the routes, except for the one that is shared with Cog's clients."""
        methods = [HTTPMethod.POST, HTTPMethod.PUT]
        return [
            Route(f"{_PREDICTIONS}/{{model}}/{{version}}", self.predict, methods=methods),
            Route(_PING, self.ping, methods=[HTTPMethod.GET]),
        ]

    async def predict(self, request: Request) -> Response:
        """`POST` or `PUT /predictions/{model}`, with `/{version}` or without: probabilities by label."""
        path, models = request.path_params, await self._classification.models.get()
        served = models.find(path["model"], path.get("version"))
        job, result = await self._classification.result_of(request, _FORMAT, model=served.reference)
        labels: dict[str, float] = {}
        for one in result.labels:
            # Two classes may have one name; the likelier one comes first.
            labels.setdefault(one.name, one.confidence)
        return JSONResponse(labels, headers={"x-job-id": job.id})

    async def ping(self, _: Request) -> Response:
        """`GET /ping`: whether images can be accepted."""
        is_ready = await self._readiness.is_ready()
        document = TorchServeHealthDocument("Healthy" if is_ready else "Unhealthy")
        return JSONResponse(
            to_document(document), HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        )


def is_for_torchserve(scope: Scope) -> bool:
    """Return whether a request is one of TorchServe's clients."""
    path: str = scope["path"]
    return path == _PING or path.startswith(f"{_PREDICTIONS}/")


def error_response(error: BeholderError, _: str) -> Response:
    """Return an error in TorchServe's form."""
    document = TorchServeErrorDocument(error.http_status, _type_of(error), error.detail)
    return JSONResponse(to_document(document), error.http_status, error_headers(error))


def _type_of(error: BeholderError) -> str:
    if isinstance(error, ModelVersionNotFound):
        return "ModelVersionNotFoundException"
    if isinstance(error, ModelNotFound):
        return "ModelNotFoundException"
    is_fault = error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR
    other = "InternalServerException" if is_fault else "BadRequestException"
    return _TYPES.get(HTTPStatus(error.http_status), other)
