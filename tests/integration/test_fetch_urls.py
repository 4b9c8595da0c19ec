"""Images fetched from addresses: what is refused before a connection, and servers that misbehave."""

import asyncio
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from beholder.errors import BeholderError, ImageTooLarge, Overloaded, RequestError, UrlFailed, UrlRefused
from beholder.model.decode.limits import ImageLimits
from beholder.telemetry.metrics import Telemetry
from beholder.web.limits import WebLimits
from beholder.web.submission.addresses import UrlPolicy, is_public
from beholder.web.submission.fetcher import UrlFetcher
from beholder.web.submission.upload import ImageFetchers
from beholder.web.submission.upload_budget import UploadBudget
from helpers.images import jpeg
from helpers.web import Ask, ask, memory_ports

IMAGE_BYTES_MAX = 200_000
LIMITS = WebLimits(image=ImageLimits(image_bytes_max=IMAGE_BYTES_MAX), fetch_s_max=5.0)
PUBLIC = "93.184.215.14"
NAMES = {
    "example.org": [PUBLIC],
    "localhost": ["127.0.0.1"],
    "localhost.": ["127.0.0.1"],
    "internal.example.org": ["10.0.0.7"],
    "metadata.google.internal": ["169.254.169.254"],
    "mixed.example.org": [PUBLIC, "10.0.0.7"],
    "mapped.example.org": ["::ffff:169.254.169.254"],
    "v6.example.org": ["fd00:ec2::254"],
    "unknown.example.org": [],
}


@dataclass
class Resolver:
    """Knows some names, and the numbers that the system takes for addresses; asks no server."""

    names: dict[str, list[str]] = field(default_factory=lambda: NAMES)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host in self.names:
            return self.names[host]
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except OSError:
            return []
        return [str(sockaddr[0]) for *_, sockaddr in found]


def fetch(
    url: str, policy: UrlPolicy | None = None, resolve: Any = None, limits: WebLimits = LIMITS
) -> bytes:
    async def run() -> bytes:
        fetcher = UrlFetcher(policy or UrlPolicy(), limits, resolve=resolve or Resolver())
        with UploadBudget(limits.uploads_bytes_max, Telemetry()).reserve() as reservation:
            return await fetcher.fetch(url, reservation)

    return asyncio.run(run())


# --- what is refused before a connection --------------------------------------------------------------------

TRICKS = [
    # schemes
    "http://example.org/a.jpg",
    "ftp://example.org/a.jpg",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "data:image/png;base64,AAAA",
    "//example.org/a.jpg",
    "https:/example.org",
    "https:example.org",
    "example.org/a.jpg",
    "javascript:alert(1)",
    "",
    # loopback, in every spelling
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://127.0.0.1./",
    "https://0/",
    "https://0.0.0.0/",
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[0:0:0:0:0:ffff:7f00:0001]/",
    "https://\u2460\u2461\u2466.0.0.1/",
    "https://\uff11\uff12\uff17.0.0.1/",
    "https://%31%32%37.0.0.1/",
    # private, link-local, metadata, translated
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254./latest/meta-data/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://100.100.100.200/",
    "https://168.63.129.16/",
    "https://192.0.0.192/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[ff02::1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:4136:e378:8000:63bf:80ff:fffe]/",
    "https://[2001:db8::1]/",
    "https://metadata.google.internal/",
    "https://internal.example.org/",
    "https://mixed.example.org/",
    "https://mapped.example.org/",
    "https://v6.example.org/",
    "https://unknown.example.org/",
    # credentials, ports, and what parsers disagree about
    "https://user@example.org/",
    "https://user:secret@example.org/",
    "https://@example.org/",
    "https://example.org@127.0.0.1/",
    "https://127.0.0.1@example.org/",
    "https://example.org:8443/",
    "https://example.org:22/",
    "https://example.org:80/",
    "https://example.org:99999/",
    "https://example.org\\@127.0.0.1/",
    "https://127.0.0.1\\.example.org/",
    "https://example.org\t/a.jpg",
    "https://example.org/\r\nHost: 127.0.0.1",
    "https:// example.org/",
    "https://",
    "https:///a.jpg",
    "https://?a",
    "https://[::1/",
    "https://" + "a" * 3000 + ".example.org/",
]


@pytest.mark.parametrize("number", range(len(TRICKS)))
def test_an_address_that_is_not_public_is_refused_with_one_code(number: int) -> None:
    assert len(TRICKS) == len(set(TRICKS)) >= 40

    def is_allowed(address: str) -> bool:
        # Of two addresses one may be public; any other one would be connected to.
        assert not is_public(address) or "mixed" in TRICKS[number], f"it would connect to {address}"
        return is_public(address)

    with pytest.raises(UrlRefused) as refused:
        fetch(TRICKS[number], UrlPolicy(is_allowed=is_allowed))
    assert refused.value.message == UrlRefused().message, "the sentence reveals nothing of the network"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (PUBLIC, True),
        ("2606:4700::6810:84e5", True),
        ("::ffff:93.184.215.14", False),
        ("64:ff9b::5db8:d70e", False),
        ("127.0.0.1", False),
        ("fe80::1%eth0", False),
        ("nonsense", False),
    ],
)
def test_what_counts_as_public(address: str, *, expected: bool) -> None:
    assert is_public(address) is expected


def test_no_special_network_is_public() -> None:
    """Every network that the standard library calls private, and its neighbours' edges."""
    special = """
        0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
        192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
        fc00::/7 fe80::/10 ff00::/8 ::/96 ::ffff:0:0/96 2001:db8::/32 2002::/16 100::/64
    """
    for text in special.split():
        network = ipaddress.ip_network(text)
        assert not any(is_public(str(network[place])) for place in (0, 1, -1)), text


# --- servers ------------------------------------------------------------------------------------------------

Answer = Callable[[socket.socket, str], None]
HERE = UrlPolicy(frozenset({"http"}), is_allowed=lambda one: one == "127.0.0.1", is_any_port=True)
PHOTO = jpeg(1)


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1: each connection's request line goes to `answer`."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                target = connection.recv(65_536).decode().split(" ")[1]
                answer(connection, target)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)
            except (OSError, IndexError):
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def whole(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_a_file_is_fetched_also_after_redirects() -> None:
    def answer(connection: socket.socket, target: str) -> None:
        left = int(target.removeprefix("/").partition("?")[0])
        head = whole(b"", "302 Found", f"Location: /{left - 1}?x") if left else whole(PHOTO)
        connection.sendall(head)

    with server(answer) as url:
        assert fetch(f"{url}/0", HERE) == fetch(f"{url}/3#part", HERE) == PHOTO
        with pytest.raises(UrlFailed, match="more than 3 times"):
            fetch(f"{url}/4", HERE)


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/",
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://2852039166/",
        "//192.168.0.1/",
        "https://127.0.0.1/",
        "file:///etc/passwd",
        "http://user@127.0.0.1/",
        "http://internal.example.org/",
    ],
)
def test_a_redirect_to_a_private_address_is_refused_with_the_same_code(location: str) -> None:
    answer = whole(b"", "302 Found", f"Location: {location}")
    with server(lambda one, _: one.sendall(answer)) as url, pytest.raises(UrlRefused) as refused:
        fetch(url, HERE)
    assert refused.value.message == UrlRefused().message


def test_a_name_is_resolved_once_and_the_connection_goes_where_it_was_checked() -> None:
    """Or a name server could answer with a public address first and a private one a moment later."""
    with server(lambda one, _: one.sendall(whole(PHOTO))) as url:
        port = url.rpartition(":")[2]
        resolver = Resolver({"rebinding.example.org": ["127.0.0.1"]})
        assert fetch(f"http://rebinding.example.org:{port}/a", HERE, resolver) == PHOTO
    assert resolver.asked == ["rebinding.example.org"]


def bad_answers() -> dict[str, tuple[Answer, type[BeholderError]]]:
    def endless(connection: socket.socket, _: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _number in range(100):
            connection.sendall(b"4000\r\n" + bytes(0x4000) + b"\r\n")

    def headers(connection: socket.socket, _: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for number in range(100_000):
            connection.sendall(b"X-%d: %s\r\n" % (number, b"x" * 1000))

    def send(data: bytes) -> Answer:
        return lambda connection, _: connection.sendall(data)

    return {
        "long": (send(whole(bytes(IMAGE_BYTES_MAX + 1))), ImageTooLarge),
        "declared too long": (
            send(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n"),
            ImageTooLarge,
        ),
        "endless chunks": (endless, ImageTooLarge),
        "endless headers": (headers, UrlFailed),
        "one long header": (send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000), UrlFailed),
        "shorter than declared": (send(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nabc"), UrlFailed),
        "no HTTP": (send(b"220 ready\r\n"), UrlFailed),
        "nothing": (send(b""), UrlFailed),
        "a broken chunk": (send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), UrlFailed),
        "not found": (send(whole(b"no", "404 Not Found")), UrlFailed),
        "no content": (send(b"HTTP/1.1 204 No Content\r\n\r\n"), UrlFailed),
        "a redirect to nowhere": (send(whole(b"", "302 Found")), UrlFailed),
        "a switch of protocols": (send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), UrlFailed),
    }


@pytest.mark.parametrize("kind", bad_answers())
def test_a_server_that_misbehaves_is_a_refusal(kind: str) -> None:
    answer, error = bad_answers()[kind]
    with server(answer) as url, pytest.raises(RequestError) as refused:
        fetch(url, HERE)
    assert type(refused.value) is error


@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nabc"])
def test_a_server_that_trickles_costs_a_bounded_time(begins: bytes) -> None:
    over = threading.Event()

    def trickle(connection: socket.socket, _: str) -> None:
        connection.sendall(begins)
        while not over.wait(0.05):
            connection.sendall(b"H")

    limits = WebLimits(image=LIMITS.image, fetch_s_max=0.4)
    began_s = time.monotonic()
    with server(trickle) as url, pytest.raises(UrlFailed):
        fetch(url, HERE, limits=limits)
    over.set()
    assert time.monotonic() - began_s < 20


def test_a_name_server_that_hangs_costs_a_bounded_time() -> None:
    async def hang(_host: str, _port: int) -> Sequence[str]:
        await asyncio.sleep(3600)
        return []

    with pytest.raises(UrlFailed, match="no file came"):
        fetch("http://example.org/", HERE, hang, WebLimits(fetch_s_max=0.05))


def test_a_compressed_answer_is_not_decompressed() -> None:
    packed = whole(b"\x1f\x8b" + bytes(20), "200 OK", "Content-Encoding: gzip")
    with server(lambda one, _: one.sendall(packed)) as url:
        assert fetch(url, HERE).startswith(b"\x1f\x8b")


def test_fetches_at_once_are_bounded() -> None:
    async def run() -> int:
        waiting = asyncio.Event()

        async def wait(_host: str, _port: int) -> Sequence[str]:
            await waiting.wait()
            return []

        fetcher = UrlFetcher(UrlPolicy(), WebLimits(fetches_max=3), resolve=wait)
        with UploadBudget(10**6, Telemetry()).reserve() as reservation:
            tasks = [asyncio.create_task(fetcher.fetch("https://a.org/", reservation)) for _ in range(5)]
            await asyncio.sleep(0)
            waiting.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
        return sum(isinstance(one, Overloaded) for one in found)

    assert asyncio.run(run()) == 2


# --- requests -----------------------------------------------------------------------------------------------

JSON = {"content_type": "application/json"}


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/classify", {"url": "{}"}),
        ("/v1/classify", {"image": "{}"}),
        ("/hf", {"inputs": "{}"}),
        ("/predictions", {"input": {"image": "{}"}}),
    ],
)
def test_a_request_may_hold_an_address_if_the_operator_allows_it(path: str, document: Any) -> None:
    with server(lambda one, _: one.sendall(whole(PHOTO))) as url:
        ports = memory_ports(limits=WebLimits(wait_s_default=0.01))
        allowed = memory_ports(
            limits=ports.limits, fetchers=ImageFetchers(UrlFetcher(HERE, ports.limits).fetch)
        )
        body = json.dumps(document).replace("{}", f"{url}/photos/cat.jpg?size=1").encode()
        asked = Ask("POST", path, body, JSON)
        (refused,), (accepted,) = ask(ports, asked), ask(allowed, asked)
    assert refused.status == 415
    assert accepted.status in (202, 503)  # no worker runs
    (stored,) = allowed.images.list("images/")
    assert (stored.key.endswith("cat.jpg"), allowed.images.get(stored.key)) == (True, PHOTO)


def test_what_was_fetched_is_checked_as_an_upload() -> None:
    with server(lambda one, _: one.sendall(whole(b"<html>"))) as url:
        ports = memory_ports(fetchers=ImageFetchers(UrlFetcher(HERE, LIMITS).fetch))
        page, both = ask(
            ports,
            Ask("POST", "/v1/classify", json.dumps({"url": url}).encode(), JSON),
            Ask("POST", "/v1/classify", json.dumps({"url": url, "image": url}).encode(), JSON),
        )
    assert (page.status, page.json["code"]) == (415, "image_type_unsupported")
    assert (both.status, both.json["code"]) == (400, "image_missing")
