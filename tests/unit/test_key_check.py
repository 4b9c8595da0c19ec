"""The API key of a request, at the edge of the web tier."""

import json
import logging
from typing import Any, cast

import pytest

from beholder.api_keys import KeyScope, KnownKeys, create_key
from beholder.clock import ManualClock
from beholder.errors import BackendUnavailable
from beholder.store.memory import MemoryStore
from beholder.store.port import Store
from beholder.web.key_check import scope_needed
from beholder.web.openapi.document import build_openapi
from beholder.web.ports import WebPorts
from helpers.asgi import Answer
from helpers.web import Ask, Breaking, ask, memory_ports

OPEN = [
    "/",
    "/docs",
    "/fleet",
    "/assets/icon.svg",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/ping",
    "/v2/health/live",
    "/v2/health/ready",
    "/health-check",
]
OF_READ = ["/v1/models", "/v1/limits", "/v1/jobs/x", "/no-such-path"]
OF_ADMIN = ["/metrics", "/v1/fleet", "/v1/fleet/history", "/v1/dead-letters", "/v1/jobs"]


class Scene:
    """A web tier with keys on, and one key for each scope."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.keys = {
            scope: create_key(self.store, name=scope, scopes=[scope], now_s=0.0).text for scope in KeyScope
        }

    def ports(self, **more: Any) -> WebPorts:
        return memory_ports(keys=KnownKeys(self.store, ManualClock()), **more)

    def ask(self, method: str, path: str, key: str | None = None) -> Answer:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        (answer,) = ask(self.ports(), Ask(method, path, b"x" if method == "POST" else b"", headers))
        return answer


@pytest.mark.parametrize("path", OPEN)
def test_pages_and_health_need_no_key(path: str) -> None:
    assert Scene().ask("GET", path).status == 200


@pytest.mark.parametrize("path", [*OF_READ, *OF_ADMIN])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_everything_else_needs_one(method: str, path: str) -> None:
    answer = Scene().ask(method, path)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="beholder"'


@pytest.mark.parametrize("path", ["/upload", "/v1/classify", "/"])
def test_an_upload_without_a_key_is_refused_before_its_body_is_read(path: str) -> None:
    answer = Scene().ask("POST", path)
    assert (answer.status, answer.json["code"]) == (401, "key_missing")
    assert answer.chunks_read == 0
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "paths", "scope"),
    [
        ("GET", OF_READ, KeyScope.READ),
        ("GET", OF_ADMIN, KeyScope.ADMIN),
        ("POST", ["/upload", "/v1/classify", "/"], KeyScope.WRITE),
    ],
)
def test_a_key_allows_what_its_scope_says_and_nothing_else(
    method: str, paths: list[str], scope: KeyScope
) -> None:
    scene = Scene()
    for path in paths:
        for held, key in scene.keys.items():
            answer = scene.ask(method, path, key)
            if held is scope:
                assert answer.status not in (401, 403), path
            else:
                assert (answer.status, answer.json["code"]) == (403, "scope_missing")
                challenge = f'Bearer realm="beholder", error="insufficient_scope", scope="{scope}"'
                assert answer.headers["www-authenticate"] == challenge


def test_a_method_that_no_path_takes_needs_the_right_to_write() -> None:
    assert scope_needed("DELETE", "/") is KeyScope.WRITE
    assert scope_needed("PUT", "/v1/models/default") is KeyScope.ADMIN
    assert scope_needed("PUT", "/v1/models/default\n") is KeyScope.ADMIN
    assert scope_needed("OPTIONS", "/metrics") is KeyScope.WRITE


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer {}"},
        {"authorization": "bearer  {} "},
        {"x_api_key": "{}"},
        {"x_api_key": "bhk_wrong", "authorization": "Bearer {}"},
        {"x_api_key": "{}", "authorization": "Basic dXNlcjpwYXNz"},
    ],
)
def test_a_key_is_sent_in_either_header(headers: dict[str, str]) -> None:
    scene = Scene()
    sent = {name: value.format(scene.keys[KeyScope.READ]) for name, value in headers.items()}
    (answer,) = ask(scene.ports(), Ask("GET", "/v1/models", headers=sent))
    assert answer.status == 200


@pytest.mark.parametrize("sent", ["", "secret", "bhk_" + "0" * 12 + "_" + "0" * 64, "\xff"])
def test_a_wrong_key_is_refused(sent: str) -> None:
    answer = Scene().ask("GET", "/v1/models", sent)
    assert (answer.status, answer.json["code"]) == (401, "key_refused")
    assert answer.headers["www-authenticate"] == 'Bearer realm="beholder", error="invalid_token"'


def test_a_key_that_only_the_store_could_know_is_told_to_come_back() -> None:
    scene = Scene()
    down = Breaking(BackendUnavailable("store", "list"))
    ports = memory_ports(keys=KnownKeys(cast("Store", down), ManualClock()))
    headers = {"x_api_key": scene.keys[KeyScope.READ]}
    (answer,) = ask(ports, Ask("GET", "/v1/models", headers=headers))
    assert (answer.status, answer.json["code"]) == (503, "backend_unavailable")
    assert "retry-after" in answer.headers


def test_without_keys_a_key_is_not_looked_at() -> None:
    (answer,) = ask(memory_ports(), Ask("GET", "/v1/models", headers={"x_api_key": "whatever"}))
    assert answer.status == 200


def test_the_log_has_a_key_s_id_and_never_the_key(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    with caplog.at_level(logging.DEBUG):
        for key in (*scene.keys.values(), "bhk_" + "0" * 12 + "_" + "a" * 64):
            scene.ask("GET", "/v1/models", key)
    text = json.dumps([record.__dict__ for record in caplog.records], default=str)
    for key in scene.keys.values():
        assert key.split("_")[2] not in text
    assert "a" * 64 not in text
    ids = [
        r.__dict__["facts"].get("key_id") for r in caplog.records if r.__dict__.get("action") == "web.access"
    ]
    assert ids == [*(key.split("_")[1] for key in scene.keys.values()), None]


def test_the_openapi_document_says_which_scope_an_operation_needs() -> None:
    document = build_openapi(Scene().ports())
    needed = {
        (method, path): operation.get("security")
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    open_paths = {path for (method, path), security in needed.items() if method == "get" and not security}
    assert open_paths == {"/assets/{name}" if path.startswith("/assets/") else path for path in OPEN}
    assert needed["get", "/metrics"] == [{"Bearer": ["admin"]}, {"ApiKey": ["admin"]}]
    assert needed["post", "/upload"] == [{"Bearer": ["write"]}, {"ApiKey": ["write"]}]
    assert document["components"]["securitySchemes"].keys() == {"Bearer", "ApiKey"}
    assert all(
        "security" not in op
        for item in build_openapi(memory_ports())["paths"].values()
        for op in item.values()
    )


@pytest.mark.parametrize("path", OF_ADMIN)
@pytest.mark.parametrize("written", ["{}\n", "{}/", "/{}", "{}\n\n", "{}?x", "{}#x", "{};x", "{}\0"])
def test_no_spelling_of_a_path_gets_past_its_scope(path: str, written: str) -> None:
    scene = Scene()
    answer = scene.ask("GET", written.format(path), scene.keys[KeyScope.READ])
    assert answer.status in (403, 404)
    assert scene.ask("GET", written.format(path)).status == 401
