"""The form of Hugging Face's image classification, for `InferenceClient(model=URL)`.

The client posts to the very URL that it is given, so the service offers one path, `/hf`, and one for each
model below it.

Source: huggingface_hub 2.4, `InferenceClient.image_classification`: the body is the image; with parameters it
is JSON with the image in base64. An error is an object whose `error` the client shows.
"""

from dataclasses import dataclass, replace
from functools import partial
from http import HTTPMethod
from typing import Annotated, Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from beholder.documents import Probability, to_document
from beholder.errors import BadParameter, BeholderError, ImageMissing
from beholder.web.limits import WebLimits
from beholder.web.problems import error_headers
from beholder.web.routes.classification import Classification
from beholder.web.submission.json_body import check_members, image_in_text, is_json, read_json, text_fields_of
from beholder.web.submission.upload import Upload, UploadFormat, find_image

__all__ = [
    "HuggingFaceErrorDocument",
    "HuggingFaceLabelDocument",
    "HuggingFaceRoutes",
    "error_response",
    "is_for_hugging_face",
]

_PATH = "/hf"
# The client of the hosted service said here whether to wait for a model that is not loaded.
_MEMBERS = {"inputs", "parameters", "options"}
_PARAMETERS = {"top_k", "function_to_apply"}
_SHOWN_CHARS_MAX = 50


@dataclass(frozen=True, slots=True)
class HuggingFaceLabelDocument:
    """A label in Hugging Face's form."""

    label: Annotated[str, "The label's text."]
    score: Annotated[Probability, "Its probability."]


@dataclass(frozen=True, slots=True)
class HuggingFaceErrorDocument:
    """An error in Hugging Face's form."""

    error: Annotated[str, "What is wrong and what to do, for people."]
    error_type: Annotated[str, "For programs; a code as in problem documents."]


class HuggingFaceRoutes:
    """The endpoints of Hugging Face's client.

    Args:
        classification: Classifies the image of a request.
    """

    def __init__(self, classification: Classification) -> None:
        self._classification = classification

    def routes(self) -> list[Route]:
        """Return the routes."""
        paths = (_PATH, f"{_PATH}/{{model}}")
        return [Route(path, self.classify, methods=[HTTPMethod.POST]) for path in paths]

    async def classify(self, request: Request) -> Response:
        """`POST /hf` and `POST /hf/{model}`: the labels, best first."""
        model = request.path_params.get("model")
        served = (await self._classification.models.get()).chosen(model)
        find = partial(_find, served.applied_function)
        upload_format = UploadFormat(("top_k", "min_confidence"), find=find, is_base64=is_json)
        job, result = await self._classification.result_of(request, upload_format, model=model)
        labels = [HuggingFaceLabelDocument(one.name, one.confidence) for one in result.labels]
        return JSONResponse([to_document(one) for one in labels], headers={"x-job-id": job.id})


def is_for_hugging_face(scope: Scope) -> bool:
    """Return whether a request is one of Hugging Face's client."""
    path: str = scope["path"]
    return path == _PATH or path.startswith(f"{_PATH}/")


def error_response(error: BeholderError, _: str) -> Response:
    """Return an error as Hugging Face's client reads it."""
    document = HuggingFaceErrorDocument(error.detail, error.code)
    return JSONResponse(to_document(document), error.http_status, error_headers(error))


def _find(applied: str, headers: Headers, body: bytes, limits: WebLimits) -> Upload:
    """Return the image of a body that is the image, or JSON with it; an image may be sent as JSON's type."""
    if not is_json(headers) or not body.lstrip().startswith(b"{"):
        return find_image(headers, body, limits)
    document = read_json(body)
    check_members(document, _MEMBERS, "the request")
    inputs = document.get("inputs")
    if not isinstance(inputs, str) or not inputs:
        raise ImageMissing("the member inputs is no text; send the image in base64 there")
    upload = image_in_text(inputs, "inputs", limits)
    return replace(upload, fields=_fields(document.get("parameters"), applied))


def _fields(parameters: Any, applied: str) -> dict[str, str]:
    """Return the options in the member `parameters`; `applied` is what made the model's probabilities."""
    parameters = {} if parameters is None else parameters
    check_members(parameters, _PARAMETERS, "parameters")
    if (asked := parameters.get("function_to_apply")) not in (None, applied):
        raise BadParameter(
            f"function_to_apply is {str(asked)[:_SHOWN_CHARS_MAX]!r}, and the model's is {applied}"
        )
    return text_fields_of(parameters, ("top_k",))
