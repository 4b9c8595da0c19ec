"""Dead letters over HTTP: listed with their reasons, and sent back once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beholder.dead_letters.writer import DeadLetterWriter
from beholder.web.openapi.document import build_openapi
from beholder.web.ports import WebPorts
from helpers.asgi import Answer
from helpers.openapi import faults, schema
from helpers.rig import Rig
from helpers.web import Ask, ask, memory_ports


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def ports_of(rig: Rig) -> WebPorts:
    return replace(memory_ports(), queue=rig.queue, results=rig.results, images=rig.images, clock=rig.clock)


def answer(ports: WebPorts, method: str, path: str) -> Answer:
    (found,) = ask(ports, Ask(method, path))
    return found


def dead(rig: Rig) -> str:
    """Let a job be given up; return its id."""
    message = rig.send(b"cat")
    for one in rig.queue.receive(count_max=10, wait_s=0):
        rig.queue.ack([one.receipt])
    writer = DeadLetterWriter(rig.results, rig.replies.__getitem__, rig.clock, input_bucket="")
    writer.give_up(message.to_bytes(), "the worker crashed three times")
    return message.job_id


def listed(ports: WebPorts) -> dict[str, Any]:
    found = answer(ports, "GET", "/v1/dead-letters")
    document = build_openapi(ports)
    assert found.status == 200
    assert faults(document, schema(document, "DeadLetters"), found.json) == []
    return dict(found.json)


def test_a_letter_is_listed_with_its_reason_and_sent_back_once(rig: Rig) -> None:
    # given
    ports, job_id = ports_of(rig), dead(rig)
    # then
    assert [(one["id"], one["reason"]) for one in listed(ports)["items"]] == [
        (job_id, "the worker crashed three times")
    ]
    # when
    done = answer(ports, "POST", f"/v1/dead-letters/{job_id}/redrive")
    # then
    assert (done.status, done.json["action"]) == (200, "send")
    assert listed(ports) == {"total": 0, "items": []}
    assert rig.queue.depth().backlog == 1
    # when: once more
    again = answer(ports, "POST", f"/v1/dead-letters/{job_id}/redrive")
    # then
    assert (again.status, again.json["code"]) == (404, "dead_letter_not_found")
    assert rig.queue.depth().backlog == 1


def test_the_newest_come_first(rig: Rig) -> None:
    first = dead(rig)
    rig.clock.advance(60)
    second = dead(rig)
    assert [one["id"] for one in listed(ports_of(rig))["items"]] == [second, first]
