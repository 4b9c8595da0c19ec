"""The stack of a deployment: whose it is, and why its last operation failed."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from beholder.deploy.account import Account
from beholder.deploy.stack import Stack
from beholder.errors import ConfigError

OURS = [{"Key": "beholder:deployment", "Value": "zoo"}]


class FakeAccount:
    """Answers with one stack and its events."""

    region = "eu-west-1"

    def __init__(self, stack: Mapping[str, Any] | None, events: Sequence[tuple[str, str, str]] = ()) -> None:
        self._stack = stack
        self._events = events

    def call(self, _service: str, action: str, **_parameters: Any) -> Mapping[str, Any]:
        if action == "describe_stack_events":
            names = ("LogicalResourceId", "ResourceStatus", "ResourceStatusReason", "EventId")
            return {"StackEvents": [dict(zip(names, (*one, str(one)), strict=True)) for one in self._events]}
        return {"Stacks": [self._stack]} if self._stack else {"Errors": [{"ErrorCode": "ValidationError"}]}


def stack(described: Mapping[str, Any] | None, events: Sequence[tuple[str, str, str]] = ()) -> Stack:
    return Stack(cast("Account", FakeAccount(described, events)), "zoo")


def test_no_stack_and_a_deleted_one_have_no_status() -> None:
    assert stack(None).status() == ""
    assert stack({"StackStatus": "DELETE_COMPLETE", "Tags": OURS}).status() == ""
    assert stack({"StackStatus": "CREATE_COMPLETE", "Tags": OURS}).status() == "CREATE_COMPLETE"


@pytest.mark.parametrize("tags", [[], [{"Key": "beholder:deployment", "Value": "zoo-2"}]])
def test_a_stack_without_the_tag_is_no_deployment(tags: list[dict[str, str]]) -> None:
    with pytest.raises(ConfigError, match=r"lacks the tag beholder:deployment=zoo"):
        stack({"StackStatus": "CREATE_COMPLETE", "Tags": tags}).status()


def test_failures_are_those_of_the_last_operation_the_first_cause_first() -> None:
    newest_first = [
        ("zoo", "ROLLBACK_COMPLETE", ""),
        ("zoo", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [Group, Jobs]"),
        ("Group", "CREATE_FAILED", "Resource creation cancelled"),
        ("Jobs", "CREATE_FAILED", "zoo-input-queue already exists"),
        ("zoo", "CREATE_IN_PROGRESS", "User Initiated"),
        ("Old", "DELETE_FAILED", "of an operation before"),
    ]

    failures = stack({"StackStatus": "ROLLBACK_COMPLETE", "Tags": OURS}, newest_first).failures()

    assert failures == {"Jobs": "zoo-input-queue already exists"}
