"""What doctor decides of a deployment that exists, and of the rights of the person who deploys."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from beholder.deploy.account import Account
from beholder.deploy.deployer_policy import deployer_policy
from beholder.deploy.doctor import Finding, Level
from beholder.deploy.doctor.after import judge_alarms, judge_stack
from beholder.deploy.doctor.queues import judge_queues
from beholder.deploy.doctor.rights import (
    Simulation,
    check_rights,
    judge_rights,
    principal_of,
    simulations_of,
)
from beholder.deploy.doctor.templates import judge_launch, judge_template
from beholder.errors import BackendDenied, ResourceNotFound
from helpers.cloudformation import PARAMETERS, Rendered
from helpers.iam import is_allowed

REGION, OWNER = "eu-west-1", "123456789012"


def only(findings: Sequence[Finding]) -> Finding:
    (finding,) = findings
    return finding


# --- rights -------------------------------------------------------------------------------------------------


def shipped() -> list[dict[str, Any]]:
    policies = deployer_policy("zoo", OWNER, REGION, "aws").values()
    return [one for policy in policies for one in policy["Statement"]]


def simulated(granted: Sequence[Mapping[str, Any]], asked: Simulation) -> list[dict[str, Any]]:
    """Return what IAM would say of a caller with these rights."""
    context = {key: values[0] for key, values in asked.context.items()}
    return [
        {
            "EvalActionName": action,
            "EvalDecision": "implicitDeny",
            "ResourceSpecificResults": [
                {
                    "EvalResourceDecision": "allowed"
                    if is_allowed(granted, action, {arn: context})
                    else "implicitDeny"
                }
                for arn in asked.resources or ["*"]
            ],
        }
        for action in asked.actions
    ]


def test_who_has_the_shipped_policy_has_every_right() -> None:
    asked = simulations_of(shipped(), REGION, OWNER)
    results = [one for each in asked for one in simulated(shipped(), each)]

    assert len(results) > 100
    assert only(judge_rights(results, "")).level is Level.OK


@pytest.mark.parametrize("sid", [one["Sid"] for one in shipped()])
def test_undocumented_rights(sid: str) -> None:
    """Whoever lacks a part of the policy is told which rights are missing, and what prints them."""
    granted = [one for one in shipped() if one["Sid"] != sid]
    lacking = {action for one in shipped() if one["Sid"] == sid for action in listed(one["Action"])}
    elsewhere = {action for one in granted for action in listed(one["Action"])}
    asked = simulations_of(shipped(), REGION, OWNER)
    results = [one for each in asked for one in simulated(granted, each)]

    (finding,) = judge_rights(results, "beholder doctor zoo --policy")

    told = {one for one in lacking - elsewhere if "*" not in one}
    assert {one for one in told if one not in finding.sentence} == set()
    assert (finding.level, finding.command) == (Level.PROBLEM, "beholder doctor zoo --policy") or not told


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_resources_of_a_question_are_of_the_service_and_no_patterns() -> None:
    for one in simulations_of(shipped(), REGION, OWNER):
        (service,) = {action.partition(":")[0] for action in one.actions}
        for arn in one.resources:
            assert arn.split(":")[2] == service
            assert "*" not in arn
            assert arn.split(":")[3] in {"", REGION}


def test_a_right_that_depends_on_what_only_a_real_call_has_is_a_warning() -> None:
    results = [
        {"EvalActionName": "sqs:CreateQueue", "EvalDecision": "implicitDeny", "MissingContextValues": ["a:b"]}
    ]

    assert only(judge_rights(results, "")).level is Level.WARNING


@pytest.mark.parametrize(
    ("arn", "principal"),
    [
        ("arn:aws:iam::1:user/team/ann", "arn:aws:iam::1:user/team/ann"),
        ("arn:aws:sts::1:assumed-role/admin/ann@example.com", "arn:aws:iam::1:role/admin"),
        ("arn:aws-cn:sts::1:assumed-role/admin/ann", "arn:aws-cn:iam::1:role/admin"),
        ("arn:aws:iam::1:root", "root"),
        ("arn:aws:sts::1:federated-user/ann", ""),
    ],
)
def test_the_principal_of_a_caller(arn: str, principal: str) -> None:
    assert principal_of(arn) == principal


class Sso:
    """An account whose caller has a permission set, and may read no roles.

    Args:
        home: The region of IAM Identity Center, as it is in the role's path.
    """

    region = REGION

    def __init__(self, home: str) -> None:
        path = f"aws-reserved/sso.amazonaws.com/{home}"
        self.role = f"arn:aws:iam::{OWNER}:role/{path}AWSReservedSSO_Admin_0a1b"
        self.simulated: set[str] = set()

    def call(self, service: str, action: str, **parameters: Any) -> Mapping[str, Any]:
        if action == "get_role":
            raise BackendDenied(service, action)
        if action == "simulate_principal_policy" and parameters["PolicySourceArn"] != self.role:
            raise ResourceNotFound(service, action)
        answers: Mapping[str, Mapping[str, Any]] = {
            "get_caller_identity": {
                "Account": OWNER,
                "Arn": f"arn:aws:sts::{OWNER}:assumed-role/AWSReservedSSO_Admin_0a1b/ann@example.com",
            },
            "describe_regions": {"Regions": [{"RegionName": one} for one in ("eu-central-1", REGION)]},
            "simulate_principal_policy": {"EvaluationResults": []},
        }
        return answers[action]

    def pages(self, _service: str, _action: str, _member: str, **parameters: Any) -> list[Any]:
        self.simulated.add(parameters["PolicySourceArn"])
        return [{"EvalActionName": one, "EvalDecision": "allowed"} for one in parameters["ActionNames"]]


@pytest.mark.parametrize("home", ["", f"{REGION}/", "eu-central-1/"])
def test_the_role_of_a_permission_set_is_found_with_its_path_and_simulated(home: str) -> None:
    account = Sso(home)
    assert only(check_rights(cast("Account", account), "zoo")).level is Level.OK
    assert account.simulated == {account.role}


# --- the stack ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "level", "command"),
    [
        ("CREATE_COMPLETE", Level.OK, ""),
        ("UPDATE_COMPLETE", Level.OK, ""),
        ("UPDATE_ROLLBACK_COMPLETE", Level.WARNING, "beholder deploy zoo --region eu-west-1"),
        ("ROLLBACK_COMPLETE", Level.PROBLEM, "beholder deploy zoo --region eu-west-1"),
        ("UPDATE_IN_PROGRESS", Level.WARNING, "beholder deploy zoo --region eu-west-1"),
        ("DELETE_FAILED", Level.PROBLEM, "beholder destroy zoo --region eu-west-1"),
    ],
)
def test_the_state_of_a_stack(status: str, level: Level, command: str) -> None:
    finding = judge_stack("zoo", REGION, status, [("WebGroup", "no capacity"), ("Listener", "later")])

    assert (finding.level, finding.command) == (level, command)
    if status.endswith(("ROLLBACK_COMPLETE", "FAILED")):
        assert "the first cause: WebGroup: no capacity" in finding.sentence


# --- queues -------------------------------------------------------------------------------------------------


def queues(**wrong: str) -> tuple[dict[str, str], dict[str, str]]:
    redrive = {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead", "maxReceiveCount": 3}
    dead = {"QueueUrl": "https://dead", "QueueArn": redrive["deadLetterTargetArn"]}
    jobs = {"QueueUrl": "https://jobs", "RedrivePolicy": json.dumps(redrive)}
    kept = {"MessageRetentionPeriod": "1209600"}
    return {**jobs, **kept, **wrong}, {**dead, **kept}  # type: ignore[dict-item]


def test_queues_as_the_template_makes_them() -> None:
    assert only(judge_queues(*queues(), "", REGION)).level is Level.OK
    as_text = json.dumps({"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:dead", "maxReceiveCount": "3"})
    assert only(judge_queues(*queues(RedrivePolicy=as_text), "", REGION)).level is Level.OK


def test_a_queue_that_loses_backlogs_after_four_days() -> None:
    finding = only(judge_queues(*queues(MessageRetentionPeriod="345600"), "", REGION))

    assert finding.level is Level.PROBLEM
    assert "the input queue keeps a message for 4 days instead of 14" in finding.sentence
    assert "--queue-url https://jobs" in finding.command
    assert '{"MessageRetentionPeriod": "1209600"}' in finding.command


@pytest.mark.parametrize("policy", ["{}", '{"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:1:x"}'])
def test_a_redrive_policy_that_is_wrong(policy: str) -> None:
    finding = only(judge_queues(*queues(RedrivePolicy=policy), "", REGION))

    assert finding.level is Level.PROBLEM
    assert "redrive policy" in finding.sentence
    assert "arn:aws:sqs:eu-west-1:1:dead" in finding.command


def test_a_queue_that_is_gone() -> None:
    jobs, _ = queues()

    finding = only(judge_queues(jobs, None, "beholder deploy zoo", REGION))

    assert finding == Finding("queues", Level.PROBLEM, "the dead-letter queue is gone", "beholder deploy zoo")


# --- launch templates ---------------------------------------------------------------------------------------


def template(purpose: str) -> dict[str, Any]:
    rendered = Rendered()
    data = dict(rendered.resources[f"{purpose}Template"]["Properties"]["LaunchTemplateData"])
    data["UserData"] = base64.b64encode(rendered.user_data(f"{purpose}Template").encode()).decode()
    return data


def test_a_launch_template_that_was_changed_by_hand() -> None:
    wanted = {"ImageId": PARAMETERS["ImageId"], "BUNDLE_SHA256": PARAMETERS["BundleSha256"]}
    data = template("Worker")

    assert judge_template("worker", data, wanted, "").level is Level.OK

    open_metadata = {**data, "MetadataOptions": {"HttpTokens": "optional"}, "ImageId": "ami-other"}
    finding = judge_template("worker", open_metadata, wanted | {"BUNDLE_SHA256": "b"}, "beholder deploy zoo")

    assert (finding.level, finding.command) == (Level.PROBLEM, "beholder deploy zoo")
    for part in ("ImageId is ami-other", f"BUNDLE_SHA256 is {'a' * 64}, not b", "HttpTokens is optional"):
        assert part in finding.sentence


@pytest.mark.parametrize(
    ("refusal", "level"),
    [
        ("", Level.OK),
        ("ec2: run_instances: UnauthorizedOperation: You are not authorized", Level.WARNING),
        ("ec2: run_instances: InvalidParameterValue: Invalid IAM Instance Profile", Level.PROBLEM),
        ("ec2: run_instances: InsufficientInstanceCapacity: We currently do not have", Level.PROBLEM),
    ],
)
def test_a_dry_run(refusal: str, level: Level) -> None:
    finding = judge_launch("zoo", REGION, refusal)

    assert (finding.level, refusal in finding.sentence) == (level, True)


# --- alarms -------------------------------------------------------------------------------------------------


def test_an_alarm_that_goes_off_is_told_with_its_meaning() -> None:
    quiet = {"AlarmName": "zoo-spend", "StateValue": "OK"}
    loud = {
        "AlarmName": "zoo-dead-letters",
        "StateValue": "ALARM",
        "AlarmDescription": "Nothing empties it.",
        "StateReason": "1 is greater than 0.",
    }

    finding = only(judge_alarms("zoo", REGION, [quiet, loud]))

    assert (finding.level, finding.command) == (Level.PROBLEM, "beholder redrive --stack zoo")
    assert "Nothing empties it. 1 is greater than 0." in finding.sentence
    assert only(judge_alarms("zoo", REGION, [quiet])).level is Level.OK
    assert only(judge_alarms("zoo", REGION, [])).level is Level.PROBLEM
