"""The limit on open files: each connection is one."""

import resource

from beholder.errors import ConfigError

__all__ = ["allow_files", "connections_max"]

_FILES_WANTED = 65_536
# A web process has about 40 open before anybody connects, and more while it stores images.
_FILES_MIN = 64
_CONNECTIONS_WANTED = 10_000


def allow_files(connections: int = 0) -> int:
    """Raise the limit on open files as far as this user may, and return it.

    Args:
        connections: Those that are opened for certain.

    Raises:
        ConfigError: It is too low to work with.
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
            f"the limit on open files is {files}, and {files_min} are needed at least; "
            "raise it, such as with ulimit -n 4096"
        )
    return files


def connections_max(files: int) -> int:
    """Return how many connections a web process takes, so that files are left for all else it does."""
    return min(_CONNECTIONS_WANTED, files - max(_FILES_MIN - 8, files // 4))
