"""The Prometheus metrics of one web process.

The figures of workers arrive in the replies, which contain each job's times and batch size, so the processes
share neither a file nor a port.
"""

import threading
from collections import Counter as Counts
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from beholder.clock import age_s
from beholder.job import Job
from beholder.telemetry.comparisons import ShadowComparisons, split_comparisons

__all__ = ["Telemetry"]

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60, 300)
_ReadSeries = Callable[[], Mapping[tuple[str, ...], float]]
_SERVICES_MAX = 64
_BATCH = (1, 2, 3, 4, 6, 8, 10, 16)


class Telemetry:
    """Counters and histograms of the web tier and, through the replies, of the workers."""

    done_count = 0
    """Jobs that have their outcome, so far."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._comparisons = ShadowComparisons(registry)
        self.requests = self._counter(
            "beholder_requests_total", "HTTP requests answered.", "route", "method", "status"
        )
        self.request_seconds = self._histogram(
            "beholder_request_seconds", "From a request's head to its answer.", labels=["route"]
        )
        self.jobs = self._counter(
            "beholder_jobs_total", "Jobs by state: queued when accepted, then their outcome.", "state"
        )
        self.wait_seconds = self._histogram(
            "beholder_job_wait_seconds", "From a job's creation to a worker's receipt."
        )
        self.service_seconds = self._histogram(
            "beholder_job_service_seconds", "From a worker's receipt to the result."
        )
        self.infer_seconds = self._histogram(
            "beholder_job_infer_seconds", "The model's run over the job's batch."
        )
        self.latency_seconds = self._histogram(
            "beholder_job_latency_seconds", "From a job's creation to its result."
        )
        self.batch_size = self._histogram(
            "beholder_batch_size", "Images in the batch that held the job's image.", buckets=_BATCH
        )
        self.waiting = Gauge(
            "beholder_waiting_requests", "Requests that wait for their job.", registry=registry
        )
        self.upload_bytes = Gauge(
            "beholder_upload_bytes", "Bytes of uploads held in memory.", registry=registry
        )
        self.webhooks = self._counter(
            "beholder_webhook_attempts_total", "Attempts to deliver the webhook of a job.", "result"
        )
        self.result_cache = self._counter(
            "beholder_result_cache_total", "Requests that a remembered result could answer.", "result"
        )
        self._lock = threading.Lock()
        self._reported_calls: dict[str, Counts[str]] = {}
        self._call_counters: dict[str, Callable[[], Mapping[str, int]]] = {}
        labels = ("process", "service", "operation")
        aws_calls = _Watched("beholder_aws_calls_total", "Calls to AWS.", labels, self._aws_calls)
        registry.register(aws_calls)
        self._services: deque[float] = deque(maxlen=_SERVICES_MAX)
        for state in ("queued", "succeeded", "failed", "expired"):
            self.jobs.labels(state)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def watch(
        self, name: str, help_text: str, read: Callable[[], Mapping[str, float]], label: str = ""
    ) -> None:
        """Report what `read` returns at each scrape.

        Args:
            name: The metric's name; a name that ends in `_total` is a counter's, any other a gauge's.
            help_text: What it measures.
            read: Returns the known numbers by value of the label.
            label: The metric has a series for each value of this label; if it is empty, the metric has one
                series, read under ''.
        """

        def series() -> dict[tuple[str, ...], float]:
            return {(value,) if label else (): number for value, number in read().items()}

        self.registry.register(_Watched(name, help_text, (label,) if label else (), series))

    def count_calls(self, process: str, calls: Mapping[str, int]) -> None:
        """Add AWS calls of `process`, by `service:Operation`, and its comparisons, by `shadow:result`."""
        calls, compared = split_comparisons(calls)
        self._comparisons.add(compared)
        with self._lock:
            self._reported_calls.setdefault(process, Counts()).update(calls)

    def watch_calls(self, process: str, read: Callable[[], Mapping[str, int]]) -> None:
        """Report what `read` returns at each scrape: all AWS calls of `process` so far."""
        with self._lock:
            self._call_counters[process] = read

    def _aws_calls(self) -> dict[tuple[str, ...], float]:
        with self._lock:
            calls = {process: dict(counts) for process, counts in self._reported_calls.items()}
            counters = dict(self._call_counters)
        calls |= {process: dict(read()) for process, read in counters.items()}
        return {
            (process, *name.split(":", 1)): count
            for process, counts in calls.items()
            for name, count in counts.items()
        }

    def job_done(self, job: Job) -> None:
        """Count a job that has its outcome, with its times."""
        self.jobs.labels(str(job.status)).inc()
        self.done_count += 1
        if job.completed_at_s is not None:
            self.latency_seconds.observe(age_s(job.completed_at_s, job.created_at_s))
        if job.metrics is not None:
            self.wait_seconds.observe(job.metrics.queue_ms / 1000)
            self.service_seconds.observe(job.metrics.service_ms / 1000)
            self.infer_seconds.observe(job.metrics.infer_ms / 1000)
            self.batch_size.observe(job.metrics.batch_size)
            self._services.append(job.metrics.service_ms / 1000 / max(1, job.metrics.batch_size))

    def take_services(self) -> tuple[float, ...]:
        """Return how many seconds each message occupied its consumer, for the jobs since the last call."""
        taken = []
        while self._services:
            taken.append(self._services.popleft())
        return tuple(taken)

    def expose(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _histogram(
        self,
        name: str,
        help_text: str,
        *,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = _SECONDS,
    ) -> Histogram:
        return Histogram(name, help_text, labels, buckets=buckets, registry=self.registry)


class _Watched:
    """A metric whose series, by the values of their labels, are read at each scrape."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], read: _ReadSeries) -> None:
        self._about = (name, help_text)
        self._labels = labels
        self._read = read

    def collect(self) -> list[CounterMetricFamily | GaugeMetricFamily]:
        cls = CounterMetricFamily if self._about[0].endswith("_total") else GaugeMetricFamily
        family = cls(*self._about, labels=self._labels)
        for values, number in self._read().items():
            family.add_metric(values, number)
        return [family]
