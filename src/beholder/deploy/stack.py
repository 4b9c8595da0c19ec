"""The CloudFormation stack of a deployment: what state it is in, why, and its deletion."""

from collections.abc import Mapping, Sequence
from typing import Any

from beholder.deploy.account import Account
from beholder.errors import ConfigError
from beholder.fleet.ec2 import DEPLOYMENT_TAG

__all__ = ["Stack"]

# There is no such stack. Source:
# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html (2026-11)
_NO_STACK = "ValidationError"
# A deleted stack is found by its id only, but emulators find it by its name too.
_DELETED = "DELETE_COMPLETE"
# What a person begins; the rollbacks that follow are part of it.
_BEGINNINGS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")


class Stack:
    """The stack of one deployment, which has the deployment's name.

    Args:
        account: Where it is.
        name: Its name.
    """

    def __init__(self, account: Account, name: str) -> None:
        self._account = account
        self.name = name

    def describe(self) -> Mapping[str, Any] | None:
        """Return the stack as CloudFormation describes it, None where there is none.

        Raises:
            ConfigError: The stack does not carry the deployment's tag, so it is someone else's.
            BackendError: CloudFormation refuses, or does not answer.
        """
        answer = self._account.call(
            "cloudformation", "describe_stacks", expected=[_NO_STACK], StackName=self.name
        )
        if answer.get("Errors"):
            return None
        stack: Mapping[str, Any] = answer["Stacks"][0]
        if stack["StackStatus"] == _DELETED:
            return None
        if {"Key": DEPLOYMENT_TAG, "Value": self.name} not in stack.get("Tags", []):
            raise ConfigError(
                f"the stack {self.name!r} in {self._account.region} lacks the tag "
                f"{DEPLOYMENT_TAG}={self.name}, so it is not a deployment of beholder; choose another name"
            )
        return stack

    def status(self) -> str:
        """Return the stack's status, such as 'CREATE_COMPLETE'; empty where there is no stack.

        Raises:
            ConfigError: As `describe` has it.
            BackendError: As `describe` has it.
        """
        stack = self.describe()
        return str(stack["StackStatus"]) if stack else ""

    def delete(self, retained: Sequence[str] = ()) -> None:
        """Begin the deletion; a stack that does not exist is none to delete.

        Args:
            retained: Logical ids of resources that are left there; only where a deletion failed before.

        Raises:
            BackendError: CloudFormation refuses, or does not answer.
        """
        kept = {"RetainResources": list(retained)} if retained else {}
        self._account.call("cloudformation", "delete_stack", StackName=self.name, **kept)

    def failures(self) -> dict[str, str]:
        """Return why resources failed, by their logical ids, the first failure first.

        Only the events of the last operation count: those since the stack itself began it.

        Raises:
            BackendError: CloudFormation refuses, or does not answer.
        """
        events = self._account.pages(
            "cloudformation", "describe_stack_events", "StackEvents", StackName=self.name
        )
        failed = {}
        for event in events:  # newest first
            status, reason = event["ResourceStatus"], event.get("ResourceStatusReason", "")
            if status.endswith("_FAILED") and "cancelled" not in reason:
                failed[str(event["LogicalResourceId"])] = str(reason)
            if event["LogicalResourceId"] == self.name and status in _BEGINNINGS:
                break
        return dict(reversed(failed.items()))
