"""The clients of other services, each by its own package over HTTP: labels of photos, and its own errors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

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
    with pytest.raises(HfHubHTTPError, match="convert the image") as refused:
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
