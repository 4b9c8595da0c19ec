"""A web tier over real HTTP in this process, with everything behind it in memory and no worker."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from beholder.web.app import build_app
from beholder.web.ports import WebPorts

__all__ = ["served"]


@contextmanager
def served(ports: WebPorts) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1 until the block ends; yield the URL."""
    config = uvicorn.Config(build_app(ports), ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            # Connections wait in the listener until the server takes them.
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
