"""Where credentials come from fails: the same call may succeed in a moment, whatever that place answers."""

import http.server
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore import exceptions
from obstore.store import S3Store as ObstoreS3

from beholder.errors import BackendUnavailable
from beholder.store.s3 import S3Store


class Metadata(http.server.BaseHTTPRequestHandler):
    """Answers every request with one status."""

    status = 503

    def do_PUT(self) -> None:
        self.send_response(self.status)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_PUT  # noqa: N815 -- http.server's name

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metadata() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def store(**more: Any) -> S3Store:
    made = S3Store("a-bucket", environ={})
    quick: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
    made._files = ObstoreS3("a-bucket", retry_config=quick, client_options={"allow_http": True}, **more)
    return made


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 503])
@pytest.mark.parametrize("operation", ["get", "head"])
def test_a_metadata_service_that_gives_no_credentials_is_worth_another_try(
    metadata: str, monkeypatch: pytest.MonkeyPatch, status: int, operation: str
) -> None:
    monkeypatch.setattr(Metadata, "status", status)
    made = store(config={"region": "us-east-1", "metadata_endpoint": metadata})
    with pytest.raises(BackendUnavailable):
        getattr(made, operation)("images/a.jpg")


def test_so_is_boto3_where_it_finds_none() -> None:
    def none() -> Any:
        raise exceptions.NoCredentialsError

    made = store(config={"region": "us-east-1"}, credential_provider=none)
    with pytest.raises(BackendUnavailable):
        made.get("images/a.jpg")
