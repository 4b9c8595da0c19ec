"""Binds the web tier's address, with an error that says what to do."""

import errno
import socket
from ipaddress import ip_address

from beholder.errors import ConfigError

__all__ = ["bind", "url_of"]

_BACKLOG = 2048


def bind(host: str, port: int, *, keys: str) -> socket.socket:
    """Return a listening socket.

    Args:
        host: The address, or a name of it.
        port: The TCP port; 0 takes a free one.
        keys: The setting of this name.

    Raises:
        ConfigError: The address is taken, not of this machine, or not permitted; or it is reached from other
            machines although requests need no key.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as exc:  # a name that no resolver takes is a UnicodeError
        reason = exc.strerror if isinstance(exc, OSError) else "not a host name"
        raise ConfigError(f"host {host!r} is unknown: {reason}; use 127.0.0.1 for this machine only") from exc
    if keys == "off" and not ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise ConfigError(
            f"host {host} is reached from other machines, and no request needs an API key; give --keys on, "
            "and make a key with `beholder keys create`, or give --keys open to serve every client"
        )
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise ConfigError(_advice(host, port, exc)) from exc
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL under which a browser on this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 -- compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _advice(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use by another program; stop it, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all its addresses"
    return f"cannot listen on {host}:{port}: {error.strerror}"
