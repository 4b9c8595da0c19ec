"""Plays an Application Load Balancer, of which an emulator has the description alone.

It checks the targets' `/readyz` as the target group asks, sends each request to the next healthy target, and
sends nothing more to one that is deregistered. When that has answered what it had, its instance is
terminated. The emulator is told by tags of the target group which targets are healthy
(`aws/moto_server.py`).
Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
and edit-target-group-attributes.html (2026-11)
"""

import contextlib
import http.client
import ssl
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ec2.harness import Ec2Harness

__all__ = ["Balancer"]

_HEALTH = "health"
_PORT = 8080
# Template: every 10 s. A second serves tests as well.
_INTERVAL_S = 1.0
_CHECK_S = 5.0
# Template: idle_timeout.timeout_seconds.
_IDLE_S = 65.0
_OF_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class _Target:
    """A target: how its checks went, how many requests it has, and connections that wait for the next one."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.state = "initial"
        self.passed = self.failed = self.in_flight = 0
        self.idle: list[http.client.HTTPConnection] = []
        self.leaves_s = float("inf")

    def close(self) -> None:
        while self.idle:
            self.idle.pop().close()


class Balancer:
    """A balancer before the targets of a target group.

    Args:
        emulator: Has the target group.
        harness: Boots its targets.
        target_group: Its ARN.
        address: Where it listens.
        tls: Its side of TLS.

    Attributes:
        answers: Statuses of all answers, counted.
        served: Requests that each target has answered, by instance.
        faults: Why it has answered by itself.
    """

    def __init__(
        self,
        emulator: Any,
        harness: Ec2Harness,
        target_group: str,
        address: tuple[str, int],
        tls: ssl.SSLContext,
    ) -> None:
        self._elb, self._ec2, self._harness = emulator.client("elbv2"), emulator.client("ec2"), harness
        self._group = target_group
        self.answers: Counter[int] = Counter()
        self.served: Counter[str] = Counter()
        self.faults: list[str] = []
        self._targets: dict[str, _Target] = {}
        self._turn = 0
        self._changing, self._is_over = threading.Lock(), threading.Event()
        (group,) = self._elb.describe_target_groups(TargetGroupArns=[target_group])["TargetGroups"]
        self._path = group["HealthCheckPath"]
        self._healthy_after, self._unhealthy_after = (
            group["HealthyThresholdCount"],
            group["UnhealthyThresholdCount"],
        )
        told = self._elb.describe_target_group_attributes(TargetGroupArn=target_group)["Attributes"]
        (delay,) = [one["Value"] for one in told if one["Key"] == "deregistration_delay.timeout_seconds"]
        self._delay_s = float(delay)
        self._tell("", "checked")
        self._server = ThreadingHTTPServer(address, _handler_for(self))
        # The handshake is part of a connection's own thread.
        self._server.socket = tls.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._threads = [threading.Thread(target=one) for one in (self._check, self._serve)]
        for one in self._threads:
            one.start()

    def close(self) -> None:
        """Take no more requests."""
        self._is_over.set()
        self._server.shutdown()
        for one in self._threads:
            one.join()
        self._server.server_close()
        for target in self._targets.values():
            target.close()

    def targets(self) -> Mapping[str, str]:
        """Return the state of each target that is registered or leaves, by instance."""
        with self._changing:
            return {instance: one.state for instance, one in self._targets.items()}

    # --- requests ------------------------------------------------------------------------------------------

    def forward(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return the status, headers and body of a target's answer, or of an own one."""
        taken = self._take()
        if taken is None:
            return self._own(503, "no target is registered")
        instance, target = taken
        try:
            connection = target.idle.pop()
        except IndexError:
            connection = http.client.HTTPConnection(target.address, timeout=_IDLE_S)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            read = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            return self._own(502, f"{instance}: {exc!r}")
        else:
            target.idle.append(connection)
            with self._changing:
                self.answers[answer.status] += 1
                self.served[instance] += 1
            return answer.status, answer.getheaders(), read
        finally:
            with self._changing:
                target.in_flight -= 1

    def _own(self, status: int, reason: str) -> tuple[int, list[tuple[str, str]], bytes]:
        with self._changing:
            self.answers[status] += 1
            self.faults.append(f"{status} {reason}")
        return status, [], b""

    def _take(self) -> tuple[str, _Target] | None:
        """Choose the next healthy target; where none is healthy, any that is registered."""
        with self._changing:
            there = [(instance, one) for instance, one in self._targets.items() if one.state != "draining"]
            able = [(instance, one) for instance, one in there if one.state == "healthy"] or there
            if not able:
                return None
            self._turn += 1
            instance, target = able[self._turn % len(able)]
            target.in_flight += 1
            return instance, target

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.1)

    # --- targets -------------------------------------------------------------------------------------------

    def _check(self) -> None:
        # The target group goes before the test ends.
        with contextlib.suppress(self._elb.exceptions.TargetGroupNotFoundException):
            while not self._is_over.wait(_INTERVAL_S):
                self._check_once()

    def _check_once(self) -> None:
        told = self._elb.describe_target_health(TargetGroupArn=self._group)["TargetHealthDescriptions"]
        registered = {one["Target"]["Id"] for one in told}
        for instance in registered - set(self._targets):
            # Its guest may come a moment later.
            with contextlib.suppress(KeyError):
                url = self._harness.url(instance, _PORT)
                with self._changing:
                    self._targets[instance] = _Target(url.removeprefix("http://"))
        for instance, target in list(self._targets.items()):
            if instance in registered:
                self._judge(instance, target)
            else:
                self._let_go(instance, target)

    def _judge(self, instance: str, target: _Target) -> None:
        try:
            with urllib.request.urlopen(f"http://{target.address}{self._path}", timeout=_CHECK_S) as answer:
                is_ready = answer.status == 200
        except OSError:
            is_ready = False
        target.passed, target.failed = (target.passed + 1, 0) if is_ready else (0, target.failed + 1)
        state = target.state
        # One check makes a new target healthy.
        if target.passed >= (1 if state == "initial" else self._healthy_after):
            state = "healthy"
        elif state == "healthy" and target.failed >= self._unhealthy_after:
            state = "unhealthy"
        if state != target.state:
            with self._changing:
                target.state = state
            self._tell(f":{instance}", state)

    def _let_go(self, instance: str, target: _Target) -> None:
        """Send a target nothing more, and end its instance when it has no request left."""
        with self._changing:
            target.state = "draining"
            target.leaves_s = min(target.leaves_s, time.monotonic() + self._delay_s)
            is_done = not target.in_flight or time.monotonic() >= target.leaves_s
            if is_done:
                del self._targets[instance]
        if is_done:
            target.close()
            self._ec2.terminate_instances(InstanceIds=[instance])

    def _tell(self, of: str, state: str) -> None:
        self._elb.add_tags(ResourceArns=[self._group], Tags=[{"Key": f"{_HEALTH}{of}", "Value": state}])


def _handler_for(balancer: Balancer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kept = {name: value for name, value in self.headers.items() if name.lower() not in _OF_CONNECTION}
            forwarded = {
                "X-Forwarded-For": self.client_address[0],
                "X-Forwarded-Proto": "https",
                "X-Forwarded-Port": str(self.server.server_address[1]),
            }
            status, headers, answer = balancer.forward(self.command, self.path, kept | forwarded, body)
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in _OF_CONNECTION:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_DELETE = do_GET  # noqa: N815 -- names of http.server

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
