"""Checks of the interface endpoints, by which instances without a way out reach AWS."""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from beholder.deploy.account import Account
from beholder.deploy.doctor.finding import Finding, Level

__all__ = ["check_endpoints", "judge_endpoints"]

_CHECK = "endpoints"
_TLS = 443


def check_endpoints(account: Account, vpc: str, cidr: str, called: Collection[str]) -> list[Finding]:
    """Return whether the VPC's endpoints of these services serve the instances of a deployment.

    Args:
        account: The account and region.
        vpc: Id of the VPC.
        cidr: Its addresses.
        called: Services, such as 'sqs'.

    Raises:
        BackendError: EC2 refuses, or does not answer.
    """
    of_vpc = [{"Name": "vpc-id", "Values": [vpc]}]
    endpoints = [
        one
        for one in account.pages("ec2", "describe_vpc_endpoints", "VpcEndpoints", Filters=of_vpc)
        if one.get("VpcEndpointType") == "Interface" and one["ServiceName"].rpartition(".")[2] in called
    ]
    groups = account.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=of_vpc)
    rules = {str(one["GroupId"]): one.get("IpPermissions", []) for one in groups}
    return judge_endpoints(endpoints, rules, cidr, account.region)


def judge_endpoints(
    endpoints: Sequence[Mapping[str, Any]],
    rules: Mapping[str, Sequence[Mapping[str, Any]]],
    cidr: str,
    region: str,
) -> list[Finding]:
    """Return which endpoints do not serve the instances of a deployment.

    Args:
        endpoints: As EC2 describes them.
        rules: What each security group lets in, by the group's id.
        cidr: Addresses of the VPC.
        region: Its region.
    """
    findings = []
    for one in endpoints:
        name, service = one["VpcEndpointId"], one["ServiceName"].rpartition(".")[2].upper()
        if not one.get("PrivateDnsEnabled"):
            sentence = (
                f"{name} does not answer to the usual name of {service}, which is what instances ask for"
            )
            command = (
                f"aws ec2 modify-vpc-endpoint --region {region} "
                f"--vpc-endpoint-id {name} --private-dns-enabled"
            )
            findings.append(Finding(_CHECK, Level.PROBLEM, sentence, command))
        groups = [str(group["GroupId"]) for group in one.get("Groups", [])]
        if groups and not any(_admits(rule, cidr) for group in groups for rule in rules.get(group, ())):
            # A rule may name the deployment's security groups, which are not known before it is made.
            sentence = (
                f"no rule of {', '.join(groups)} lets {cidr} reach {name}, the endpoint of {service}, by TLS"
            )
            command = (
                f"aws ec2 authorize-security-group-ingress --region {region} --group-id {groups[0]} "
                f"--protocol tcp --port {_TLS} --cidr {cidr}"
            )
            findings.append(Finding(_CHECK, Level.WARNING, sentence, command))
    return findings or [Finding(_CHECK, Level.OK, "the VPC's endpoints serve its instances")]


def _admits(rule: Mapping[str, Any], cidr: str) -> bool:
    """Say whether a rule lets all of a network in by TLS."""
    is_tls = rule["IpProtocol"] == "-1" or (
        rule["IpProtocol"] == "tcp" and rule.get("FromPort", 0) <= _TLS <= rule.get("ToPort", 65_535)
    )
    network = ipaddress.IPv4Network(cidr)
    sources = [ipaddress.IPv4Network(one["CidrIp"]) for one in rule.get("IpRanges", [])]
    return is_tls and any(network.subnet_of(one) for one in sources)
