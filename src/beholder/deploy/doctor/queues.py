"""Checks of the queues of a deployment."""

import json
from collections.abc import Mapping

from beholder.deploy.account import Account
from beholder.deploy.doctor.finding import Finding, Level
from beholder.errors import ResourceNotFound

__all__ = ["check_queues", "judge_queues"]

# SQS's most, which the template sets; by default a message is gone after four. Source:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html (2026-11)
_RETENTION_S = 1_209_600
_RECEIVES = 3


def check_queues(account: Account, outputs: Mapping[str, str], name: str) -> list[Finding]:
    """Return whether the queues keep messages, and failed ones become dead letters.

    Raises:
        BackendError: SQS refuses, or does not answer.
    """
    return judge_queues(
        _attributes(account, outputs["InputQueue"]),
        _attributes(account, outputs["DeadLetterQueue"]),
        f"beholder deploy {name} --region {account.region}",
        account.region,
    )


def _attributes(account: Account, queue: str) -> Mapping[str, str] | None:
    try:
        url = account.call("sqs", "get_queue_url", QueueName=queue)["QueueUrl"]
        asked = account.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"])
    except ResourceNotFound:
        return None
    attributes: Mapping[str, str] = {"QueueUrl": url, **asked["Attributes"]}
    return attributes


def judge_queues(
    jobs: Mapping[str, str] | None, dead: Mapping[str, str] | None, again: str, region: str
) -> list[Finding]:
    """Return what is wrong with the queues.

    Args:
        jobs: Attributes of the input queue, with its URL; None where it is gone.
        dead: Likewise of the dead-letter queue.
        again: The command that makes the stack again.
        region: Theirs.
    """
    if jobs is None or dead is None:
        gone = "input queue" if jobs is None else "dead-letter queue"
        return [Finding("queues", Level.PROBLEM, f"the {gone} is gone", again)]
    findings = []
    for kind, attributes in (("input queue", jobs), ("dead-letter queue", dead)):
        if int(attributes["MessageRetentionPeriod"]) != _RETENTION_S:
            days = int(attributes["MessageRetentionPeriod"]) / 86_400
            sentence = f"the {kind} keeps a message for {days:g} days instead of 14, then it is lost"
            command = _set(attributes, {"MessageRetentionPeriod": str(_RETENTION_S)}, region)
            findings.append(Finding("queues", Level.PROBLEM, sentence, command))
    wanted = {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": _RECEIVES}
    found = json.loads(jobs.get("RedrivePolicy", "{}"))
    if {**found, "maxReceiveCount": int(found.get("maxReceiveCount", 0))} != wanted:
        sentence = (
            f"the redrive policy of the input queue is {json.dumps(found)}; after {_RECEIVES} receives "
            f"a message has to go to {dead['QueueArn'].rpartition(':')[2]}"
        )
        command = _set(jobs, {"RedrivePolicy": json.dumps(wanted)}, region)
        findings.append(Finding("queues", Level.PROBLEM, sentence, command))
    return findings or [
        Finding(
            "queues", Level.OK, f"messages are kept for 14 days, and dead letters after {_RECEIVES} receives"
        )
    ]


def _set(attributes: Mapping[str, str], values: Mapping[str, str], region: str) -> str:
    return (
        f"aws sqs set-queue-attributes --region {region} --queue-url {attributes['QueueUrl']} "
        f"--attributes '{json.dumps(values)}'"
    )
