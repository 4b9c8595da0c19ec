"""The instance metadata service of one instance, versions 1 and 2.

Source: EC2 user guide, "Use the Instance Metadata Service to access instance metadata" and "Instance metadata
categories", 2026-10.
"""

import http.server
import json
import re
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

_TTL_S_MAX = 21_600
_CREDENTIALS_S = 3600
_IDLE_S = 60.0
_TEXT, _JSON = "text/plain", "application/json"


@dataclass(frozen=True)
class Instance:
    """What an instance was launched with."""

    instance_id: str
    instance_type: str = "t3.small"
    image_id: str = ""
    zone: str = ""
    region: str = ""
    account_id: str = ""
    private_ip: str = ""
    life_cycle: str = "on-demand"
    tags: dict[str, str] = field(default_factory=dict)
    user_data: bytes = b""
    shutdown_behavior: str = "stop"
    needs_token: bool = True
    shows_tags: bool = False
    role_name: str = ""
    role_arn: str = ""


class MetadataService:
    """Answers what one instance may ask about itself.

    Args:
        instance: Whose metadata it is.
        assume_role: Takes the ARN of a role and a session's name, returns the `Credentials` of STS.
    """

    def __init__(self, instance: Instance, assume_role: Callable[[str, str], dict[str, Any]]) -> None:
        self.instance = instance
        self._pending_at_s = time.time()
        self._assume_role = assume_role
        self._tokens: dict[str, float] = {}
        self._notices: dict[str, str] = {}

    def interrupt(self, at_s: float) -> None:
        """Tell of an interruption at a time in seconds since the Unix epoch, and recommend a rebalance."""
        at = iso_time(at_s)
        self._notices = {
            "spot/instance-action": json.dumps({"action": "terminate", "time": at}),
            "spot/termination-time": at,
            "events/recommendations/rebalance": json.dumps({"noticeTime": iso_time(time.time())}),
        }

    def serve(self, connection: socket.socket) -> None:
        """Answer the requests of one connection."""
        _Handler(connection, ("", 0), self)  # type: ignore[arg-type]

    def token(self, ttl_s: int) -> str:
        token = secrets.token_urlsafe(40)
        self._tokens[token] = time.monotonic() + ttl_s
        return token

    def admits(self, token: str | None) -> bool:
        if token is None:
            return not self.instance.needs_token
        return self._tokens.get(token, 0.0) > time.monotonic()

    def answer(self, path: str) -> str | None:
        """Return what stands under a path, such as 'meta-data/instance-id'; None where nothing does."""
        if path == "":
            return "dynamic\nmeta-data\nuser-data"
        if path == "user-data":
            return self.instance.user_data.decode() or None
        if path == "dynamic/instance-identity/document":
            return self._document()
        if path == "meta-data":
            return "\n".join(sorted(self._categories()))
        if not path.startswith("meta-data/"):
            return None
        return self._metadata(path.removeprefix("meta-data/"))

    def _metadata(self, name: str) -> str | None:
        first, _, rest = name.partition("/")
        if first == "tags":
            return self._tag(rest)
        if first == "iam":
            return self._credentials(rest)
        return {**self._categories(), **self._notices}.get(name)

    def _categories(self) -> dict[str, str]:
        one = self.instance
        return {
            "ami-id": one.image_id,
            "hostname": one.instance_id,
            "instance-id": one.instance_id,
            "instance-life-cycle": one.life_cycle,
            "instance-type": one.instance_type,
            "local-ipv4": one.private_ip,
            "placement/availability-zone": one.zone,
            "placement/region": one.region,
            "services/domain": "amazonaws.com",
        }

    def _document(self) -> str:
        one = self.instance
        return json.dumps(
            {
                "accountId": one.account_id,
                "architecture": "x86_64",
                "availabilityZone": one.zone,
                "imageId": one.image_id,
                "instanceId": one.instance_id,
                "instanceType": one.instance_type,
                "pendingTime": iso_time(self._pending_at_s),
                "privateIp": one.private_ip,
                "region": one.region,
            }
        )

    def _tag(self, rest: str) -> str | None:
        folder, _, key = rest.partition("/")
        if folder != "instance" or not self.instance.shows_tags:
            return None
        return self.instance.tags.get(key) if key else "\n".join(self.instance.tags)

    def _credentials(self, rest: str) -> str | None:
        folder, _, role = rest.partition("/")
        if folder != "security-credentials" or not self.instance.role_name:
            return None
        if not role:
            return self.instance.role_name
        if role != self.instance.role_name:
            return None
        given = self._assume_role(self.instance.role_arn, self.instance.instance_id)
        now = datetime.now(UTC)
        return json.dumps(
            {
                "Code": "Success",
                "LastUpdated": iso_time(now.timestamp()),
                "Type": "AWS-HMAC",
                "AccessKeyId": given["AccessKeyId"],
                "SecretAccessKey": given["SecretAccessKey"],
                "Token": given["SessionToken"],
                "Expiration": iso_time((now + timedelta(seconds=_CREDENTIALS_S)).timestamp()),
            }
        )


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server: MetadataService  # type: ignore[assignment]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: what the guest asks is no news."""

    def do_PUT(self) -> None:
        if _below_version(self.path) != "api/token":
            return self._reply(404)
        # What came through a proxy is not the instance itself.
        if self.headers.get("X-Forwarded-For"):
            return self._reply(403)
        wanted = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not wanted.isdecimal() or not 1 <= int(wanted) <= _TTL_S_MAX:
            return self._reply(400)
        return self._reply(200, self.server.token(int(wanted)), ttl_s=wanted)

    def do_GET(self) -> None:
        if not self.server.admits(self.headers.get("X-aws-ec2-metadata-token")):
            return self._reply(401)
        path = _below_version(self.path)
        try:
            answer = None if path is None else self.server.answer(path)
        except (BotoCoreError, ClientError):  # no credentials, as the emulator gives none
            return self._reply(500)
        return self._reply(404) if answer is None else self._reply(200, answer)

    def _reply(self, status: int, text: str = "", *, ttl_s: str = "") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", _JSON if text.startswith("{") else _TEXT)
        self.send_header("Content-Length", str(len(body)))
        if ttl_s:
            self.send_header("X-aws-ec2-metadata-token-ttl-seconds", ttl_s)
        self.end_headers()
        self.wfile.write(body)


def _below_version(path: str) -> str | None:
    """Return what follows '/latest' or a dated version, without slashes around it; None for another path."""
    match = re.fullmatch(r"/(?:latest|1\.0|20\d\d-\d\d-\d\d)(?:/(.*?))?/*", path)
    return None if match is None else match[1] or ""


def iso_time(at_s: float) -> str:
    """Return a time as AWS writes it, such as '2026-01-31T12:00:00Z'."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
