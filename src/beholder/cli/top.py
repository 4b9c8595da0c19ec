"""`beholder top`: fleet, queue and throughput of a service, live in the terminal."""

import json
import threading
from collections.abc import Callable

import click

from beholder.cli.service_reader import service_reader
from beholder.cli.top_view import Scrape, figures_of, read_metrics, view_of
from beholder.cli.worker import end_on_signals
from beholder.clock import MonotonicClock
from beholder.errors import BeholderError, ConfigError

__all__ = ["top"]

# Lines where there is no terminal: no fleet is larger.
_ALL = 100_000


@click.command()
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Of one web process.")
@click.option(
    "--key",
    default="",
    envvar="BEHOLDER_API_KEY",
    show_envvar=True,
    help="API key with the scope admin; better in the environment, because every user of the machine sees "
    "command lines.",
)
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Print it once, after two looks, as without a terminal.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, once.")
def top(*, url: str, key: str, every_s: float, once: bool, as_json: bool) -> None:
    """Show fleet, queue, throughput and failures of a service until Ctrl-C.

    It reads /metrics and /v1/fleet. Behind a balancer each look may meet another web process, whose counters
    are its own: give the address of one.
    """
    from rich.console import Console  # noqa: PLC0415 -- `beholder --help` needs none of it
    from rich.live import Live  # noqa: PLC0415

    end_on_signals(_end)
    pause = threading.Event()  # never set: a signal ends the wait
    clock = MonotonicClock()
    console = Console(highlight=False)
    with service_reader(url, key) as get:
        look = _looker(get, clock.now_s)
        last = look()
        if once or as_json or not console.is_terminal:
            pause.wait(every_s)
            figures = figures_of(last, look())
            if as_json:
                click.echo(json.dumps(figures))
            else:
                console.print(view_of(figures, url, "", height=_ALL, width=console.width))
            return
        figures, problem = figures_of(None, last), ""
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                view = view_of(figures, url, problem, height=console.height, width=console.width)
                live.update(view, refresh=True)
                pause.wait(every_s)
                try:
                    now = look()
                except BeholderError as exc:
                    problem = exc.message
                else:
                    figures, problem, last = figures_of(last, now), "", now


def _end() -> None:
    """End at once, also while a service that hangs is asked."""
    raise SystemExit(0)


def _looker(get: Callable[[str], bytes], now_s: Callable[[], float]) -> Callable[[], Scrape]:
    """Return what asks the service once; that raises BeholderError."""

    def look() -> Scrape:
        try:
            samples = read_metrics(get("/metrics").decode())
            fleet = json.loads(get("/v1/fleet"))
        except ValueError as exc:
            raise ConfigError("the answers are not those of a service of beholder; see --url") from exc
        return Scrape(now_s(), samples, fleet)

    return look
