"""The metrics of a web process: what a finished job adds to them, and that their labels are bounded."""

import re

import pytest

from beholder.job import Job, JobStatus, Metrics
from beholder.telemetry.metrics import Telemetry

METRICS = Metrics(
    queue_ms=1500.0, decode_ms=5.0, infer_ms=20.0, service_ms=40.0, batch_size=4, receive_count=1
)


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def value(telemetry: Telemetry, series: str) -> float:
    found = re.findall(rf"^{re.escape(series)} (\S+)$", telemetry.expose().decode(), re.MULTILINE)
    assert len(found) == 1, f"{series} is there {len(found)} times"
    return float(found[0])


def test_a_finished_job_is_counted_with_its_times(telemetry: Telemetry) -> None:
    telemetry.job_done(Job("a", JobStatus.SUCCEEDED, 100.0, completed_at_s=102.0, metrics=METRICS))
    assert value(telemetry, 'beholder_jobs_total{state="succeeded"}') == 1
    assert value(telemetry, "beholder_job_latency_seconds_sum") == 2.0
    assert value(telemetry, "beholder_job_wait_seconds_sum") == 1.5
    assert value(telemetry, "beholder_job_service_seconds_sum") == pytest.approx(0.04)
    assert value(telemetry, "beholder_job_infer_seconds_sum") == pytest.approx(0.02)
    assert value(telemetry, 'beholder_batch_size_bucket{le="3.0"}') == 0
    assert value(telemetry, 'beholder_batch_size_bucket{le="4.0"}') == 1


def test_a_job_that_never_ran_adds_no_times(telemetry: Telemetry) -> None:
    telemetry.job_done(Job("a", JobStatus.EXPIRED, 100.0))
    assert value(telemetry, 'beholder_jobs_total{state="expired"}') == 1
    assert value(telemetry, "beholder_job_latency_seconds_count") == 0
    assert value(telemetry, "beholder_job_wait_seconds_count") == 0


def test_clocks_that_disagree_make_no_negative_time(telemetry: Telemetry) -> None:
    telemetry.job_done(Job("a", JobStatus.FAILED, 100.0, completed_at_s=99.5))
    assert value(telemetry, "beholder_job_latency_seconds_sum") == 0


@pytest.mark.parametrize("state", ["queued", "succeeded", "failed", "expired"])
def test_a_state_is_there_before_its_first_job(telemetry: Telemetry, state: str) -> None:
    assert value(telemetry, f'beholder_jobs_total{{state="{state}"}}') == 0


def test_what_is_watched_is_read_at_each_scrape(telemetry: Telemetry) -> None:
    depth = {"backlog": 3.0, "in_flight": 1.0}
    telemetry.watch("beholder_queue_depth", "Messages.", lambda: depth, "state")
    assert value(telemetry, 'beholder_queue_depth{state="backlog"}') == 3
    depth["backlog"] = 5.0
    assert value(telemetry, 'beholder_queue_depth{state="backlog"}') == 5
    depth.clear()
    assert "beholder_queue_depth{" not in telemetry.expose().decode()


def calls(process: str, service: str, operation: str) -> str:
    return f'beholder_aws_calls_total{{operation="{operation}",process="{process}",service="{service}"}}'


def test_reported_calls_are_added_up_and_watched_ones_are_read(telemetry: Telemetry) -> None:
    web = {"sqs:SendMessageBatch": 5}
    telemetry.watch_calls("web", lambda: web)
    telemetry.count_calls("worker", {"s3:PutObject": 2})
    telemetry.count_calls("worker", {"s3:PutObject": 3, "sqs:ReceiveMessage": 1})
    assert value(telemetry, calls("worker", "s3", "PutObject")) == 5
    assert value(telemetry, calls("worker", "sqs", "ReceiveMessage")) == 1
    assert value(telemetry, calls("web", "sqs", "SendMessageBatch")) == 5
    web["sqs:SendMessageBatch"] = 6
    assert value(telemetry, calls("web", "sqs", "SendMessageBatch")) == 6


def test_two_web_tiers_in_one_process_count_apart(telemetry: Telemetry) -> None:
    telemetry.jobs.labels("queued").inc()
    assert value(Telemetry(), 'beholder_jobs_total{state="queued"}') == 0


def test_every_metric_explains_itself(telemetry: Telemetry) -> None:
    text = telemetry.expose().decode()
    names = set(re.findall(r"^# TYPE (beholder_\w+) ", text, re.MULTILINE))
    explained = dict(re.findall(r"^# HELP (beholder_\w+) (.+)$", text, re.MULTILINE))
    assert names == set(explained)
    assert len(names) >= 10
