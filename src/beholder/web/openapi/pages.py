"""The operations of the pages for people, for the OpenAPI document."""

from typing import Any

from beholder.errors import PathNotFound
from beholder.web.openapi.errors import problems
from beholder.web.openapi.inputs import path_parameter
from beholder.web.openapi.json_schema import ref
from beholder.web.openapi.operations import operation
from beholder.web.routes.pages import ASSETS

__all__ = ["PAGE_HEADERS", "PAGE_PARAMETERS", "page_paths"]

_Doc = dict[str, Any]

_TEXT: _Doc = {"schema": {"type": "string"}}
PAGE_PARAMETERS: _Doc = {
    "AssetName": path_parameter(
        "name", {"type": "string", "enum": list(ASSETS)}, "Name of the file.", "icon.svg"
    )
}
PAGE_HEADERS: _Doc = {
    "Content-Security-Policy": ref("headers", "ContentSecurityPolicy"),
    "Cache-Control": ref("headers", "CacheControl"),
}


def page_paths() -> _Doc:
    """Return the paths of the pages, but for the one at the root, which images are sent to as well."""
    return {
        "/docs": {"get": _page("docs", "This document, for people.")},
        "/fleet": {"get": _page("fleet", "The dashboard of the fleet.")},
        "/assets/{name}": {"get": _asset()},
    }


def _page(operation_id: str, summary: str) -> _Doc:
    headers = {"x-request-id": ref("headers", "RequestId")} | PAGE_HEADERS
    answer = {"description": summary, "headers": headers, "content": {"text/html": _TEXT}}
    return operation(operation_id, "Pages", summary, "", {"200": answer})


def _asset() -> _Doc:
    headers = {
        "x-request-id": ref("headers", "RequestId"),
        "Cache-Control": ref("headers", "CacheControl"),
        "ETag": ref("headers", "ETag"),
    }
    content = dict.fromkeys(sorted(set(ASSETS.values())), _TEXT)
    answers = {
        "200": {"description": "The file.", "headers": headers, "content": content},
        "304": {"description": "The browser has it: If-None-Match names its ETag.", "headers": headers},
    }
    return operation(
        "get_asset",
        "Pages",
        "A style sheet, a script or a picture of the pages.",
        "Needs no key.",
        answers | problems([PathNotFound]),
        named=["AssetName"],
    )
