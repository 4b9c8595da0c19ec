"""The access log of a real service: a line for each request, also where the client did not wait."""

import json
import re
import socket
import time
from collections.abc import Callable
from typing import Any

from helpers.images import jpeg
from helpers.service import RunningService

Start = Callable[..., RunningService]

WAIT_S = 60.0


def line_of(service: RunningService, request_id: str) -> dict[str, Any]:
    """Return the access line of a request, waiting for it."""
    found = service.await_line(rf'.*"web\.access".*"{request_id}".*')
    document: dict[str, Any] = json.loads(found[0])
    return document


def await_waiter(service: RunningService) -> None:
    """Wait until a request waits for its outcome, which only the service knows."""
    end_s = time.monotonic() + WAIT_S
    while b"beholder_waiting_requests 1.0" not in service.get("/metrics").body:
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_each_request_is_a_line_also_of_a_client_that_left(start_service: Start) -> None:
    # given: nobody works, so that nobody is answered until the service ends
    service = start_service(workers=0, workers_min=0, log_form="json", drain_s=2)
    address = re.match(r"http://([\d.]+):(\d+)", service.url)
    assert address is not None
    image = jpeg(1)
    # when
    refused = service.classify(image, "?topk=2", x_request_id="refused")
    with socket.create_connection((address[1], int(address[2]))) as client:
        head = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nx-request-id: left\r\nContent-Length: %d\r\n\r\n"
        client.sendall(head % len(image) + image)
        await_waiter(service)
    told = line_of(service, "refused")
    service.stop()
    # then
    assert refused.status == 400
    assert (told["status"], told["code"], told["client"]) == (400, "parameter_unknown", address[1])
    left = line_of(service, "left")
    assert (left["status"], left["bytes_in"]) == (499, len(image))
    assert left["job_id"]
