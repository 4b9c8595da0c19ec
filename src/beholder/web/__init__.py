"""The web tier: accepts images over HTTP, stores each, sends its message to the queue, and answers."""

from beholder.web.app import WebApp, build_app
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel, WebPorts

__all__ = ["ServedModel", "WebApp", "WebLimits", "WebPorts", "build_app"]
