"""`beholder ship-logs`: what `beholder-logs.service` of an instance runs."""

import queue
import sys
import threading

import click

from beholder.cli.options import read_region
from beholder.cli.worker import end_on_signals
from beholder.telemetry.log import configure_logging

__all__ = ["ship_logs"]

# While CloudWatch does not answer, so many lines wait; then reading stops, and the journal keeps the rest.
_LINES_MAX = 10_000


@click.command("ship-logs")
@click.argument("group")
@click.argument("stream")
def ship_logs(group: str, stream: str) -> None:
    """Write the lines of standard input to a STREAM of a log GROUP of CloudWatch Logs."""
    region = read_region(None)
    end_on_signals()  # the end of the input ends it, so that the last lines are written at a shutdown
    configure_logging(level="info", process="ship-logs", form="text")
    from beholder.aws.client import AwsClient  # noqa: PLC0415
    from beholder.aws.log_stream import LogStream, collected  # noqa: PLC0415
    from beholder.clock import MonotonicClock, SystemClock  # noqa: PLC0415

    lines: queue.Queue[str | None] = queue.Queue(_LINES_MAX)

    def read() -> None:
        for line in sys.stdin:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, name="standard input", daemon=True).start()
    client = AwsClient("logs", backend="cloudwatch logs", region=region)
    writer = LogStream(client, group, stream, clock=SystemClock(), pause=threading.Event().wait)
    elapsed = MonotonicClock()
    while (batch := collected(lines, elapsed)) is not None:
        writer.write(batch)
