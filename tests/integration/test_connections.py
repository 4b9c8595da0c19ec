"""What one connection may take, and how what is no request is answered: raw bytes on the real protocol."""

import contextlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from beholder.web.limits import WebLimits
from helpers.raw import LARGE_BYTES, Client, RawServer, raw_server

LIMITS = WebLimits(
    head_s_max=60.0, keep_alive_s=60.0, linger_s_max=60.0, send_s_max=60.0, linger_bytes_max=5_000_000
)
SOON_S = 0.3
# What the buffers of two sockets hold on top.
KERNEL_BYTES_MAX = 30_000_000
GOOD = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with raw_server(LIMITS) as one:
        yield one


@pytest.fixture
def client(server: RawServer) -> Iterator[Client]:
    with Client(server.port) as one:
        yield one


@contextlib.contextmanager
def connected(limits: WebLimits) -> Iterator[Client]:
    with raw_server(limits) as server, Client(server.port) as client:
        yield client


def bytes_until_reset(client: Client, data: bytes) -> int:
    """Send `data` again and again until the connection is gone, and return how many bytes went."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while True:
            sent += client.socket.send(data)
    return sent


# --- what is no request -------------------------------------------------------------------------------------

REFUSED = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "host_invalid"),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "host_invalid"),
    "the same host twice": (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400, "host_invalid"),
    "two hosts in 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "host_invalid"),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "host_invalid"),
    "two hosts in one": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "host_invalid"),
    "a host with a user": (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "host_invalid"),
    "a port that is none": (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "host_invalid"),
    "an absolute target, no host": (b"GET http://a/ HTTP/1.1\r\n\r\n", 400, "host_invalid"),
    "gzip, chunked": (
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        501,
        "transfer_coding_unsupported",
    ),
    "gzip and chunked": (
        POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        501,
        "transfer_coding_unsupported",
    ),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 400, "http_malformed"),
    "chunked, gzip": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400, "http_malformed"),
    "chunked twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n", 400, "http_malformed"),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 400, "http_malformed"),
    "an empty coding": (POST + b"Transfer-Encoding:\r\n\r\n", 400, "http_malformed"),
    "chunks in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "http_malformed"),
    "chunks and a length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        400,
        "http_malformed",
    ),
    "a length and chunks": (
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "http_malformed",
    ),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400, "http_malformed"),
    "a list of lengths": (POST + b"Content-Length: 3, 3\r\n\r\nabc", 400, "http_malformed"),
    "a negative length": (POST + b"Content-Length: -3\r\n\r\n", 400, "http_malformed"),
    "a length with a sign": (POST + b"Content-Length: +3\r\n\r\nabc", 400, "http_malformed"),
    "a huge length": (POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", 400, "http_malformed"),
    "a space in a name": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "http_malformed"),
    "a folded header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400, "http_malformed"),
    "a zero byte": (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400, "http_malformed"),
    "line feeds alone": (b"GET / HTTP/1.1\nHost: a\n\n", 400, "http_malformed"),
    "a target without a slash": (b"GET good HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http_malformed"),
    "a target with bytes": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http_malformed"),
    "an absolute target without host": (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http_malformed"),
    "rubbish": (b"\0\1\2\3 what is this\r\n\r\n", 400, "http_malformed"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "http_malformed"),
    "an unknown method": (b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method_unknown"),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501, "method_unknown"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version_unsupported"),
    "a later version": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "http_version_unsupported"),
    "a later version without host": (b"GET / HTTP/1.2\r\n\r\n", 400, "host_invalid"),
    "a lower-case version": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400, "http_malformed"),
    "a target for OPTIONS": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "http_malformed"),
    "an unknown expectation": (
        POST + b"Expect: 200-ok\r\nContent-Length: 3\r\n\r\nabc",
        417,
        "expectation_unsupported",
    ),
    "two expectations": (
        POST + b"Expect: 100-continue, x\r\nContent-Length: 3\r\n\r\nabc",
        417,
        "expectation_unsupported",
    ),
    "a list of nothing": (POST + b"Transfer-Encoding: ,\r\n\r\n", 400, "http_malformed"),
    "an upgrade and no host": (
        b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        400,
        "host_invalid",
    ),
    "an upgrade and gzip, chunked": (
        POST + b"Connection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
        "transfer_coding_unsupported",
    ),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505, "http_version_unsupported"),
    "a bad chunk": (CHUNKED + b"zz\r\n", 400, "http_malformed"),
    "a negative chunk": (CHUNKED + b"-1\r\n", 400, "http_malformed"),
    "a chunk longer than said": (CHUNKED + b"1\r\nabc\r\n", 400, "http_malformed"),
    "a bad trailer": (CHUNKED + b"0\r\nno colon\r\n\r\n", 400, "http_malformed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_request_is_refused_as_a_problem(
    client: Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, status, code = REFUSED[name]
    # The server's thread writes the line after the answer: the level has to stay until it is seen.
    caplog.set_level(logging.INFO)
    answer = client.send(data).answer()
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["connection"] == "close"
    assert client.is_closed()
    deadline_s = time.monotonic() + 60
    while not (lines := [one for one in caplog.records if getattr(one, "action", "") == "web.refused"]):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert [record.facts["code"] for record in lines] == [code]  # type: ignore[attr-defined]
    assert lines[0].facts["request_id"] == answer.headers["x-request-id"]  # type: ignore[attr-defined]


def test_a_refusal_is_counted(server: RawServer, client: Client) -> None:
    server.refusals.clear()
    assert client.send(b"rubbish\r\n\r\n").answer().status == 400
    assert server.refusals == [400]


def test_a_refusal_to_head_has_no_body(client: Client) -> None:
    client.send(b"HEAD / HTTP/1.1\r\n\r\n").socket.shutdown(socket.SHUT_WR)
    whole = b"".join(iter(lambda: client.socket.recv(65_536), b""))
    head, _, body = whole.partition(b"\r\n\r\n")
    assert b" 400 " in head
    assert body == b""


def test_a_client_that_speaks_tls_is_answered_with_the_cause(client: Client) -> None:
    assert b"https://" in client.send(REFUSED["TLS"][0]).answer().body


@pytest.mark.parametrize("name", REFUSED)
def test_requests_before_it_are_answered_first(server: RawServer, client: Client, name: str) -> None:
    client.send(GOOD * 2 + REFUSED[name][0])
    assert [client.answer().body for _ in range(2)] == [b"GET /good 0"] * 2
    last = client.answer()
    assert 400 <= last.status < 600
    assert last.headers["connection"] == "close"
    assert client.is_closed()


def test_a_refusal_waits_for_a_slow_answer() -> None:
    with raw_server(LIMITS) as server, Client(server.port) as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        assert server.waiting.wait(30)
        client.send(b"rubbish\r\n\r\n" * 100)
        server.let_go()
        assert client.answer().body == b"GET /wait 0"
        assert client.answer().status == 400
        assert client.is_closed()


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"GET / HTTP/1.1\r\nHost: a:80\r\n\r\n", b"GET / 0"),
        (b"GET / HTTP/1.1\r\nHost: a_b.c:80\r\n\r\n", b"GET / 0"),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"GET / 0"),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", b"GET / 0"),
        (b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /b 0"),
        (b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / 0"),
        (b"GET //a/b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET //a/b 0"),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", b"GET / 0"),
        (POST + b"Transfer-Encoding: , chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"POST / 3"),
        (POST + b"Expect:\r\nContent-Length: 3\r\n\r\nabc", b"POST / 3"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"OPTIONS * 0"),
        (b"\r\n\r\n" + GOOD, b"GET /good 0"),
        (POST + b"Content-Length: 0\r\n\r\n", b"POST / 0"),
        (CHUNKED + b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n", b"POST / 3"),
        (POST + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"POST / 3"),
        (POST + b"Upgrade: h2c\r\nConnection: Upgrade, X\r\nContent-Length: 3\r\n\r\nabc", b"POST / 3"),
        (
            POST + b"Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\n\r\n",
            b"POST / 3",
        ),
        (b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", b"GET /up 0"),
    ],
)
def test_a_valid_request_is_served_and_the_connection_stays_open(
    client: Client, data: bytes, body: bytes
) -> None:
    assert client.send(data).answer().body == body
    assert client.send(data + GOOD).answer().body == body
    assert client.answer().body == b"GET /good 0"


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
)
def test_a_connection_ends_when_the_client_asks_for_it(client: Client, head: bytes) -> None:
    answer = client.send(head + GOOD).answer()
    assert (answer.body, answer.headers["connection"]) == (b"GET / 0", "close")
    assert client.is_closed()


def test_each_byte_alone_is_the_same_request(client: Client) -> None:
    for byte in CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + GOOD:
        client.send(bytes([byte]))
    assert [client.answer().body, client.answer().body] == [b"POST / 3", b"GET /good 0"]


def test_a_trailer_does_not_become_a_header(server: RawServer, client: Client) -> None:
    client.send(CHUNKED + b"0\r\nx-request-id: forged\r\n\r\n").answer()
    assert dict(server.heads[-1]["headers"]) == {b"host": b"a", b"transfer-encoding": b"chunked"}


def test_a_continue_is_sent_to_those_who_wait_for_it(client: Client) -> None:
    client.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert client.answer().status == 100
    assert client.send(b"abc").answer().body == b"POST / 3"
    assert client.send(GOOD).answer().status == 200


def test_no_continue_is_sent_to_http_1_0(client: Client) -> None:
    client.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")
    assert client.answer().status == 200


def test_a_client_that_awaits_a_continue_in_vain_may_not_send_its_body(client: Client) -> None:
    head = b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    answer = client.send(head).answer()
    assert (answer.body, answer.headers["connection"]) == (b"POST /no 0", "close")
    assert client.is_closed()


# --- bytes --------------------------------------------------------------------------------------------------

TOO_MUCH = {
    "a long header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", "head_too_large"),
    "a header without end": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 600_000, "head_too_large"),
    "a name without end": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a" * 600_000, "head_too_large"),
    "a target without end": (b"GET /" + b"a" * 600_000, "head_too_large"),
    "a long target": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "head_too_large"),
    "many headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100 + b"\r\n", "head_too_large"),
    "line ends": (b"\r\n" * 300_000, "head_too_large"),
    "an extension without end": (CHUNKED + b"1;" + b"a" * 600_000, "chunk_overhead_too_large"),
    "many extensions": (CHUNKED + (b"1;" + b"a" * 500 + b"\r\nx\r\n") * 1000, "chunk_overhead_too_large"),
    "tiny chunks": (CHUNKED + b"1\r\nx\r\n" * 100_000, "chunk_overhead_too_large"),
    "trailers": (CHUNKED + b"0\r\n" + b"X: y\r\n" * 100_000, "chunk_overhead_too_large"),
    "one trailer without end": (CHUNKED + b"0\r\nX: " + b"y" * 600_000, "chunk_overhead_too_large"),
    "one trailer's name": (CHUNKED + b"0\r\n" + b"y" * 600_000, "chunk_overhead_too_large"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
@pytest.mark.parametrize("split", [7, 100_000])
def test_bytes_that_are_no_data_are_bounded(client: Client, name: str, split: int) -> None:
    data, code = TOO_MUCH[name]
    with contextlib.suppress(ConnectionError):
        for start in range(0, len(data), split if split > 1000 else len(data)):
            client.send(data[start : start + split] if split > 1000 else data[:split])
            if split < 1000:
                client.send(data[split:])
    assert client.answer().code == code
    assert client.is_closed()


def test_trailers_without_end_to_a_route_that_reads_no_body_end() -> None:
    with connected(replace(LIMITS, linger_s_max=SOON_S)) as client:
        head = b"GET /no HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        answer = client.send(head).answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert bytes_until_reset(client, b"X: y\r\n" * 10_000) < LIMITS.linger_bytes_max + KERNEL_BYTES_MAX


@pytest.mark.parametrize("chunk", [64, 1000, 65_536])
def test_bodies_in_ordinary_chunks_are_whole(client: Client, chunk: int) -> None:
    count = 2_000_000 // chunk
    client.send(CHUNKED + (b"%x\r\n" % chunk + b"x" * chunk + b"\r\n") * count + b"0\r\n\r\n")
    assert client.answer().body == b"POST / %d" % (count * chunk)


def test_an_unread_body_does_not_cost_the_client_its_answer(client: Client) -> None:
    client.send(b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n" + bytes(4_000_000))
    answer = client.answer()
    assert (answer.body, answer.headers["connection"]) == (b"POST /no 0", "close")
    assert client.is_closed()


def test_an_endless_unread_body_is_not_read_for_ever() -> None:
    with connected(replace(LIMITS, linger_s_max=SOON_S)) as client:
        client.send(b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000000\r\n\r\n")
        assert client.answer().status == 200
        assert bytes_until_reset(client, bytes(100_000)) < LIMITS.linger_bytes_max + KERNEL_BYTES_MAX


def test_requests_in_a_row_are_answered_up_to_a_bound(client: Client) -> None:
    client.send(GOOD * 16)
    assert [client.answer().body for _ in range(16)] == [b"GET /good 0"] * 16
    client.send(GOOD * 10_000)
    answers = [client.answer() for _ in range(17)]
    assert [one.status for one in answers] == [200] * 16 + [503]
    assert answers[-1].code == "overloaded"
    assert client.is_closed()


def test_a_broken_body_ends_its_request(server: RawServer, client: Client) -> None:
    server.left.clear()
    client.send(CHUNKED + b"3\r\nabc\r\n")
    client.send(b"zz\r\n")
    assert client.answer().code == "http_malformed"
    assert server.left.wait(30)


# --- seconds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\r\n"])
def test_a_silent_connection_ends(data: bytes) -> None:
    with connected(replace(LIMITS, head_s_max=SOON_S)) as client:
        assert client.send(data).is_closed()


@pytest.mark.parametrize("before", [b"", GOOD])
@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1\r\n", GOOD[:-2]])
def test_a_head_that_does_not_end_in_time_is_refused(before: bytes, data: bytes) -> None:
    with connected(replace(LIMITS, head_s_max=SOON_S)) as client:
        client.send(before + data)
        if before:
            assert client.answer().status == 200
        assert client.answer().code == "head_too_slow"
        assert client.is_closed()


def test_bytes_now_and_then_do_not_prolong_a_head() -> None:
    with connected(replace(LIMITS, head_s_max=SOON_S)) as client:
        stop = threading.Event()

        def drip() -> None:
            client.send(GOOD + b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
            with contextlib.suppress(OSError):
                while not stop.wait(SOON_S / 10):
                    client.send(b"y")

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert client.answer().status == 200
        assert client.answer().code == "head_too_slow"
        stop.set()
        dripping.join()


@pytest.mark.parametrize("after", [b"", b"\r\n"])
def test_a_connection_between_two_requests_ends(after: bytes) -> None:
    with connected(replace(LIMITS, keep_alive_s=SOON_S, head_s_max=SOON_S)) as client:
        assert client.send(GOOD + after).answer().status == 200
        assert client.is_closed()


def test_a_slow_answer_is_no_slow_head() -> None:
    limits = replace(LIMITS, head_s_max=SOON_S, keep_alive_s=60.0)
    with raw_server(limits) as server, Client(server.port) as client:
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n\r\n")
        assert server.waiting.wait(30)
        threading.Timer(SOON_S * 2, server.let_go).start()
        assert client.answer().body == b"GET /wait 0"


@pytest.mark.parametrize("requests", [1, 3])
def test_an_answer_that_the_client_does_not_read_is_given_up(requests: int) -> None:
    with raw_server(replace(LIMITS, send_s_max=SOON_S)) as server, Client(server.port) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n" * requests)
        assert server.closed.wait(30)


def test_the_rest_of_an_unread_answer_is_given_up_with_the_connection() -> None:
    with raw_server(replace(LIMITS, linger_s_max=SOON_S)) as server, Client(server.port) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert server.closed.wait(30)


def test_an_answer_that_is_read_slowly_is_whole(client: Client) -> None:
    assert len(client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").answer().body) == LARGE_BYTES


# --- connections --------------------------------------------------------------------------------------------


def test_idle_connections_make_room_for_new_ones(caplog: pytest.LogCaptureFixture) -> None:
    limits = replace(LIMITS, connections_max=3)
    with raw_server(limits) as server, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(Client(server.port)) for _ in range(3)]
        idle[0].send(GOOD).answer()
        idle[1].send(b"GET / HTTP/1.1\r\n")
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert stack.enter_context(Client(server.port)).send(GOOD).answer().status == 200
        assert [one.is_closed() for one in idle if one is not idle[1]] == [True, True]
    full = [record for record in caplog.records if getattr(record, "action", "") == "web.connections_full"]
    assert len(full) == 1


SLOW = {
    "a body": b"POST /good HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
    "a chunk": CHUNKED + b"9\r\nabc",
    "an answer": b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
    "an end": b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
}


@pytest.mark.parametrize("name", SLOW)
def test_connections_that_wait_for_their_clients_make_room_for_new_ones(name: str) -> None:
    limits = replace(LIMITS, connections_max=2, transfer_s_min=0.0)
    with raw_server(limits) as server, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Client(server.port)).send(SLOW[name])
        assert stack.enter_context(Client(server.port)).send(GOOD).answer().status == 200


def test_a_transfer_that_has_just_begun_is_left_alone() -> None:
    limits = replace(LIMITS, connections_max=1, transfer_s_min=60.0)
    with raw_server(limits) as server, Client(server.port) as slow:
        slow.send(b"POST /good HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert slow.answer().status == 100
        with Client(server.port) as late:
            assert late.send(GOOD).answer().code == "overloaded"
        assert slow.send(b"abc").answer().body == b"POST /good 3"


def test_if_all_connections_are_working_a_new_one_is_refused_with_the_cause() -> None:
    limits = replace(LIMITS, connections_max=2)
    with raw_server(limits) as server, contextlib.ExitStack() as stack:
        busy = [stack.enter_context(Client(server.port)) for _ in range(2)]
        for one in busy:
            server.waiting.clear()
            one.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            assert server.waiting.wait(30)
        with Client(server.port) as late:
            answer = late.send(GOOD).answer()
            assert (answer.status, answer.code) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) > 0
            assert late.is_closed()
        server.let_go()
        assert [one.answer().status for one in busy] == [200, 200]
        with Client(server.port) as next_one:
            assert next_one.send(GOOD).answer().status == 200


# --- open files ---------------------------------------------------------------------------------------------


def with_files(count: int, *arguments: str, data_dir: Path) -> "subprocess.Popen[str]":
    """Start a command that may have `count` files open."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BEHOLDER_")}
    return subprocess.Popen(
        [
            "/bin/sh",
            "-c",
            f'ulimit -n {count}; exec "$@"',
            "sh",
            sys.executable,
            "-m",
            "beholder",
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment | {"BEHOLDER_PORT": "0", "BEHOLDER_DATA_DIR": str(data_dir)},
    )


@pytest.mark.parametrize("command", ["up", "web", "worker", "demo"])
@pytest.mark.parametrize("count", [10, 20, 63])
def test_a_low_limit_on_open_files_is_reported_in_a_sentence(
    tmp_path: Path, command: str, count: int
) -> None:
    process = with_files(count, command, data_dir=tmp_path)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"the limit on open files is {count}, and at least 64 are needed; raise it" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("count", "concurrency", "needed"), [(8, 1, 65), (20, 1, 65), (100, 50, 114)])
def test_load_reports_a_low_limit_too(tmp_path: Path, count: int, concurrency: int, needed: int) -> None:
    (tmp_path / "one.jpg").write_bytes(b"x")
    arguments = ["--image_folder", str(tmp_path), "--concurrency", str(concurrency), "--num_request", "100"]
    process = with_files(count, "load", *arguments, data_dir=tmp_path)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"the limit on open files is {count}, and at least {needed} are needed; raise it" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("count", [64, 100])
def test_new_clients_get_in_where_silent_ones_hold_all_open_files(tmp_path: Path, count: int) -> None:
    process = with_files(count, "web", data_dir=tmp_path)
    assert process.stdout
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"http://127.0.0.1:(\d+)", line):
                break
        port = int(found[1]) if found else 0
        with contextlib.ExitStack() as stack:
            for number in range(3 * count):
                one = stack.enter_context(Client(port))
                one.send((b"", b"G", SLOW["an end"])[number % 3])
            for _ in range(10):
                assert (
                    stack.enter_context(Client(port)).send(GOOD.replace(b"good", b"healthz")).answer().status
                    == 200
                )
            limits = json.loads(
                stack.enter_context(Client(port)).send(GOOD.replace(b"good", b"v1/limits")).answer().body
            )
            assert 0 < limits["connections_max"] < count - 30
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=60)
    assert sum("web.connections_full" in line for line in rest.splitlines()) == 1
