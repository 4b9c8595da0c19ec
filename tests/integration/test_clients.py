"""The clients of other services, each by its own package over HTTP: labels of photos, and its own errors."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import requests
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from beholder.api_keys import KeyScope, KnownKeys, create_key
from beholder.clock import SystemClock
from beholder.queue.memory import MemoryQueue
from beholder.store.memory import MemoryStore
from beholder.web.limits import WebLimits
from helpers.images import jpeg
from helpers.served import served
from helpers.service import RunningService
from helpers.web import memory_ports

pytestmark = pytest.mark.slow

MODEL = "efficientnet-lite0"
ONLY_A_PERSON = {"GeneralLabels": {"LabelInclusionFilters": ["Person"]}}
NOT_AN_IMAGE = b"not an image"
BRIEF = WebLimits(wait_s_default=0.01)
STORE = MemoryStore()
KEY = create_key(STORE, name="clients", scopes=[KeyScope.READ], now_s=0.0).text
SIGNER = create_key(STORE, name="aws", scopes=[KeyScope.AWS], now_s=0.0)


@pytest.fixture(scope="module")
def photo(samples: Path) -> Path:
    return samples / "coffee.jpg"


@pytest.fixture(scope="module")
def cut(photo: Path) -> bytes:
    """A photo whose header is whole and whose data ends early, which only a worker finds out."""
    return photo.read_bytes()[:-20_000]


@pytest.fixture(scope="module")
def full() -> Iterator[str]:
    """The URL of a service that accepts no job."""
    queue = MemoryQueue()
    queue.send([b"waiting"])
    with served(memory_ports(queue=queue, limits=WebLimits(backlog_max=1))) as url:
        yield url


@pytest.fixture(scope="module")
def late() -> Iterator[str]:
    """The URL of a service without workers, which waits for no outcome for long."""
    with served(memory_ports(limits=BRIEF)) as url:
        yield url


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    """The URL of a service that asks for API keys; `KEY` allows to read only."""
    with served(memory_ports(keys=KnownKeys(STORE, SystemClock()), clock=SystemClock(), limits=BRIEF)) as url:
        yield url


# --- Hugging Face -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/hf", f"/hf/{MODEL}"])
def test_hugging_face_gets_labels(service: RunningService, photo: Path, path: str) -> None:
    client = InferenceClient(model=service.url + path)
    by_body = client.image_classification(str(photo))
    by_json = client.image_classification(photo.read_bytes(), top_k=3, function_to_apply="softmax")
    assert (by_body[0].label, by_json[0].label) == ("espresso", "espresso")
    assert (len(by_body), len(by_json)) == (5, 3)
    assert by_json[0].score > by_json[1].score > 0
    assert by_json[0].score == pytest.approx(by_body[0].score, abs=0.05)


def test_hugging_face_gets_its_own_errors(service: RunningService, photo: Path, cut: bytes) -> None:
    client = InferenceClient(model=f"{service.url}/hf")
    with pytest.raises(HfHubHTTPError, match="convert it to one of these") as refused:
        client.image_classification(NOT_AN_IMAGE)
    assert refused.value.response.status_code == 415
    with pytest.raises(HfHubHTTPError, match="send the whole file") as failed:
        client.image_classification(cut, top_k=2)
    assert failed.value.response.status_code == 422
    with pytest.raises(BadRequestError, match="top_k"):
        client.image_classification(str(photo), top_k=0)
    with pytest.raises(BadRequestError, match="softmax"):
        client.image_classification(str(photo), function_to_apply="sigmoid")
    with pytest.raises(HfHubHTTPError, match=f"served here: {MODEL}") as unknown:
        client.image_classification(str(photo), model=f"{service.url}/hf/other")
    assert unknown.value.response.status_code == 404


def test_hugging_face_is_told_of_keys_and_overload(locked: str, full: str, late: str) -> None:
    cases = [(locked, 401, "key"), (full, 503, "try again"), (late, 503, "late")]
    for url, status, sentence in cases:
        with pytest.raises(HfHubHTTPError, match=sentence) as refused:
            InferenceClient(model=f"{url}/hf").image_classification(jpeg(1))
        assert refused.value.response.status_code == status
    with pytest.raises(HfHubHTTPError, match="lacks the scope write"):
        InferenceClient(model=f"{locked}/hf", token=KEY).image_classification(jpeg(1))


# --- TorchServe ---------------------------------------------------------------------------------------------


def test_torchserve_gets_labels(service: RunningService, photo: Path) -> None:
    url = f"{service.url}/predictions/{MODEL}"
    (served,) = service.get("/v1/models").json["models"]
    answers = [
        requests.post(url, data=photo.read_bytes(), timeout=60),
        requests.put(url, data=photo.read_bytes(), timeout=60),
        requests.post(f"{url}/{served['version']}", files={"data": photo.read_bytes()}, timeout=60),
    ]
    for answer in answers:
        probabilities = answer.json()
        assert (answer.status_code, len(probabilities)) == (200, 5)
        assert max(probabilities, key=probabilities.get) == next(iter(probabilities)) == "espresso"
    assert len(requests.post(f"{url}?top_k=2", data=photo.read_bytes(), timeout=60).json()) == 2
    assert requests.get(f"{service.url}/ping", timeout=60).json() == {"status": "Healthy"}


def test_torchserve_gets_its_own_errors(
    service: RunningService, photo: Path, cut: bytes, locked: str, full: str, late: str
) -> None:
    cases = [
        (f"{service.url}/predictions/{MODEL}", NOT_AN_IMAGE, 415, "BadRequestException"),
        (f"{service.url}/predictions/{MODEL}", cut, 422, "BadRequestException"),
        (f"{service.url}/predictions/other", jpeg(1), 404, "ModelNotFoundException"),
        (f"{service.url}/predictions/{MODEL}/0", jpeg(1), 404, "ModelVersionNotFoundException"),
        (f"{service.url}/predictions/{MODEL}/0/1", jpeg(1), 404, "ResourceNotFoundException"),
        (f"{locked}/predictions/first", jpeg(1), 401, "InvalidKeyException"),
        (f"{full}/predictions/first", jpeg(1), 503, "ServiceUnavailableException"),
        (f"{late}/predictions/first", jpeg(1), 503, "ServiceUnavailableException"),
    ]
    for url, body, status, kind in cases:
        answer = requests.post(url, data=body, timeout=60)
        error = answer.json()
        assert (answer.status_code, error["code"], error["type"]) == (status, status, kind), url
        assert error.keys() == {"code", "type", "message"}
        assert error["message"]
    with requests.get(f"{service.url}/predictions/{MODEL}", timeout=60) as wrong:
        assert set(wrong.headers["allow"].split(", ")) == {"POST", "PUT"}
        assert wrong.json()["type"] == "MethodNotAllowedException"


# --- Rekognition --------------------------------------------------------------------------------------------


def rekognition(url: str, credentials: tuple[str, str] = ("any", "any"), **config: object) -> Any:
    """Return boto3's client, which tries once."""
    return boto3.client(
        "rekognition",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id=credentials[0],
        aws_secret_access_key=credentials[1],
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


def test_rekognition_gets_labels(service: RunningService, photo: Path) -> None:
    client, image = rekognition(service.url), {"Bytes": photo.read_bytes()}
    (label,) = client.detect_labels(Image=image)["Labels"]
    assert (label["Name"], label["Confidence"] > 90) == ("espresso", True)
    assert [one["Name"] for one in label["Parents"]][:3] == ["coffee", "beverage", "food"]
    assert (label["Instances"], label["Aliases"], label["Categories"]) == ([], [], [])
    answer = client.detect_labels(Image=image, MaxLabels=3, MinConfidence=0, Features=["GENERAL_LABELS"])
    assert answer["LabelModelVersion"] == service.get("/v1/models").json["models"][0]["version"]
    names = [one["Name"] for one in answer["Labels"]]
    assert (names[0], len(names)) == ("espresso", 3)
    filters = {"LabelExclusionFilters": ["Espresso"], "LabelInclusionFilters": ["cup", "espresso"]}
    filtered = client.detect_labels(Image=image, MinConfidence=0, Settings={"GeneralLabels": filters})
    assert [one["Name"] for one in filtered["Labels"]] == ["cup"]
    filters = {"LabelExclusionFilters": ["Person"], "LabelInclusionFilters": ["Mug", "Espresso"]}
    (found,) = client.detect_labels(Image=image, Settings={"GeneralLabels": filters})["Labels"]
    assert found == label


def test_rekognition_gets_its_own_errors(
    service: RunningService, photo: Path, cut: bytes, full: str, late: str
) -> None:
    whole = {"Bytes": photo.read_bytes()}
    s3_object = {"S3Object": {"Bucket": "photos", "Name": "a.jpg"}}
    cases: list[tuple[str, str, dict[str, Any]]] = [
        (service.url, "InvalidImageFormatException", {"Image": {"Bytes": NOT_AN_IMAGE}}),
        (service.url, "InvalidImageFormatException", {"Image": {"Bytes": cut}}),
        (service.url, "ImageTooLargeException", {"Image": {"Bytes": bytes(20_000_001)}}),
        (service.url, "InvalidS3ObjectException", {"Image": s3_object}),
        (service.url, "InvalidParameterException", {"Image": {}}),
        (service.url, "InvalidParameterException", {"Image": whole, "Settings": ONLY_A_PERSON}),
        (service.url, "InvalidParameterException", {"Image": whole, "Features": ["IMAGE_PROPERTIES"]}),
        (service.url, "InvalidParameterException", {"Image": whole, "MinConfidence": 101}),
        (full, "ThrottlingException", {"Image": whole}),
        (late, "ThrottlingException", {"Image": whole}),
    ]
    for url, name, arguments in cases:
        client = rekognition(url)
        with pytest.raises(getattr(client.exceptions, name)) as refused:
            client.detect_labels(**arguments)
        assert refused.value.response["Error"]["Message"]
        assert refused.value.response["ResponseMetadata"]["RequestId"]
    with pytest.raises(ClientError, match="UnknownOperationException"):
        rekognition(service.url).detect_faces(Image=whole)


def test_rekognition_signs_by_an_api_key(locked: str) -> None:
    def refusal(client: Any) -> Any:
        # No worker runs, so a request that is let in is told of its late outcome.
        with pytest.raises(ClientError) as refused:
            client.detect_labels(Image={"Bytes": jpeg(1)})
        return refused.value.response["Error"]

    key_id, secret = SIGNER.aws_credentials
    assert refusal(rekognition(locked, (key_id, secret)))["Code"] == "ThrottlingException"
    denied = [
        (rekognition(locked, signature_version=UNSIGNED), "no API key"),
        (rekognition(locked, (key_id, "0" * 64)), "secret access key"),
        (rekognition(locked, ("unknown", secret)), "unknown, revoked"),
        (rekognition(locked, (KEY.split("_")[1], "0" * 64)), "lacks the scope aws"),
    ]
    for client, sentence in denied:
        error = refusal(client)
        assert (error["Code"], sentence in error["Message"]) == ("AccessDeniedException", True)


# --- Triton -------------------------------------------------------------------------------------------------


@contextmanager
def triton(url: str) -> Iterator[Any]:
    with InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


def tensor(image: bytes, shape: tuple[int, ...] = (1,)) -> Any:
    found = InferInput("IMAGE", list(shape), "BYTES")
    found.set_data_from_numpy(np.array([image], dtype=object).reshape(shape))
    return found


def test_triton_describes_server_and_model(service: RunningService) -> None:
    (served,) = service.get("/v1/models").json["models"]
    with triton(service.url) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(MODEL)
        assert client.is_model_ready(MODEL, served["version"])
        assert not client.is_model_ready("other")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
        model = client.get_model_metadata(MODEL)
    assert (model["name"], model["versions"]) == (MODEL, [served["version"]])
    assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [1]}]
    assert model["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [1000]}]


@pytest.mark.parametrize("is_binary", [True, False])
def test_triton_gets_labels(service: RunningService, photo: Path, *, is_binary: bool) -> None:
    image = photo.read_bytes()
    with triton(service.url) as client:
        best = InferRequestedOutput("fc", binary_data=is_binary, class_count=3)
        answer = client.infer(MODEL, [tensor(image, (1, 1))], outputs=[best], request_id="one")
        every = InferRequestedOutput("probabilities", binary_data=is_binary)
        all_classes = client.infer(MODEL, [tensor(image)], outputs=[every]).as_numpy("probabilities")
    texts = [one if isinstance(one, str) else one.decode() for one in answer.as_numpy("fc")[0]]
    assert (answer.get_response()["id"], len(texts)) == ("one", 3)
    confidence, index, label = texts[0].split(":")
    assert (index, label) == ("967", "espresso")
    assert all_classes.shape == (1000,)
    assert all_classes.argmax() == int(index)
    assert all_classes[967] == pytest.approx(float(confidence), abs=0.05)
    assert all_classes.sum() == pytest.approx(1.0, abs=0.01)


def test_triton_may_name_no_output_and_send_json(service: RunningService, photo: Path) -> None:
    with triton(service.url) as client:
        assert client.infer(MODEL, [tensor(photo.read_bytes())]).as_numpy("probabilities").argmax() == 967
        plain = InferInput("IMAGE", [1], "BYTES")
        text = base64.b64encode(photo.read_bytes())
        plain.set_data_from_numpy(np.array([text], dtype=object), binary_data=False)
        best = InferRequestedOutput("fc", class_count=1)
        answer = client.infer(MODEL, [plain], outputs=[best]).as_numpy("fc")
    assert answer[0].decode().endswith(":967:espresso")


def test_triton_gets_its_own_errors(
    service: RunningService, photo: Path, cut: bytes, locked: str, full: str, late: str
) -> None:
    numbers = InferInput("IMAGE", [1, 2], "FP32")
    numbers.set_data_from_numpy(np.zeros((1, 2), np.float32))
    good, two = tensor(photo.read_bytes()), InferInput("IMAGE", [2], "BYTES")
    two.set_data_from_numpy(np.array([b"a", b"b"], dtype=object))
    cases = [
        (service.url, MODEL, tensor(NOT_AN_IMAGE), "415", "convert it to one of these"),
        (service.url, MODEL, tensor(cut), "422", "send the whole file"),
        (service.url, MODEL, numbers, "400", "is not BYTES"),
        (service.url, MODEL, two, "400", "one image in each request"),
        (service.url, "other", good, "404", "no model is named"),
        (locked, "first", good, "401", "no API key"),
        (full, "first", good, "503", "try again"),
        (late, "first", good, "503", "late"),
    ]
    for url, model, image, status, sentence in cases:
        with triton(url) as client, pytest.raises(InferenceServerException, match=sentence) as refused:
            client.infer(model, [image])
        assert refused.value.status() == status
    with triton(service.url) as client, pytest.raises(InferenceServerException, match="is served in version"):
        client.infer(MODEL, [good], model_version="0")
    with triton(service.url) as client, pytest.raises(InferenceServerException, match="'priority'"):
        client.infer(MODEL, [good], priority=1)


# --- Cog ----------------------------------------------------------------------------------------------------


def data_url(image: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"


def test_cog_gets_labels(service: RunningService, photo: Path) -> None:
    body = {"input": {"image": data_url(photo.read_bytes()), "top_k": 2}}
    answer = requests.post(f"{service.url}/predictions", json=body, timeout=60)
    job = answer.json()
    assert (answer.status_code, job["status"], job["error"]) == (200, "succeeded", None)
    assert job["output"][0]["name"] == "espresso"
    assert (len(job["output"]), job["metrics"]["predict_time"] > 0) == (2, True)
    assert requests.get(f"{service.url}/health-check", timeout=60).json()["status"] == "READY"
    # and by an id of the client's own, any number of times
    answers = [requests.put(f"{service.url}/predictions/mine", json=body, timeout=60) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["id"] == "mine"


def test_cog_may_wait_less_and_cancel(late: str) -> None:
    body = {"id": "mine", "input": {"image": data_url(jpeg(1))}}
    begun = requests.post(f"{late}/predictions", json=body, headers={"Prefer": "respond-async"}, timeout=60)
    assert (begun.status_code, begun.json()["status"], begun.json()["id"]) == (202, "starting", "mine")
    assert begun.headers["preference-applied"] == "respond-async"
    again = requests.put(f"{late}/predictions/mine", json=body, timeout=60)
    assert (again.status_code, again.json()["status"], again.json()["id"]) == (202, "processing", "mine")
    assert again.json()["output"] is None
    canceled = requests.post(f"{late}/predictions/mine/cancel", timeout=60)
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert requests.put(f"{late}/predictions/mine", json=body, timeout=60).json()["status"] == "canceled"


def test_cog_gets_its_own_errors(service: RunningService, cut: bytes, locked: str, full: str) -> None:
    image = data_url(jpeg(1))
    failed = requests.post(f"{service.url}/predictions", json={"input": {"image": data_url(cut)}}, timeout=60)
    assert (failed.status_code, failed.json()["status"], failed.json()["output"]) == (200, "failed", None)
    assert "send the whole file" in failed.json()["error"]
    cases: list[tuple[str, Any, int, str]] = [
        (service.url, {"input": {"image": data_url(NOT_AN_IMAGE)}}, 415, "image_type_unsupported"),
        (service.url, {"input": {"image": image, "model": "other"}}, 404, "model_not_found"),
        (service.url, {"input": {"image": "https://example.org/a.jpg"}}, 415, "image_by_url"),
        (
            service.url,
            {"input": {"image": image}, "webhook": "https://example.org"},
            400,
            "webhook_refused",
        ),
        (locked, {"input": {"image": image}}, 401, "key_missing"),
        (full, {"input": {"image": image}}, 503, "overloaded"),
    ]
    for url, body, status, code in cases:
        answer = requests.post(f"{url}/predictions", json=body, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json()["detail"]
    assert requests.post(f"{service.url}/predictions/other/cancel", timeout=60).status_code == 404
