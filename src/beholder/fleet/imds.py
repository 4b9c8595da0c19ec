"""Instance metadata of EC2: which instance this is, and whether EC2 is about to interrupt it.

The service answers at a link-local address, over plain HTTP, to requests with a token (IMDSv2). It needs no
credentials and no SDK, and it is never asked through a proxy: `http.client` reads no proxy settings.
"""

import http.client
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from beholder.clock import Clock, MonotonicClock, time_s_of
from beholder.errors import BackendDenied, BackendError, BackendUnavailable, ConfigError
from beholder.telemetry.log import log_event

__all__ = ["Identity", "InstanceMetadata", "InterruptionWatch", "Notice"]

_log = logging.getLogger(__name__)

_ENDPOINT = "http://169.254.169.254"
_BACKEND = "instance metadata"
_TOKEN_TTL_S = 21_600
# A token is renewed this long before it expires, so that it does not expire on its way.
_TOKEN_MARGIN_S = 300
_BODY_BYTES_MAX = 65_536
_POLL_S = 5.0
_REBALANCE = "rebalance"
_MONOTONIC_CLOCK = MonotonicClock()


@dataclass(frozen=True, slots=True)
class Identity:
    """Which instance this is.

    Args:
        instance_id: Such as 'i-0123456789abcdef0'.
        instance_type: Such as 'c7i.large'.
        region: Such as 'us-east-1'.
        zone: Availability zone, such as 'us-east-1a'.
        life_cycle: 'on-demand', 'spot', 'scheduled' or 'capacity-block'; 'unknown' if EC2 does not say.
    """

    instance_id: str
    instance_type: str
    region: str
    zone: str
    life_cycle: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice that EC2 will interrupt this instance, or may.

    Args:
        action: 'terminate', 'stop' or 'hibernate' for an interruption; 'rebalance' for a recommendation.
        at_s: The time of the interruption or of the recommendation, in seconds since the Unix epoch; None if
            it cannot be read, and the notice counts all the same.
    """

    action: str
    at_s: float | None

    @property
    def is_interruption(self) -> bool:
        """Whether EC2 will interrupt the instance; if not, the risk is only elevated."""
        return self.action != _REBALANCE

    def makes_leave(self, *, on_rebalance: bool) -> bool:
        """Return whether a worker leaves because of the notice.

        A recommendation only says that the risk is elevated; the interruption may follow at once or never.
        Source: EC2 user guide, "EC2 instance rebalance recommendations", 2026-10.

        Args:
            on_rebalance: Whether a recommendation is enough.
        """
        return self.is_interruption or on_rebalance


class InstanceMetadata:
    """A client of the instance metadata service, version 2.

    Every call opens a connection of its own, and each step of it takes at most `timeout_s`.

    Args:
        endpoint: Such as 'http://127.0.0.1:1338'; None for the link-local address.
        timeout_s: For the connection, and again for each read.
        clock: Tells the age of the token; only durations count.

    Raises:
        ConfigError: The endpoint is no http URL.
    """

    def __init__(
        self, endpoint: str | None = None, *, timeout_s: float = 1.0, clock: Clock = _MONOTONIC_CLOCK
    ) -> None:
        self._host, self._port, self._path = _address(endpoint or _ENDPOINT)
        self._timeout_s = timeout_s
        self._clock = clock
        # Two threads that ask at the same time may fetch a token each; both are valid.
        self._token = ""
        self._token_until_s = 0.0

    def identity(self) -> Identity:
        """Return which instance this is.

        Source: EC2 user guide, "Instance identity documents" and "Instance metadata categories", 2026-10.

        Raises:
            BackendUnavailable: The service does not answer within a second, as on a machine that is no
                instance.
            BackendDenied: Instance metadata is turned off for this instance.
        """
        document = self._json("/latest/dynamic/instance-identity/document", "identity")
        if document is None:
            raise BackendUnavailable(_BACKEND, "identity", "there is no identity document")
        life_cycle = self._get("/latest/meta-data/instance-life-cycle", "identity")
        try:
            return Identity(
                instance_id=str(document["instanceId"]),
                instance_type=str(document["instanceType"]),
                region=str(document["region"]),
                zone=str(document["availabilityZone"]),
                life_cycle="unknown" if life_cycle is None else life_cycle.decode("utf-8", "replace").strip(),
            )
        except KeyError as exc:
            raise BackendUnavailable(_BACKEND, "identity", f"the identity document lacks {exc}") from exc

    def interruption(self) -> Notice | None:
        """Return the notice for this instance; None while there is no notice.

        Source: EC2 user guide, "Spot Instance interruption notices" and "EC2 instance rebalance
        recommendations", 2026-10: interruptions are announced two minutes before; else both answer 404.

        Raises:
            BackendUnavailable: The service does not answer, or not in a form that can be read.
            BackendDenied: Instance metadata is turned off for this instance.
        """
        notice = self._json("/latest/meta-data/spot/instance-action", "interruption")
        if notice is not None:
            return Notice(str(notice.get("action", "terminate")), time_s_of(notice.get("time")))
        notice = self._json("/latest/meta-data/events/recommendations/rebalance", "interruption")
        if notice is not None:
            return Notice(_REBALANCE, time_s_of(notice.get("noticeTime")))
        return None

    def _json(self, path: str, operation: str) -> dict[str, Any] | None:
        body = self._get(path, operation)
        if body is None:
            return None
        try:
            document = json.loads(body)
        except ValueError as exc:
            raise BackendUnavailable(_BACKEND, operation, f"{path} is no JSON") from exc
        if not isinstance(document, dict):
            raise BackendUnavailable(_BACKEND, operation, f"{path} is no JSON object")
        return document

    def _get(self, path: str, operation: str) -> bytes | None:
        """Return the content of a path; None if the path does not exist."""
        if self._clock.now_s() >= self._token_until_s:
            self._renew(operation)
        status, body = self._get_once(path, operation)
        if status == http.HTTPStatus.UNAUTHORIZED:  # the token expired early, as after a hibernation
            self._renew(operation)
            status, body = self._get_once(path, operation)
        if status == http.HTTPStatus.NOT_FOUND:
            return None
        _check(status, operation)
        return body

    def _get_once(self, path: str, operation: str) -> tuple[int, bytes]:
        return self._request("GET", path, {"X-aws-ec2-metadata-token": self._token}, operation)

    def _renew(self, operation: str) -> None:
        asked_at_s = self._clock.now_s()
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)}
        status, body = self._request("PUT", "/latest/api/token", ttl, operation)
        _check(status, operation)
        token = body.decode("latin-1").strip()
        if not token.isascii() or not token.isprintable() or not token:
            raise BackendUnavailable(_BACKEND, operation, "the token cannot be read")
        self._token = token
        self._token_until_s = asked_at_s + _TOKEN_TTL_S - _TOKEN_MARGIN_S

    def _request(self, method: str, path: str, headers: dict[str, str], operation: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request(method, self._path + path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(_BODY_BYTES_MAX)
        except (OSError, http.client.HTTPException) as exc:
            problem = f"{type(exc).__name__}: {exc}"
            raise BackendUnavailable(_BACKEND, operation, problem) from exc
        finally:
            connection.close()


class InterruptionWatch:
    """Asks every five seconds for a notice, and reports an interruption once.

    A recommendation to rebalance is reported once too, and so is the interruption that may follow it.

    Source: EC2 user guide, "Spot Instance interruption notices", 2026-10: "check every 5 seconds".

    Args:
        interruption: Such as `InstanceMetadata.interruption`.
        on_notice: Called with each notice; if it raises, it is called again at the next pass.
    """

    def __init__(
        self, interruption: Callable[[], Notice | None], on_notice: Callable[[Notice], None]
    ) -> None:
        self._interruption = interruption
        self._on_notice = on_notice
        self._reported: set[bool] = set()
        self._is_blind = False

    def tick(self) -> float:
        """Ask once; return the seconds until the next pass.

        A service that does not answer is logged once, and asked again.
        """
        try:
            notice = self._interruption()
        except BackendError as exc:
            if not self._is_blind:
                log_event(_log, logging.WARNING, "interruption.blind", exc.message, code=exc.code)
            self._is_blind = True
            return _POLL_S
        self._is_blind = False
        if notice is not None and notice.is_interruption not in self._reported:
            log_event(
                _log,
                logging.WARNING,
                "interruption.notice",
                "EC2 will interrupt the instance" if notice.is_interruption else "the instance is at risk",
                does=notice.action,
                at_s=notice.at_s,
            )
            self._on_notice(notice)
            self._reported.add(notice.is_interruption)
        return _POLL_S


def _address(endpoint: str) -> tuple[str, int, str]:
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        parts, host, port = urlsplit(""), None, 0
    if parts.scheme != "http" or not host:
        raise ConfigError(
            f"the instance metadata endpoint {endpoint!r} is no http URL; write it as {_ENDPOINT}"
        )
    return host, port, parts.path.rstrip("/")


def _check(status: int, operation: str) -> None:
    if status == http.HTTPStatus.FORBIDDEN:
        raise BackendDenied(_BACKEND, operation, "instance metadata is turned off for this instance")
    if status != http.HTTPStatus.OK:
        raise BackendUnavailable(_BACKEND, operation, f"status {status}")
