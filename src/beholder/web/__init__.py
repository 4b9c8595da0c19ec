"""The web tier: takes images over HTTP, puts each into the bucket and on the queue, and answers."""

from beholder.web.app import WebApp, build_app
from beholder.web.limits import WebLimits
from beholder.web.ports import ServedModel, WebPorts

__all__ = ["ServedModel", "WebApp", "WebLimits", "WebPorts", "build_app"]
