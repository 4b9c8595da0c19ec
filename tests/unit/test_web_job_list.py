"""`GET /v1/jobs`: pages, filters, and what is refused."""

import pytest

from beholder.clock import utc_text
from helpers.images import jpeg
from helpers.web_process import ASYNC, Web, is_problem


def listed(web: Web, query: str = "") -> list[str]:
    answer = web.ask("GET", f"/v1/jobs{query}")
    assert answer.status == 200
    return [one["id"] for one in answer.json["items"]]


@pytest.fixture
def ids(web: Web) -> list[str]:
    """Four new jobs, newest first: queued, canceled, and two that succeeded."""
    web.clock.advance(3600.0)
    made = []
    for seed in range(4):
        web.clock.advance(1.0)
        made.append(web.ask("POST", "/v1/classify", jpeg(seed), **ASYNC).json["id"])
        if seed in (0, 1):
            web.work()
    web.ask("POST", f"/v1/jobs/{made[2]}/cancel")
    return made[::-1]


def test_jobs_are_listed_newest_first_as_a_get_shows_them(web: Web, ids: list[str]) -> None:
    answer = web.ask("GET", "/v1/jobs?limit=4")
    assert [one["id"] for one in answer.json["items"]] == ids
    for one in answer.json["items"]:
        shown = web.ask("GET", f"/v1/jobs/{one['id']}").json
        shown.pop("estimate", None)
        assert one == shown
    first = web.ask("GET", "/v1/jobs?limit=3").json
    assert first["next"] == ids[2]
    assert listed(web, f"?limit=1&cursor={first['next']}") == ids[3:]


def test_jobs_are_filtered_by_status_label_and_time(web: Web, ids: list[str]) -> None:
    now_s = web.clock.now_s()
    since = f"since={utc_text(now_s - 60)}"
    assert listed(web, f"?{since}") == ids
    assert listed(web, f"?{since}&status=queued") == ids[:1]
    assert listed(web, f"?{since}&status=canceled") == ids[1:2]
    assert listed(web, f"?{since}&label=cat&status=succeeded") == listed(web, f"?{since}&label=cat")
    assert listed(web, f"?{since}&label=unicorn") == []
    assert listed(web, f"?{since}&until={utc_text(now_s - 1)}") == ids[2:]


def test_a_deleted_job_is_not_listed(web: Web, ids: list[str]) -> None:
    assert web.ask("DELETE", f"/v1/jobs/{ids[1]}").status == 204
    assert listed(web, "?limit=3") == [ids[0], ids[2], ids[3]]


def test_listing_sends_no_message(web: Web) -> None:
    web.ask("POST", "/v1/classify", jpeg(1), **ASYNC)
    web.clock.advance(7200.0)
    web.recorder.calls.clear()
    listed(web)
    assert not [one for one in web.recorder.calls if one.startswith("queue.send") or one.endswith(".put")]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?limit=0", "bad_parameter"),
        ("?limit=101", "bad_parameter"),
        ("?cursor=x", "bad_parameter"),
        ("?status=done", "bad_parameter"),
        ("?since=yesterday", "bad_parameter"),
        ("?tag=two%20words", "bad_parameter"),
        ("?since=2026-11-30", "bad_parameter"),
        ("?state=failed", "parameter_unknown"),
        ("?limit=1&limit=2", "parameter_repeated"),
    ],
)
def test_what_cannot_be_listed_is_refused(web: Web, query: str, code: str) -> None:
    assert is_problem(web.ask("GET", f"/v1/jobs{query}"), 400, code)
