"""Every error of the tree is documented, has a code of its own and a status that HTTP knows."""

import importlib
import re
from http import HTTPStatus

import pytest

from beholder.errors import (
    BackendError,
    BeholderError,
    ConfigError,
    DeployError,
    JobError,
    RequestError,
    all_errors,
)
from helpers.source import modules

HTTP_ERROR_MIN, HTTP_ERROR_MAX = 400, 599

for module in modules():
    # An error may live in the room that it belongs to.
    if re.search(r"^class \w+\(\w*Error\b", module.text, re.MULTILINE):
        importlib.import_module("beholder." + module.path.removesuffix(".py").replace("/", "."))

# A test may have made errors of its own.
ERRORS = [error for error in all_errors() if error.__module__.startswith("beholder.")]
each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)


@each_error
def test_its_docstring_is_a_sentence_for_the_reader(error: type[BeholderError]) -> None:
    message = (error.__dict__.get("__doc__") or "").split("\n\n")[0].strip()
    assert message.endswith("."), f"{error.__name__}: its docstring is its default message"
    assert message[0].isupper()


@each_error
def test_its_code_is_stable_and_its_own(error: type[BeholderError]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    assert "code" in error.__dict__, f"{error.__name__} has its parent's code"
    assert [one for one in ERRORS if one.code == error.code] == [error]


@each_error
def test_its_status_is_one_of_http_s_errors(error: type[BeholderError]) -> None:
    assert HTTP_ERROR_MIN <= error.http_status <= HTTP_ERROR_MAX
    assert HTTPStatus(error.http_status).phrase


@each_error
def test_what_may_be_tried_again_is_unavailable_now_or_too_much(error: type[BeholderError]) -> None:
    later = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
    assert not error.retryable or error.http_status in later


def test_every_error_stands_in_one_branch() -> None:
    branches = (RequestError, JobError, BackendError, ConfigError, DeployError)
    elsewhere = {error.__name__ for error in ERRORS if not issubclass(error, branches)}
    groups = {"BadImage", "NotFound", "Unauthorized"}
    assert elsewhere == {"BeholderError", "MessageInvalid", "ServiceUnreachable", *groups}
    for error in ERRORS:
        assert sum(issubclass(error, branch) for branch in branches) <= 1


# Errors of a library's own kind, which never leave the file that defines them.
PRIVATE = {"_CannotStart"}


def test_every_error_that_is_defined_stands_in_the_tree() -> None:
    defined = {
        name
        for one in modules()
        for name in re.findall(r"^class (\w+)\([\w.]*(?:Exception|Error)\b", one.text, re.MULTILINE)
    }
    assert defined - {error.__name__ for error in ERRORS} <= PRIVATE
