"""Checks of the launch templates: they are as the stack has them, and EC2 would launch from them."""

import base64
from collections.abc import Mapping
from typing import Any

from beholder.deploy.account import Account
from beholder.deploy.doctor.finding import Finding, Level
from beholder.errors import BackendDenied

__all__ = ["check_dry_run", "check_templates", "judge_launch", "judge_template"]

_CHECK = "launch templates"
# How EC2 says that it would have launched, and that the caller may not. Source:
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (2026-11)
_WOULD_LAUNCH = "DryRunOperation"
_MAY_NOT = "UnauthorizedOperation"


def check_templates(
    account: Account, name: str, parameters: Mapping[str, str], outputs: Mapping[str, str]
) -> list[Finding]:
    """Return whether the newest version of each launch template has what the stack's parameters say.

    Raises:
        BackendError: EC2 refuses, or does not answer.
    """
    shared = {
        "BUNDLE": f"{outputs['BundleBucket']}/{parameters['BundleKey']}",
        "BUNDLE_SHA256": parameters["BundleSha256"],
        "BEHOLDER_PREFIX": name,
        "BEHOLDER_INPUT_BUCKET": outputs["InputBucket"],
        "BEHOLDER_OUTPUT_BUCKET": outputs["OutputBucket"],
        "BEHOLDER_MODEL": parameters["Models"],
    }
    web = shared | {
        "BEHOLDER_LAUNCH_TEMPLATE": outputs["LaunchTemplate"],
        "BEHOLDER_LAUNCH_TEMPLATE_VERSION": outputs["LaunchTemplateVersion"],
        "BEHOLDER_INSTANCE_TYPES": parameters["InstanceTypes"],
        "BEHOLDER_SUBNETS": parameters["WorkerSubnets"],
        "BEHOLDER_FLEET_MAX": parameters["FleetMax"],
    }
    worker_type = parameters["InstanceTypes"].partition(",")[0]
    findings = []
    for purpose, instance_type, lines in (
        ("worker", worker_type, shared),
        ("web", parameters["WebInstanceType"], web),
    ):
        data = _newest(account, f"{name}-{purpose}")
        values = {"ImageId": parameters["ImageId"], "InstanceType": instance_type, **lines}
        again = f"beholder deploy {name} --region {account.region}"
        findings.append(judge_template(purpose, data, values, again))
    return findings


def _newest(account: Account, template: str) -> Mapping[str, Any]:
    return _version(account, template, "$Latest")


def _version(account: Account, template: str, version: str) -> Mapping[str, Any]:
    told = account.call(
        "ec2", "describe_launch_template_versions", LaunchTemplateName=template, Versions=[version]
    )
    data: Mapping[str, Any] = told["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    return data


def judge_template(purpose: str, data: Mapping[str, Any], values: Mapping[str, str], again: str) -> Finding:
    """Return what a launch template has otherwise than the stack.

    Args:
        purpose: 'worker' or 'web'.
        data: Of the template's newest version.
        values: What it has to have: its members by their names, the others as lines of its settings.
        again: The command that makes the stack again.
    """
    script = base64.b64decode(data.get("UserData", "")).decode(errors="replace")
    settings = dict(line.split("=", 1) for line in script.splitlines() if "=" in line)
    found = {key: str(data[key]) if key in data else settings.get(key, "") for key in values}
    fixed = {
        "HttpTokens": (data.get("MetadataOptions", {}).get("HttpTokens"), "required"),
        "InstanceInitiatedShutdownBehavior": (data.get("InstanceInitiatedShutdownBehavior"), "terminate"),
    }
    wrong = [
        f"{key} is {found[key] or 'missing'}, not {value}"
        for key, value in values.items()
        if found[key] != value
    ]
    wrong += [
        f"{key} is {is_value}, not {value}" for key, (is_value, value) in fixed.items() if is_value != value
    ]
    if wrong:
        sentence = f"the {purpose} template is not as the stack has it: {'; '.join(wrong)}"
        return Finding(_CHECK, Level.PROBLEM, sentence, again)
    return Finding(_CHECK, Level.OK, f"the {purpose} template is as the stack has it")


def check_dry_run(
    account: Account, name: str, parameters: Mapping[str, str], outputs: Mapping[str, str]
) -> list[Finding]:
    """Return whether EC2 would launch a worker; nothing is launched.

    Raises:
        BackendError: EC2 does not answer.
    """
    version = outputs["LaunchTemplateVersion"]
    data = _version(account, f"{name}-worker", version)
    subnet = parameters["WorkerSubnets"].partition(",")[0]
    # A subnet goes beside the template's interface, and not into the request, if the template has one.
    interfaces = [{**one, "SubnetId": subnet} for one in data.get("NetworkInterfaces", [])]
    try:
        told = account.call(
            "ec2",
            "run_instances",
            expected=[_WOULD_LAUNCH],
            LaunchTemplate={"LaunchTemplateId": outputs["LaunchTemplate"], "Version": version},
            MinCount=1,
            MaxCount=1,
            DryRun=True,
            **({"NetworkInterfaces": interfaces} if interfaces else {"SubnetId": subnet}),
        )
        refusal = "" if told.get("Errors") else "it launched instead of saying what would be"
    except BackendDenied as exc:
        refusal = exc.message
    return [judge_launch(name, account.region, refusal)]


def judge_launch(name: str, region: str, refusal: str) -> Finding:
    """Return whether a worker could be launched.

    Args:
        name: The deployment's name.
        region: Its region.
        refusal: What EC2 said; empty if it would launch.
    """
    if not refusal:
        return Finding("dry run", Level.OK, "EC2 would launch a worker")
    if _MAY_NOT in refusal:
        sentence = f"not checked, because the caller may not launch (the web tier may): {refusal}"
        return Finding(
            "dry run", Level.WARNING, sentence, f"beholder doctor {name} --region {region} --policy"
        )
    return Finding(
        "dry run",
        Level.PROBLEM,
        f"EC2 would launch no worker: {refusal}",
        f"beholder deploy {name} --region {region}",
    )
