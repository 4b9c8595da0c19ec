"""The canary: what counts against a deployment, and what only tells that this machine cannot look."""

from collections.abc import Callable

import pytest

from beholder.cli.canary import Canary
from beholder.client import ServiceUnreachable
from beholder.clock import ManualClock
from beholder.deploy.waiting import Waiting
from beholder.errors import BackendUnavailable, ConfigError, DeployError, KeyRefused
from beholder.job import Job, JobStatus, Label
from beholder.job.job import Result


class Service:
    """Stands for the service: raises what it is given, one a call and the last for ever, or answers."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)

    def classify(self, _image: bytes) -> Job:
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        if error is not None:
            raise error
        labels = (Label("space shuttle", 812, 0.7),)
        return Job("1", JobStatus.SUCCEEDED, 0.0, result=Result(labels))


def unreachable() -> ServiceUnreachable:
    return ServiceUnreachable("http://192.0.2.7:8080 cannot be reached: timed out")


@pytest.fixture
def send() -> Callable[..., list[str]]:
    def send(*errors: Exception | None) -> list[str]:
        clock, lines = ManualClock(), list[str]()
        Canary("zoo", "us-east-1", Waiting(clock, clock.advance, lines.append))._send(Service(*errors))  # type: ignore[arg-type]
        return lines

    return send


def test_an_image_that_comes_back_is_told_by_what_it_shows(send: Callable[..., list[str]]) -> None:
    assert send(None) == ["an image came back recognised: space shuttle"]


def test_an_address_that_is_not_known_everywhere_yet_is_tried_again(send: Callable[..., list[str]]) -> None:
    lines = send(unreachable(), unreachable(), BackendUnavailable("service", "classify", "starting"), None)
    assert lines[-1] == "an image came back recognised: space shuttle"
    assert len([one for one in lines if one.startswith("not yet")]) == 2


def test_a_web_tier_that_this_machine_cannot_reach_is_no_failure(send: Callable[..., list[str]]) -> None:
    assert send(unreachable())[-1].startswith("no image was sent: http://192.0.2.7:8080 cannot be reached")


@pytest.mark.parametrize(
    "error", [KeyRefused(), ConfigError("no job"), BackendUnavailable("service", "request", "nothing")]
)
def test_a_service_that_answers_wrongly_fails_the_deployment(
    send: Callable[..., list[str]], error: Exception
) -> None:
    with pytest.raises(DeployError, match="did not come back recognised"):
        send(error)
