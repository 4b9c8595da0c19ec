"""Checks of the deployer's rights: those of the policy that beholder ships, simulated by IAM."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beholder.deploy.account import Account
from beholder.deploy.deployer_policy import deployer_policy
from beholder.deploy.doctor.finding import Finding, Level
from beholder.errors import BackendDenied, ResourceNotFound

__all__ = ["Simulation", "check_rights", "judge_rights", "policies_of", "principal_of", "simulations_of"]

_CHECK = "rights"
_ANY = "*"
# What stands for any name; a region and an account are the deployment's own.
_SOME_NAME = "beholder"
_REGION_PART, _ACCOUNT_PART = 3, 4
# A permission set's role has the region of IAM Identity Center in its path, unless that is us-east-1. Source:
# https://docs.aws.amazon.com/singlesignon/latest/userguide/referencingpermissionsets.html (2026-11)
_SSO_ROLE, _SSO_PATH = "AWSReservedSSO_", "aws-reserved/sso.amazonaws.com/"
# Some accounts allow calls to a few regions only.
_ASKED_REGION = "aws:RequestedRegion"


@dataclass(frozen=True)
class Simulation:
    """One question to IAM: whether the caller may do these actions to these resources.

    Args:
        actions: IAM's names, such as 'sqs:CreateQueue'.
        resources: ARNs; empty for any.
        context: Values of the keys that conditions ask for.
    """

    actions: Sequence[str]
    resources: Sequence[str]
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)


def check_rights(account: Account, name: str) -> list[Finding]:
    """Return whether the caller has the rights of the deployer's policy.

    Raises:
        BackendError: STS or IAM does not answer, or does not let the caller simulate.
    """
    caller = account.call("sts", "get_caller_identity")
    principal = principal_of(caller["Arn"])
    if principal == "root":
        return [Finding(_CHECK, Level.OK, "the root user of the account may do everything")]
    if not principal:
        return [Finding(_CHECK, Level.WARNING, f"not checked: IAM does not simulate {caller['Arn']}")]
    statements = [one for policy in policies_of(account, name).values() for one in policy["Statement"]]
    source = _full_arn(account, principal)
    results = [
        result
        for one in simulations_of(statements, account.region, caller["Account"])
        for result in account.pages(
            "iam",
            "simulate_principal_policy",
            "EvaluationResults",
            PolicySourceArn=source,
            ActionNames=one.actions,
            ContextEntries=[
                {"ContextKeyName": key, "ContextKeyValues": values, "ContextKeyType": "string"}
                for key, values in one.context.items()
            ],
            **({"ResourceArns": one.resources} if one.resources else {}),
        )
    ]
    return judge_rights(results, f"beholder doctor {name} --region {account.region} --policy")


def policies_of(account: Account, name: str) -> dict[str, Any]:
    """Return the policies that a deployer of this name needs in this account and region, by their names.

    Raises:
        BackendError: STS does not answer, or refuses.
    """
    caller = account.call("sts", "get_caller_identity")
    return deployer_policy(name, caller["Account"], account.region, caller["Arn"].split(":")[1])


def principal_of(arn: str) -> str:
    """Return the user or role whose policies a caller has: 'root' for the root user, nothing for others.

    IAM takes the ARN of a user, group or role, and none of a session. Source:
    https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html (2026-11)

    Args:
        arn: The caller's, by STS.
    """
    _, partition, _, _, owner, resource = arn.split(":", 5)
    kind, _, rest = resource.partition("/")
    if kind == "assumed-role":
        return f"arn:{partition}:iam::{owner}:role/{rest.partition('/')[0]}"
    return {"root": "root", "user": arn}.get(kind, "")


def _full_arn(account: Account, principal: str) -> str:
    """Return the ARN of a user or role with its path, which a session does not tell; a user's has it."""
    before, _, name = principal.partition(":role/")
    if not name:
        return principal
    try:
        return str(account.call("iam", "get_role", RoleName=name)["Role"]["Arn"])
    except BackendDenied:
        if not name.startswith(_SSO_ROLE):  # most other roles have no path
            return principal
    regions = [one["RegionName"] for one in account.call("ec2", "describe_regions")["Regions"]]
    homes = ["", *(f"{one}/" for one in sorted(regions, key=lambda one: one != account.region))]
    candidates = [f"{before}:role/{_SSO_PATH}{home}{name}" for home in homes]
    return next((one for one in candidates if _is_known(account, one)), principal)


def _is_known(account: Account, role: str) -> bool:
    """Say whether IAM has a role of this ARN, by a simulation: its caller may read no roles."""
    try:
        account.call(
            "iam",
            "simulate_principal_policy",
            PolicySourceArn=role,
            ActionNames=["sts:GetCallerIdentity"],
        )
    except ResourceNotFound:
        return False
    else:
        return True


def simulations_of(statements: Iterable[Mapping[str, Any]], region: str, owner: str) -> list[Simulation]:
    """Return the questions that find out whether a caller has the rights of a policy.

    An action that is a pattern cannot be simulated, and is left out.

    Args:
        statements: Of the policy.
        region: Of the deployment.
        owner: Id of the account.
    """
    found = []
    for statement in statements:
        actions = [one for one in _listed(statement["Action"]) if _ANY not in one]
        resources = _listed(statement["Resource"])
        context = {_ASKED_REGION: [region]}
        for keys in statement.get("Condition", {}).values():
            context |= {key: _listed(values)[:1] for key, values in keys.items()}
        for service in sorted({one.partition(":")[0] for one in actions}):
            arns = [_some(one, region, owner) for one in resources if one.split(":")[2:3] == [service]]
            if arns or _ANY in resources:
                own = [one for one in actions if one.startswith(f"{service}:")]
                found.append(Simulation(own, arns, context))
    return found


def _some(pattern: str, region: str, owner: str) -> str:
    """Return an ARN that matches a pattern."""
    parts = pattern.split(":")
    for place, value in ((_REGION_PART, region), (_ACCOUNT_PART, owner)):
        parts[place] = value if parts[place] == _ANY else parts[place]
    return ":".join(parts).replace(_ANY, _SOME_NAME)


def judge_rights(results: Iterable[Mapping[str, Any]], command: str) -> list[Finding]:
    """Return which rights are missing.

    A right on one of the resources is enough: a caller's policy may be narrower than ours. What depends on
    a value that only a real call has is a warning.

    Args:
        results: IAM's, one an action in each simulation.
        command: Prints the policy.
    """
    denied: set[str] = set()
    unsure: set[str] = set()
    for one in results:
        decisions = [one, *one.get("ResourceSpecificResults", [])]
        if any(
            "allowed" in (each.get("EvalDecision"), each.get("EvalResourceDecision")) for each in decisions
        ):
            continue
        lacks_values = any(each.get("MissingContextValues") for each in decisions)
        (unsure if lacks_values else denied).add(str(one["EvalActionName"]))
    findings = []
    if denied:
        sentence = (
            f"the caller may not: {', '.join(sorted(denied))}; the command prints what a deployer needs"
        )
        findings.append(Finding(_CHECK, Level.PROBLEM, sentence, command))
    if unsure - denied:
        sentence = f"it depends on conditions whether the caller may: {', '.join(sorted(unsure - denied))}"
        findings.append(Finding(_CHECK, Level.WARNING, sentence, command))
    return findings or [Finding(_CHECK, Level.OK, "the caller has every right of the deployer's policy")]


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
