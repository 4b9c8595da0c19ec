"""All that an account has in every service that a deployment touches, whatever its names and tags."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aws.emulators import Emulator

__all__ = ["LISTINGS", "everything"]

_GONE = ("terminated", "shutting-down", "deleted", "deleting")
_OURS = {"Owners": ["self"]}

Listing = Callable[[Emulator], Iterable[str]]


def _of(service: str, action: str, member: str, identifier: str = "", **parameters: Any) -> Listing:
    """Return what lists the ids of a member of an answer, over all pages; without those that are gone."""

    def listing(emulator: Emulator) -> Iterable[str]:
        client = emulator.client(service)
        pages = (
            client.get_paginator(action).paginate(**parameters)
            if client.can_paginate(action)
            else [getattr(client, action)(**parameters)]
        )
        for page in pages:
            for one in page.get(member, []):
                if not identifier:
                    yield str(one)
                elif str(one.get("State", "")).lower() not in _GONE:
                    yield str(one[identifier])

    return listing


def _instances(emulator: Emulator) -> Iterable[str]:
    for page in emulator.client("ec2").get_paginator("describe_instances").paginate():
        for each in page["Reservations"]:
            yield from (one["InstanceId"] for one in each["Instances"] if one["State"]["Name"] not in _GONE)


def _listeners(emulator: Emulator) -> Iterable[str]:
    elb = emulator.client("elbv2")
    for balancer in elb.describe_load_balancers()["LoadBalancers"]:
        told = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])
        yield from (one["ListenerArn"] for one in told["Listeners"])


LISTINGS: Mapping[str, Listing] = {
    "stack": _of("cloudformation", "describe_stacks", "Stacks", "StackName"),
    "Auto Scaling group": _of(
        "autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups", "AutoScalingGroupName"
    ),
    "instance": _instances,
    "load balancer": _of("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerArn"),
    "listener": _listeners,
    "target group": _of("elbv2", "describe_target_groups", "TargetGroups", "TargetGroupArn"),
    "launch template": _of("ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
    "image": _of("ec2", "describe_images", "Images", "ImageId", **_OURS),
    "snapshot": _of("ec2", "describe_snapshots", "Snapshots", "SnapshotId", OwnerIds=["self"]),
    "volume": _of("ec2", "describe_volumes", "Volumes", "VolumeId"),
    "network interface": _of("ec2", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    "VPC endpoint": _of("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    "Elastic IP": _of("ec2", "describe_addresses", "Addresses", "AllocationId"),
    "security group": _of("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    "queue": _of("sqs", "list_queues", "QueueUrls"),
    "instance profile": _of("iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
    "role": _of("iam", "list_roles", "Roles", "RoleName"),
    "alarm": _of("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    "log group": _of("logs", "describe_log_groups", "logGroups", "logGroupName"),
    "metric filter": _of("logs", "describe_metric_filters", "metricFilters", "filterName"),
    "topic": _of("sns", "list_topics", "Topics", "TopicArn"),
    "bucket": _of("s3", "list_buckets", "Buckets", "Name"),
}
"""By what they list: each kind of `beholder.deploy.inventory`, and what goes with another one."""


def everything(emulator: Emulator) -> set[tuple[str, str]]:
    """Return kind and id of everything that is there; but for the role of spot, which accounts keep."""
    return {
        (kind, one)
        for kind, listing in LISTINGS.items()
        for one in listing(emulator)
        if not one.startswith("AWSServiceRole")
    }
