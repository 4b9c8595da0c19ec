"""Doctor's canary: one image through a running service, or a sentence why none was sent."""

import socket

import pytest

from beholder.cli.doctor import _canary
from beholder.deploy.doctor import Level
from helpers.service import RunningService

OPEN = {"Keys": "open", "ExposeCidr": "192.0.2.7/32"}
KEYS = {**OPEN, "Keys": "on"}


def test_an_image_comes_back_recognised(service: RunningService) -> None:
    finding = _canary("zoo", {"Url": service.url}, OPEN, "")

    assert finding.level is Level.OK, finding.sentence
    assert finding.sentence.startswith("an image came back recognised: ")


def test_a_web_tier_that_is_not_reached_is_a_problem_with_who_may_connect() -> None:
    with socket.socket() as taken:  # bound and not listening: a connection is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        finding = _canary("zoo --region eu-west-1", {"Url": url}, OPEN, "")

    assert (finding.level, finding.command) == (Level.PROBLEM, "beholder status zoo --region eu-west-1")
    assert "only 192.0.2.7/32 may connect" in finding.sentence


def test_a_host_name_that_leads_elsewhere_is_told_with_the_record_that_dns_lacks() -> None:
    outputs = {"Url": "https://photos.example.invalid", "BalancerHost": "zoo-web-1.example.invalid"}
    finding = _canary("zoo", outputs, OPEN, "")

    assert finding.level is Level.PROBLEM
    assert "make it a CNAME of zoo-web-1.example.invalid" in finding.sentence


@pytest.mark.parametrize(
    ("url", "parameters", "said"),
    [("", OPEN, "inside the VPC"), ("http://192.0.2.1:8080", KEYS, "there is no API key")],
)
def test_no_image_is_sent_where_there_is_no_way_in(url: str, parameters: dict[str, str], said: str) -> None:
    finding = _canary("zoo", {"Url": url}, parameters, "")

    assert finding.level is Level.WARNING
    assert "no image was sent" in finding.sentence
    assert said in finding.sentence
