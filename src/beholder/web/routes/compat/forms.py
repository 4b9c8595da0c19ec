"""Which client a request comes from, and the form in which it reads an error."""

from collections.abc import Callable
from concurrent.futures import Executor
from http import HTTPMethod

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from beholder.errors import BeholderError
from beholder.web.problems import problem_of
from beholder.web.readiness import Readiness
from beholder.web.routes.classification import Classification
from beholder.web.routes.compat import cog, huggingface, kserve, rekognition, torchserve
from beholder.web.routes.compat.cog import CogRoutes
from beholder.web.routes.compat.huggingface import HuggingFaceRoutes
from beholder.web.routes.compat.kserve import KserveRoutes
from beholder.web.routes.compat.torchserve import TorchServeRoutes
from beholder.web.submission.cancel import JobCanceler
from beholder.web.submission.json_body import is_json

__all__ = ["compat_routes", "error_answer"]

_ErrorForm = tuple[Callable[[Scope], bool], Callable[[BeholderError, str], Response]]
_ERROR_FORMS: tuple[_ErrorForm, ...] = (
    (rekognition.is_for_rekognition, rekognition.error_response),
    (huggingface.is_for_hugging_face, huggingface.error_response),
    (cog.is_for_cog, cog.error_response),
    (torchserve.is_for_torchserve, torchserve.error_response),
    (kserve.is_for_kserve, kserve.error_response),
)


def compat_routes(
    classification: Classification,
    canceler: JobCanceler,
    lookups: Executor,
    readiness: Readiness,
    version: str,
) -> list[Route]:
    """Return the routes in the forms of other services.

    Args:
        classification: Classifies the image of a request.
        canceler: Cancels jobs.
        lookups: Runs lookups, which block.
        readiness: Whether images can be accepted.
        version: The version of the service.
    """
    cogs = CogRoutes(classification, canceler, lookups, readiness)
    torch_serve = TorchServeRoutes(classification, readiness)

    async def of_both(request: Request) -> Response:
        """Serve Cog's `PUT /predictions/{id}` of JSON, and TorchServe's `/predictions/{model}`."""
        is_for_job = request.method == HTTPMethod.PUT and is_json(request.headers)
        return await (cogs.create(request) if is_for_job else torch_serve.predict(request))

    return [
        *HuggingFaceRoutes(classification).routes(),
        *cogs.routes(),
        Route("/predictions/{model}", of_both, methods=[HTTPMethod.POST, HTTPMethod.PUT]),
        *torch_serve.routes(),
        *KserveRoutes(classification, readiness, version).routes(),
    ]


def error_answer(scope: Scope, error: BeholderError) -> Response:
    """Return the answer to a request that ended with an error, in the form that its client reads."""
    request_id: str = scope["request_id"]
    for is_addressed, error_response in _ERROR_FORMS:
        if is_addressed(scope):
            return error_response(error, request_id)
    return problem_of(error, request_id)
