"""The clients of other services, each by its own package over HTTP: labels of photos, and its own errors."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from beholder.api_keys import KeyScope, KnownKeys, create_key
from beholder.clock import ManualClock
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
    with served(memory_ports(limits=WebLimits(wait_s_default=0.01))) as url:
        yield url


STORE = MemoryStore()
KEY = create_key(STORE, name="clients", scopes=[KeyScope.READ], now_s=0.0).text


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    """The URL of a service that asks for API keys; `KEY` allows to read only."""
    with served(memory_ports(keys=KnownKeys(STORE, ManualClock()))) as url:
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
