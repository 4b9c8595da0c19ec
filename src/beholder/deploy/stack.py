"""The CloudFormation stack of a deployment: what state it is in, why, its changes, and its deletion."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beholder.deploy.account import Account
from beholder.deploy.waiting import Waiting
from beholder.errors import ConfigError, DeployError
from beholder.fleet.ec2 import DEPLOYMENT_TAG

__all__ = ["Change", "ChangeSet", "Event", "Stack", "outputs_of_stack", "parameters_of_stack"]

# There is no such stack. Source:
# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html (2026-11)
_NO_STACK = "ValidationError"
# A deleted stack is found by its id only, but emulators find it by its name too.
_DELETED = "DELETE_COMPLETE"
# What a person begins; the rollbacks that follow are part of it.
_BEGINNINGS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")

# A change set without changes fails with one of these reasons. Source (2026-11):
# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeChangeSet.html
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
# Its stack has no resources: a change set of it was not executed yet.
_REVIEWED = "REVIEW_IN_PROGRESS"
# The change set is worked out or executed at this moment, so it cannot be deleted. Source (2026-11):
# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DeleteChangeSet.html
_BUSY = "InvalidChangeSetStatus"
# Roles with names of their own.
_CAPABILITY = "CAPABILITY_NAMED_IAM"
_CHANGE_SET = "beholder"
_BEGINNING_S_MAX = 60.0


@dataclass(frozen=True)
class Change:
    """A change of one resource, as a change set foresees it.

    Args:
        action: 'Add', 'Modify', 'Remove' or 'Import'.
        id: The resource's logical id.
        type: Such as 'AWS::SQS::Queue'.
        replaces: Whether the resource is deleted and made anew.
    """

    action: str
    id: str
    type: str
    replaces: bool


@dataclass(frozen=True)
class ChangeSet:
    """A change set that CloudFormation has worked out.

    Args:
        is_needed: Whether anything would change; outputs count too.
        changes: Of the resources.
    """

    is_needed: bool
    changes: Sequence[Change] = ()


@dataclass(frozen=True)
class Event:
    """What happened to one resource.

    Args:
        key: Unique among the stack's events.
        id: The resource's logical id; the stack's name for the stack itself.
        status: Such as 'CREATE_COMPLETE'.
        reason: Why, if CloudFormation says so.
    """

    key: str
    id: str
    status: str
    reason: str


def parameters_of_stack(described: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of a stack, as `Stack.describe` returns it."""
    return {one["ParameterKey"]: one["ParameterValue"] for one in described.get("Parameters", [])}


def outputs_of_stack(described: Mapping[str, Any]) -> dict[str, str]:
    """Return the outputs of a stack, as `Stack.describe` returns it; none while it is made."""
    return {one["OutputKey"]: one["OutputValue"] for one in described.get("Outputs", [])}


class Stack:
    """The stack of one deployment, which has the deployment's name.

    Args:
        account: Where it is.
        name: Its name.
    """

    def __init__(self, account: Account, name: str) -> None:
        self._account = account
        self.name = name
        self._change_set_id = ""

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
        if {"Key": DEPLOYMENT_TAG, "Value": self.name} not in stack.get("Tags", []) and not (
            # A stack has its tags once its first change set is executed.
            stack["StackStatus"] == _REVIEWED
            and all(one["ChangeSetName"] == _CHANGE_SET for one in self._change_sets())
        ):
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

    def parameters(self) -> dict[str, str]:
        """Return the stack's parameters; empty where there is no stack, or nothing of it was made yet.

        Raises:
            ConfigError: As `describe` has it.
            BackendError: As `describe` has it.
        """
        return parameters_of_stack(self.describe() or {})

    def outputs(self) -> dict[str, str]:
        """Return the stack's outputs; empty where there is no stack.

        Raises:
            ConfigError: As `describe` has it.
            BackendError: As `describe` has it.
        """
        return outputs_of_stack(self.describe() or {})

    def template(self) -> str:
        """Return the text of the stack's template.

        Raises:
            BackendError: CloudFormation refuses, or does not answer.
        """
        told = self._account.call("cloudformation", "get_template", StackName=self.name)["TemplateBody"]
        return told if isinstance(told, str) else json.dumps(told)

    def prepare(
        self, template: str, parameters: Mapping[str, str], *, is_new: bool, imports_existing: bool
    ) -> None:
        """Ask for the change set that brings the stack to a template and parameters.

        Args:
            template: Its text.
            parameters: All of them.
            is_new: Whether the stack has no resources yet.
            imports_existing: Whether retained buckets of an earlier stack become this one's.

        Raises:
            BackendError: CloudFormation refuses, or does not answer.
        """
        # An emulator knows no import.
        importing: dict[str, Any] = {"ImportExistingResources": True} if imports_existing else {}
        made = self._account.call(
            "cloudformation",
            "create_change_set",
            StackName=self.name,
            ChangeSetName=_CHANGE_SET,
            ChangeSetType="CREATE" if is_new else "UPDATE",
            TemplateBody=template,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Tags=[{"Key": DEPLOYMENT_TAG, "Value": self.name}],
            Capabilities=[_CAPABILITY],
            **importing,
        )
        self._change_set_id = str(made["Id"])

    def prepared(self) -> ChangeSet | None:
        """Return what the change set would change; None while CloudFormation works it out.

        Raises:
            DeployError: CloudFormation can make no change set of what it was given.
            BackendError: It refuses, or does not answer.
        """
        told = self._change_set()
        if told["Status"] == "FAILED":
            reason = str(told.get("StatusReason", ""))
            if any(one in reason for one in _NO_CHANGES):
                return ChangeSet(is_needed=False)
            raise DeployError(f"CloudFormation refuses the change: {reason}")
        if told["Status"] != "CREATE_COMPLETE":
            return None
        changes = [one["ResourceChange"] for one in told.get("Changes", []) if "ResourceChange" in one]
        return ChangeSet(is_needed=True, changes=[_change(one) for one in changes])

    def execute(self) -> None:
        """Begin the change that was prepared.

        Raises:
            BackendError: CloudFormation refuses, or does not answer.
        """
        self._account.call(
            "cloudformation", "execute_change_set", StackName=self.name, ChangeSetName=self._change_set_id
        )

    def forget_change(self) -> bool:
        """Delete a change set that was prepared and not executed, also by an earlier run.

        Returns:
            Whether there is none any more: one that is being worked out or executed cannot be deleted yet.

        Raises:
            ConfigError: As `describe` has it.
            BackendError: CloudFormation refuses, or does not answer.
        """
        found = self._change_sets() if self.status() else []
        for one in found:
            if one["ChangeSetName"] == _CHANGE_SET and "Errors" in self._account.call(
                "cloudformation",
                "delete_change_set",
                expected=(_BUSY, f"{_BUSY}Exception"),
                StackName=self.name,
                ChangeSetName=one["ChangeSetId"],
            ):
                return False
        return True

    def continue_rollback(self) -> None:
        """Try the rollback of an update again that failed.

        Raises:
            BackendError: CloudFormation refuses, or does not answer.
        """
        self._account.call("cloudformation", "continue_update_rollback", StackName=self.name)

    def begin(self, change: Callable[[], None], waiting: Waiting) -> set[str]:
        """Begin a change, and wait until the stack shows it: its status is the old one for a moment.

        Args:
            change: Such as `execute`.
            waiting: Waits.

        Returns:
            The keys of the events that were there before.

        Raises:
            BackendError: CloudFormation refuses, or does not answer.
        """
        before = {one.key for one in self.events()}
        change()
        waiting.until("CloudFormation begins", lambda: self._has_begun(before), most_s=_BEGINNING_S_MAX)
        return before

    def _has_begun(self, told: Collection[str]) -> bool:
        """Say whether the stack is gone, or an operation began after the events with these keys."""
        return not self.status() or any(
            one.id == self.name and one.status.endswith("_IN_PROGRESS") and one.key not in told
            for one in self.events()
        )

    def events(self) -> Iterator[Event]:
        """Yield the events of the operation under way, or of the last one, oldest first.

        Raises:
            BackendError: CloudFormation refuses, or does not answer.
        """
        found = []
        for one in self._events():
            found.append(one)
            if one.id == self.name and one.status in _BEGINNINGS:
                break
        yield from reversed(found)

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
        failed: dict[str, str] = {}
        for event in self.events():
            if event.status.endswith("_FAILED") and "cancelled" not in event.reason:
                failed.setdefault(event.id, event.reason)
        return failed

    def _events(self) -> Iterator[Event]:
        """Yield all events, newest first; a page is asked for once the one before was not enough."""
        page: dict[str, str] = {}
        while True:
            told = self._account.call("cloudformation", "describe_stack_events", StackName=self.name, **page)
            for one in told["StackEvents"]:
                yield Event(
                    one["EventId"],
                    one["LogicalResourceId"],
                    one["ResourceStatus"],
                    one.get("ResourceStatusReason", ""),
                )
            if not told.get("NextToken"):
                return
            page = {"NextToken": told["NextToken"]}

    def _change_sets(self) -> list[Mapping[str, Any]]:
        found = self._account.pages("cloudformation", "list_change_sets", "Summaries", StackName=self.name)
        # An emulator lists those of all stacks.
        return [one for one in found if one["StackName"] == self.name]

    def _change_set(self) -> Mapping[str, Any]:
        # Read in one call: boto3 would take the pages of a change set, whose status is in each of them.
        told: dict[str, Any] = dict(self._read_change_set())
        more = told
        while token := more.get("NextToken"):
            more = dict(self._read_change_set(NextToken=token))
            told["Changes"] = [*told.get("Changes", []), *more.get("Changes", [])]
        return told

    def _read_change_set(self, **page: str) -> Mapping[str, Any]:
        return self._account.call(
            "cloudformation",
            "describe_change_set",
            StackName=self.name,
            ChangeSetName=self._change_set_id,
            **page,
        )


def _change(told: Mapping[str, Any]) -> Change:
    return Change(
        str(told["Action"]),
        str(told["LogicalResourceId"]),
        str(told["ResourceType"]),
        replaces=told.get("Replacement") == "True",
    )
