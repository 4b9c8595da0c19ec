"""Checks of the deployer: who calls, in which region, and by which clock."""

import difflib
from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from beholder.aws.regions import regions_of
from beholder.clock import Clock
from beholder.deploy.account import Account
from beholder.deploy.doctor.finding import Finding, Level, has_problem
from beholder.errors import BackendDenied, BackendError

__all__ = ["check_access", "judge_clock", "judge_region"]

# What the template and the commands call, by boto3's names.
_SERVICES = ("autoscaling", "cloudformation", "cloudwatch", "ec2", "elbv2", "logs", "s3", "sqs", "sts")
# AWS takes a signature for five minutes. Source:
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html (2026-11)
_SKEW_S_MAX = 300.0
# Keys, jobs and records carry times; a minute is more than a network's delay.
_SKEW_S_SEEN = 60.0


def check_access(account: Account, clock: Clock) -> list[Finding]:
    """Return whether botocore knows the region with all services, who calls, and whether clocks agree.

    Args:
        account: The account and region.
        clock: This machine's.
    """
    findings = judge_region(account.region, {service: regions_of(service) for service in _SERVICES})
    if has_problem(findings):
        return findings
    return findings + _check_identity(account, clock)


def judge_region(region: str, regions: Mapping[str, Collection[str]]) -> list[Finding]:
    """Return whether a region has what a deployment needs.

    Args:
        region: Its name.
        regions: The regions of each service that is needed.
    """
    known = {one for found in regions.values() for one in found}
    if region not in known:
        similar = difflib.get_close_matches(region, known, n=1)
        meant = f"; is {similar[0]} meant?" if similar else "; a newer botocore may know it"
        command = f"beholder doctor --region {similar[0]}" if similar else "pip install --upgrade boto3"
        sentence = f"botocore knows no region {region}{meant}"
        return [Finding("region", Level.PROBLEM if similar else Level.WARNING, sentence, command)]
    if missing := [service for service, found in regions.items() if region not in found]:
        sentence = f"{region} lacks a service that a deployment needs: {', '.join(missing)}"
        return [Finding("region", Level.PROBLEM, sentence, _other_region(regions))]
    return [Finding("region", Level.OK, f"{region} has every service that a deployment needs")]


def _other_region(regions: Mapping[str, Collection[str]]) -> str:
    whole = set.intersection(*map(set, regions.values()))
    return f"beholder doctor --region {min(whole)}" if whole else ""


def _check_identity(account: Account, clock: Clock) -> list[Finding]:
    try:
        answer = account.call("sts", "get_caller_identity")
    except BackendError as exc:
        refusal: Mapping[str, Any] = getattr(exc.__cause__, "response", {})
        dates = judge_clock(refusal, clock.now_s())
        return [_no_identity(exc, account.region), *(one for one in dates if one.level is not Level.OK)]
    who = Finding("identity", Level.OK, f"{answer['Arn']} in {account.region}")
    return [who, *judge_clock(answer, clock.now_s())]


def _no_identity(exc: BackendError, region: str) -> Finding:
    if isinstance(exc, BackendDenied):
        # What STS says in a region that the account has not enabled. Source:
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html (2026-11)
        if "InvalidClientTokenId" in exc.message:
            sentence = f"the credentials are wrong, or {region} is not enabled in this account: {exc.message}"
            command = f"aws account get-region-opt-status --region-name {region}"
            return Finding("identity", Level.PROBLEM, sentence, command)
        return Finding("identity", Level.PROBLEM, exc.message, "aws sts get-caller-identity")
    sentence = f"the caller is unknown: {exc.message}"
    return Finding("identity", Level.PROBLEM, sentence, "aws configure sso")


def judge_clock(answer: Mapping[str, Any], now_s: float) -> list[Finding]:
    """Return how far this machine's clock is from that of an answer; nothing where the answer has no date.

    Args:
        answer: Of a service, with its headers.
        now_s: This machine's time when the answer had come.
    """
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if not date:
        return []
    skew_s = now_s - parsedate_to_datetime(date).timestamp()
    if abs(skew_s) < _SKEW_S_SEEN:
        return [Finding("clock", Level.OK, "this machine's clock agrees with AWS's")]
    sentence = f"this machine's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} AWS's"
    level = Level.WARNING if abs(skew_s) < _SKEW_S_MAX else Level.PROBLEM
    return [Finding("clock", level, f"{sentence}, which refuses requests from 300 s on", _SET_CLOCK)]


_SET_CLOCK = "sudo timedatectl set-ntp true"
