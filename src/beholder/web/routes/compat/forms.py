"""Which client a request comes from, and the form in which it reads an error."""

from collections.abc import Callable

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from beholder.errors import BeholderError
from beholder.web.problems import problem_of
from beholder.web.routes.classification import Classification
from beholder.web.routes.compat import huggingface
from beholder.web.routes.compat.huggingface import HuggingFaceRoutes

__all__ = ["compat_routes", "error_answer"]

_ErrorForm = tuple[Callable[[Scope], bool], Callable[[BeholderError, str], Response]]
_ERROR_FORMS: tuple[_ErrorForm, ...] = ((huggingface.is_for_hugging_face, huggingface.error_response),)


def compat_routes(classification: Classification) -> list[Route]:
    """Return the routes in the forms of other services.

    Args:
        classification: Classifies the image of a request.
    """
    return HuggingFaceRoutes(classification).routes()


def error_answer(scope: Scope, error: BeholderError) -> Response:
    """Return the answer to a request that ended with an error, in the form that its client reads."""
    request_id: str = scope["request_id"]
    for is_addressed, error_response in _ERROR_FORMS:
        if is_addressed(scope):
            return error_response(error, request_id)
    return problem_of(error, request_id)
