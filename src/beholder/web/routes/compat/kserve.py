"""The form of KServe's V2 inference protocol, which Triton's clients speak.

A model has one input, a tensor of BYTES with one encoded image, and one output: the probabilities of its
classes, or the best of them as text if a request asks for a classification. There is only one of each, so a
request may call them as it likes.

Source: kserve/open-inference-protocol, `inference_rest.md`; Triton Inference Server, docs/protocol,
`extension_binary_data.md` and `extension_classification.md`; tritonclient 2.73.
"""

import json
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPMethod
from typing import Annotated, Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from beholder.documents import to_document
from beholder.errors import BadParameter, BeholderError, ImageMissing, ImagesTooMany
from beholder.job import Job, Label
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel
from beholder.web.problems import error_headers
from beholder.web.readiness import Readiness
from beholder.web.routes.classification import Classification
from beholder.web.submission.json_body import check_members, decode_base64, read_json
from beholder.web.submission.upload import Upload, UploadFormat, find_image

__all__ = [
    "KserveErrorDocument",
    "KserveModelDocument",
    "KserveRoutes",
    "KserveServerDocument",
    "error_response",
    "is_for_kserve",
]

_PATH = "/v2"
_INPUT, _OUTPUT = "image", "probabilities"
_HEADER_LENGTH = "inference-header-content-length"
_LENGTH_BYTES = 4
# Less than a label's digits show.
_LEAST = "1e-9"
_SHOWN_CHARS_MAX = 50
_Answer = Callable[[Request], Awaitable[Response]]
_REQUEST_MEMBERS = {"id", "inputs", "outputs", "parameters"}


@dataclass(frozen=True, slots=True)
class KserveErrorDocument:
    """An error in the form of the V2 inference protocol."""

    error: Annotated[str, "What is wrong and what to do, for people."]
    code: Annotated[str, "For programs; a code as in problem documents."]


@dataclass(frozen=True, slots=True)
class KserveServerDocument:
    """The server in the form of the V2 inference protocol."""

    name: Annotated[str, "Name of the service."]
    version: Annotated[str, "Version of the service."]
    extensions: Annotated[tuple[str, ...], "The extensions of the protocol that it knows."]


@dataclass(frozen=True, slots=True)
class KserveTensorDocument:
    """A tensor that a model takes or returns."""

    name: Annotated[str, "Its name; a request may use another, since there is only one."]
    datatype: Annotated[str, "The type of its elements."]
    shape: Annotated[tuple[int, ...], "Its dimensions."]


@dataclass(frozen=True, slots=True)
class KserveModelDocument:
    """A model in the form of the V2 inference protocol."""

    name: Annotated[str, "Name of the model."]
    versions: Annotated[tuple[str, ...], "The versions that are served."]
    platform: Annotated[str, "What runs it."]
    inputs: Annotated[tuple[KserveTensorDocument, ...], "An encoded image."]
    outputs: Annotated[tuple[KserveTensorDocument, ...], "The probabilities of the classes."]


class KserveRoutes:
    """The endpoints of Triton's clients.

    Args:
        classification: Classifies the image of a request.
        readiness: Whether images can be accepted.
        version: The version of the service.
    """

    def __init__(self, classification: Classification, readiness: Readiness, version: str) -> None:
        self._classification = classification
        self._readiness = readiness
        self._server = KserveServerDocument("beholder", version, ("binary_tensor_data", "classification"))

    def routes(self) -> list[Route]:
        """Return the routes."""
        model = f"{_PATH}/models/{{model}}"
        reads: dict[str, _Answer] = {
            _PATH: self.server,
            f"{_PATH}/health/live": self.live,
            f"{_PATH}/health/ready": self.ready,
        }
        writes: dict[str, _Answer] = {}
        for path in (model, f"{model}/versions/{{version}}"):
            reads |= {path: self.model, f"{path}/ready": self.model_ready}
            writes[f"{path}/infer"] = self.infer
        return [
            *(Route(path, answer, methods=[HTTPMethod.GET]) for path, answer in reads.items()),
            *(Route(path, answer, methods=[HTTPMethod.POST]) for path, answer in writes.items()),
        ]

    async def live(self, _: Request) -> Response:
        """`GET /v2/health/live`: the process answers."""
        return Response()

    async def ready(self, _: Request) -> Response:
        """`GET /v2/health/ready`: whether images can be accepted."""
        return Response(status_code=200 if await self._readiness.is_ready() else 503)

    async def server(self, _: Request) -> Response:
        """`GET /v2`: the service and the extensions that it knows."""
        return JSONResponse(to_document(self._server))

    async def model(self, request: Request) -> Response:
        """`GET /v2/models/{model}`, with `/versions/{version}` or without: a model and its tensors."""
        served = await self._served(request)
        models = (await self._classification.models.get()).models
        versions = tuple(one.version for one in models if one.name == served.name)
        image = KserveTensorDocument(_INPUT, "BYTES", (1,))
        probabilities = KserveTensorDocument(_OUTPUT, "FP32", (served.classes,))
        document = KserveModelDocument(served.name, versions, "beholder", (image,), (probabilities,))
        return JSONResponse(to_document(document))

    async def model_ready(self, request: Request) -> Response:
        """`GET` of a model's path and `/ready`: whether it takes images."""
        await self._served(request)
        return await self.ready(request)

    async def infer(self, request: Request) -> Response:
        """`POST` to a model's path and `/infer`: what its image shows, as a tensor."""
        served = await self._served(request)
        asked = _InferRequest(served)
        known = ("top_k", *asked.fields)
        upload_format = UploadFormat(known, find=asked.find, is_base64=lambda _: True)
        job, result = await self._classification.result_of(request, upload_format, model=served.reference)
        return asked.response(job, result.labels)

    async def _served(self, request: Request) -> ServedModel:
        path, models = request.path_params, await self._classification.models.get()
        return models.find(path["model"], path.get("version"))


def is_for_kserve(scope: Scope) -> bool:
    """Return whether a request is one of Triton's clients."""
    path: str = scope["path"]
    return path == _PATH or path.startswith(f"{_PATH}/")


def error_response(error: BeholderError, _: str) -> Response:
    """Return an error as Triton's clients read it."""
    document = KserveErrorDocument(error.detail, error.code)
    return JSONResponse(to_document(document), error.http_status, error_headers(error))


class _InferRequest:
    """What one request asks for; `find` reads it from the body.

    Args:
        served: The model.
    """

    def __init__(self, served: ServedModel) -> None:
        self._served = served
        self._id: str | None = None
        self._name = _OUTPUT
        self._count = 0
        self._is_binary = False
        self._outer: list[int] = []

    @property
    def fields(self) -> dict[str, str]:
        """The options that a request gets besides the number of labels.

        The protocol's tensor has every class and its classification so many, whatever a model's thresholds.
        """
        return {"min_confidence": _LEAST} if self._served.is_multi_label else {}

    def find(self, headers: Headers, body: bytes, limits: WebLimits) -> Upload:
        """Return the image and the options in a body: JSON, with tensors behind it in the binary form."""
        length = headers.get(_HEADER_LENGTH, str(len(body)))
        if not (length.isascii() and length.isdigit()) or int(length[:18]) > len(body):
            raise BadParameter(
                f"{_HEADER_LENGTH} is {length[:_SHOWN_CHARS_MAX]!r}; send the length of the JSON"
            )
        document = read_json(body[: int(length)])
        check_members(document, _REQUEST_MEMBERS, "the request")
        self._id = document.get("id")
        self._read_output(document)
        image = self._image_in(_only(document.get("inputs"), "inputs"), body[int(length) :])
        upload = find_image(Headers(raw=[]), image, limits)
        # Every class is asked for where the answer is the tensor of all probabilities.
        count = min(self._count or self._served.classes, self._served.classes, limits.top_k_max)
        if not self._count and count < self._served.classes:
            raise BadParameter(
                f"a request may have {limits.top_k_max} labels; ask for a classification of so many"
            )
        return Upload(upload.data, upload.file_name, {"top_k": str(count), **self.fields})

    def response(self, job: Job, labels: Sequence[Label]) -> Response:
        """Return the answer with the labels as the output tensor."""
        if self._count:
            data: list[Any] = [f"{one.confidence:.6f}:{one.index}:{one.name}" for one in labels]
            raw = b"".join(_with_length(text.encode()) for text in data) if self._is_binary else b""
        else:
            confidences = {one.index: one.confidence for one in labels}
            data = [confidences.get(index, 0.0) for index in range(self._served.classes)]
            raw = struct.pack(f"<{len(data)}f", *data) if self._is_binary else b""
        output: dict[str, Any] = {
            "name": self._name,
            "datatype": "BYTES" if self._count else "FP32",
            "shape": [*self._outer, len(data)],
        }
        output |= {"parameters": {"binary_data_size": len(raw)}} if self._is_binary else {"data": data}
        document = {"model_name": job.model, "model_version": job.model_version, "outputs": [output]}
        if self._id is not None:
            document["id"] = self._id
        head = json.dumps(document, ensure_ascii=False).encode()
        headers = {"x-job-id": job.id}
        if not self._is_binary:
            return Response(head, headers=headers, media_type="application/json")
        headers[_HEADER_LENGTH] = str(len(head))
        return Response(head + raw, headers=headers, media_type="application/octet-stream")

    def _read_output(self, document: dict[str, Any]) -> None:
        parameters = _parameters_of(document, {"binary_data_output"}, "the request")
        self._is_binary = parameters.get("binary_data_output") is True
        if not document.get("outputs"):
            return
        output = _only(document["outputs"], "outputs")
        check_members(output, {"name", "parameters"}, "the output")
        parameters = _parameters_of(output, {"classification", "binary_data"}, "the output")
        count = parameters.get("classification", 0)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise BadParameter("classification is no number of labels; send a whole number")
        self._name, self._count = str(output.get("name", _OUTPUT)), count
        self._is_binary = parameters.get("binary_data", self._is_binary) is True

    def _image_in(self, tensor: dict[str, Any], binary: bytes) -> bytes:
        check_members(tensor, {"name", "shape", "datatype", "data", "parameters"}, "the input")
        parameters = _parameters_of(tensor, {"binary_data_size"}, "the input")
        if tensor.get("datatype") != "BYTES":
            raise BadParameter(
                "the input's datatype is not BYTES; send an encoded image, such as a JPEG, as BYTES"
            )
        shape = tensor.get("shape")
        if not isinstance(shape, list) or not shape or any(size != 1 for size in shape):
            raise ImagesTooMany(
                "the input's shape is not one of a single element; send one image in each request"
            )
        self._outer = shape[:-1]
        if "binary_data_size" in parameters:
            return _element(binary)
        data = tensor.get("data")
        while isinstance(data, list) and len(data) == 1:
            data = data[0]
        if not isinstance(data, str) or not data:
            raise ImageMissing("the input's data is no text; send the image in base64, or in the binary form")
        return decode_base64(data, "the input's data")


def _element(binary: bytes) -> bytes:
    """Return the only element of a BYTES tensor in the binary form: its length, and its bytes."""
    length = int.from_bytes(binary[:_LENGTH_BYTES], "little")
    if len(binary) < _LENGTH_BYTES or length != len(binary) - _LENGTH_BYTES:
        raise BadParameter("the binary data is not one element: a length of four bytes, and so many bytes")
    return binary[_LENGTH_BYTES:]


def _with_length(element: bytes) -> bytes:
    return len(element).to_bytes(_LENGTH_BYTES, "little") + element


def _only(tensors: Any, name: str) -> dict[str, Any]:
    if not isinstance(tensors, list) or len(tensors) != 1:
        raise BadParameter(f"{name} is no list of one tensor; a model has one input and one output here")
    return tensors[0]  # type: ignore[no-any-return]  # its members are checked next


def _parameters_of(document: dict[str, Any], known: set[str], name: str) -> dict[str, Any]:
    parameters = document.get("parameters") or {}
    check_members(parameters, known, f"parameters of {name}")
    return dict(parameters)
