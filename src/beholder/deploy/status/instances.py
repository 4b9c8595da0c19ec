"""Reads which instances a deployment has."""

from collections.abc import Mapping, Sequence
from typing import Any

from beholder.clock import age_s
from beholder.deploy.account import Account
from beholder.deploy.status.seen import WebSeen, WorkerSeen
from beholder.fleet.ec2 import DEPLOYMENT_TAG, LAUNCH_TAG
from beholder.scaling.policy.observation import InstanceSeen

__all__ = ["read_web", "read_workers", "worker_of"]

_THERE = ["pending", "running", "shutting-down", "stopping", "stopped"]


def read_web(account: Account, outputs: Mapping[str, str]) -> list[WebSeen]:
    """Return the instances of the web tier.

    Raises:
        BackendError: A service refuses, or does not answer.
    """
    groups = account.pages(
        "autoscaling",
        "describe_auto_scaling_groups",
        "AutoScalingGroups",
        AutoScalingGroupNames=[outputs["WebGroup"]],
    )
    health = _health(account, outputs["TargetGroup"]) if "TargetGroup" in outputs else {}
    return [
        WebSeen(
            str(one["InstanceId"]),
            str(one["LifecycleState"]),
            health.get(str(one["InstanceId"]), str(one.get("HealthStatus", ""))),
            str(one.get("InstanceType", "")),
            str(one["AvailabilityZone"]),
            str(one.get("LaunchTemplate", {}).get("Version", "")),
        )
        for group in groups
        for one in group["Instances"]
    ]


def _health(account: Account, target_group: str) -> dict[str, str]:
    told = account.call("elbv2", "describe_target_health", TargetGroupArn=target_group)
    return {
        one["Target"]["Id"]: " ".join(
            part for key in ("State", "Description") if (part := one["TargetHealth"].get(key))
        )
        for one in told["TargetHealthDescriptions"]
    }


def read_workers(account: Account, name: str, seen: Sequence[InstanceSeen], now_s: float) -> list[WorkerSeen]:
    """Return the workers' instances, the oldest first.

    Args:
        account: The account and region.
        name: The deployment's name.
        seen: What the controller saw last.
        now_s: The present time.

    Raises:
        BackendError: EC2 refuses, or does not answer.
    """
    filters = [
        {"Name": f"tag:{DEPLOYMENT_TAG}", "Values": [name]},
        {"Name": "tag-key", "Values": [LAUNCH_TAG]},
        {"Name": "instance-state-name", "Values": _THERE},
    ]
    reservations = account.pages("ec2", "describe_instances", "Reservations", Filters=filters)
    instances = [one for reservation in reservations for one in reservation["Instances"]]
    beats = {one.id: one for one in seen}
    workers = [worker_of(one, beats.get(one["InstanceId"]), now_s) for one in instances]
    return sorted(workers, key=lambda one: (-one.age_s, one.id))


def worker_of(one: Mapping[str, Any], beat: InstanceSeen | None, now_s: float) -> WorkerSeen:
    """Return a worker's instance.

    Args:
        one: As EC2 describes it.
        beat: As the controller saw it last; None if it did not.
        now_s: The present time.
    """
    state = str(one["State"]["Name"])
    return WorkerSeen(
        str(one["InstanceId"]),
        beat.state.value if beat and state == "running" else state,
        beat is not None and beat.is_busy and state == "running",
        str(one.get("InstanceType", "")),
        one.get("InstanceLifecycle") == "spot",
        age_s(now_s, one["LaunchTime"].timestamp()),
    )
