"""Checks of what instances there may be: types in each zone, quotas, spot capacity, and the image."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beholder.deploy.account import Account
from beholder.deploy.doctor.finding import Finding, Level
from beholder.deploy.doctor.requirements import Requirements

__all__ = [
    "ON_DEMAND",
    "SPOT",
    "InstanceType",
    "check_each_quota",
    "check_image",
    "check_spot_capacity",
    "instance_types",
    "judge_image",
    "judge_quota",
    "judge_spot_capacity",
    "judge_types",
]

# Most instances of the web tier: two, and a successor while one is replaced.
_WEB_INSTANCES_MAX = 3
# The quotas below count types whose names begin so. Source:
# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html (2026-11)
_STANDARD = tuple("acdhimrtz")
# With fewer types the score is low in any case. Source:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/how-sps-works.html (2026-11)
_TYPES_SCORED_MIN = 3
# Of 10, which stands for a request that is highly likely to succeed; the same source.
_SCORE_MIN = 4
_ABSENT = ("InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable")
_NO_QUOTA = ("NoSuchResourceException",)


@dataclass(frozen=True)
class Quota:
    """A quota of EC2, in vCPUs.

    Args:
        check: Name of its check.
        code: Its code.
        name: What AWS calls it.
    """

    check: str
    code: str
    name: str


# Source: https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html (2026-11)
ON_DEMAND = Quota(
    "on-demand quota", "L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"
)
SPOT = Quota("spot quota", "L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests")


@dataclass(frozen=True)
class InstanceType:
    """An instance type, as a region has it.

    Args:
        name: Such as 'c7a.large'.
        vcpus: Of one instance.
        zones: Zones of the region that offer it.
        is_x86: Whether it runs the bundle, which is for x86-64.
    """

    name: str
    vcpus: int
    zones: Collection[str]
    is_x86: bool = True


def instance_types(account: Account, names: Collection[str]) -> dict[str, InstanceType]:
    """Return the types of these names that the region has.

    Raises:
        BackendError: EC2 refuses, or does not answer.
    """
    by_name = [{"Name": "instance-type", "Values": sorted(names)}]
    offers = account.pages(
        "ec2",
        "describe_instance_type_offerings",
        "InstanceTypeOfferings",
        LocationType="availability-zone",
        Filters=by_name,
    )
    described = account.pages("ec2", "describe_instance_types", "InstanceTypes", Filters=by_name)
    return {
        one["InstanceType"]: InstanceType(
            one["InstanceType"],
            one["VCpuInfo"]["DefaultVCpus"],
            {offer["Location"] for offer in offers if offer["InstanceType"] == one["InstanceType"]},
            "x86_64" in one["ProcessorInfo"]["SupportedArchitectures"],
        )
        for one in described
    }


def judge_types(
    purpose: str,
    names: Sequence[str],
    seen: Mapping[str, InstanceType],
    zones: Collection[str],
    region: str,
) -> list[Finding]:
    """Return whether the zones of the subnets offer the types.

    Args:
        purpose: 'worker' or 'web'.
        names: Of the types that are needs.
        seen: Those that the region has.
        zones: Of the subnets.
        region: Theirs.
    """
    check = f"{purpose} instance types"
    command = f"{_CHOOSE} --region {region}"
    findings = []
    for name in names:
        if name not in seen:
            findings.append(Finding(check, Level.PROBLEM, f"the region has no instance type {name}", command))
        elif not seen[name].is_x86:
            findings.append(Finding(check, Level.PROBLEM, f"{name} is not x86-64, the bundle is", command))
        elif missing := sorted(set(zones) - set(seen[name].zones)):
            there = sorted(set(zones) & set(seen[name].zones))
            where = f"but in {', '.join(there)}" if there else "and so in no zone of the subnets"
            sentence = f"{name} is not offered in {', '.join(missing)}, {where}"
            findings.append(Finding(check, Level.WARNING if there else Level.PROBLEM, sentence, command))
    if findings:
        return _weaker_where_others_work(findings, len(names))
    offered = "are offered in every zone" if len(names) > 1 else "is offered in every zone"
    return [Finding(check, Level.OK, f"{', '.join(names)} {offered} of the subnets")]


_CHOOSE = "aws ec2 describe-instance-type-offerings --location-type availability-zone"


def _weaker_where_others_work(findings: Sequence[Finding], types: int) -> list[Finding]:
    """A type that nobody offers is a problem only where no other type is left."""
    unusable = [one for one in findings if one.level is Level.PROBLEM]
    if len(unusable) == types:
        return list(findings)
    return [Finding(one.check, Level.WARNING, one.sentence, one.command) for one in findings]


# --- quotas -------------------------------------------------------------------------------------------------


def check_each_quota(
    account: Account, needs: Requirements, seen: Mapping[str, InstanceType]
) -> list[Finding]:
    """Return whether the quotas allow the fleet at its maximum, each quota by its name.

    Raises:
        BackendError: Service Quotas refuses, or does not answer.
    """
    if not seen:
        return []
    used = [name for name in (*needs.instance_types, needs.web_instance_type) if name in seen]
    others = [name for name in used if not name.startswith(_STANDARD)]
    if others:
        sentence = f"{', '.join(others)} count against quotas of their own, which are not checked"
        return [
            Finding(
                "quotas", Level.WARNING, sentence, "aws service-quotas list-service-quotas --service-code ec2"
            )
        ]
    worker = max((seen[name].vcpus for name in needs.instance_types if name in seen), default=0)
    web = seen[needs.web_instance_type].vcpus if needs.web_instance_type in seen else 0
    on_demand = math.ceil(needs.fleet_max * needs.on_demand_share)
    spot = needs.fleet_max - math.floor(needs.fleet_max * needs.on_demand_share)
    region = account.region
    needed = on_demand * worker + _WEB_INSTANCES_MAX * web
    findings = [judge_quota(ON_DEMAND, _quota(account, ON_DEMAND), needed, web, region)]
    if spot:
        findings.append(judge_quota(SPOT, _quota(account, SPOT), spot * worker, worker, region))
    return findings


def _quota(account: Account, quota: Quota) -> float:
    """Return what the account has, which is AWS's default where nobody asked for more."""
    names = {"ServiceCode": "ec2", "QuotaCode": quota.code}
    answer = account.call("service-quotas", "get_service_quota", expected=_NO_QUOTA, **names)
    if answer.get("Errors"):
        answer = account.call("service-quotas", "get_aws_default_service_quota", **names)
    return float(answer["Quota"]["Value"])


def judge_quota(quota: Quota, vcpus: float, needed: int, least: int, region: str) -> Finding:
    """Return whether a quota is enough.

    Args:
        quota: Which one.
        vcpus: Its value.
        needed: vCPUs at the fleet's maximum.
        least: vCPUs of one instance.
        region: Where the quota counts.
    """
    named = f"{quota.name!r} ({quota.code}) allows {vcpus:.0f} vCPUs"
    if vcpus >= needed:
        return Finding(quota.check, Level.OK, f"{named}, and the deployment uses up to {needed}")
    command = (
        f"aws service-quotas request-service-quota-increase --service-code ec2 --quota-code {quota.code} "
        f"--desired-value {needed} --region {region}"
    )
    if vcpus < least:
        return Finding(quota.check, Level.PROBLEM, f"{named}, so that no instance can start", command)
    sentence = f"{named}, and at its maximum the deployment uses {needed}, so that it stays smaller"
    return Finding(quota.check, Level.WARNING, sentence, command)


# --- spot capacity ------------------------------------------------------------------------------------------


def check_spot_capacity(account: Account, needs: Requirements) -> list[Finding]:
    """Return how likely the region has spot capacity for the whole fleet.

    Raises:
        BackendError: EC2 refuses, or does not answer.
    """
    if needs.on_demand_share >= 1 or not needs.fleet_max:
        return []
    if len(needs.instance_types) < _TYPES_SCORED_MIN:
        return [judge_spot_capacity(needs, None)]
    scores = account.pages(
        "ec2",
        "get_spot_placement_scores",
        "SpotPlacementScores",
        InstanceTypes=list(needs.instance_types),
        TargetCapacity=needs.fleet_max,
        RegionNames=[account.region],
    )
    return [judge_spot_capacity(needs, max((int(one["Score"]) for one in scores), default=0))]


def judge_spot_capacity(needs: Requirements, score: int | None) -> Finding:
    """Return whether the spot part of the fleet will find capacity.

    Args:
        needs: What the deployment needs.
        score: EC2's score of its types, from 1 to 10; None where the types are too few for one.
    """
    check = "spot capacity"
    if score is None:
        sentence = (
            f"with less than {_TYPES_SCORED_MIN} instance types spot capacity is missing more often; "
            "on-demand instances then take its place, at their price"
        )
        return Finding(check, Level.WARNING, sentence, f"beholder deploy {needs.name} --instance-types A,B,C")
    if score < _SCORE_MIN:
        sentence = (
            f"EC2 rates the chance of {needs.fleet_max} spot instances of these types {score} of 10; "
            "on-demand instances take the place of those that are missing, at their price"
        )
        return Finding(check, Level.WARNING, sentence, f"beholder deploy {needs.name} --instance-types A,B,C")
    return Finding(check, Level.OK, f"EC2 rates the chance of {needs.fleet_max} spot instances {score} of 10")


# --- the image ----------------------------------------------------------------------------------------------


def check_image(account: Account, needs: Requirements) -> list[Finding]:
    """Return whether the region has the image, and instances can start from it.

    Raises:
        BackendError: EC2 refuses, or does not answer.
    """
    if not needs.image:
        return [
            Finding("image", Level.WARNING, f"{account.region} does not publish the stock image", _OWN_IMAGE)
        ]
    found = account.call("ec2", "describe_images", expected=_ABSENT, ImageIds=[needs.image])
    images = [] if found.get("Errors") else found["Images"]
    return [judge_image(needs, account.region, images[0] if images else None)]


def judge_image(needs: Requirements, region: str, image: Mapping[str, Any] | None) -> Finding:
    """Return whether an image will do.

    Args:
        needs: What the deployment needs.
        region: Its region.
        image: As EC2 describes it; None where the region has no such image.
    """
    if image is None:
        sentence = f"{region} has no image {needs.image}, or may not use it; an image id counts in one region"
        return Finding("image", Level.PROBLEM, sentence, _STOCK_IMAGE.format(name=needs.name, region=region))
    wrong = [
        f"{what} is {found}, not {right}"
        for what, found, right in (
            ("state", image.get("State"), "available"),
            ("architecture", image.get("Architecture"), "x86_64"),
            ("root device", image.get("RootDeviceType"), "ebs"),
        )
        if found != right
    ]
    if wrong:
        sentence = f"{needs.image} cannot be used: its {', its '.join(wrong)}"
        return Finding("image", Level.PROBLEM, sentence, _STOCK_IMAGE.format(name=needs.name, region=region))
    return Finding("image", Level.OK, f"{needs.image} is in {region} ({image.get('Name', 'without a name')})")


_STOCK_IMAGE = "beholder deploy {name} --region {region}   # without --image: the stock image of the region"
_OWN_IMAGE = "beholder deploy --image AMI"
