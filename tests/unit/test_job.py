"""The job object and its JSON form."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.job import Failure, Job, JobInput, JobStatus, Label, Metrics, Options
from beholder.job.job import Result

# To the millisecond, as the JSON form keeps them; from 1970 to 2286.
TIMES = st.integers(0, 9_999_999_999_999).map(lambda ms: ms / 1000)
MS = st.floats(0, 1e9)
OPTIONS = st.builds(Options, model=st.none() | st.text(), top_k=st.integers(), min_confidence=MS)
LABELS = st.lists(st.builds(Label, st.text(), st.integers(), MS), max_size=3).map(tuple)
JOBS = st.builds(
    Job,
    id=st.text(),
    status=st.sampled_from(JobStatus),
    created_at_s=TIMES,
    input=st.none() | st.builds(JobInput, st.text(), st.text(), st.integers(), OPTIONS),
    started_at_s=st.none() | TIMES,
    completed_at_s=st.none() | TIMES,
    model=st.none() | st.text(min_size=1),
    model_version=st.none() | st.text(),
    result=st.none() | st.builds(Result, LABELS),
    error=st.none() | st.builds(Failure, st.text(), st.integers(), st.text()),
    metrics=st.none() | st.builds(Metrics, MS, MS, MS, MS, st.integers(), st.integers()),
)


@given(job=JOBS)
def test_the_json_form_is_read_back(job: Job) -> None:
    document = job.to_dict()
    read = Job.from_dict(json.loads(json.dumps(document)))
    assert read.to_dict() == document
    assert read == job


def test_a_job_of_its_defaults_has_every_member() -> None:
    assert Job("an-id", JobStatus.QUEUED, 1_000_000_000.25).to_dict() == {
        "id": "an-id",
        "status": "queued",
        "created_at": "2001-09-09T01:46:40.250Z",
        "started_at": None,
        "completed_at": None,
        "model": None,
        "model_version": None,
        "input": None,
        "result": None,
        "error": None,
        "metrics": None,
        "urls": {"get": "/v1/jobs/an-id"},
    }


def test_a_result_without_labels_is_not_a_missing_result() -> None:
    none = Job("an-id", JobStatus.SUCCEEDED, 0.0, result=Result(()))
    assert none.to_dict()["result"] == {"labels": [], "embedding": None}
    assert Job.from_dict(none.to_dict()).result == Result(())


def test_four_states_are_terminal() -> None:
    assert {status for status in JobStatus if status.is_terminal} == {
        JobStatus.SUCCEEDED,
        JobStatus.FAILED,
        JobStatus.CANCELED,
        JobStatus.EXPIRED,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"status": "done"},
        {"created_at": "yesterday"},
        {"created_at": 5},
        {"input": {"options": {}}},
        {"input": {"options": 5}},
        {"input": "x"},
        {"result": {"names": []}},
        {"result": {"labels": [{"name": "cat"}]}},
        {"error": {"code": "x"}},
        {"metrics": [1]},
        {"metrics": {"queue_ms": 1.0, "colour": "red"}},
    ],
)
def test_a_malformed_job_is_refused(change: dict[str, Any]) -> None:
    document = Job("an-id", JobStatus.QUEUED, 0.0).to_dict()
    with pytest.raises((KeyError, TypeError, ValueError)):
        Job.from_dict(document | change)


@pytest.mark.parametrize("member", ["id", "status", "created_at", "model", "input", "result", "error"])
def test_a_missing_member_is_refused(member: str) -> None:
    document = Job("an-id", JobStatus.QUEUED, 0.0).to_dict()
    del document[member]
    with pytest.raises(KeyError):
        Job.from_dict(document)


def test_a_member_of_a_later_version_is_ignored() -> None:
    job = Job("an-id", JobStatus.QUEUED, 0.0)
    assert Job.from_dict(job.to_dict() | {"colour": "red"}) == job
