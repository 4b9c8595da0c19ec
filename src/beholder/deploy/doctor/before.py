"""The checks before a deployment, in their order."""

from collections.abc import Callable, Iterable, Mapping

from beholder.clock import Clock
from beholder.deploy.account import Account
from beholder.deploy.doctor.access import check_access
from beholder.deploy.doctor.capacity import (
    InstanceType,
    check_each_quota,
    check_image,
    check_spot_capacity,
    instance_types,
    judge_types,
)
from beholder.deploy.doctor.endpoints import check_endpoints
from beholder.deploy.doctor.finding import Finding, Level, attempt, has_problem
from beholder.deploy.doctor.names import check_names
from beholder.deploy.doctor.requirements import Requirements, requirements_of
from beholder.deploy.doctor.rights import check_rights
from beholder.deploy.doctor.subnets import check_vpc, endpoint_services, judge_subnets, zones_of
from beholder.deploy.network import Seen

__all__ = ["check_account", "check_before"]


def check_before(account: Account, name: str, parameters: Mapping[str, str], clock: Clock) -> list[Finding]:
    """Return what an account says to a deployment; nothing is changed.

    A check that could not be made is a warning. Without an identity nothing further is asked.

    Args:
        account: The account and region.
        name: The deployment's name.
        parameters: Of the template, as the deployment will have them.
        clock: This machine's.
    """
    findings = check_access(account, clock)
    if has_problem(findings):
        return findings
    return findings + check_account(account, requirements_of(name, parameters))


def check_account(account: Account, needs: Requirements) -> list[Finding]:
    """Return what an account says to a deployment, once it is known who calls.

    Args:
        account: The account and region.
        needs: What the deployment needs.
    """
    read: list[Mapping[str, InstanceType]] = []

    def known_types() -> Iterable[Finding]:
        read.append(instance_types(account, {*needs.instance_types, needs.web_instance_type}))
        return []

    def network() -> Iterable[Finding]:
        types = read[0] if read else {}
        seen, chosen, finding = check_vpc(account, needs, types)
        yield finding
        if seen is not None:
            yield from judge_subnets(seen, chosen, account.region)
            if called := endpoint_services(seen, chosen):
                yield from check_endpoints(account, seen.vpc, seen.cidr, called)
        if read:
            yield from _types_in_zones(chosen, types, seen, account.region)

    checks: Mapping[str, Callable[[], Iterable[Finding]]] = {
        "rights": lambda: check_rights(account, needs.name),
        "instance types": known_types,
        "VPC": network,
        "quotas": lambda: check_each_quota(account, needs, read[0]) if read else [],
        "spot capacity": lambda: check_spot_capacity(account, needs),
        "image": lambda: check_image(account, needs),
        "names": lambda: check_names(account, needs.name),
    }
    return [finding for check, make in checks.items() for finding in attempt(check, make)]


def _types_in_zones(
    needs: Requirements, types: Mapping[str, InstanceType], seen: Seen | None, region: str
) -> Iterable[Finding]:
    for purpose, names, ids in (
        ("worker", needs.instance_types, needs.worker_subnets),
        ("web", [needs.web_instance_type], needs.web_subnets),
    ):
        for finding in judge_types(purpose, names, types, zones_of(seen, ids) if seen else (), region):
            # Without subnets it counts only whether the region has the types at all.
            if seen or finding.level is not Level.OK:
                yield finding
