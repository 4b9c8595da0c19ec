"""Several images in one form on /v1/classify: each is a job of its own, answered in its place."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beholder.errors import BackendUnavailable, ImageTruncated
from beholder.job import Message
from beholder.model.port import Preprocessing
from beholder.runner import Runner
from beholder.web.limits import WebLimits
from beholder.web.ports import WebPorts
from beholder.web.submission.form import IMAGE_FIELDS, Part, image_parts
from beholder.web.submission.reply_sources import PolledReplies
from helpers.asgi import Answer
from helpers.images import jpeg
from helpers.rig import Rig, prepare
from helpers.web import Ask, Breaking, ask, memory_ports

ONE, TWO, THREE = jpeg(1), jpeg(2), jpeg(3)
NOT_FOUND_BYTES = b"some text that is no image"
TYPE = "multipart/form-data; boundary=b"
CUT = ONE[:-100]
ASYNC = {"prefer": "respond-async"}
CLASSIFY = "/v1/classify"

Sent = tuple[str, bytes]


def file(data: bytes, file_name: str | None = "a.jpg", name: str = "file") -> Sent:
    named = f'name="{name}"' if file_name is None else f'name="{name}"; filename="{file_name}"'
    return named, data


def text(name: str, value: str) -> Sent:
    return f'name="{name}"', value.encode()


def asked(*parts: Sent, target: str = CLASSIFY, **headers: str) -> Ask:
    body = b"".join(
        b"--b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), data)
        for head, data in parts
    )
    return Ask("POST", target, body + b"--b--\r\n", {"content_type": TYPE, **ASYNC, **headers})


def post(*parts: Sent, ports: WebPorts | None = None, **more: str) -> Answer:
    (answer,) = ask(ports or memory_ports(), asked(*parts, **more))
    return answer


def prepare_or_fail(data: bytes, preprocessing: Preprocessing) -> Any:
    if data == CUT:
        raise ImageTruncated
    return prepare(data, preprocessing)


def said(item: dict[str, Any]) -> Any:
    """Return what an item says: the length of its image, or its error."""
    return item["input"]["image_bytes"] if "input" in item else item["code"]


def test_each_file_is_a_job_with_the_same_options_in_the_order_of_the_form() -> None:
    ports = memory_ports()
    answer = post(
        file(TWO, "b.jpg", "image"),
        text("top_k", "2"),
        file(ONE, "a.jpg", "myfile"),
        file(THREE, "b.jpg", "image"),
        ports=ports,
    )
    items = answer.json["items"]
    assert answer.status == 202
    assert list(map(said, items)) == [len(TWO), len(ONE), len(THREE)]
    assert [one["input"]["file_name"] for one in items] == ["b.jpg", "a.jpg", "b.jpg"]
    assert {one["input"]["options"]["top_k"] for one in items} == {2}
    assert len({one["id"] for one in items}) == 3
    assert "location" not in answer.headers
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["preference-applied"] == "respond-async"
    messages = [Message.from_bytes(one.body) for one in ports.queue.receive(count_max=10, wait_s=0)]
    assert {one.job_id for one in messages} == {one["id"] for one in items}


def test_a_caller_who_waits_gets_all_outcomes_and_their_status_is_200(tmp_path: Path) -> None:
    rig, runner = Rig(tmp_path), Runner()
    ports = memory_ports(
        queue=rig.queue,
        replies=PolledReplies(rig.replies["web-0"], wait_s=0.01),
        images=rig.images,
        results=rig.results,
        clock=rig.clock,
    )
    runner.start("worker", rig.worker(wait_s=0.01, prepare=prepare_or_fail).tick)
    try:
        # More images than a worker receives at once.
        answer = post(*[file(ONE), file(CUT), *[file(TWO)] * 4], ports=ports, prefer="wait=30")
    finally:
        runner.stop()
    good, bad, *others = answer.json["items"]
    assert (answer.status, good["status"], {one["status"] for one in others}) == (
        200,
        "succeeded",
        {"succeeded"},
    )
    assert (bad["code"], bad["job"]["status"]) == ("image_truncated", "failed")
    assert "retry-after" not in answer.headers


def test_one_file_is_answered_as_before() -> None:
    ports = memory_ports()
    raw = Ask("POST", f"{CLASSIFY}?file_name=a.jpg", ONE, {"content_type": "image/jpeg", **ASYNC})
    alone, form, with_empty = ask(ports, raw, asked(file(ONE)), asked(file(b"", "b.jpg"), file(ONE)))
    for answer in (form, with_empty):
        assert answer.headers["location"] == f"/v1/jobs/{answer.json['id']}"
        assert answer.body == alone.body.replace(alone.json["id"].encode(), answer.json["id"].encode())


def test_one_name_is_none_for_several_images() -> None:
    ports = memory_ports()
    several, one = ask(
        ports,
        asked(file(ONE), file(TWO), target=f"{CLASSIFY}?file_name=x.jpg"),
        asked(file(ONE), target=f"{CLASSIFY}?file_name=x.jpg"),
    )
    assert (several.status, several.json["code"], one.status) == (400, "bad_parameter", 202)
    assert "several in its own part" in several.json["detail"]
    assert one.json["input"]["file_name"] == "x.jpg"


def test_a_bad_image_does_not_spoil_the_others() -> None:
    answer = post(file(ONE), file(NOT_FOUND_BYTES), file(b"", "c.jpg"), file(ONE[:40]), file(THREE))
    items = answer.json["items"]
    assert [said(one) for one in items[:3]] == [len(ONE), "image_type_unsupported", "image_missing"]
    assert said(items[4]) == len(THREE)
    assert items[3]["status"] in (400, 422)
    assert {one["request_id"] for one in items[1:4]} == {answer.headers["x-request-id"]}


def test_an_answer_of_refused_images_alone_is_a_list_too() -> None:
    answer = post(file(NOT_FOUND_BYTES), file(NOT_FOUND_BYTES))
    assert answer.status == 200
    assert list(map(said, answer.json["items"])) == ["image_type_unsupported"] * 2


def test_a_field_that_was_not_filled_in_does_not_count() -> None:
    answer = post(file(b"", "", "image"), file(ONE), text("image", ""), file(TWO), file(b"", None))
    assert list(map(said, answer.json["items"])) == [len(ONE), len(TWO)]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([file(ONE), file(TWO, "b.jpg", "photo")], "parameter_unknown"),
        ([file(ONE), file(b"notes", "a.txt", "notes")], "parameter_unknown"),
        ([file(ONE), file(TWO), text("topk", "2")], "parameter_unknown"),
        ([file(ONE), file(TWO), text("top_k", "2"), text("top_k", "2")], "parameter_repeated"),
        ([file(ONE), file(TWO), text("top_k", "none")], "bad_parameter"),
        ([file(NOT_FOUND_BYTES), file(NOT_FOUND_BYTES), text("topk", "2")], "parameter_unknown"),
        ([file(ONE)] * 4, "images_too_many"),
        ([file(ONE), file(TWO), file(b"\r\n--c\r\nContent-Type: a\r\n\r\nx")], "images_too_many"),
    ],
)
def test_a_form_that_is_wrong_as_a_whole_makes_no_job(parts: list[Sent], code: str) -> None:
    ports = memory_ports(limits=WebLimits(multipart_images_max=3))
    answer = post(*parts, ports=ports)
    assert (answer.status, answer.json["code"]) == (400, code)
    assert ports.queue.depth().backlog == 0


def test_the_body_is_no_longer_than_for_one() -> None:
    limits = WebLimits()
    half = bytes(limits.image.image_bytes_max // 2 + limits.multipart_overhead_bytes_max)
    answer = post(file(half), file(half))
    assert (answer.status, answer.json["code"]) == (413, "image_too_large")


def test_each_image_is_admitted_by_itself() -> None:
    ports = memory_ports(limits=WebLimits(backlog_max=4, asynchronous_share=0.5))
    some = post(file(ONE), file(TWO), file(THREE), ports=ports)
    assert some.status == 202
    assert list(map(said, some.json["items"])) == [len(ONE), len(TWO), "overloaded"]
    none = post(file(ONE), file(TWO), ports=ports)
    assert (none.status, none.json["code"]) == (503, "overloaded")
    assert int(none.headers["retry-after"]) >= 1
    assert ports.queue.depth().backlog == 2


def test_a_store_that_is_down_is_answered_as_for_one() -> None:
    broken = Breaking(BackendUnavailable("a store", "put"))
    answer = post(file(ONE), file(TWO), ports=memory_ports(images=broken, results=broken))
    assert (answer.status, answer.json["code"]) == (503, "backend_unavailable")


def test_a_repetition_with_the_key_makes_no_second_job() -> None:
    ports, key = memory_ports(), {"idempotency_key": "k"}
    first, again, longer, other, alone = ask(
        ports,
        asked(file(ONE), file(ONE), **key),
        asked(file(ONE), file(ONE), **key),
        asked(file(ONE), file(ONE), file(TWO), **key),
        asked(file(ONE), file(TWO), **key),
        asked(file(ONE), **key),
    )
    ids = [one["id"] for one in first.json["items"]]
    assert len(set(ids)) == 2
    assert (again.status, again.json["code"]) == (409, "idempotency_key_in_use")
    assert list(map(said, longer.json["items"])) == ["idempotency_key_in_use"] * 2 + [len(TWO)]
    # Nothing is accepted, and another try of the first image may have its outcome.
    assert (other.status, other.json["code"]) == (409, "idempotency_key_in_use")
    assert (alone.status, alone.json["code"]) == (409, "idempotency_key_in_use")
    assert ports.queue.depth().backlog == 3


def test_a_repetition_beside_a_finished_job_is_not_finished_while_another_runs(tmp_path: Path) -> None:
    # given the first image of a form is classified, and the second waits
    rig, key = Rig(tmp_path), {"idempotency_key": "k"}
    ports = memory_ports(queue=rig.queue, images=rig.images, results=rig.results, clock=rig.clock)
    post(file(ONE), ports=ports, **key)
    rig.begun(wait_s=0.01).tick()
    first = post(file(ONE), file(TWO), ports=ports, **key)
    # when
    again = post(file(ONE), file(TWO), ports=ports, **key)
    # then
    assert [one["status"] for one in first.json["items"]] == ["succeeded", "queued"]
    assert list(map(said, again.json["items"])) == [len(ONE), "idempotency_key_in_use"]
    assert (first.status, again.status) == (202, 202)


def test_another_image_with_the_key_is_a_conflict_in_its_place_alone() -> None:
    ports, key = memory_ports(), {"idempotency_key": "k"}
    _, other = ask(ports, asked(file(ONE), **key), asked(file(TWO), file(THREE), **key))
    assert other.status == 202
    assert list(map(said, other.json["items"])) == ["idempotency_key_reused", len(THREE)]


def test_the_key_of_a_later_image_is_no_callers_key() -> None:
    ports = memory_ports()
    several, *others = ask(
        ports,
        asked(file(ONE), file(TWO), idempotency_key="k"),
        *(asked(file(TWO), idempotency_key=key) for key in ("k1", "k 1", "k-1", 'k"1')),
    )
    ids = {one["id"] for one in several.json["items"]} | {one.json["id"] for one in others}
    assert len(ids) == 6


def test_the_bytes_of_a_form_are_free_once_its_jobs_are_stored() -> None:
    ports = memory_ports()
    body = asked(file(ONE), file(TWO), file(THREE))
    budget = WebLimits(uploads_bytes_max=len(body.body))
    answers = ask(memory_ports(limits=budget, telemetry=ports.telemetry), body, body, body)
    assert [one.status for one in answers] == [202, 202, 202]


@st.composite
def forms(draw: st.DrawFn) -> list[Part]:
    """Forms of files and texts, some in other fields, some empty."""
    return [
        Part(
            draw(st.sampled_from((*IMAGE_FIELDS, "photo", "top_k"))),
            draw(st.sampled_from((None, "", "a.jpg"))),
            draw(st.sampled_from((b"", b"a text", ONE[:200]))),
        )
        for _ in range(draw(st.integers(0, 7)))
    ]


@settings(max_examples=300, database=None, derandomize=True)
@given(parts=forms(), count_max=st.integers(1, 5))
def test_every_file_of_a_form_counts_once_in_its_order(parts: list[Part], count_max: int) -> None:
    files = [one for one in parts if one.is_file and one.data]
    try:
        found = image_parts(parts, count_max=count_max)
    except Exception as exc:  # noqa: BLE001 -- the code says which error it is
        code = getattr(exc, "code", "")
        strangers = any(one.name not in IMAGE_FIELDS for one in files)
        if len(files) <= 1:
            assert code == "image_missing"
        else:
            assert code == ("parameter_unknown" if strangers else "images_too_many")
        return
    places = [next(at for at, part in enumerate(parts) if part is one) for one in found]
    assert places == sorted(set(places))
    if len(files) > 1:
        assert [one for one in found if one.data] == files
        assert len(found) <= count_max
        assert all(one.data or one.file_name for one in found)
    else:
        assert len(found) == 1
        assert found[0] in files or not files
