"""What a process tells systemd, where systemd started it: that it is ready, and that it lives."""

import os
import socket
from contextlib import suppress

__all__ = ["tell_service_manager"]


def tell_service_manager(state: str) -> None:
    """Send 'READY=1' or 'WATCHDOG=1' to the service manager; does nothing where none waits for it.

    Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html (2026-11)
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # A full buffer must stop nothing; the next message says the same.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.setblocking(False)
        notifier.sendto(state.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)
