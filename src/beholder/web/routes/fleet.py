"""The routes that show the fleet."""

import asyncio
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from beholder.documents import to_document
from beholder.scaling.records.history import FleetHistory, read_history
from beholder.store.port import Store
from beholder.web.fleet_document import fleet_document, without_refusal
from beholder.web.fleet_view import FleetView

__all__ = ["FleetRoutes"]


class FleetRoutes:
    """The endpoints of the fleet.

    Args:
        view: Reads the fleet.
        results: The output bucket, which has the history.
    """

    def __init__(self, view: FleetView, results: Store) -> None:
        self._view = view
        self._results = results

    async def get(self, _: Request) -> Response:
        """`GET /v1/fleet`: instances, decision and reason; 200 even if no controller ever led."""
        last = await asyncio.to_thread(self._view.read)
        return JSONResponse(to_document(fleet_document(last, self._view.now_s())))

    async def history(self, _: Request) -> Response:
        """`GET /v1/fleet/history`: the last 24 hours; empty if no controller ever led."""
        return JSONResponse(await asyncio.to_thread(self._history))

    def _history(self) -> dict[str, object]:
        found = read_history(self._results)
        decisions = tuple(
            replace(
                one,
                reason=without_refusal(one.reason),
                bounds=tuple(replace(bound, why=without_refusal(bound.why)) for bound in one.bounds),
            )
            for one in found.decisions
        )
        return to_document(FleetHistory(found.points, decisions))
