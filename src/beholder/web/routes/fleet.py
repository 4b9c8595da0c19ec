"""The route that shows the fleet."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from beholder.documents import to_document
from beholder.web.fleet_document import fleet_document
from beholder.web.fleet_view import FleetView

__all__ = ["FleetRoutes"]


class FleetRoutes:
    """The endpoint of the fleet.

    Args:
        view: Reads the fleet.
    """

    def __init__(self, view: FleetView) -> None:
        self._view = view

    async def get(self, _: Request) -> Response:
        """`GET /v1/fleet`: instances, decision and reason; 200 even if no controller ever led."""
        last = await asyncio.to_thread(self._view.read)
        return JSONResponse(to_document(fleet_document(last, self._view.now_s())))
