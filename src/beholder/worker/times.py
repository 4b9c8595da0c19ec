"""Where the time of a job went, from its worker's clock."""

from dataclasses import dataclass

from beholder.clock import age_s
from beholder.job import Metrics
from beholder.worker.deliveries import Delivery

__all__ = ["ModelRun"]


@dataclass(frozen=True, slots=True)
class ModelRun:
    """One run of a model over a batch.

    Args:
        started_at_s: When it began.
        done_at_s: When it was over.
        batch_size: How many images it had.
        ready_at_s: When the worker was ready.
    """

    started_at_s: float
    done_at_s: float
    batch_size: int
    ready_at_s: float

    def metrics_of(self, delivery: Delivery, fetch_s: float, decode_ms: float) -> Metrics:
        """Return the times of one of its images."""
        message, received_at_s = delivery.message, delivery.received_at_s
        queue_s = age_s(received_at_s, message.created_at_s)
        starting_s = min(queue_s, age_s(self.ready_at_s, message.created_at_s))
        infer_ms = (self.done_at_s - self.started_at_s) * 1000
        service_ms = (self.done_at_s - received_at_s) * 1000
        return Metrics(
            queue_ms=round(queue_s * 1000, 3),
            decode_ms=round(decode_ms, 3),
            infer_ms=round(infer_ms, 3),
            service_ms=round(service_ms, 3),
            batch_size=self.batch_size,
            receive_count=delivery.received.receive_count,
            starting_ms=round(starting_s * 1000, 3),
            fetch_ms=round(fetch_s * 1000, 3),
            batch_ms=round(max(0.0, service_ms - fetch_s * 1000 - decode_ms - infer_ms), 3),
        )
