"""Reading the image out of a request: raw bodies, forms as clients really write them, and hostile ones."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from beholder.errors import (
    ImageMissing,
    ImagesTooMany,
    ImageTooLarge,
    MultipartMalformed,
    Overloaded,
    RequestError,
    UploadTooSlow,
)
from beholder.model.decode.limits import ImageLimits
from beholder.telemetry.metrics import Telemetry
from beholder.web.limits import WebLimits
from beholder.web.submission.form import IMAGE_FIELDS, header_parameters, split_form
from beholder.web.submission.upload import Upload, find_image, read_body
from beholder.web.submission.upload_budget import UploadBudget

LIMITS = WebLimits(
    image=ImageLimits(image_bytes_max=1000), multipart_overhead_bytes_max=500, multipart_parts_max=5
)
FORM = "multipart/form-data; boundary=b"
BUDGET_BYTES = 3000


def headers(named: dict[str, str]) -> Headers:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in named.items()]
    return Headers(raw=raw)


def form(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    """Return a form; each part is what stands behind `form-data; ` and its data."""
    return (
        b"".join(
            b"--b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), data)
            for head, data in parts
        )
        + end
    )


def read(body: bytes, content_type: str = FORM) -> Upload:
    return find_image(headers({"content-type": content_type}), body, LIMITS)


# --- forms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IMAGE_FIELDS)
def test_the_image_is_found_under_each_of_its_names(name: str) -> None:
    upload = read(form((f'name="{name}"; filename="a.jpg"', b"data")))
    assert (upload.data, upload.file_name, upload.fields) == (b"data", "a.jpg", {})


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ('filename="a b.jpg"', "a b.jpg"),
        ("filename=a.jpg", "a.jpg"),
        ('filename="a;b=c.jpg"', "a;b=c.jpg"),
        (r'filename="a\"b.jpg"', 'a"b.jpg'),
        ('filename="猫 é.jpg"', "猫 é.jpg"),
        ('filename=""', "image"),
        ('filename="../../etc/passwd"', "../../etc/passwd"),
    ],
)
def test_file_names_are_read_as_browsers_write_them(written: str, read_as: str) -> None:
    assert read(form((f'name="myfile"; {written}', b"data"))).file_name == read_as


def test_a_file_name_that_is_no_utf_8_is_replaced_where_it_is_broken() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="\xe9.jpg"\r\n\r\nx\r\n--b--\r\n'
    assert read(body).file_name == "\ufffd.jpg"


def test_text_fields_come_with_the_image_in_any_order() -> None:
    upload = read(
        form(
            ('name="top_k"', b"3"),
            ('name="image"; filename="a.jpg"', b"data"),
            ('name="model"', "müller".encode()),
            ('name="other"; filename="b.txt"', b""),
            ('name="empty"', b""),
        )
    )
    assert upload.data == b"data"
    assert upload.fields == {"top_k": "3", "model": "müller"}


def test_several_images_are_refused() -> None:
    with pytest.raises(ImagesTooMany, match=r"2 files \('file', 'myfile'\)"):
        read(form(('name="file"; filename="1.jpg"', b"one"), ('name="myfile"; filename="2.jpg"', b"two")))


def test_an_image_sent_as_a_text_field_is_an_image() -> None:
    upload = read(form(('name="image"', b"\xff\xd8data")))
    assert (upload.data, upload.file_name) == (b"\xff\xd8data", "image")


@pytest.mark.parametrize("data", [b"", b"\r\n", b"--b", b"\r\n--", b"\r\n--c--\r\n", b"\x00" * 900, b"--b--"])
def test_data_that_looks_like_a_boundary_is_data(data: bytes) -> None:
    body = form(('name="file"; filename="a.jpg"', data or b"x"))
    assert read(body).data == (data or b"x")


def test_a_part_may_have_further_headers_in_any_case() -> None:
    body = (
        b"--b\r\ncontent-type: image/jpeg\r\nCONTENT-DISPOSITION: form-data; name=file; filename=a.jpg\r\n"
        b"X-Thing: y\r\n\r\ndata\r\n--b--\r\n"
    )
    upload = read(body)
    assert (upload.data, upload.file_name) == (b"data", "a.jpg")


def test_text_before_the_first_boundary_and_after_the_last_is_no_part() -> None:
    body = b"\r\n" + form(('name="file"', b"data")) + b"and an epilogue"
    assert read(body).data == b"data"


def test_a_boundary_may_be_quoted() -> None:
    assert read(form(('name="file"', b"data")), 'Multipart/Form-Data; boundary="b"').data == b"data"


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (form(('name="file"', b"x")), "multipart/form-data", "names no boundary"),
        (form(('name="file"', b"x")), "multipart/form-data; boundary=", "names no boundary"),
        (form(('name="file"', b"x")), "multipart/form-data; boundary=other", "cannot be read"),
        (form(('name="file"', b"x"), end=b""), FORM, "ends before its closing boundary"),
        (b'--b\r\nContent-Disposition: form-data; name="fi', FORM, "ends before its closing boundary"),
        (b"", FORM, "ends before its closing boundary"),
        (b"\xff\xd8 a JPEG sent as a form", FORM, "cannot be read"),
        (b"--b\r\nno header line\r\n\r\nx\r\n--b--\r\n", FORM, "cannot be read"),
        (b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\nx\r\n--b--\r\n", FORM, "cannot be read"),
        (form(*[('name="a"', b"x")] * 6), FORM, "has more than 5 fields; send fewer"),
    ],
)
def test_an_unreadable_form_is_refused_with_the_cause(body: bytes, content_type: str, said: str) -> None:
    with pytest.raises(MultipartMalformed, match=said) as caught:
        read(body, content_type)
    assert len(caught.value.message) < 300


def test_a_form_without_an_image_is_refused_with_its_fields() -> None:
    with pytest.raises(ImageMissing, match=r"its fields: 'photo', 'top_k'"):
        read(form(('name="photo"; filename="a.jpg"', b"x"), ('name="top_k"', b"3")))
    with pytest.raises(ImageMissing, match=r"its fields: none"):
        read(b"--b--\r\n")


def test_a_part_without_a_name_is_no_image() -> None:
    with pytest.raises(ImageMissing):
        read(b"--b\r\n\r\ndata\r\n--b--\r\n")


@pytest.mark.parametrize("body", [form(('name="file"; filename="a.jpg"', b"")), b""])
def test_an_empty_image_is_refused(body: bytes) -> None:
    with pytest.raises(ImageMissing):
        read(body, FORM if body else "image/jpeg")


def test_a_form_may_be_larger_than_its_image_may_be() -> None:
    assert len(read(form(('name="file"', b"x" * 1000))).data) == 1000
    with pytest.raises(ImageTooLarge, match="more than 1000 bytes"):
        read(form(('name="file"', b"x" * 1001)))


def steps_of(action: Callable[[], object]) -> int:
    """Return how many functions, of Python or of C, an action called."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        with suppress(RequestError):
            action()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    ("boundary", "piece"),
    [
        (b"b", b"\r"),
        (b"b", b"\n"),
        (b"b", b"\r\n"),
        (b"b", b"\r\n--"),
        (b"b", b"\r\n--bx"),
        (b"b", b"\r\n--b x"),
        (b"b", b"\r\n--b-"),
        (b"b", b"\r\n--b "),
        (b"-", b"-"),
        (b"-", b"\r\n----x"),
        (b"x" * 70, b"x"),
        (b"x" * 70, b"\r\n--" + b"x" * 69),
    ],
)
@pytest.mark.parametrize("place", ["data", "before", "head", "parts"])
def test_no_form_takes_a_step_for_each_of_its_bytes(boundary: bytes, piece: bytes, place: str) -> None:
    many = piece * (3_000_000 // len(piece))
    disposition = b'Content-Disposition: form-data; name="file"\r\n\r\n'
    begin, end = b"--" + boundary + b"\r\n", b"\r\n--" + boundary + b"--\r\n"
    body = {
        "data": begin + disposition + many + end,
        "before": many + begin + disposition + b"x" + end,
        "head": begin + many + end,
        "parts": (begin + b"\r\n" + piece) * 100_000 + end,
    }[place]
    assert steps_of(lambda: split_form(body, boundary, parts_max=64, head_bytes_max=8192)) < 2_000


@pytest.mark.parametrize("parameters", [";", 'a;"', ';a="\\";', ";a=b", '"";', "="])
def test_a_long_header_of_parameters_takes_few_steps(parameters: str) -> None:
    header = "multipart/form-data" + parameters * (60_000 // len(parameters))
    assert steps_of(lambda: header_parameters(header)) < 60_000


PIECES = st.sampled_from(
    [
        b"--b",
        b"--b--",
        b"\r\n",
        b"\r",
        b"\n",
        b":",
        b";",
        b"Content-Disposition",
        b": form-data",
        b'; name="file"',
        b'; filename="a',
        b"; filename*=utf-8''%ff",
        b"; filename*0*=a",
        b'"',
        b"\\",
        b"\x00",
        b"\xff",
        b"x" * 20,
    ]
)


@given(
    pieces=st.lists(PIECES | st.binary(max_size=5), max_size=30),
    content_type=st.sampled_from([FORM, 'multipart/form-data; boundary="', "multipart/form-data; ;=;b"])
    | st.text(st.characters(max_codepoint=255), max_size=40),
)
def test_any_body_is_an_upload_or_an_error_of_the_caller(pieces: list[bytes], content_type: str) -> None:
    for body in (b"".join(pieces), b"--b\r\n" + b"".join(pieces) + b"\r\n--b--\r\n"):
        try:
            assert read(body, content_type).data
        except RequestError as error:
            assert 400 <= error.http_status < 500  # noqa: PT017 -- an upload is as good


# --- raw bodies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "file_name"),
    [
        ({}, "image"),
        ({"content-type": "image/png"}, "image"),
        ({"content-disposition": 'attachment; filename="a.jpg"'}, "a.jpg"),
        ({"content-disposition": "attachment"}, "image"),
        ({"content-disposition": ";;;"}, "image"),
        ({"content-type": "text/plain; boundary=b"}, "image"),
    ],
)
def test_any_other_body_is_the_image_itself(named: dict[str, str], file_name: str) -> None:
    upload = find_image(headers(named), b"data", LIMITS)
    assert (upload.data, upload.file_name) == (b"data", file_name)


# --- bodies as they arrive ----------------------------------------------------------------------------------


class Arriving:
    """A request whose body arrives in chunks; the client may leave, and what was read is counted."""

    def __init__(
        self, chunks: Sequence[bytes], *, leaves: bool = False, headers: dict[str, str] | None = None
    ) -> None:
        self.read = 0
        self._chunks = list(chunks)
        self._leaves = leaves
        raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        self.request = Request(
            {"type": "http", "headers": raw, "query_string": b"", "method": "POST"}, self._receive
        )

    async def _receive(self) -> dict[str, Any]:
        if self.read == len(self._chunks):
            return {"type": "http.disconnect"}
        self.read += 1
        more = self._leaves or self.read < len(self._chunks)
        return {"type": "http.request", "body": self._chunks[self.read - 1], "more_body": more}


def arrive(arriving: Arriving, budget: UploadBudget) -> bytes:
    async def read() -> bytes:
        with budget.reserve() as reservation:
            return await read_body(arriving.request, LIMITS, reservation)

    return asyncio.run(read())


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def budget(telemetry: Telemetry) -> UploadBudget:
    return UploadBudget(BUDGET_BYTES, telemetry)


def held_bytes(telemetry: Telemetry) -> float:
    return float(telemetry.registry.get_sample_value("beholder_upload_bytes") or 0.0)


@pytest.mark.parametrize("chunks", [[b"abc"], [b"a", b"", b"bc"], [b""], [b"x" * 1500]])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_is_put_together(
    budget: UploadBudget, telemetry: Telemetry, chunks: list[bytes], *, declared: bool
) -> None:
    body = b"".join(chunks)
    headers = {"content-length": str(len(body))} if declared else {}
    assert arrive(Arriving(chunks, headers=headers), budget) == body
    assert held_bytes(telemetry) == 0


def test_a_declared_length_beyond_the_bound_is_refused_before_a_byte_is_read(budget: UploadBudget) -> None:
    arriving = Arriving([b"x"] * 5, headers={"content-length": "1501"})
    with pytest.raises(ImageTooLarge):
        arrive(arriving, budget)
    assert arriving.read == 0


def test_an_undeclared_length_beyond_the_bound_is_refused_at_once(
    budget: UploadBudget, telemetry: Telemetry
) -> None:
    arriving = Arriving([b"x" * 500] * 100)
    with pytest.raises(ImageTooLarge):
        arrive(arriving, budget)
    assert arriving.read == 4
    assert held_bytes(telemetry) == 0


@pytest.mark.parametrize("length", ["", "-1", "many", "1e3", "\u0661"])
def test_a_length_that_is_no_number_is_not_relied_on(budget: UploadBudget, length: str) -> None:
    assert arrive(Arriving([b"abc"], headers={"content-length": length}), budget) == b"abc"


@pytest.mark.parametrize("length", [str(2**64 - 1), "9" * 30, "9" * 5000])
def test_a_length_beyond_all_bounds_is_refused_at_once(budget: UploadBudget, length: str) -> None:
    arriving = Arriving([b"abc"], headers={"content-length": length})
    with pytest.raises(ImageTooLarge):
        arrive(arriving, budget)
    assert arriving.read == 0


def test_zeros_before_a_length_do_not_make_it_long(budget: UploadBudget) -> None:
    assert arrive(Arriving([b"abc"], headers={"content-length": "0" * 30 + "3"}), budget) == b"abc"


def test_a_client_that_leaves_gives_its_bytes_back(budget: UploadBudget, telemetry: Telemetry) -> None:
    for headers in ({}, {"content-length": "1400"}):
        with pytest.raises(ClientDisconnect):
            arrive(Arriving([b"x" * 700], leaves=True, headers=headers), budget)
        assert held_bytes(telemetry) == 0


def test_a_body_longer_than_declared_is_counted_as_it_arrives(
    budget: UploadBudget, telemetry: Telemetry
) -> None:
    with budget.reserve() as other:
        other.grow_to(BUDGET_BYTES - 1000)
        with pytest.raises(Overloaded, match="too many uploads"):
            arrive(Arriving([b"x" * 900, b"x" * 200], headers={"content-length": "10"}), budget)
        assert held_bytes(telemetry) == BUDGET_BYTES - 1000
    assert held_bytes(telemetry) == 0


def test_beyond_the_budget_an_upload_is_refused_before_a_byte_is_read(
    budget: UploadBudget, telemetry: Telemetry
) -> None:
    arriving = Arriving([b"x"], headers={"content-length": "1400"})
    with budget.reserve() as one, budget.reserve() as two:
        one.grow_to(1400)
        two.grow_to(1400)
        with pytest.raises(Overloaded):
            arrive(arriving, budget)
        assert arriving.read == 0
    assert held_bytes(telemetry) == 0
    assert arrive(Arriving([b"x"], headers={"content-length": "1400"}), budget) == b"x"


@given(steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1500)), max_size=30))
def test_the_budget_is_never_exceeded_and_nothing_of_it_is_lost(steps: list[tuple[int, int]]) -> None:
    telemetry = Telemetry()
    budget = UploadBudget(BUDGET_BYTES, telemetry)
    with budget.reserve() as one, budget.reserve() as two, budget.reserve() as three:
        reservations = (one, two, three)
        for number, count in steps:
            with suppress(Overloaded):
                reservations[number].grow_to(count)
            assert held_bytes(telemetry) == sum(one.count for one in reservations) <= BUDGET_BYTES
    assert held_bytes(telemetry) == 0


def test_an_upload_that_does_not_end_is_ended(budget: UploadBudget, telemetry: Telemetry) -> None:
    async def scenario() -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        scope = {"type": "http", "headers": [(b"content-length", b"900")], "query_string": b""}
        with budget.reserve() as reservation:
            await read_body(Request(scope, receive), replace(LIMITS, upload_s_max=0.01), reservation)

    with pytest.raises(UploadTooSlow):
        asyncio.run(scenario())
    assert held_bytes(telemetry) == 0


def test_a_cancelled_upload_gives_its_bytes_back(budget: UploadBudget, telemetry: Telemetry) -> None:
    async def scenario() -> None:
        reading, never = asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, Any]:
            reading.set()
            await never.wait()
            return {}

        async def read() -> None:
            scope = {"type": "http", "headers": [(b"content-length", b"900")], "query_string": b""}
            with budget.reserve() as reservation:
                await read_body(Request(scope, receive), LIMITS, reservation)

        upload = asyncio.create_task(read())
        await reading.wait()
        # a client that announces a body and sends nothing keeps nobody out
        assert held_bytes(telemetry) == 0
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload

    asyncio.run(scenario())
    assert held_bytes(telemetry) == 0


def test_asynchronous_uploads_leave_a_share_for_callers_that_wait_and_get_a_retry_after(
    telemetry: Telemetry,
) -> None:
    budget = UploadBudget(1_000, telemetry, asynchronous_share=0.75)
    with (
        budget.reserve(waits=False) as alone,
        budget.reserve(waits=False) as bulk,
        budget.reserve() as caller,
    ):
        alone.grow_to(700)
        with pytest.raises(Overloaded) as caught:
            bulk.grow_to(51)
        assert caught.value.retry_after_s >= 1
        bulk.grow_to(50)
        caller.grow_to(250)
        with pytest.raises(Overloaded):
            caller.check(1)
