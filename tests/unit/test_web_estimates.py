"""What a caller is told of an unfinished job: its place, when it may be done, and why."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from beholder.job import new_job_id
from beholder.scaling.policy.decision import Decision, Forecast
from beholder.scaling.records.record import Record
from beholder.scaling.records.snapshot import LatestRecord
from beholder.store.keys import image_key
from helpers.images import jpeg
from helpers.web_process import ASYNC, Web


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A process of its own: places in the queue and what was told are kept in it."""
    with Web(tmp_path) as web:
        yield web


def lead(web: Web, *, in_service: int, awaited_s: dict[str, float]) -> None:
    """Let a controller write its record."""
    forecast = Forecast(1.0, 0.5, 100.0, 130.0, 130.0, 0.0, 0.0, None)
    decision = Decision(2, 2, 2, 0, (), "enough", forecast)
    states = {"in_service": in_service, "pending": len(awaited_s)}
    LatestRecord(web.results).write(
        Record(web.clock.now_s(), "a", 0, 0, 0, states, 0, decision, awaited_s=awaited_s)
    )


def asked(web: Web, job_id: str) -> dict[str, object]:
    estimate: dict[str, object] = web.ask("GET", f"/v1/jobs/{job_id}").json["estimate"]
    return estimate


def test_a_job_that_waits_for_a_startup_is_told_so(web: Web) -> None:
    lead(web, in_service=0, awaited_s={"i-1": 5.0, "i-2": 5.0})
    ids = [web.ask("POST", "/v1/classify", jpeg(seed), **ASYNC).json["id"] for seed in range(3)]
    found = [asked(web, job_id) for job_id in ids]
    # A job that was on its way during a reading of the queue's depth may count twice.
    places = [int(str(one["place"])) for one in found]
    assert (places[0], places[1] >= 1, places[2] >= 2, places[2] <= 4) == (0, True, True, True)
    assert found[0]["eta_reason"] == "1 instance starting, 95 s left"
    assert found[0]["eta_s"] == pytest.approx(95.5)
    assert str(found[2]["eta_reason"]).endswith("jobs ahead")
    for one in found:
        low, eta_s, high = (one[name] for name in ("eta_from_s", "eta_s", "eta_until_s"))
        assert 0 <= low < eta_s < high  # type: ignore[operator]


def test_outcomes_say_how_often_the_interval_was_right(web: Web) -> None:
    lead(web, in_service=1, awaited_s={})
    ids = [web.ask("POST", "/v1/classify", jpeg(seed), **ASYNC).json["id"] for seed in range(3)]
    asked(web, ids[0])
    asked(web, ids[1])
    asked(web, ids[1])
    web.work()
    web.ask("GET", f"/v1/jobs/{ids[0]}")
    assert web.count("beholder_estimates_total", outcome="inside") == 1
    web.ask("GET", f"/v1/jobs/{ids[0]}")
    web.ask("GET", f"/v1/jobs/{ids[2]}")  # nothing was told of it
    assert web.count("beholder_estimates_total", outcome="inside") == 1
    late = web.ask("POST", "/v1/classify", jpeg(9), **ASYNC).json["id"]
    asked(web, late)
    web.clock.advance(5_000.0)
    web.work()
    assert "estimate" not in web.ask("GET", f"/v1/jobs/{late}").json
    assert web.count("beholder_estimates_total", outcome="outside") == 1


def test_another_process_tells_no_place(web: Web) -> None:
    lead(web, in_service=1, awaited_s={})
    job_id = new_job_id(web.clock.now_s())
    web.images.put(image_key(job_id, "a.jpg"), jpeg(1))
    found = asked(web, job_id)
    assert (found["place"], found["eta_from_s"]) == (None, 0.0)


def test_without_a_controller_the_rate_of_the_outcomes_is_what_is_known(web: Web) -> None:
    job_id = web.ask("POST", "/v1/classify", jpeg(1), **ASYNC).json["id"]
    found = asked(web, job_id)
    assert (found["place"], found["eta_reason"]) == (0, "an instance is free, or has the job")
