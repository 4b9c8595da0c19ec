"""The limit on open files: every connection is an open file."""

import resource

from beholder.errors import ConfigError

__all__ = ["allow_files", "connections_max"]

_FILES_WANTED = 65_536
# A web process has about 40 open files without a connection, and more while it stores images.
_FILES_MIN = 64
_CONNECTIONS_WANTED = 10_000


def allow_files(connections: int = 0) -> int:
    """Raise the limit on open files as far as this user may, and return it.

    Args:
        connections: How many connections the process certainly opens.

    Raises:
        ConfigError: The limit is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(_FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    files = _FILES_WANTED if soft == resource.RLIM_INFINITY else soft
    files_min = _FILES_MIN + connections
    if files < files_min:
        raise ConfigError(
            f"the limit on open files is {files}, and at least {files_min} are needed; "
            "raise it, such as with ulimit -n 4096"
        )
    return files


def connections_max(files: int) -> int:
    """Return how many connections a web process accepts, so that it can open its other files."""
    return min(_CONNECTIONS_WANTED, files - max(_FILES_MIN - 8, files // 4))
