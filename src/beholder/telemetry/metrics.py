"""The Prometheus metrics of one web process.

Figures of workers arrive in the replies: each carries its job's times and batch size, so that processes share
neither a file nor a port.
"""

import threading
from collections import Counter as Counts
from collections import deque
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from beholder.clock import age_s
from beholder.job import Job

__all__ = ["Telemetry"]

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60, 300)
_Family = CounterMetricFamily | GaugeMetricFamily
_SERVICES_MAX = 64
_BATCH = (1, 2, 3, 4, 6, 8, 10, 16)


class Telemetry:
    """Counters and histograms of the web tier and, through the replies, of the workers behind it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "beholder_requests_total",
            "HTTP requests answered.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "beholder_request_seconds",
            "From a request's head to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.jobs = Counter(
            "beholder_jobs_total",
            "Jobs by state: queued when taken in, then their outcome.",
            ["state"],
            registry=self.registry,
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
        self.batch_size = Histogram(
            "beholder_batch_size",
            "Images in the batch that held the job's image.",
            buckets=_BATCH,
            registry=self.registry,
        )
        self.waiting = Gauge(
            "beholder_waiting_requests", "Requests that wait for their job.", registry=self.registry
        )
        self.upload_bytes = Gauge(
            "beholder_upload_bytes", "Bytes of uploads held in memory.", registry=self.registry
        )
        self._aws_calls = _AwsCalls(self.registry)
        self._services: deque[float] = deque(maxlen=_SERVICES_MAX)
        self._fill()

    def watch(
        self,
        name: str,
        help_text: str,
        label: str,
        read: Callable[[], dict[str, float]],
        *,
        is_counter: bool = False,
    ) -> None:
        """Report what `read` returns at each scrape, as a gauge or a counter.

        Args:
            name: The metric's name.
            help_text: What it measures.
            label: Has a series for each of its values; if empty, there is one series, read under ''.
            read: Returns the known numbers by value of the label.
            is_counter: The numbers never decrease.
        """
        family = CounterMetricFamily if is_counter else GaugeMetricFamily
        labels = [label] if label else []
        self.registry.register(_Watched(lambda: family(name, help_text, labels=labels), read))

    def count_calls(self, process: str, calls: Mapping[str, int]) -> None:
        """Add AWS calls of `process`, by `service:Operation`."""
        self._aws_calls.add(process, calls)

    def watch_calls(self, process: str, read: Callable[[], Mapping[str, int]]) -> None:
        """Report what `read` returns at each scrape: all AWS calls of `process` so far."""
        self._aws_calls.watch(process, read)

    def job_done(self, job: Job) -> None:
        """Count a job that has its outcome, with its times."""
        self.jobs.labels(str(job.status)).inc()
        if job.completed_at_s is not None:
            self.latency_seconds.observe(age_s(job.completed_at_s, job.created_at_s))
        if job.metrics is not None:
            self.wait_seconds.observe(job.metrics.queue_ms / 1000)
            self.service_seconds.observe(job.metrics.service_ms / 1000)
            self.infer_seconds.observe(job.metrics.infer_ms / 1000)
            self.batch_size.observe(job.metrics.batch_size)
            self._services.append(job.metrics.service_ms / 1000 / max(1, job.metrics.batch_size))

    def take_services(self) -> tuple[float, ...]:
        """Return how many seconds each message kept its consumer busy, for jobs since the last call."""
        taken = []
        while self._services:
            taken.append(self._services.popleft())
        return tuple(taken)

    def _fill(self) -> None:
        for state in ("queued", "succeeded", "failed", "expired"):
            self.jobs.labels(state)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def expose(self) -> bytes:
        """Return everything in the Prometheus text format."""
        return generate_latest(self.registry)

    def _histogram(self, name: str, help_text: str) -> Histogram:
        return Histogram(name, help_text, buckets=_SECONDS, registry=self.registry)


class _AwsCalls:
    """A counter: some processes' calls are added, others' are read at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._added: dict[str, Counts[str]] = {}
        self._watched: dict[str, Callable[[], Mapping[str, int]]] = {}
        registry.register(self)

    def add(self, process: str, calls: Mapping[str, int]) -> None:
        with self._lock:
            self._added.setdefault(process, Counts()).update(calls)

    def watch(self, process: str, read: Callable[[], Mapping[str, int]]) -> None:
        with self._lock:
            self._watched[process] = read

    def collect(self) -> list[CounterMetricFamily]:
        family = CounterMetricFamily(
            "beholder_aws_calls_total", "Calls to AWS.", labels=["process", "service", "operation"]
        )
        with self._lock:
            calls = {process: dict(counts) for process, counts in self._added.items()}
            watched = dict(self._watched)
        for process, read in watched.items():
            calls[process] = dict(read())
        for process, counts in calls.items():
            for name, count in counts.items():
                service, _, operation = name.partition(":")
                family.add_metric([process, service, operation], count)
        return [family]


class _Watched:
    """A metric that is read at each scrape."""

    def __init__(self, family: Callable[[], _Family], read: Callable[[], dict[str, float]]) -> None:
        self._family = family
        self._read = read

    def collect(self) -> list[_Family]:
        family = self._family()
        for value, number in self._read().items():
            family.add_metric([value] if value else [], number)
        return [family]
