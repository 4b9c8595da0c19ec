"""What the caller learns of a failed job, and what the worker's log has."""

import logging
from pathlib import Path
from typing import Any

import pytest

from beholder.errors import ImageUndecodable, InferenceFailed, JobError
from helpers import rig as rigs
from helpers.rig import Rig

SAID = "OpenCV(4.9) /io/opencv/loadsave.cpp:7: error: odd marker"


# If the service is at fault, the cause is logged at every log level.
@pytest.mark.parametrize(
    ("failure", "level"), [(ImageUndecodable, logging.INFO), (InferenceFailed, logging.ERROR)]
)
def test_what_a_library_said_is_in_the_log_and_not_in_the_job(
    failure: type[JobError],
    level: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # given
    def prepare(*_: Any) -> Any:
        raise failure(f"it cannot be decoded ({SAID}); export it again") from ValueError(SAID)

    monkeypatch.setattr(rigs, "prepare", prepare)
    caplog.set_level(logging.INFO)
    rig = Rig(tmp_path)
    worker = rig.begun()
    message = rig.send(b"cat")
    # when
    worker.tick()
    # then
    error = rig.result(message)["error"]
    assert error == {"code": failure.code, "status": failure.http_status, "detail": failure().message}
    assert rig.replied()[0]["error"] == error
    (record,) = [one for one in caplog.records if getattr(one, "action", "") == "worker.job_failed"]
    assert SAID in record.message
    assert record.levelno == level
    assert record.facts == {"code": failure.code, "job_id": message.job_id}  # type: ignore[attr-defined]
