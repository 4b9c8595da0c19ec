"""The instance metadata client, against a server of its own; and the watch, which tells once."""

import json
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from beholder.clock import ManualClock
from beholder.config import make_settings
from beholder.errors import BackendDenied, BackendUnavailable, ConfigError
from beholder.fleet.imds import Identity, InstanceMetadata, InterruptionWatch, Notice

TTL_S = 21_600
DOCUMENT = "/latest/dynamic/instance-identity/document"
LIFE_CYCLE = "/latest/meta-data/instance-life-cycle"
ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
INSTANCE = {
    "instanceId": "i-0123456789abcdef0",
    "instanceType": "c7i.large",
    "region": "us-east-1",
    "availabilityZone": "us-east-1a",
    "accountId": "123456789012",
}
NOTICE = {"action": "terminate", "time": "2026-10-18T08:22:00Z"}
NOTICE_S = 1_792_311_720.0


@dataclass
class Metadata:
    """What the server says, and what it was asked."""

    answers: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    refused: int = 0

    def put(self, path: str, document: object) -> None:
        self.answers[path] = json.dumps(document).encode()


class _Handler(BaseHTTPRequestHandler):
    metadata: Metadata

    def do_PUT(self) -> None:
        ttl = self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        if self.path != "/latest/api/token" or ttl != str(TTL_S):
            self._reply(400)
            return
        self.metadata.tokens.append(f"token-{len(self.metadata.tokens)}==")
        self._reply(self.metadata.statuses.get(self.path, 200), self.metadata.tokens[-1].encode())

    def do_GET(self) -> None:
        if self.headers["X-aws-ec2-metadata-token"] not in self.metadata.tokens[-1:]:
            self.metadata.refused += 1
            self._reply(401)
        elif self.path in self.metadata.statuses:
            self._reply(self.metadata.statuses[self.path])
        elif self.path in self.metadata.answers:
            self._reply(200, self.metadata.answers[self.path])
        else:
            self._reply(404)

    def _reply(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metadata() -> Metadata:
    return Metadata()


@pytest.fixture
def endpoint(metadata: Metadata) -> Iterator[str]:
    handler = type("Handler", (_Handler,), {"metadata": metadata})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def client(endpoint: str, clock: ManualClock) -> InstanceMetadata:
    return InstanceMetadata(endpoint, clock=clock)


# --- identity -----------------------------------------------------------------------------------------------


def test_an_instance_learns_its_identity(client: InstanceMetadata, metadata: Metadata) -> None:
    # given
    metadata.put(DOCUMENT, INSTANCE)
    metadata.answers[LIFE_CYCLE] = b"spot"
    # when
    identity = client.identity()
    # then
    assert identity == Identity("i-0123456789abcdef0", "c7i.large", "us-east-1", "us-east-1a", "spot")


def test_an_unknown_life_cycle_is_no_error(client: InstanceMetadata, metadata: Metadata) -> None:
    metadata.put(DOCUMENT, INSTANCE)
    assert client.identity().life_cycle == "unknown"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"\xff"])
def test_a_document_that_cannot_be_read_is_an_error(
    client: InstanceMetadata, metadata: Metadata, body: bytes
) -> None:
    metadata.answers[DOCUMENT] = body
    with pytest.raises(BackendUnavailable, match="identity"):
        client.identity()


def test_no_document_is_no_instance(client: InstanceMetadata) -> None:
    with pytest.raises(BackendUnavailable, match="no identity document"):
        client.identity()


def test_metadata_that_is_turned_off_is_a_refusal(client: InstanceMetadata, metadata: Metadata) -> None:
    metadata.statuses["/latest/api/token"] = 403
    with pytest.raises(BackendDenied, match="turned off"):
        client.identity()


def test_another_cloud_s_service_is_no_instance(client: InstanceMetadata, metadata: Metadata) -> None:
    metadata.statuses["/latest/api/token"] = 405
    with pytest.raises(BackendUnavailable, match="status 405"):
        client.identity()


def test_a_service_that_does_not_listen_is_unavailable() -> None:
    # given: a port at which no process listens
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    # when, then
    with pytest.raises(BackendUnavailable, match="ConnectionRefusedError"):
        InstanceMetadata(f"http://127.0.0.1:{port}").identity()


def test_silence_ends_with_the_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = InstanceMetadata(f"http://127.0.0.1:{server.getsockname()[1]}", timeout_s=0.05)
        with pytest.raises(BackendUnavailable, match="Timeout"):
            client.identity()


def test_no_proxy_is_asked(
    client: InstanceMetadata, metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a proxy for everything, at which no process listens
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    metadata.put(DOCUMENT, INSTANCE)
    # when, then
    assert client.identity().instance_id == INSTANCE["instanceId"]


@pytest.mark.parametrize("endpoint", ["169.254.169.254", "https://169.254.169.254", "http://", "http://h:x"])
def test_an_invalid_endpoint_is_refused_at_once(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="no http URL"):
        InstanceMetadata(endpoint)


# --- tokens -------------------------------------------------------------------------------------------------


def test_one_token_serves_until_shortly_before_its_end(
    client: InstanceMetadata, metadata: Metadata, clock: ManualClock
) -> None:
    # given
    client.interruption()
    clock.advance(TTL_S - 301)
    client.interruption()
    assert len(metadata.tokens) == 1
    # when
    clock.advance(1)
    client.interruption()
    # then: it was renewed before anybody refused it
    assert len(metadata.tokens) == 2
    assert metadata.refused == 0


def test_a_token_that_is_refused_is_renewed(client: InstanceMetadata, metadata: Metadata) -> None:
    # given
    client.interruption()
    metadata.tokens.append("of another client")
    metadata.put(ACTION, NOTICE)
    # when, then
    assert client.interruption() == Notice("terminate", NOTICE_S)
    assert metadata.refused == 1


def test_a_token_that_is_refused_again_is_an_error(client: InstanceMetadata, metadata: Metadata) -> None:
    metadata.statuses[ACTION] = 401
    with pytest.raises(BackendUnavailable, match="status 401"):
        client.interruption()
    assert len(metadata.tokens) == 2


# --- interruptions ------------------------------------------------------------------------------------------


def test_without_an_announcement_there_is_no_notice(client: InstanceMetadata) -> None:
    assert client.interruption() is None


def test_an_interruption_comes_before_a_recommendation(client: InstanceMetadata, metadata: Metadata) -> None:
    # given
    metadata.put(REBALANCE, {"noticeTime": "2026-10-18T08:22:00Z"})
    # when, then
    assert client.interruption() == Notice("rebalance", NOTICE_S)
    # and when
    metadata.put(ACTION, NOTICE)
    # then
    assert client.interruption() == Notice("terminate", NOTICE_S)


@pytest.mark.parametrize("document", [{"action": "stop"}, {"action": "stop", "time": "soon"}])
def test_a_notice_whose_time_cannot_be_read_counts(
    client: InstanceMetadata, metadata: Metadata, document: dict[str, str]
) -> None:
    metadata.put(ACTION, document)
    assert client.interruption() == Notice("stop", None)


def test_a_service_in_trouble_is_no_all_clear(client: InstanceMetadata, metadata: Metadata) -> None:
    metadata.statuses[ACTION] = 503
    with pytest.raises(BackendUnavailable, match="status 503"):
        client.interruption()


# --- the watch ----------------------------------------------------------------------------------------------


class Watched:
    """A service with a notice, and a watch on it whose reports are written down."""

    def __init__(self) -> None:
        self.notice: Notice | None = None
        self.is_down = False
        self.reported: list[Notice] = []
        self.handler_fails = False
        self.watch = InterruptionWatch(self.interruption, self.on_notice)

    def interruption(self) -> Notice | None:
        if self.is_down:
            raise BackendUnavailable("instance metadata", "interruption", "timed out")
        return self.notice

    def on_notice(self, notice: Notice) -> None:
        if self.handler_fails:
            raise BackendUnavailable("queue", "nack", "away")
        self.reported.append(notice)


def test_a_notice_is_reported_once_and_each_kind_by_itself() -> None:
    # given
    watched = Watched()
    rebalance, terminate = Notice("rebalance", 1.0), Notice("terminate", 2.0)
    # when
    for notice in (None, rebalance, rebalance, terminate, terminate, Notice("terminate", 3.0), None):
        watched.notice = notice
        assert watched.watch.tick() == 5.0
    # then
    assert watched.reported == [rebalance, terminate]


def test_a_notice_whose_handler_failed_is_reported_again() -> None:
    # given
    watched = Watched()
    watched.notice, watched.handler_fails = Notice("terminate", 2.0), True
    with pytest.raises(BackendUnavailable):
        watched.watch.tick()
    # when
    watched.handler_fails = False
    watched.watch.tick()
    # then
    assert watched.reported == [watched.notice]


def test_a_service_that_is_away_is_logged_once_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    # given
    watched = Watched()
    watched.is_down = True
    # when
    with caplog.at_level(logging.WARNING):
        assert [watched.watch.tick() for _ in range(3)] == [5.0] * 3
        watched.is_down = False
        watched.watch.tick()
        watched.is_down = True
        watched.watch.tick()
    # then: once for each time that it was away
    assert [record.__dict__["action"] for record in caplog.records] == ["interruption.blind"] * 2


def test_a_recommendation_to_rebalance_makes_a_worker_leave_only_where_that_is_set() -> None:
    """It means elevated risk; each evicted at once."""
    rebalance, terminate = Notice("rebalance", 1.0), Notice("terminate", 2.0)
    assert make_settings().worker.leave_on_rebalance == "off"
    assert not rebalance.makes_leave(on_rebalance=False)
    assert rebalance.makes_leave(on_rebalance=True)
    assert terminate.makes_leave(on_rebalance=False)
