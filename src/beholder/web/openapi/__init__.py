"""The OpenAPI document of the web tier."""

from beholder.web.openapi.document import build_openapi

__all__ = ["build_openapi"]
