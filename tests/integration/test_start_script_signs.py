"""What the start of an instance asks AWS for by curl is signed as botocore signs it."""

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

pytestmark = pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("curl")), reason="bash and curl: not installed"
)

REGION, KEY, SECRET = "eu-central-1", "AKIDEXAMPLE", "wJalrXUtnFEMI"
ADDRESS, INSTANCE = "eipalloc-0a", "i-0b"
ASSOCIATE = f"Action=AssociateAddress&AllocationId={ADDRESS}&AllowReassociation=false&InstanceId={INSTANCE}"
WAIT_S = 30.0


class Asked:
    """A request, and whether its signature is right."""

    def __init__(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.line, self.headers = f"{handler.command} {handler.path}", handler.headers
        scope, names, signature = (
            one.partition("=")[2] for one in handler.headers["Authorization"].split(", ")
        )
        self.service = scope.split("/")[3]
        self.signed = names.split(";")
        sent = {name: handler.headers[name] for name in self.signed if name != "host"}
        request = AWSRequest(handler.command, f"http://{handler.headers['Host']}{handler.path}", sent)
        request.context["timestamp"] = handler.headers["X-Amz-Date"]
        kind = S3SigV4Auth if self.service == "s3" else SigV4Auth
        signer = kind(Credentials(KEY, SECRET), self.service, REGION)
        canonical = signer.canonical_request(request)
        self.is_right = signer.signature(signer.string_to_sign(request, canonical), request) == signature


class Aws(http.server.BaseHTTPRequestHandler):
    """Keeps what it is asked, and finds it good."""

    asked: list[Asked]

    def do_GET(self) -> None:
        if self.path != "/readyz":
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.asked.append(Asked(self))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_GET  # noqa: N815 -- the base class calls it so

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""


@pytest.fixture
def aws() -> Iterator[tuple[str, list[Asked]]]:
    """Return an endpoint, and what it is asked."""
    asked: list[Asked] = []
    handler = type("Handler", (Aws,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def function(file: str, name: str) -> str:
    """Return a function of a shell script."""
    lines = (resources.files("beholder.deploy") / file).read_text("utf-8").splitlines()
    first = lines.index(f"{name}() {{")
    return "\n".join(lines[first : lines.index("}", first) + 1])


def run(endpoint: str, folder: Path, command: str) -> None:
    (folder / "curl").write_text(f'user = "{KEY}:{SECRET}"\nheader = "x-amz-security-token: of-the-role"\n')
    (folder / "reason").write_text("it did not start")
    functions = [function("user_data.sh", name) for name in ("aws", "object")]
    functions.append(function("instance/start.sh", "take_address"))
    environment = {
        "PATH": "/usr/bin:/bin",
        "work": str(folder),
        "AWS_ENDPOINT_URL": endpoint,
        "BEHOLDER_REGION": REGION,
        "BEHOLDER_PORT": endpoint.rpartition(":")[2],
        "ELASTIC_IP": ADDRESS,
        "instance": INSTANCE,
    }
    script = "\n".join(["set -e", *functions, command])
    subprocess.run(["bash", "-c", script], env=environment, check=True, timeout=WAIT_S)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ('aws s3 -o $work/archive "$(object zoo-bundles 0a.tar.gz)"', "GET /zoo-bundles/0a.tar.gz"),
        (
            'aws s3 -T $work/reason "$(object zoo-output fleet/failed-starts/i-0b)"',
            "PUT /zoo-output/fleet/failed-starts/i-0b",
        ),
        (
            "take_address",
            f"GET /?{ASSOCIATE}&Version=2016-11-15",
        ),
    ],
    ids=["get an object", "put an object", "associate an address"],
)
def test_a_request_of_the_start_is_signed(
    aws: tuple[str, list[Asked]], tmp_path: Path, command: str, line: str
) -> None:
    endpoint, asked = aws
    run(endpoint, tmp_path, command)
    (one,) = asked
    assert one.line == line
    assert one.is_right
    assert "x-amz-security-token" in one.signed
    # S3 refuses a request without it.
    assert ("x-amz-content-sha256" in one.signed) == (one.service == "s3")
