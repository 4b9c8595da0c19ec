"""Recognises image files by a running service: a client that sends several at once."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from beholder.cli.recognise import STDIN, FileResult
from beholder.errors import (
    BackendUnavailable,
    BeholderError,
    ConfigError,
    JobError,
    RequestError,
    all_errors,
)
from beholder.job import Label

__all__ = ["RemoteService", "recognise_remotely"]

_AT_ONCE = 8
# Longer than the service lets a request wait by default.
_TIMEOUT_S = 120.0
_PAUSES_S_MAX = 600.0
_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would send the key to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


class RemoteService:
    """A running service, as its clients see it.

    Args:
        url: Such as http://127.0.0.1:8080.
        key: API key; empty for none.
        pause: Waits for so many seconds.

    Raises:
        ConfigError: The URL is none.
    """

    def __init__(self, url: str, key: str, pause: Callable[[float], object]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ConfigError(f"--url is {url!r}; give a service's address, such as http://127.0.0.1:8080")
        self._url = f"{parts.scheme}://{parts.netloc}"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._pause = pause
        self._opener = urllib.request.build_opener(_NoRedirect)

    def labels_of(self, data: bytes, options: Mapping[str, object]) -> tuple[Label, ...]:
        """Return what an image shows, best first.

        Args:
            data: The image file.
            options: Parameters of the request.

        Raises:
            RequestError: The service refuses the image.
            JobError: The image cannot be recognised.
            BackendUnavailable: The service gives no outcome.
            ConfigError: The service does not answer, or refuses the key.
        """
        waited_s, path, body = 0.0, f"/v1/classify?{urlencode(options)}", data or None
        while True:
            status, document, pause_s = self._ask(path, body)
            is_queued = document.get("status") in ("queued", "running")
            if status != HTTPStatus.SERVICE_UNAVAILABLE and not is_queued:
                return _labels(status, document)
            if waited_s >= _PAUSES_S_MAX:
                raise BackendUnavailable("service", "classify", document.get("detail") or "not done in time")
            if is_queued:
                path, body = str(document["urls"]["get"]), None
            self._pause(pause_s)
            waited_s += pause_s

    def _ask(self, path: str, body: bytes | None) -> tuple[int, dict[str, Any], float]:
        """Return the status of an answer, its document, and after how many seconds to ask again."""
        headers = self._headers | ({"Content-Type": "application/octet-stream"} if body else {})
        method = "POST" if path.startswith("/v1/classify") else "GET"
        request = urllib.request.Request(self._url + path, body, headers, method=method)  # noqa: S310
        try:
            try:
                answer = self._opener.open(request, timeout=_TIMEOUT_S)
            except urllib.error.HTTPError as exc:
                answer = exc
            with answer:
                status, text = answer.status or 0, answer.read()
                retry_after = answer.headers.get("Retry-After", "")
        except OSError as exc:
            raise ConfigError(f"{self._url} cannot be reached: {getattr(exc, 'reason', exc)}") from exc
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ConfigError(f"{self._url} answers {status} and is no service of beholder")
        if status in _REFUSED:
            raise ConfigError(f"{document.get('detail')} (--key or BEHOLDER_API_KEY)")
        return status, document, float(retry_after) if retry_after.isdecimal() else 1.0


def recognise_remotely(
    files: Sequence[str], service: RemoteService, options: Mapping[str, object]
) -> Iterator[FileResult]:
    """Yield the labels of each file, in the given order; a file that fails does not stop the others.

    Args:
        files: As `find_images` returns them.
        service: Recognises them.
        options: Parameters of each request.

    Raises:
        ConfigError: The service does not answer, or refuses the key.
    """

    def find(file: str) -> FileResult:
        try:
            data = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        except OSError as exc:
            return FileResult(file, error=ConfigError(f"cannot be read: {exc.strerror}"))
        try:
            return FileResult(file, service.labels_of(data, options))
        except (RequestError, JobError, BackendUnavailable) as exc:
            return FileResult(file, error=exc)

    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        yield from pool.map(find, files)
    finally:
        pool.shutdown(cancel_futures=True)


def _labels(status: int, document: Mapping[str, Any]) -> tuple[Label, ...]:
    if document.get("status") == "succeeded":
        return tuple(Label(**label) for label in document["result"]["labels"])
    raise _error_of(document.get("error") or document, status)


def _error_of(document: Mapping[str, Any], status: int) -> BeholderError:
    code, detail = document.get("code"), document.get("detail") or f"HTTP {status}"
    for error in all_errors():
        if error.code == code and issubclass(error, RequestError | JobError):
            return error(detail)
    return BackendUnavailable("service", "classify", detail)
