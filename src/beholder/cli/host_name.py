"""Whether a deployment's host name leads to its balancer: the record in DNS is a person's to make."""

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["missing_record"]

_PORT = 443


def missing_record(outputs: Mapping[str, str]) -> str:
    """Return which record DNS lacks, as a sentence; empty where the URL's host name leads to the balancer.

    Args:
        outputs: Of the deployment's stack.
    """
    balancer = outputs.get("BalancerHost", "")
    host_name = urlsplit(outputs.get("Url", "")).hostname or ""
    if not balancer or host_name == balancer.lower() or _addresses(host_name) & _addresses(balancer):
        return ""
    return (
        f"{host_name} does not lead to the balancer yet: make it a CNAME of {balancer} "
        "(in Route 53 an alias, which works for a domain without a subdomain too)"
    )


def _addresses(host: str) -> set[str]:
    try:
        return {str(one[4][0]) for one in socket.getaddrinfo(host, _PORT, type=socket.SOCK_STREAM)}
    except OSError:
        return set()
