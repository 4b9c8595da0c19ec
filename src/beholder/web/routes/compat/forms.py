"""Which client a request comes from, and the form in which it reads an error."""

from collections.abc import Callable

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from beholder.errors import BeholderError
from beholder.web.problems import problem_of
from beholder.web.readiness import Readiness
from beholder.web.routes.classification import Classification
from beholder.web.routes.compat import huggingface, kserve, rekognition, torchserve
from beholder.web.routes.compat.huggingface import HuggingFaceRoutes
from beholder.web.routes.compat.kserve import KserveRoutes
from beholder.web.routes.compat.torchserve import TorchServeRoutes

__all__ = ["compat_routes", "error_answer"]

_ErrorForm = tuple[Callable[[Scope], bool], Callable[[BeholderError, str], Response]]
_ERROR_FORMS: tuple[_ErrorForm, ...] = (
    (rekognition.is_for_rekognition, rekognition.error_response),
    (huggingface.is_for_hugging_face, huggingface.error_response),
    (torchserve.is_for_torchserve, torchserve.error_response),
    (kserve.is_for_kserve, kserve.error_response),
)


def compat_routes(classification: Classification, readiness: Readiness, version: str) -> list[Route]:
    """Return the routes in the forms of other services.

    Args:
        classification: Classifies the image of a request.
        readiness: Whether images can be accepted.
        version: The version of the service.
    """
    clients = (
        HuggingFaceRoutes(classification),
        TorchServeRoutes(classification, readiness),
        KserveRoutes(classification, readiness, version),
    )
    return [route for client in clients for route in client.routes()]


def error_answer(scope: Scope, error: BeholderError) -> Response:
    """Return the answer to a request that ended with an error, in the form that its client reads."""
    request_id: str = scope["request_id"]
    for is_addressed, error_response in _ERROR_FORMS:
        if is_addressed(scope):
            return error_response(error, request_id)
    return problem_of(error, request_id)
