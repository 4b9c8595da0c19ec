"""What callers get wrong: each mistake is refused by name, and nothing that is harmless is."""

import base64
import io
import json
import zlib
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from beholder.web.limits import WebLimits
from beholder.web.submission.form import IMAGE_FIELDS
from helpers.asgi import Answer
from helpers.images import jpeg
from helpers.web import Ask, ask, memory_ports

JPEG = jpeg(1)
JOB_ID = "018bcfe5-6800-7000-8000-000000000000"  # the same in every process that collects tests
URLENCODED = "application/x-www-form-urlencoded"
ROUTES = ("/v1/classify", "/upload", "/")
Part = tuple[str, bytes]


def encoded(kind: str, seed: int = 1) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 56, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


IMAGES = {kind: encoded(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")}


def post(target: str, body: bytes = JPEG, content_type: str = "image/jpeg", **headers: str) -> Answer:
    """Return the answer to an image where no worker runs: 202 if a job was made of it."""
    ports = memory_ports(limits=WebLimits(wait_s_default=0.01))
    (answer,) = ask(ports, Ask("POST", target, body, {"content_type": content_type, **headers}))
    return answer


def post_form(target: str, *parts: Part) -> Answer:
    """Return the answer to a form; each part is what stands behind `form-data; ` and its data."""
    body = b"".join(
        b"--b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), data)
        for head, data in parts
    )
    return post(target, body + b"--b--\r\n", "multipart/form-data; boundary=b")


def text(name: str, value: str) -> Part:
    return f'name="{name}"', value.encode()


def file(name: str = "myfile", data: bytes = JPEG, file_name: str = "a.jpg") -> Part:
    return f'name="{name}"; filename="{file_name}"', data


def refused(answer: Answer, status: int, code: str, *words: str) -> bool:
    """Say whether an answer is this problem; its detail holds the words and is bounded."""
    document = answer.json
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status, document["code"]) == (status, code), document["detail"]
    assert [word for word in words if word not in document["detail"]] == [], document["detail"]
    assert len(document["detail"]) < 500
    return True


# --- parameters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("topk=2", ["'topk'", "did you mean top_k?"]),
        ("TOP_K=2", ["did you mean top_k?"]),
        ("top-k=2", ["did you mean top_k?"]),
        ("topK=2", ["did you mean top_k?"]),
        ("top_k%20=2", ["did you mean top_k?"]),
        ("top_k[]=2", ["did you mean top_k?"]),
        ("min_conf=0.5", ["did you mean min_confidence?"]),
        ("minConfidence=0.5", ["did you mean min_confidence?"]),
        ("modle=first", ["did you mean model?"]),
        ("filename=a.jpg", ["did you mean file_name?"]),
        ("_=1700000000", ["takes top_k, min_confidence, model, include, exclude, tag, webhook, file_name"]),
        ("1700000000", ["takes top_k"]),
        ("=2", ["there is no parameter ''"]),
        ("x" * 5000 + "=2", ["takes top_k"]),
        ("top_k=2&colour=red", ["'colour'"]),
        ("%00%1b=1", ["takes top_k"]),
    ],
)
def test_an_unknown_parameter_is_refused_with_the_nearest_name(query: str, words: list[str]) -> None:
    assert refused(post(f"/v1/classify?{query}"), 400, "parameter_unknown", *words)


def test_top_k_on_upload_is_refused_with_the_path_that_takes_it() -> None:
    for name in ("top_k", "topk", "TOP_K"):
        answer = post(f"/upload?{name}=2")
        assert refused(answer, 400, "parameter_unknown", f"'{name}'", "POST /v1/classify takes top_k")


@pytest.mark.parametrize("query", ["top_k=1&top_k=2", "top_k=2&top_k=2", "model=first&model=first"])
def test_a_parameter_that_is_given_twice_is_refused(query: str) -> None:
    assert refused(post(f"/v1/classify?{query}"), 400, "parameter_repeated", "more than once in the query")


@pytest.mark.parametrize("query", ["top_k=", "top_k", "min_confidence=", "model=", "file_name="])
def test_an_empty_parameter_is_refused(query: str) -> None:
    assert refused(post(f"/v1/classify?{query}"), 400, "bad_parameter", "is empty", "leave it out")


@pytest.mark.parametrize("name", ["topk", "TOP_K", "top-k", "colour", "", "file_name", "my_file"])
def test_a_field_that_is_unknown_is_refused(name: str) -> None:
    for target in ROUTES:
        assert refused(post_form(target, text(name, "2"), file()), 400, "parameter_unknown")


def test_a_field_that_is_given_twice_is_refused() -> None:
    answer = post_form("/v1/classify", text("top_k", "1"), file(), text("top_k", "2"))
    assert refused(answer, 400, "parameter_repeated", "in the form")


def test_query_and_form_may_not_say_different_things() -> None:
    answer = post_form("/v1/classify?top_k=1", text("top_k", "2"), file())
    assert refused(answer, 400, "parameter_repeated", "'1' in the query and '2' in the form")
    assert post_form("/v1/classify?top_k=1", text("top_k", "1"), file()).status == 202


@pytest.mark.parametrize("target", ROUTES)
@pytest.mark.parametrize(
    "parts",
    [
        [file()],
        [text("_charset_", "UTF-8"), text("MAX_FILE_SIZE", "1000"), file(), text("submit", "Send")],
        [text("top_k", ""), text("anything", ""), file()],
        [text("model", "first"), file()],
    ],
)
def test_what_browsers_add_to_a_form_is_harmless(target: str, parts: list[Part]) -> None:
    assert post_form(target, *parts).status == 202


def test_a_path_that_takes_no_parameter_does_not_mind_one() -> None:
    targets = ("/healthz?_=1", "/readyz?probe", "/v1/limits?x=1&x=2", "/?utm_source=x", "/metrics?a=")
    for answer in ask(memory_ports(), *(Ask("GET", target) for target in targets)):
        assert answer.status == 200


def test_the_file_name_in_the_query_overrides_that_of_a_form_or_header() -> None:
    assert post_form("/v1/classify?file_name=b.jpg", file()).json["input"]["file_name"] == "b.jpg"
    assert post_form("/v1/classify", file()).json["input"]["file_name"] == "a.jpg"
    named = {"content_disposition": 'attachment; filename="a.jpg"'}
    assert post("/v1/classify?file_name=b.jpg", **named).json["input"]["file_name"] == "b.jpg"
    assert post("/v1/classify", **named).json["input"]["file_name"] == "a.jpg"


def test_upload_heeds_its_min_confidence() -> None:
    job = post_form("/upload?min_confidence=0.5", file()).json
    lists = {"include": [], "exclude": []}
    expected = {"model": None, "top_k": 1, "min_confidence": 0.5, "embed": False} | lists
    assert job["input"]["options"] == expected


# --- which part of a form is the image ----------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/upload", "/"])
@pytest.mark.parametrize(
    "parts",
    [
        [file("file"), file("myfile")],
        [file("myfile"), file("myfile")],
        [file("myfile"), file("photo")],
        [file("myfile"), ('name="image"', JPEG)],
        [file("myfile"), file("notes", b"some text", "a.txt")],
    ],
)
def test_a_second_file_is_refused(target: str, parts: list[Part]) -> None:
    assert refused(post_form(target, *parts), 400, "images_too_many", "2 files", "send one image")


@pytest.mark.parametrize(
    "other",
    [
        file("file", b"", ""),
        file("file", b"", "empty.jpg"),
        text("file", "a.jpg"),
        text("file", ""),
        text("image", '{"id": 1}'),
        file("photo", b"", ""),
    ],
)
def test_a_part_without_a_file_does_not_win(other: Part) -> None:
    for parts in ([other, file()], [file(), other]):
        answer = post_form("/v1/classify", *parts)
        assert answer.status == 202
        assert answer.json["input"]["image_bytes"] == len(JPEG)


@pytest.mark.parametrize(
    ("name", "meant"), [("my_file", "myfile"), ("Image", "image"), ("images[]", "image"), ("FILE", "file")]
)
def test_an_image_in_an_unknown_field_is_refused_with_the_nearest_name(name: str, meant: str) -> None:
    answer = post_form("/v1/classify", file(name))
    assert refused(answer, 400, "image_missing", repr(name), f"did you mean {meant}?")


# --- bodies that are no image -------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/v1/classify", "/upload"])
@pytest.mark.parametrize("kind", list(IMAGES))
@pytest.mark.parametrize("content_type", [URLENCODED, "image/jpeg", ""])
def test_an_image_stripped_by_curl_d_is_refused_with_the_cause(
    target: str, kind: str, content_type: str
) -> None:
    stripped = IMAGES[kind].translate(None, b"\r\n\0")
    answer = post(target, stripped, content_type)
    assert refused(answer, 400, "image_bytes_changed", "--data-binary", "-d")


@pytest.mark.parametrize("kind", list(IMAGES))
@pytest.mark.parametrize("content_type", [URLENCODED, "image/png", "text/plain", ""])
def test_curl_data_binary_is_accepted_whatever_type_it_names(kind: str, content_type: str) -> None:
    assert post("/v1/classify", IMAGES[kind], content_type).status == 202


@pytest.mark.parametrize("colour", [0, 255, 120])
@pytest.mark.parametrize("kind", list(IMAGES))
def test_an_image_of_one_colour_is_not_mistaken_for_a_stripped_image(kind: str, colour: int) -> None:
    file = io.BytesIO()
    Image.new("L", (300, 300), colour).save(file, kind)
    assert post("/v1/classify", file.getvalue()).status == 202


@pytest.mark.parametrize(
    "changed",
    [
        IMAGES["PNG"].decode("utf-8", "replace").encode(),
        IMAGES["JPEG"].decode("utf-8", "replace").encode(),
        IMAGES["JPEG"].decode("latin-1").encode(),
        IMAGES["PNG"].decode("latin-1").encode(),
        IMAGES["PNG"].replace(b"\r\n", b"\n"),
        IMAGES["PNG"].replace(b"\n", b"\r\n"),
        b"image=" + quote(IMAGES["JPEG"]).encode(),
        b"image=" + quote(IMAGES["PNG"]).encode(),
        *(quote(image, safe="").encode() for image in IMAGES.values()),
    ],
)
def test_an_image_that_was_converted_as_text_is_refused_with_the_cause(changed: bytes) -> None:
    assert refused(post("/v1/classify", changed, URLENCODED), 400, "image_bytes_changed")


@pytest.mark.parametrize("field", IMAGE_FIELDS)
@pytest.mark.parametrize("value", ["photo.jpg", "pictures/my photo.PNG", "photo", "hello", "@", "猫.jpg"])
def test_a_field_with_a_file_name_is_refused_with_the_at_sign(field: str, value: str) -> None:
    for target in ROUTES:
        answer = post_form(target, text(field, value))
        assert refused(answer, 400, "image_name_only", repr(value), f"-F {field}=@photo.jpg")


@pytest.mark.parametrize(
    "body", ["photo.jpg", "@photo.jpg", "myfile=photo.jpg", "image=@a b.webp", "BMW.bmp"]
)
def test_a_body_with_a_file_name_is_refused_with_the_at_sign(body: str) -> None:
    for target in ROUTES:
        answer = post(target, body.encode(), URLENCODED)
        assert refused(answer, 400, "image_name_only", repr(body), "--data-binary @photo.jpg")


BASE64 = {kind: base64.b64encode(data).decode() for kind, data in IMAGES.items()}


@pytest.mark.parametrize("kind", list(IMAGES))
def test_an_encoded_image_is_refused_with_the_cause_however_it_is_wrapped(kind: str) -> None:
    plain = BASE64[kind]
    bodies = [
        plain,
        f"\n {plain}",
        f'"{plain}"',
        f"b'{plain}'",
        base64.encodebytes(IMAGES[kind]).decode(),
        base64.urlsafe_b64encode(IMAGES[kind]).decode(),
        f"data:image/png;base64,{plain}",
        f"base64,{plain}",
        json.dumps({"image": plain}),
        json.dumps({"model": "first", "input": {"image": f"data:image/x;base64,{plain}"}}),
        json.dumps({"instances": [{"b64": plain}]}).replace("/", r"\/"),
        f"image={quote(plain)}",
        quote(plain, safe=""),
    ]
    for body in bodies:
        # An object with its own content type is an upload (test_web_refusals).
        content_type = "text/plain" if body.startswith("{") else "application/json"
        answer = post("/v1/classify", body.encode(), content_type)
        assert refused(answer, 415, "image_encoded", "base64" if "URL" not in answer.json["detail"] else "")
        assert "; send its bytes as they are, not like" not in answer.json["detail"]
    answer = post_form("/upload", text("myfile", plain))
    assert refused(answer, 415, "image_encoded")


@pytest.mark.parametrize(
    "body",
    [
        "https://example.org/cat.jpg",
        "HTTP://example.org/cat",
        "s3://bucket/key.png",
        '{"url": "https://example.org/cat.jpg"}',
        r'{"image": "https:\/\/example.org\/cat.jpg"}',
    ],
)
def test_an_address_is_refused_and_never_fetched(body: str) -> None:
    assert refused(post("/v1/classify", body.encode()), 415, "image_by_url", "address", "download")
    assert refused(post_form("/upload", text("file", body)), 415, "image_by_url")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!DOCTYPE html><html>", ["HTML page", "send the image itself"]),
        (b'{"top_k": 2}', ["JSON text", "as the body", "query"]),
        (b"%PDF-1.7", ["a PDF document", "convert it"]),
        (b"top_k=2", ["no JPEG, PNG"]),
        (b"hello", ["no JPEG, PNG"]),
        (b"RIFF\x24\0\0\0WAVEfmt %41", ["WAV sound"]),
        (b"%42%4", ["no JPEG, PNG"]),
        (b"100% of all cars", ["no JPEG, PNG"]),
        (b"# A page\n\nof text, with photo.jpg", ["no JPEG, PNG"]),
    ],
)
def test_other_bodies_are_refused_with_what_they_look_like(body: bytes, words: list[str]) -> None:
    assert refused(post("/v1/classify", body), 415, "image_type_unsupported", *words)


@pytest.mark.parametrize("content_type", ["image/jpeg", URLENCODED, ""])
def test_an_empty_body_is_no_image(content_type: str) -> None:
    for target in ROUTES:
        assert refused(post(target, b"", content_type), 400, "image_missing", "as the body")


def test_a_form_without_its_content_type_is_refused_with_the_cause() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n'
    for content_type in ("image/jpeg", "application/json", ""):
        assert refused(post("/upload", body, content_type), 400, "multipart_malformed", "Content-Type")


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, br", "x" * 5000])
def test_a_body_with_a_content_coding_is_refused_with_its_coding(coding: str) -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + JPEG + b"\r\n--b--\r\n"
    )
    ports = memory_ports(limits=WebLimits(wait_s_default=0.01))
    for target in ROUTES:
        for body, content_type in ((JPEG, "image/jpeg"), (form, "multipart/form-data; boundary=b")):
            asked = [
                Ask("POST", target, sent, {"content_type": content_type, "content_encoding": header})
                for sent, header in ((zlib.compress(body), coding), (body, coding), (body, "Identity"))
            ]
            coded, plain, identity = ask(ports, *asked)
            assert refused(coded, 415, "image_encoded", "Content-Encoding", coding[:10], "does not decode")
            # Headers are not trusted: an image is an image.
            assert (plain.status, identity.status) == (202, 202)


def test_several_files_in_one_field_are_refused() -> None:
    """As curl writes -F myfile=@a.jpg,b.jpg."""
    inner = b"".join(
        b'--c\r\nContent-Disposition: attachment; filename="a.jpg"\r\n\r\n' + JPEG + b"\r\n" for _ in range(2)
    )
    answer = post_form("/upload", ('name="myfile"', inner + b"--c--\r\n"))
    assert refused(answer, 400, "images_too_many", "myfile", "send one image")


# --- paths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/uplod", "POST /upload?"),
        ("/Upload", "POST /upload?"),
        ("/upload/", "POST /upload?"),
        ("/v1/clasify", "POST /v1/classify?"),
        ("/v1/classify/", "POST /v1/classify?"),
        ("/classify", "POST /v1/classify?"),
        ("/v1/model", "GET /v1/models?"),
        ("/v1/jbs", "GET /v1/jobs?"),
        ("/v1/job", "GET /v1/jobs?"),
        ("/v1/jobs/", "GET /v1/jobs?"),
        ("/v1/job/" + JOB_ID, "GET/PUT /v1/jobs/{job_id}?"),
        (f"/v1/jobs/{JOB_ID}/", "GET/PUT /v1/jobs/{job_id}?"),
        (f"/jobs/{JOB_ID}/result", "GET/PUT /v1/jobs/{job_id}?"),
        ("/health", "GET /healthz?"),
        ("/v1/classify&top_k=2", "POST /v1/classify?"),
    ],
)
def test_a_path_that_is_nearly_a_route_is_answered_with_that_route(path: str, meant: str) -> None:
    (answer,) = ask(memory_ports(), Ask("GET", path))
    assert refused(answer, 404, "path_not_found", f"did you mean {meant}")


@pytest.mark.parametrize("path", ["/wp-login.php", "/v9/zzzz", "/" + "upload" * 1000, "/\x00"])
def test_any_other_path_is_answered_with_where_the_list_is(path: str) -> None:
    (answer,) = ask(memory_ports(), Ask("GET", path))
    assert refused(answer, 404, "path_not_found", "GET / lists")
    assert "did you mean" not in answer.json["detail"]
