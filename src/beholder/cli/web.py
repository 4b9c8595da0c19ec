"""`beholder web`: one web process; `beholder up` starts it with a socket that is already bound."""

import logging
import socket
import threading
from functools import partial
from typing import Any

import click
import uvicorn

from beholder.cli.open_files import allow_files, connections_max
from beholder.cli.options import check_name, read_settings, setting_options
from beholder.cli.server import Server
from beholder.cli.worker import end_on_signals
from beholder.fleet import follow_parent
from beholder.runner import persist
from beholder.telemetry.log import configure_logging, log_event
from beholder.web.connections.protocol import BoundedProtocol
from beholder.web.connections.registry import Connections
from beholder.wiring import profile_of
from beholder.wiring.sockets import bind, url_of

__all__ = ["web"]

_log = logging.getLogger(__name__)

_BACKLOG = 65_536


@click.command()
@click.option(
    "--name",
    callback=check_name,
    default="web-0",
    show_default=True,
    help="Unique among the web processes of a data folder.",
)
@click.option("--socket-fd", type=int, hidden=True, help="A bound socket to serve on.")
@click.option(
    "--parent-death-pipe", type=int, hidden=True, help="File descriptor that closes with the parent."
)
@setting_options(
    "stack", "backend", "region", "prefix", "host", "port", "keys", "data_dir", "model", "log_level"
)
def web(name: str, socket_fd: int | None, parent_death_pipe: int | None, **flags: Any) -> None:
    """Run one web process: accept images over HTTP and answer.

    `beholder up` starts one; on AWS start as many as you like, on as many machines. On SIGTERM it serves
    on for shutdown_delay_s, then accepts no new connections, answers the pending requests, and ends.
    """
    settings = persist("settings", lambda: read_settings(flags), threading.Event()).settings
    configure_logging(level=settings.log.log_level, process=name, form=settings.log.log_form)
    # The server answers the pending requests, and then raises the signal again. On AWS the process must then
    # release its lease and its reply queue. On one machine it has nothing to release, and a queue that is not
    # closed keeps files which a start on a full disk would have no room for.
    profile = profile_of(settings)
    if not profile.is_one_machine:
        end_on_signals(_end)
    if parent_death_pipe is not None:
        follow_parent(parent_death_pipe)
    files = allow_files()
    from beholder.wiring.web import open_web  # noqa: PLC0415 -- bind errors come first

    if socket_fd is None:
        listener = bind(settings.web.host, settings.web.port, keys=settings.web.keys)
    else:
        listener = socket.socket(fileno=socket_fd)
    with listener, open_web(profile, name, connections_max=connections_max(files)) as app:
        if socket_fd is None:
            log_event(_log, logging.INFO, "web.listening", "taking images", url=url_of(listener))
        limits = app.limits
        connections = Connections(limits.connections_max, limits.transfer_s_min)
        protocol = partial(BoundedProtocol, limits, connections, app.count_refusal)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=protocol,  # type: ignore[arg-type]  # uvicorn only calls it
            timeout_keep_alive=limits.keep_alive_s,  # type: ignore[arg-type]  # seconds for call_later
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.web.trusted_proxies),
            forwarded_allow_ips=list(settings.web.trusted_proxies),
            # Shorter than the supervisor's time, so that the process ends by itself.
            timeout_graceful_shutdown=max(1, int(settings.worker.drain_s * 0.8)),
            backlog=_BACKLOG,
        )
        Server(config, app, shutdown_delay_s=settings.web.shutdown_delay_s).run(sockets=[listener])


def _end() -> None:
    """End this process in good order, so that it releases its lease and its reply queue."""
    raise SystemExit(0)
