"""The routes of models: which are served, and which is the default."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from beholder.documents import to_document
from beholder.errors import BadParameter
from beholder.web.current_models import CurrentModels
from beholder.web.limits import WebLimits
from beholder.web.served_models import ServedModels
from beholder.web.service_documents import ModelsDocument
from beholder.web.submission.json_body import read_small_json

__all__ = ["ModelRoutes"]


class ModelRoutes:
    """The endpoints of models.

    Args:
        models: The models served.
        limits: What a request may ask for.
    """

    def __init__(self, models: CurrentModels, limits: WebLimits) -> None:
        self._models = models
        self._limits = limits

    async def get(self, _: Request) -> Response:
        """`GET /v1/models`: every model served; the first is the default."""
        return _answer(await self._models.get())

    async def put_default(self, request: Request) -> Response:
        """`PUT /v1/models/default`: makes a model the default of every web process, within a second."""
        document = await read_small_json(request, ("model",), self._limits)
        asked = document.get("model")
        if not isinstance(asked, str) or not asked:
            raise BadParameter('model is no text; send {"model": "name@version"}')
        return _answer(await self._models.switch(asked))


def _answer(models: ServedModels) -> Response:
    default = models.models[0]
    return JSONResponse(to_document(ModelsDocument(default.name, default.version, models.models)))
