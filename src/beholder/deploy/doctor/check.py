"""All checks of one name: of the account and, where the name has a deployment, of that."""

from beholder.clock import Clock
from beholder.deploy.account import Account
from beholder.deploy.destroy import other_regions
from beholder.deploy.doctor.access import check_access
from beholder.deploy.doctor.after import check_deployment
from beholder.deploy.doctor.before import check_account
from beholder.deploy.doctor.finding import Finding, Level, attempt, has_problem
from beholder.deploy.doctor.requirements import read_parameters, requirements_of
from beholder.deploy.stack import Stack
from beholder.errors import ConfigError

__all__ = ["check"]


def check(account: Account, name: str, clock: Clock, vpc: str | None = None) -> list[Finding]:
    """Return what hinders the deployment of this name.

    Args:
        account: The account and region.
        name: The deployment's name.
        clock: This machine's.
        vpc: Id of the VPC of a new deployment; None for that of the deployment, or else the default one.

    Raises:
        BackendError: CloudFormation or SSM refuses, or does not answer.
    """
    findings = check_access(account, clock)
    if has_problem(findings):
        return findings
    try:
        stack = Stack(account, name).describe()
    except ConfigError as exc:
        command = f"beholder doctor ANOTHER-NAME --region {account.region}"
        return [*findings, Finding("stack", Level.PROBLEM, exc.message, command)]
    parameters = read_parameters(account, name)
    if vpc:
        parameters |= {"VpcId": vpc, "WorkerSubnets": "", "WebSubnets": ""}
    findings += check_account(account, requirements_of(name, parameters))
    if stack is None:
        return findings + attempt("stack", lambda: [_no_deployment(account, name)])
    return findings + check_deployment(account, name, stack)


def _no_deployment(account: Account, name: str) -> Finding:
    here = f"there is no deployment {name} in {account.region}"
    if regions := other_regions(account, name):
        command = f"beholder doctor {name} --region {regions[0]}"
        return Finding("stack", Level.WARNING, f"{here}; it is in {', '.join(regions)}", command)
    return Finding("stack", Level.OK, here)
