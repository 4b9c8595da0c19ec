"""Canceled, deleted, named and retried jobs over HTTP, across the death of all processes between steps."""

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from beholder.job import new_job_id
from helpers.images import jpeg
from helpers.service import Reply, RunningService

Start = Callable[..., RunningService]

ANSWER_S = 60.0


@pytest.fixture
def start_service(start_service: Start, tiny_model: Path) -> Start:
    return partial(start_service, model=tiny_model)


def statuses(service: RunningService, locations: list[str]) -> list[str | int]:
    """Return each job's status, or that of the answer if there is no such job."""
    replies = [service.get(location) for location in locations]
    return [reply.json["status"] for reply in replies]


def await_statuses(service: RunningService, locations: list[str], expected: list[str | int]) -> None:
    end_s = time.monotonic() + ANSWER_S
    while (found := statuses(service, locations)) != expected:
        assert time.monotonic() < end_s, found
        time.sleep(0.02)


def await_no_marks(service: RunningService) -> None:
    """Wait until a worker has received the messages of all canceled jobs."""
    end_s = time.monotonic() + ANSWER_S
    while found := list(service.data_dir.glob("buckets/*-output-bucket/results/canceled/*")):
        assert time.monotonic() < end_s, found
        time.sleep(0.02)


def files_of(service: RunningService, location: str) -> list[str]:
    """Return all files of a job."""
    job_id = location.rpartition("/")[2]
    found = (service.data_dir / "buckets").rglob(f"*{job_id}*")
    return sorted(path.name for path in found)


def put(service: RunningService, job_id: str, data: bytes) -> Reply:
    return service.request("PUT", f"/v1/jobs/{job_id}", data, {"prefer": "respond-async"})


def retried(service: RunningService, job_id: str) -> Reply:
    return service.request("POST", f"/v1/jobs/{job_id}/retry", headers={"prefer": "respond-async"})


def test_canceled_and_deleted_jobs_stay_so_whatever_dies(start_service: Start) -> None:
    # given: jobs that no worker takes yet
    service = start_service(workers=0)
    asked = [service.classify(jpeg(seed), prefer="respond-async") for seed in range(5)]
    locations = [reply.headers["location"] for reply in asked]
    assert service.request("POST", f"{locations[0]}/cancel").json["status"] == "canceled"
    assert service.request("POST", f"{locations[1]}/cancel").status == 200
    assert service.request("DELETE", locations[2]).status == 204
    named, cut = (new_job_id(time.time()) for _ in range(2))
    for job_id, data in ((named, jpeg(5)), (cut, jpeg(6)[:-100])):
        assert put(service, job_id, data).status == 202
    # when: everything dies, and workers come
    service.stop(signal.SIGKILL)
    service = start_service(data_dir=service.data_dir, workers=1)
    # then
    expected: list[str | int] = ["canceled", "canceled", 404, "succeeded", "succeeded"]
    await_statuses(service, locations, expected)
    await_no_marks(service)
    assert service.request("POST", f"{locations[3]}/cancel").status == 409
    await_statuses(service, [f"/v1/jobs/{named}", f"/v1/jobs/{cut}"], ["succeeded", "failed"])
    assert put(service, named, jpeg(5)).json["status"] == "succeeded"
    assert put(service, named, jpeg(7)).status == 422
    assert retried(service, named).status == 409
    again = retried(service, cut).headers["location"]
    # and when finished jobs are deleted, after another death
    service.stop(signal.SIGKILL)
    service = start_service(data_dir=service.data_dir, workers=1)
    await_statuses(service, [again], ["failed"])
    assert retried(service, cut).headers["location"] == again
    assert [service.request("DELETE", one).status for one in locations[1:4]] == [204] * 3
    service.stop(signal.SIGKILL)
    service = start_service(data_dir=service.data_dir, workers=0)
    assert statuses(service, locations) == ["canceled", 404, 404, 404, "succeeded"]
    listed = [job["id"] for job in service.get("/v1/jobs").json["items"]]
    here = [locations[0], locations[4], f"/v1/jobs/{named}", f"/v1/jobs/{cut}", again]
    assert listed == sorted((one.rpartition("/")[2] for one in here), reverse=True)
    job_id = locations[3].rpartition("/")[2]
    assert files_of(service, locations[3]) == [f"{job_id}.json"]
