"""Job ids: they sort by time, and an idempotency key always gives the same one."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beholder.job import is_job_id, new_job_id
from beholder.job.ids import created_at_s, job_id_from_key

pytestmark = pytest.mark.pure

TIMES = st.floats(0, 200_000_000_000)  # 48 bits of milliseconds last until the year 10889


@given(now_s=TIMES)
def test_an_id_contains_the_time_at_which_it_was_made(now_s: float) -> None:
    job_id = new_job_id(now_s)
    assert created_at_s(job_id) == pytest.approx(now_s, abs=0.001)
    assert is_job_id(job_id)
    assert uuid.UUID(job_id).variant == uuid.RFC_4122


@given(earlier_s=TIMES, later_s=TIMES)
def test_ids_sort_by_time(earlier_s: float, later_s: float) -> None:
    if int(earlier_s * 1000) < int(later_s * 1000):
        assert new_job_id(earlier_s) < new_job_id(later_s)


def test_no_two_ids_of_one_moment_are_the_same() -> None:
    assert len({new_job_id(1.0) for _ in range(10_000)}) == 10_000


@given(caller=st.text(), key=st.text())
def test_a_key_always_gives_the_same_id(caller: str, key: str) -> None:
    first = job_id_from_key(caller, key, epoch_s=0.0)
    assert first == job_id_from_key(caller, key, epoch_s=0.0)
    assert is_job_id(first)
    assert created_at_s(first) == 0.0
    assert first != job_id_from_key(caller, key + "x", epoch_s=0.0)
    assert first != job_id_from_key(caller + "x", key, epoch_s=0.0)
    assert first != job_id_from_key(caller, key, epoch_s=1.0)


@given(text=st.text(min_size=2), cut=st.data())
def test_the_end_of_a_caller_is_not_the_start_of_a_key(text: str, cut: st.DataObject) -> None:
    one = cut.draw(st.integers(0, len(text)))
    other = cut.draw(st.integers(0, len(text)))
    ids = {job_id_from_key(text[:at], text[at:], epoch_s=0.0) for at in (one, other)}
    assert len(ids) == len({one, other})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "../../etc/passwd",
        "01a2044c-59ba-4d16-a9c4-3e550b250342",
        "01A2044C-59BA-7D16-A9C4-3E550B250342",
        "{01a2044c-59ba-7d16-a9c4-3e550b250342}",
        "urn:uuid:01a2044c-59ba-7d16-a9c4-3e550b250342",
        "01a2044c59ba7d16a9c43e550b250342",
        "01a2044c-59ba-7d16-09c4-3e550b250342",
        "01a2044c-59ba-7d16-a9c4-3e550b250342\n",
        "\u0660" * 36,
    ],
)
def test_other_texts_are_no_job_ids(text: str) -> None:
    assert not is_job_id(text)


@given(text=st.text(max_size=40))
def test_any_text_can_be_asked(text: str) -> None:
    assert isinstance(is_job_id(text), bool)
