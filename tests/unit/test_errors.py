"""The tree of errors: messages, statuses and details. tests/tidy checks that the tree is complete."""

import pytest

from beholder.errors import (
    BackendError,
    BackendFull,
    BackendUnavailable,
    BeholderError,
    ConfigError,
    ImageTooLarge,
    ImageUndecodable,
    JobError,
    ModelInvalid,
    MultipartMalformed,
    ObjectExists,
    ObjectNotFound,
    Overloaded,
    RequestError,
    all_errors,
)
from beholder.web.problems import problem_of


def test_the_default_message_is_the_docstring_of_the_class() -> None:
    error = ImageTooLarge()
    assert (
        error.message
        == str(error)
        == ("The upload has more bytes than image_bytes_max; send a smaller or more compressed image.")
    )


def test_a_given_message_replaces_the_default() -> None:
    assert ImageTooLarge("9 bytes").message == "9 bytes"
    assert ImageTooLarge("").message == ImageTooLarge().message


def test_only_the_first_paragraph_is_the_message() -> None:
    class Long(BeholderError):
        """One sentence
        on two lines.

        And a remark for programmers.
        """

    try:
        assert Long().message == "One sentence on two lines."
    finally:
        del Long  # all_errors() finds what still exists


def test_the_answer_of_an_overloaded_service_has_a_retry_after() -> None:
    error = Overloaded(retry_after_s=7)
    assert (error.retry_after_s, error.http_status, error.retryable) == (7, 503, True)
    assert Overloaded().retry_after_s == 1


def test_a_backend_s_error_names_backend_and_operation() -> None:
    error = BackendUnavailable("sqlite queue", "send", "database is locked")
    assert (error.backend, error.operation) == ("sqlite queue", "send")
    assert error.message == "sqlite queue: send: database is locked"
    assert BackendFull("folder store", "put").message.startswith("folder store: put: There is no room left")


def test_a_config_error_reports_all_problems() -> None:
    assert ConfigError("one").problems == ["one"]
    error = ModelInvalid(["one", "two"])
    assert error.problems == ["one", "two"]
    assert error.message == "one; two"


@pytest.mark.parametrize(
    ("branch", "low", "high"), [(RequestError, 400, 505), (JobError, 400, 599), (BackendError, 404, 599)]
)
def test_the_statuses_of_a_branch_say_who_must_act(branch: type[BeholderError], low: int, high: int) -> None:
    statuses = {error.http_status for error in all_errors() if issubclass(error, branch)}
    assert statuses
    assert all(low <= status <= high for status in statuses)


def test_an_error_that_the_caller_must_correct_is_not_retryable() -> None:
    for error in all_errors():
        # 429 asks for nothing but time.
        if issubclass(error, RequestError) and error.http_status < 500 and error.http_status != 429:
            assert not error.retryable, error


def test_an_error_of_a_backend_is_503_with_a_retry_after() -> None:
    for error in all_errors():
        if issubclass(error, BackendError) and error not in {ObjectNotFound, ObjectExists}:
            answer = problem_of(error("a backend", "call"), "id")
            assert answer.status_code == 503, error
            assert answer.headers["retry-after"] == ("5" if error.retryable else "30"), error


def test_parents_come_before_their_children() -> None:
    found = all_errors()
    assert found[0] is BeholderError
    assert len(found) == len(set(found))
    for error in found[1:]:
        assert found.index(error.__mro__[1]) < found.index(error)


@pytest.mark.parametrize("error", [ImageUndecodable, MultipartMalformed])
def test_the_text_of_a_library_is_in_the_message_and_not_in_the_detail(error: type[BeholderError]) -> None:
    raised = error("it cannot be read (/usr/lib/codec.cpp:7: odd marker); send it again")
    assert raised.detail == raised.message
    raised.__cause__ = ValueError("error:\n  /usr/lib/codec.cpp:7: odd marker\n")
    assert raised.detail == error().message
    # an error of ours contains nothing that a caller may not read
    raised.__cause__ = ImageTooLarge("odd marker")
    assert raised.detail == raised.message
