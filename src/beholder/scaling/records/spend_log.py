"""What the fleet costs per hour, as a log line that a metric can be made of."""

import logging

from beholder.scaling.records.record import Record
from beholder.telemetry.log import log_event

__all__ = ["SpendLog"]

_log = logging.getLogger(__name__)


class SpendLog:
    """A `RecordSink` that logs the price of the instances once in a while.

    Args:
        every_s: A line is written after this time; a metric of a minute then has a value in each minute.
    """

    def __init__(self, *, every_s: float = 60.0) -> None:
        self._every_s = every_s
        self._written_at_s = float("-inf")

    def write(self, record: Record) -> None:
        """Keep a record; see `RecordSink.write`."""
        # A time of day that went back must not end the lines.
        if 0 <= record.at_s - self._written_at_s < self._every_s:
            return
        self._written_at_s = record.at_s
        price = sum(one.price_per_hour for one in record.instances)
        log_event(
            _log,
            logging.INFO,
            "controller.spend",
            "the instances cost this much per hour",
            price_per_hour=round(price, 4),
            instances=len(record.instances),
        )
