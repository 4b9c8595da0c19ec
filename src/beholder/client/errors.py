"""The error of a service that does not answer its client; a part of the tree in `beholder.errors`."""

from beholder.errors import BeholderError

__all__ = ["ServiceUnreachable"]


class ServiceUnreachable(BeholderError, code="service_unreachable", http_status=503, retryable=True):
    """The service cannot be reached, or its answer does not arrive."""
