"""Checks that the names of a deployment are free, or its own."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from beholder.deploy.account import Account
from beholder.deploy.doctor.finding import Finding, Level
from beholder.deploy.inventory import Found, find_all
from beholder.deploy.stack import Stack
from beholder.deploy.wanted import NAME_PATTERN
from beholder.errors import ConfigError
from beholder.fleet.ec2 import DEPLOYMENT_TAG

__all__ = ["check_names", "judge_names"]

# A stack takes over buckets that an earlier one left; images and snapshots have no name that would collide.
_TAKEN_OVER = ("bucket", "image", "snapshot")
# A change set that was not executed yet: its stack has no resources.
_REVIEWED = "REVIEW_IN_PROGRESS"


def check_names(account: Account, name: str) -> list[Finding]:
    """Return whether the names that a deployment gives are free, or the deployment's own.

    Raises:
        BackendError: A service refuses a listing, or does not answer.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        sentence = f"{name!r} is no name of a deployment; use up to 27 lower-case letters, digits and hyphens"
        return [Finding("names", Level.PROBLEM, sentence, "beholder deploy ANOTHER-NAME")]
    try:
        status = Stack(account, name).status()
    except ConfigError as exc:
        return [Finding("names", Level.PROBLEM, "; ".join(exc.problems), "beholder deploy ANOTHER-NAME")]
    untagged = [*_templates(account, name), *_groups(account, name)]
    has_stack = status not in {"", _REVIEWED}
    return judge_names(name, account.region, [*find_all(account, name), *untagged], has_stack=has_stack)


def judge_names(name: str, region: str, found: Iterable[Found], *, has_stack: bool) -> list[Finding]:
    """Return what is in the way of a deployment.

    Args:
        name: The deployment's name.
        region: Its region.
        found: What has its tag, and what has a name that it gives.
        has_stack: Whether the deployment has a stack, to which what has its tag belongs.
    """
    strangers = [one for one in found if not one.is_ours]
    remains = [one for one in found if one.is_ours and one.kind not in _TAKEN_OVER and not has_stack]
    findings = []
    if strangers:
        sentence = f"{_listed(strangers)} lacks the tag {DEPLOYMENT_TAG}={name}, so it is someone else's"
        findings.append(Finding("names", Level.PROBLEM, sentence, "beholder deploy ANOTHER-NAME"))
    if remains:
        sentence = f"{_listed(remains)} is left of an earlier deployment, whose stack is gone"
        command = f"beholder destroy {name} --region {region}"
        findings.append(Finding("names", Level.PROBLEM, sentence, command))
    whose = "are the deployment's" if has_stack else "are free"
    return findings or [Finding("names", Level.OK, f"the names of {name} {whose}")]


def _listed(found: Collection[Found]) -> str:
    return ", ".join(f"{one.kind} {one.id}" for one in found)


def _templates(account: Account, name: str) -> list[Found]:
    """Return the launch templates that have a name of the deployment and not its tag."""
    names = [f"{name}-web", f"{name}-worker"]
    by_name = [{"Name": "launch-template-name", "Values": names}]
    templates = account.pages("ec2", "describe_launch_templates", "LaunchTemplates", Filters=by_name)
    return _strangers("launch template", templates, name, lambda one: str(one["LaunchTemplateName"]))


def _groups(account: Account, name: str) -> list[Found]:
    groups = account.pages(
        "autoscaling",
        "describe_auto_scaling_groups",
        "AutoScalingGroups",
        AutoScalingGroupNames=[f"{name}-web"],
    )
    return _strangers("Auto Scaling group", groups, name, lambda one: str(one["AutoScalingGroupName"]))


def _strangers(
    kind: str, entries: Iterable[Mapping[str, Any]], name: str, id_of: Callable[[Mapping[str, Any]], str]
) -> list[Found]:
    return [
        Found(kind, id_of(one), is_ours=False)
        for one in entries
        if {"Key": DEPLOYMENT_TAG, "Value": name}
        not in [{"Key": tag["Key"], "Value": tag["Value"]} for tag in one.get("Tags", [])]
    ]
