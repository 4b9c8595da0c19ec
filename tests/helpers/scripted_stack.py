"""A stand-in for an account whose CloudFormation plays a script: statuses and events, moment by moment."""

from collections.abc import Mapping, Sequence
from typing import Any

from beholder.clock import ManualClock
from beholder.deploy.waiting import Waiting
from beholder.errors import ResourceNotFound

__all__ = ["OWNER", "PAGE", "Moment", "ScriptedStack"]

OWNER = "123456789012"
PAGE = 2
"""Events or changes of one page."""

Moment = tuple[str, Sequence[tuple[str, str, str]]]
"""The stack's status, and its new events: logical id, status, reason."""

TAG = {"Key": "beholder:deployment", "Value": "zoo"}
LOOKS = ("describe", "list", "get", "head")
GONE: Mapping[str, Any] = {"Errors": [{"ErrorCode": "ValidationError", "ErrorMessage": "there is no stack"}]}


class ScriptedStack:
    """One stack, called zoo, in an account that has nothing else; each wait brings the next moment.

    Args:
        moments: What is seen first, and then.
        scripts: What is seen after `execute_change_set`, `delete_stack` or `continue_update_rollback`, the
            first moment right after the call.
    """

    region = "eu-west-1"

    def __init__(self, *moments: Moment, **scripts: Sequence[Moment]) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.tags: Sequence[Mapping[str, str]] = [TAG]
        self.parameters: Mapping[str, str] = {}
        self.buckets: Sequence[str] = ()
        self.states: list[str] = []
        self.change_sets: list[str] = []
        self.busy = 0
        self.prepared: list[Mapping[str, Any]] = [{"Status": "CREATE_COMPLETE"}]
        self.changed: list[tuple[str, Mapping[str, Any]]] = []
        self.lines: list[str] = []
        self._moments: list[Moment] = []
        self._scripts = scripts
        self._clock = ManualClock()
        self.waiting = Waiting(self._clock, self.pause, self.lines.append)
        self._play(moments)

    @property
    def actions(self) -> list[str]:
        """The names of the calls that change something, in order."""
        return [action for action, _ in self.changed]

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self._clock.advance(seconds)
        if len(self._moments) > 1:
            self._moments.pop(0)
            self.events += self._moments[0][1]

    def call(self, service: str, action: str, **parameters: Any) -> Mapping[str, Any]:
        """Answer as the service would."""
        if not action.startswith(LOOKS):
            self.changed.append((action, parameters))
        if service == "cloudformation":
            answer: Mapping[str, Any] = getattr(self, f"_{action}")(**parameters)
            return answer
        if action == "head_bucket":
            return {} if parameters["Bucket"] in self.buckets else {"Errors": [{"ErrorCode": "404"}]}
        if action == "put_object" and parameters["Key"].startswith("states/"):
            self.states.append(parameters["Key"])
        answers: Mapping[str, Mapping[str, Any]] = {
            "get_caller_identity": {"Account": OWNER, "Arn": f"arn:aws:iam::{OWNER}:user/a"},
            "head_object": {"Metadata": {"models": "m", "message-version": "1"}},
            "describe_auto_scaling_groups": {"AutoScalingGroups": [_GROUP]},
            "create_service_linked_role": {},
            "put_object": {},
            "list_objects_v2": {"Contents": [{"Key": one} for one in self.states]},
            "list_tags_for_resource": {"Errors": [{"ErrorCode": "ResourceNotFound"}]},
            "set_desired_capacity": {},
        }
        if action not in answers:
            raise ResourceNotFound(service, action)
        return answers[action]

    def pages(self, _service: str, action: str, _member: str, **_: Any) -> list[Any]:
        """Return all entries: none, but for change sets."""
        if action != "list_change_sets":
            return []
        return [{"StackName": "zoo", "ChangeSetName": one, "ChangeSetId": one} for one in self.change_sets]

    def _play(self, moments: Sequence[Moment]) -> None:
        self._moments = list(moments)
        self.events += self._moments[0][1]

    # --- CloudFormation -------------------------------------------------------------------------------------

    def _describe_stacks(self, **_: Any) -> Mapping[str, Any]:
        status = self._moments[0][0]
        parameters = [{"ParameterKey": key, "ParameterValue": one} for key, one in self.parameters.items()]
        outputs = [{"OutputKey": key, "OutputValue": one} for key, one in _OUTPUTS.items()]
        stack = {"StackStatus": status, "Tags": self.tags, "Parameters": parameters, "Outputs": outputs}
        return {"Stacks": [stack]} if status else GONE

    def _describe_stack_events(self, *, NextToken: str = "0", **_: Any) -> Mapping[str, Any]:  # noqa: N803
        names = ("EventId", "LogicalResourceId", "ResourceStatus", "ResourceStatusReason")
        told = [dict(zip(names, (str(at), *one), strict=True)) for at, one in enumerate(self.events)]
        return _page("StackEvents", told[::-1], NextToken)

    def _get_template(self, **_: Any) -> Mapping[str, Any]:
        return {"TemplateBody": "as it was"}

    def _create_change_set(self, *, ChangeSetName: str, **_: Any) -> Mapping[str, Any]:  # noqa: N803
        assert ChangeSetName not in self.change_sets, "AWS says AlreadyExistsException"
        self.change_sets.append(ChangeSetName)
        if not self._moments[0][0]:
            self._play([("REVIEW_IN_PROGRESS", [("zoo", "REVIEW_IN_PROGRESS", "")])])
        return {"Id": ChangeSetName}

    def _describe_change_set(self, *, NextToken: str = "0", **_: Any) -> Mapping[str, Any]:  # noqa: N803
        told = self.prepared.pop(0) if len(self.prepared) > 1 and NextToken == "0" else self.prepared[0]
        return {**told, **_page("Changes", told.get("Changes", []), NextToken)}

    def _delete_change_set(self, *, ChangeSetName: str, **_: Any) -> Mapping[str, Any]:  # noqa: N803
        if self.busy:
            self.busy -= 1
            return {"Errors": [{"ErrorCode": "InvalidChangeSetStatus"}]}
        self.change_sets.remove(ChangeSetName)
        return {}

    def _execute_change_set(self, **_: Any) -> Mapping[str, Any]:
        self.change_sets.clear()
        self._play(self._scripts["execute_change_set"])
        return {}

    def _delete_stack(self, **_: Any) -> Mapping[str, Any]:
        self._play(self._scripts["delete_stack"])
        return {}

    def _continue_update_rollback(self, **_: Any) -> Mapping[str, Any]:
        self._play(self._scripts["continue_update_rollback"])
        return {}


def _page(member: str, entries: Sequence[Any], token: str) -> Mapping[str, Any]:
    end = int(token) + PAGE
    more = {"NextToken": str(end)} if end < len(entries) else {}
    return {member: entries[int(token) : end], **more}


_GROUP = {
    "LaunchTemplate": {"Version": "1"},
    "Instances": [
        {"InstanceId": "i-1", "LifecycleState": "InService", "LaunchTemplate": {"Version": "1"}},
    ],
}
_OUTPUTS = {
    "WebGroup": "zoo-web",
    "OutputBucket": f"zoo-{OWNER}-eu-west-1-output",
    "Url": "http://192.0.2.1:8080",
}
