"""The whole service over HTTP, on real photos: is it right?"""

import csv
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.images import png
from helpers.service import RunningService, multipart

CAT = "cat.jpg"


@pytest.fixture(scope="module")
def cat(samples: Path) -> bytes:
    return (samples / CAT).read_bytes()


def test_the_labelled_photos_are_recognised(service: RunningService, labelled: Path) -> None:
    rows = list(csv.DictReader((labelled / "labels.csv").read_text().splitlines()))
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda row: service.classify((labelled / row["file"]).read_bytes()), rows))
    assert [reply.status for reply in replies] == [200] * 100
    labels = [[label["index"] for label in reply.json["result"]["labels"]] for reply in replies]
    truth = [int(row["index"]) for row in rows]
    top_1 = sum(found[0] == true for found, true in zip(labels, truth, strict=True))
    top_5 = sum(true in found for found, true in zip(labels, truth, strict=True))
    print(f"top-1 {top_1}, top-5 {top_5} of {len(rows)}")
    assert top_1 >= 88
    assert top_5 >= 97
    assert len({reply.json["id"] for reply in replies}) == 100


def test_the_class_projects_images_get_100_answers(service: RunningService, imagenet_100: Path) -> None:
    files = sorted(imagenet_100.iterdir())
    with ThreadPoolExecutor(100) as threads:
        replies = list(threads.map(lambda file: service.upload(file.read_bytes(), name=file.name), files))
    assert [reply.status for reply in replies] == [200] * 100
    assert all(reply.body for reply in replies)
    assert all(reply.headers["content-type"].startswith("text/plain") for reply in replies)
    assert len({reply.headers["x-job-id"] for reply in replies}) == 100


@pytest.mark.parametrize("field", ["myfile", "file", "image", "inputFile"])
@pytest.mark.parametrize("path", ["/upload", "/"])
def test_a_classic_client_gets_the_label_as_text(
    service: RunningService, cat: bytes, field: str, path: str
) -> None:
    reply = service.upload(cat, field=field, path=path)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "cat" in reply.body.decode()


def test_the_text_form_is_stored_beside_the_job(service: RunningService, cat: bytes) -> None:
    reply = service.upload(cat)
    results = service.data_dir / "buckets" / "beholder-output-bucket" / "results"
    assert (results / f"{reply.headers['x-job-id']}.txt").read_bytes() == reply.body


def test_raw_bytes_and_a_form_give_the_same_job_object(service: RunningService, cat: bytes) -> None:
    raw = service.classify(cat, "?top_k=3").json
    body, content_type = multipart({"top_k": "3", "image": ("cat.jpg", cat)})
    form = service.request("POST", "/v1/classify", body, {"content-type": content_type}).json
    assert raw["result"] == form["result"]
    assert len(raw["result"]["labels"]) == 3
    assert raw["status"] == "succeeded"
    assert raw["model"] == "efficientnet-lite0"
    assert form["input"]["file_name"] == "cat.jpg"
    confidences = [label["confidence"] for label in raw["result"]["labels"]]
    assert confidences == sorted(confidences, reverse=True)
    assert set(raw["result"]["labels"][0]) == {"name", "index", "confidence"}


def test_confidences_are_probabilities(service: RunningService, cat: bytes) -> None:
    labels = service.classify(cat, "?top_k=1000").json["result"]["labels"]
    assert len(labels) == 1000
    assert sum(label["confidence"] for label in labels) == pytest.approx(1, abs=1e-3)


def test_min_confidence_leaves_out_the_rest(service: RunningService, cat: bytes) -> None:
    labels = service.classify(cat, "?top_k=1000&min_confidence=0.1").json["result"]["labels"]
    assert labels
    assert all(label["confidence"] >= 0.1 for label in labels)


def test_respond_async_gives_a_job_that_can_be_fetched_at_once(service: RunningService, cat: bytes) -> None:
    reply = service.classify(cat, prefer="respond-async")
    assert reply.status == 202
    assert reply.headers["preference-applied"] == "respond-async"
    # what other tests sent counts; `test_web_app` has the exact time
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    job = service.get(reply.headers["location"])
    assert job.status == 200
    assert job.json["id"] == reply.json["id"]
    assert job.json["status"] in ("queued", "running", "succeeded")
    assert job.json["created_at"] == reply.json["created_at"]


def test_waiting_is_bounded_by_the_callers_wish(service: RunningService, cat: bytes) -> None:
    reply = service.classify(cat, prefer="wait=30")
    assert (reply.status, reply.headers["preference-applied"]) == (200, "wait=30")


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("?top_k=0", {}, 400, "bad_parameter"),
        ("?top_k=many", {}, 400, "bad_parameter"),
        ("?min_confidence=1.5", {}, 400, "bad_parameter"),
        ("?min_confidence=nan", {}, 400, "bad_parameter"),
        ("?model=nobody", {}, 404, "model_not_found"),
        ("", {"cancel_after": "soon"}, 400, "bad_parameter"),
        ("", {"idempotency_key": "x" * 300}, 400, "idempotency_key_invalid"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(
    service: RunningService, cat: bytes, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    reply = service.classify(cat, query, **headers)
    assert (reply.status, reply.json["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json["request_id"] == reply.headers["x-request-id"]


def test_bad_images_are_refused_each_with_its_own_code(service: RunningService, cat: bytes) -> None:
    cases = {
        "image_missing": (b"", 400),
        "image_type_unsupported": (b"%PDF-1.7 ...", 415),
        "image_truncated": (cat[: len(cat) // 2], 422),
        "image_header_invalid": (cat[:20], 422),
        "image_too_large": (cat + bytes(20_000_000), 413),
        "image_side_too_short": (png(300, 2), 422),
    }
    for code, (data, status) in cases.items():
        reply = service.classify(data)
        assert (reply.status, reply.json["code"]) == (status, code)
        assert reply.json["detail"].endswith(tuple("abcdefghijklmnopqrstuvwxyz.0123456789)"))


def test_a_form_without_an_image_says_which_fields_it_takes(service: RunningService, cat: bytes) -> None:
    reply = service.upload(cat, field="attachment")
    assert (reply.status, reply.json["code"]) == (400, "image_missing")
    assert "myfile" in reply.json["detail"]
    assert "attachment" in reply.json["detail"]


def test_a_cut_off_form_is_refused(service: RunningService, cat: bytes) -> None:
    body, content_type = multipart({"myfile": ("a.jpg", cat)})
    reply = service.request("POST", "/upload", body[:-20], {"content-type": content_type})
    assert (reply.status, reply.json["code"]) == (400, "multipart_malformed")


def test_a_job_failed_by_its_image_is_also_a_stored_job(service: RunningService, cat: bytes) -> None:
    reply = service.classify(cat[:-2000])
    assert reply.status == 422
    job = service.get(reply.headers["location"]).json
    assert job["status"] == "failed"
    assert job["error"]["code"] == "image_truncated"
    assert job["result"] is None


def test_the_same_idempotency_key_gives_the_same_job(service: RunningService, cat: bytes) -> None:
    first = service.classify(cat, idempotency_key="order-7")
    again = service.classify(cat, idempotency_key="order-7")
    other = service.classify(cat + b"\0", idempotency_key="order-7")
    assert first.status == again.status == 200
    assert first.json == again.json
    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")


def test_many_requests_with_one_key_make_one_job(service: RunningService, cat: bytes) -> None:
    barrier = threading.Barrier(8)

    def send(_: int) -> tuple[int, str | None]:
        barrier.wait()
        reply = service.classify(cat, idempotency_key="order-8")
        return reply.status, reply.json.get("id")

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(send, range(8)))
    assert {status for status, _ in replies} <= {200, 409}
    assert len({job_id for status, job_id in replies if status == 200}) == 1


def test_unknown_paths_methods_and_jobs_are_problems(service: RunningService) -> None:
    assert service.get("/nowhere").json["code"] == "path_not_found"
    refused = service.get("/v1/classify")
    assert (refused.status, refused.json["code"], refused.headers["allow"]) == (
        405,
        "method_not_allowed",
        "POST",
    )
    for job_id in ("01a2044c-59ba-7d16-a9c4-3e550b250342", "none", "..%2f..%2fetc"):
        reply = service.get(f"/v1/jobs/{job_id}")
        assert reply.status == 404


def test_the_service_tells_of_itself(service: RunningService, cat: bytes) -> None:
    assert service.get("/healthz").json == {"status": "ok"}
    assert service.get("/readyz").json == {"status": "ready", "problems": []}
    models = service.get("/v1/models").json
    assert models["default"] == models["models"][0]["name"] == "efficientnet-lite0"
    assert models["models"][0]["classes"] == 1000
    limits = service.get("/v1/limits").json
    assert (limits["image_bytes_max"], limits["image_pixels_max"]) == (20_000_000, 64_000_000)
    assert "POST /v1/classify" in service.get("/").json["endpoints"]
    assert "<html" in service.get("/", Accept="text/html").body.decode()
    assert service.get("/docs").status == 200
    assert service.get("/openapi.json").json["openapi"].startswith("3.")
    service.classify(cat)
    metrics = service.get("/metrics").body.decode()
    for name in (
        'beholder_requests_total{method="POST",route="/v1/classify",status="200"}',
        'beholder_jobs_total{state="succeeded"}',
        'beholder_queue_depth{state="backlog"}',
        "beholder_job_wait_seconds_bucket",
        "beholder_job_service_seconds_bucket",
        "beholder_job_latency_seconds_bucket",
        "beholder_batch_size_bucket",
    ):
        assert name in metrics


def test_the_callers_request_id_comes_back(service: RunningService) -> None:
    assert service.get("/healthz", **{"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert service.get("/healthz", **{"X-Request-Id": "not mine!"}).headers["x-request-id"] != "not mine!"
