"""A job that a living worker of this machine has is `running`, and never again once it has its outcome."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from beholder.job import JobInput, Message
from beholder.model.port import Preprocessing
from beholder.queue.port import Received
from beholder.store.keys import image_prefix
from beholder.worker.journal import InFlightJournal, read_running
from helpers.images import jpeg
from helpers.rig import prepare
from helpers.web_process import ASYNC, Web


def state(web: Web, job_id: str) -> tuple[str, Any]:
    found = web.ask("GET", f"/v1/jobs/{job_id}").json
    return found["status"], found["started_at"]


def message_of(web: Web, job_id: str) -> Message:
    (image,) = web.images.list(image_prefix(job_id))
    return Message(job_id, web.clock.now_s(), JobInput(image.key, "a.jpg", image.size_bytes))


def test_a_job_runs_while_a_worker_has_it(web: Web) -> None:
    job_id = web.ask("POST", "/v1/classify", jpeg(1), **ASYNC).json["id"]
    other_id = web.ask("POST", "/v1/classify", jpeg(2), **ASYNC).json["id"]
    seen: list[Any] = []

    def look(data: bytes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        seen.append(state(web, job_id))
        listed = web.ask("GET", "/v1/jobs?status=running").json["items"]
        seen.append([(one["id"], one["started_at"]) for one in listed])
        return prepare(data, preprocessing)

    assert state(web, job_id) == ("queued", None)
    web.clock.advance(3.0)
    web.begun("worker-web", batch_max=1, prepare=look).tick()
    status, started_at = state(web, job_id)
    assert status == "succeeded"
    assert seen == [("running", started_at), [(job_id, started_at)]]
    assert state(web, other_id) == ("queued", None)


def test_a_caller_whose_wait_ends_while_its_job_runs_is_told_so(web: Web) -> None:
    answers = []

    def look(data: bytes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        answers.append(asked.result(60))
        return prepare(data, preprocessing)

    asked = web.begin("POST", "/v1/classify", jpeg(1), prefer="wait=1")
    web.begun("worker-web", wait_s=60.0, prepare=look).tick()
    (answer,) = answers
    assert (answer.status, answer.json["status"]) == (202, "running")


def test_what_a_dead_worker_had_is_queued_and_what_has_an_outcome_stays(web: Web) -> None:
    job_ids = [web.ask("POST", "/v1/classify", jpeg(seed), **ASYNC).json["id"] for seed in range(2)]
    web.ask("POST", f"/v1/jobs/{job_ids[1]}/cancel")
    held = [Received(message_of(web, one).to_bytes(), one, 1) for one in job_ids]
    path = web.in_flight_path()
    journal = InFlightJournal(path, web.clock)
    journal.hold([*held, Received(b"no message", "x", 1)])
    web.clock.advance(5.0)
    journal.hold(held)
    assert read_running(web.folder) == dict.fromkeys(job_ids, web.clock.now_s() - 5.0)
    assert state(web, job_ids[0])[0] == "running"
    assert state(web, job_ids[1])[0] == "canceled"
    with path.open("r+b") as file:
        file.truncate(40)
    assert state(web, job_ids[0]) == ("queued", None)
    journal.hold(held)
    assert state(web, job_ids[0])[0] == "running"
    canceled = web.ask("POST", f"/v1/jobs/{job_ids[0]}/cancel").json
    assert (canceled["status"], canceled["started_at"] is None) == ("canceled", False)
    journal.close()  # as its worker's death does
    assert read_running(web.folder) == {}
