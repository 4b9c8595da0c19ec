"""The pages for people and the files that they load; no page loads anything from another host."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from importlib import resources

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from beholder.errors import PathNotFound

__all__ = ["ASSETS", "PageRoutes"]

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOLDER = resources.files("beholder.web") / "pages"
ASSETS: Mapping[str, str] = {
    one.name: _TYPES[f".{one.name.rpartition('.')[2]}"]
    for one in sorted((_FOLDER / "assets").iterdir(), key=lambda one: one.name)
}
"""The media type of each file of the pages."""

# A browser then runs no script and applies no style that is not a file of this service; a preview is a blob.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class PageRoutes:
    """The pages, and the files that they load.

    Args:
        document: Returns the OpenAPI document as text.
    """

    def __init__(self, document: Callable[[], str]) -> None:
        self._document = document

    def index(self) -> Response:
        """Return the page for photos."""
        return _page("index.html", vary="accept")

    async def docs(self, _: Request) -> Response:
        """`GET /docs`: the interface, for people."""
        # Escaped so that no text in the document can end the script element around it.
        return _page("docs.html", document=self._document().replace("<", "\\u003c"))

    async def fleet(self, _: Request) -> Response:
        """`GET /fleet`: the dashboard."""
        return _page("fleet.html")

    async def asset(self, request: Request) -> Response:
        """`GET /assets/{name}`: a style sheet, a script or a picture of the pages.

        A browser asks again each time, and is told that nothing changed: after an upgrade no page runs with
        scripts of two versions.
        """
        name = request.path_params["name"]
        if name not in ASSETS:
            raise PathNotFound
        body, tag = _asset(name)
        headers = {"cache-control": "no-cache", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=ASSETS[name], headers=headers)


def _page(name: str, *, vary: str = "", document: str = "") -> Response:
    headers = {"content-security-policy": _POLICY, "cache-control": "no-cache"} | (
        {"vary": vary} if vary else {}
    )
    return HTMLResponse(_text(name).replace("__OPENAPI__", document), headers=headers)


@functools.cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


@functools.cache
def _asset(name: str) -> tuple[bytes, str]:
    body = (_FOLDER / "assets" / name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:16]}"'
