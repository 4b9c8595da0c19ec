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
from beholder.deploy.doctor.finding import Finding, Level, Wanted, attempt, has_problem
from beholder.deploy.doctor.names import check_names
from beholder.deploy.doctor.subnets import check_vpc, judge_subnets, zones_of
from beholder.deploy.network import Seen

__all__ = ["check_account", "check_before"]


def check_before(account: Account, wanted: Wanted, clock: Clock) -> list[Finding]:
    """Return what an account says to a deployment; nothing is changed.

    A check that could not be made is a warning. Without an identity nothing further is asked.

    Args:
        account: The account and region.
        wanted: The deployment.
        clock: This machine's.
    """
    findings = check_access(account, clock)
    return findings if has_problem(findings) else findings + check_account(account, wanted)


def check_account(account: Account, wanted: Wanted) -> list[Finding]:
    """Return what an account says to a deployment, once it is known who calls.

    Args:
        account: The account and region.
        wanted: The deployment.
    """
    read: list[Mapping[str, InstanceType]] = []

    def known_types() -> Iterable[Finding]:
        read.append(instance_types(account, {*wanted.instance_types, wanted.web_instance_type}))
        return []

    def network() -> Iterable[Finding]:
        types = read[0] if read else {}
        seen, chosen, finding = check_vpc(account, wanted, types)
        yield finding
        if seen is not None:
            yield from judge_subnets(seen, chosen, account.region)
        if read:
            yield from _types_in_zones(chosen, types, seen, account.region)

    checks: Mapping[str, Callable[[], Iterable[Finding]]] = {
        "instance types": known_types,
        "VPC": network,
        "quotas": lambda: check_each_quota(account, wanted, read[0]) if read else [],
        "spot capacity": lambda: check_spot_capacity(account, wanted),
        "image": lambda: check_image(account, wanted),
        "names": lambda: check_names(account, wanted.name),
    }
    return [finding for check, make in checks.items() for finding in attempt(check, make)]


def _types_in_zones(
    wanted: Wanted, types: Mapping[str, InstanceType], seen: Seen | None, region: str
) -> Iterable[Finding]:
    for purpose, names, ids in (
        ("worker", wanted.instance_types, wanted.worker_subnets),
        ("web", [wanted.web_instance_type], wanted.web_subnets),
    ):
        for finding in judge_types(purpose, names, types, zones_of(seen, ids) if seen else (), region):
            # Without subnets it counts only whether the region has the types at all.
            if seen or finding.level is not Level.OK:
                yield finding
