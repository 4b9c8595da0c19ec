"""Which addresses of images the service fetches from: public ones, and no other spelling of the rest.

A caller who could make the service fetch from a private address could read what only this machine or network
may read (SSRF): instance metadata, databases, other services. So a URL is read strictly, and every address
that its host has must be public.

Source: Python 3.11, ipaddress (`is_global` follows IANA's special-purpose registries); RFC 3056 (2002::/16)
and RFC 4380 (2001::/32), whose addresses have an IPv4 address inside; Microsoft, "What is IP address
168.63.129.16?" (2026-11).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

from yarl import URL

from beholder.errors import UrlRefused

__all__ = ["UrlPolicy", "is_public"]

_URL_CHARS_MAX = 2_048
# Parsers disagree about these, and no address needs them unescaped.
_STRANGE = re.compile(r"[\s\\\x00-\x1f\x7f]")
_PORTS = {"https": 443, "http": 80}
# Absolute, and without credentials, not even empty ones.
_ABSOLUTE = re.compile(r"https?://[^/?#@]+(?:[/?#].*)?", re.ASCII | re.IGNORECASE)
# The network of public IPv6 addresses without those that lead to an IPv4 address.
_PUBLIC_V6 = IPv6Network("2000::/3")
_TRANSLATED = tuple(IPv6Network(text) for text in ("2001::/32", "2002::/16"))
# The host of an Azure machine answers in the second; the first is public for some versions of Python.
_REFUSED_V4 = (IPv4Network("192.0.0.0/24"), IPv4Network("168.63.129.16/32"))


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public network, in its usual form."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if found.is_multicast or not found.is_global:
        return False
    if isinstance(found, IPv4Address):
        return not any(found in one for one in _REFUSED_V4)
    return found in _PUBLIC_V6 and not any(found in one for one in _TRANSLATED)


@dataclass(frozen=True, slots=True)
class UrlPolicy:
    """Decides whether a URL may be fetched, and whether its host's addresses may be connected to.

    Args:
        schemes: The schemes that are allowed.
        is_allowed: Whether an IP address may be connected to.
        is_any_port: Whether a URL may name a port that is not its scheme's own.
    """

    schemes: frozenset[str] = frozenset({"https"})
    is_allowed: Callable[[str], bool] = is_public
    is_any_port: bool = False

    def read(self, text: str) -> URL:
        """Return a URL that may be fetched if its host's addresses are allowed.

        Raises:
            UrlRefused: The URL may not be fetched.
        """
        if len(text) > _URL_CHARS_MAX or _STRANGE.search(text) or not _ABSOLUTE.fullmatch(text):
            raise UrlRefused
        try:
            url = URL(text)
            host, port = url.raw_host, url.explicit_port
        except ValueError as exc:
            raise UrlRefused from exc
        if url.scheme not in self.schemes or not host:
            raise UrlRefused
        if port is not None and port != _PORTS[url.scheme] and not self.is_any_port:
            raise UrlRefused
        return url.with_fragment(None)
