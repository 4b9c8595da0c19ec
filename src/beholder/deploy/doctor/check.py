"""All checks of one name: of the account and, where the name has a deployment, of that."""

from beholder.clock import Clock
from beholder.deploy.account import Account
from beholder.deploy.doctor.access import check_access
from beholder.deploy.doctor.before import check_account
from beholder.deploy.doctor.finding import Finding, has_problem
from beholder.deploy.doctor.requirements import read_parameters, requirements_of

__all__ = ["check"]


def check(account: Account, name: str, clock: Clock) -> list[Finding]:
    """Return what hinders the deployment of this name.

    Args:
        account: The account and region.
        name: The deployment's name.
        clock: This machine's.

    Raises:
        ConfigError: The stack of this name is not beholder's.
        BackendError: CloudFormation or SSM refuses, or does not answer.
    """
    findings = check_access(account, clock)
    if has_problem(findings):
        return findings
    parameters = read_parameters(account, name)
    return findings + check_account(account, requirements_of(name, parameters))
