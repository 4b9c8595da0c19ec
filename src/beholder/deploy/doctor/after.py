"""The checks of a deployment that exists, in their order."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from beholder.deploy.account import Account
from beholder.deploy.doctor.finding import Finding, Level, attempt
from beholder.deploy.doctor.queues import check_queues
from beholder.deploy.doctor.templates import check_dry_run, check_templates
from beholder.deploy.stack import Stack, outputs_of_stack, parameters_of_stack

__all__ = ["check_deployment", "judge_alarms", "judge_stack"]

_SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")
# Made, then changed in vain: it works as it did before.
_TAKEN_BACK = ("UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE")
_CANNOT_BE_UPDATED = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED")
_ALARMS = {
    "dead-letters": "beholder redrive --stack {name}",
    "oldest-message": "beholder status {name} --region {region}",
    "failed-startups": "beholder status {name} --region {region}",
    "spend": "beholder status {name} --region {region}",
}


def check_deployment(account: Account, name: str, stack: Mapping[str, Any]) -> list[Finding]:
    """Return whether a deployment is as its stack made it, and could launch.

    Args:
        account: The account and region.
        name: The deployment's name.
        stack: As CloudFormation describes it.
    """
    outputs, parameters = outputs_of_stack(stack), parameters_of_stack(stack)
    status, region = str(stack["StackStatus"]), account.region

    def settled() -> Iterable[Finding]:
        causes = {} if status in _SETTLED else Stack(account, name).failures()
        return [judge_stack(name, region, status, list(causes.items()))]

    checks: dict[str, Callable[[], Iterable[Finding]]] = {"stack": settled}
    if "LaunchTemplate" in outputs:
        checks |= {
            "queues": lambda: check_queues(account, outputs, name),
            "launch templates": lambda: check_templates(account, name, parameters, outputs),
            "dry run": lambda: check_dry_run(account, name, parameters, outputs),
            "alarms": lambda: _check_alarms(account, name),
        }
    return [finding for check, make in checks.items() for finding in attempt(check, make)]


def judge_stack(name: str, region: str, status: str, causes: Sequence[tuple[str, str]]) -> Finding:
    """Return what state a stack is in, with the first cause of a failure.

    Args:
        name: The deployment's name.
        region: Its region.
        status: Of the stack.
        causes: Resources that failed and why, the first failure first.
    """
    first = f"; the first cause: {causes[0][0]}: {causes[0][1]}" if causes else ""
    again = f"beholder deploy {name} --region {region}"
    if status in _SETTLED:
        return Finding("stack", Level.OK, f"the stack {name} is {status}")
    if status in _TAKEN_BACK:
        sentence = f"the last change was taken back, and the deployment is as it was before{first}"
        return Finding("stack", Level.WARNING, sentence, again)
    if status in _CANNOT_BE_UPDATED:
        sentence = f"the stack is {status}, so that it cannot be updated; deploy replaces it{first}"
        return Finding("stack", Level.PROBLEM, sentence, again)
    if status.endswith("_IN_PROGRESS"):
        return Finding("stack", Level.WARNING, f"a change is under way: {status}", again)
    sentence = f"the stack is {status}{first}"
    return Finding("stack", Level.PROBLEM, sentence, f"beholder destroy {name} --region {region}")


def _check_alarms(account: Account, name: str) -> list[Finding]:
    names = [f"{name}-{alarm}" for alarm in _ALARMS]
    alarms = account.pages("cloudwatch", "describe_alarms", "MetricAlarms", AlarmNames=names)
    return judge_alarms(name, account.region, alarms)


def judge_alarms(name: str, region: str, alarms: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Return which alarms there are, and which go off.

    Args:
        name: The deployment's name.
        region: Its region.
        alarms: As CloudWatch describes them.
    """
    findings = []
    for one in alarms:
        if one["StateValue"] == "ALARM":
            which = str(one["AlarmName"]).removeprefix(f"{name}-")
            sentence = f"{one['AlarmName']}: {one.get('AlarmDescription', '')} {one.get('StateReason', '')}"
            command = _ALARMS[which].format(name=name, region=region)
            findings.append(Finding("alarms", Level.PROBLEM, sentence.strip(), command))
    if not alarms:
        command = f"beholder deploy {name} --region {region}"
        return [Finding("alarms", Level.PROBLEM, "the deployment's alarms are gone", command)]
    return findings or [Finding("alarms", Level.OK, "no alarm goes off")]
