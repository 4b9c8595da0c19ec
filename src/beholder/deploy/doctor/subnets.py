"""Checks of the network: how each subnet reaches the services that an instance calls."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from beholder.deploy.account import Account
from beholder.deploy.doctor.capacity import InstanceType
from beholder.deploy.doctor.finding import Finding, Level
from beholder.deploy.doctor.requirements import Requirements
from beholder.deploy.network import Seen, Subnet, Way, choose_network, look_at_network
from beholder.errors import DeployError

__all__ = ["check_vpc", "endpoint_services", "judge_subnets", "zones_of"]

# What each kind of instance calls beside S3. A log that does not arrive hinders no job.
_CALLED = {"worker": ("sqs",), "web": ("sqs", "ec2")}


def check_vpc(
    account: Account, needs: Requirements, types: Mapping[str, InstanceType]
) -> tuple[Seen | None, Requirements, Finding]:
    """Return what the account has of the VPC, the deployment with its subnets, and a finding.

    Nothing is returned of a VPC that cannot be used.

    Args:
        account: The account and region.
        needs: What the deployment needs.
        types: The instance types that the region has.

    Raises:
        BackendError: EC2 refuses, or does not answer.
    """
    try:
        seen = look_at_network(account, needs.name, needs.vpc or None)
        if not needs.worker_subnets:
            needs = _with_network(seen, needs, types)
    except DeployError as exc:
        command = f"aws ec2 create-default-vpc --region {account.region}"
        return None, needs, Finding("VPC", Level.PROBLEM, exc.message, command)
    which = "is given" if needs.vpc else "is taken, because it is the default one, or the only one"
    return seen, needs, Finding("VPC", Level.OK, f"{seen.vpc} {which}")


def _with_network(seen: Seen, needs: Requirements, types: Mapping[str, InstanceType]) -> Requirements:
    zones = {zone for name in needs.instance_types if name in types for zone in types[name].zones}
    web = types.get(needs.web_instance_type)
    network = choose_network(
        seen, is_internal=False, has_balancer=False, worker_zones=zones, web_zones=web.zones if web else zones
    )
    return replace(
        needs,
        worker_subnets=network.worker_subnets,
        web_subnets=network.web_subnets,
        has_public_addresses=network.has_public_addresses,
        route_tables=network.route_tables,
    )


def zones_of(seen: Seen, ids: Sequence[str]) -> set[str]:
    """Return the zones of the subnets of these ids."""
    return {one.zone for one in seen.subnets if one.id in ids}


def judge_subnets(seen: Seen, needs: Requirements, region: str) -> list[Finding]:
    """Return whether instances in each subnet reach the services that they call before anything else.

    Args:
        seen: What the account has.
        needs: What the deployment needs.
        region: Its region.
    """
    findings = []
    for purpose, ids in (("worker", needs.worker_subnets), ("web", needs.web_subnets)):
        check = f"{purpose} subnets"
        called = _CALLED[purpose]
        if unknown := sorted(set(ids) - {one.id for one in seen.subnets}):
            command = f"aws ec2 describe-subnets --region {region}"
            sentence = f"{seen.vpc} has no subnet {', '.join(unknown)}"
            findings.append(Finding(check, Level.PROBLEM, sentence, command))
        hanging: dict[tuple[Way, tuple[str, ...]], list[Subnet]] = {}
        reaching = []
        for one in seen.subnets:
            if one.id in ids and (missing := _unreached(one, seen, needs, called)):
                hanging.setdefault((one.way, missing), []).append(one)
            elif one.id in ids:
                reaching.append(one.id)
        findings += [
            _hanging(check, found, missing, seen.vpc, region) for (_, missing), found in hanging.items()
        ]
        if reaching:
            sentence = f"{', '.join(reaching)} reach S3, {', '.join(map(str.upper, called))}"
            findings.append(Finding(check, Level.OK, sentence))
    return findings


def endpoint_services(seen: Seen, needs: Requirements) -> set[str]:
    """Return the services that instances in these subnets reach by an interface endpoint alone."""
    return {
        service
        for purpose, ids in (("worker", needs.worker_subnets), ("web", needs.web_subnets))
        for service in _CALLED[purpose]
        if any(one.id in ids and _needs_endpoints(one, needs) for one in seen.subnets)
    }


def _needs_endpoints(subnet: Subnet, needs: Requirements) -> bool:
    has_way_out = subnet.way is Way.NAT or (subnet.way is Way.INTERNET and needs.has_public_addresses)
    return not has_way_out


def _unreached(subnet: Subnet, seen: Seen, needs: Requirements, called: Collection[str]) -> tuple[str, ...]:
    """Return the services that an instance in the subnet would call in vain."""
    if not _needs_endpoints(subnet, needs):
        return ()
    has_s3 = subnet.route_table in {*seen.s3_route_tables, *needs.route_tables} or "s3" in seen.endpoints
    return (*(() if has_s3 else ("s3",)), *(one for one in called if one not in seen.endpoints))


def _hanging(
    check: str, subnets: Sequence[Subnet], missing: Collection[str], vpc: str, region: str
) -> Finding:
    is_public = subnets[0].way is Way.INTERNET
    why = (
        "the way out is an internet gateway, which serves public addresses only, and instances get none"
        if is_public
        else "there is no route out, neither by a NAT gateway nor by endpoints"
    )
    where = ", ".join(f"{one.id} in {one.zone}" for one in subnets)
    services = ", ".join(map(str.upper, missing))
    sentence = f"instances would hang in {where}, because they do not reach {services}: {why}"
    tables = " ".join(sorted({one.route_table for one in subnets}))
    ids = " ".join(one.id for one in subnets)
    commands = [
        f"aws ec2 create-vpc-endpoint --region {region} --vpc-id {vpc} "
        f"--service-name com.amazonaws.{region}.{service} "
        + (
            f"--route-table-ids {tables}"
            if service == "s3"
            else f"--vpc-endpoint-type Interface --private-dns-enabled --subnet-ids {ids}"
        )
        for service in missing
    ]
    return Finding(check, Level.PROBLEM, sentence, " && ".join(commands))
