"""What a failed job tells its caller, and what the worker's log tells of it."""

import logging
from pathlib import Path
from typing import Any

import pytest

from beholder.errors import ImageUndecodable
from helpers import rig as rigs
from helpers.rig import Rig

SAID = "OpenCV(4.9) /io/opencv/loadsave.cpp:7: error: odd marker"


def test_what_a_codec_said_is_in_the_log_and_not_in_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # given
    def prepare(*_: Any) -> Any:
        raise ImageUndecodable(f"it cannot be decoded ({SAID}); export it again") from ValueError(SAID)

    monkeypatch.setattr(rigs, "prepare", prepare)
    caplog.set_level(logging.INFO)
    rig = Rig(tmp_path)
    worker = rig.begun()
    message = rig.send(b"cat")
    # when
    worker.tick()
    # then
    error = rig.result(message)["error"]
    assert error == {"code": "image_undecodable", "status": 422, "detail": ImageUndecodable().message}
    assert rig.replied()[0]["error"] == error
    (record,) = [one for one in caplog.records if getattr(one, "action", "") == "worker.job_failed"]
    assert SAID in record.message
    assert record.facts == {"code": "image_undecodable", "job_id": message.job_id}  # type: ignore[attr-defined]
