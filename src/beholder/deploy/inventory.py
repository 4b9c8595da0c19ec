"""Every kind of resource that a deployment may have in an account: how it is found, and how it is deleted.

The tag `beholder:deployment` decides what belongs to a deployment. A name decides nothing: `zoo-2` begins
with `zoo`. Names that the template gives are looked up all the same, so that a resource without its tag is
seen.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beholder.deploy.account import Account
from beholder.errors import BackendDenied, ResourceNotFound
from beholder.fleet.ec2 import DEPLOYMENT_TAG

__all__ = ["KINDS", "Found", "Kind", "bucket_names", "find_all"]

_THERE = ["pending", "running", "shutting-down", "stopping", "stopped"]
_BUCKETS = ("input", "output", "bundles")
_ROLES = ("web", "worker")
# S3 deletes so many objects by one call.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html (2026-11)
_OBJECTS_AT_ONCE = 1_000
# ELB tells the tags of so many resources by one call.
# Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html (2026-11)
_ARNS_AT_ONCE = 20
# There is no such topic.
# Source: https://docs.aws.amazon.com/sns/latest/api/API_ListTagsForResource.html (2026-11)
_NO_TOPIC = ("ResourceNotFound", "NotFound")


@dataclass(frozen=True, order=True)
class Found:
    """A resource that was found.

    Args:
        kind: Its kind's name, such as 'queue'.
        id: What its service calls it by.
        is_ours: Whether it carries the deployment's tag; if not, it only has a name that the deployment uses.
    """

    kind: str
    id: str
    is_ours: bool = True


@dataclass(frozen=True)
class Kind:
    """One kind of resource.

    Args:
        name: Such as 'queue'.
        find: Returns what a deployment has of it, in an account and region.
        delete: Deletes one by its id; does nothing where it is gone already.
    """

    name: str
    find: Callable[[Account, str], list[Found]]
    delete: Callable[[Account, str], None]


def find_all(account: Account, name: str) -> list[Found]:
    """Return everything that a deployment has in the account and region, but for its stack.

    Kinds come in the order in which they can be deleted.

    Raises:
        BackendError: A service does not answer, or refuses.
    """
    return [found for kind in KINDS for found in kind.find(account, name)]


def bucket_names(account: Account, name: str) -> list[str]:
    """Return the names of a deployment's buckets, whether they exist or not.

    Raises:
        BackendError: STS does not answer, or refuses.
    """
    owner = account.call("sts", "get_caller_identity")["Account"]
    return [f"{name}-{owner}-{account.region}-{purpose}" for purpose in _BUCKETS]


def _judged(
    kind: str, deployment: str, tagged: Iterable[tuple[str, Mapping[str, str]]], *, is_named: bool
) -> list[Found]:
    """Return what carries the tag and, if the names are the deployment's, what carries no such tag at all."""
    found = []
    for resource_id, tags in tagged:
        owner = tags.get(DEPLOYMENT_TAG)
        if owner == deployment:
            found.append(Found(kind, resource_id))
        elif owner is None and is_named:
            found.append(Found(kind, resource_id, is_ours=False))
    return found


def _tags_of(entry: Mapping[str, Any], member: str = "Tags") -> dict[str, str]:
    return {str(tag["Key"]): str(tag["Value"]) for tag in entry.get(member) or []}


# --- EC2 and Auto Scaling -----------------------------------------------------------------------------------


def _find_groups(account: Account, name: str) -> list[Found]:
    groups = account.pages(
        "autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups", Filters=[_tag_filter(name)]
    )
    return [Found("Auto Scaling group", str(group["AutoScalingGroupName"])) for group in groups]


def _delete_group(account: Account, group: str) -> None:
    account.call("autoscaling", "delete_auto_scaling_group", AutoScalingGroupName=group, ForceDelete=True)


def _find_instances(account: Account, name: str) -> list[Found]:
    filters = [_tag_filter(name), {"Name": "instance-state-name", "Values": _THERE}]
    reservations = account.pages("ec2", "describe_instances", "Reservations", Filters=filters)
    return [Found("instance", str(one["InstanceId"])) for each in reservations for one in each["Instances"]]


def _terminate(account: Account, instance_id: str) -> None:
    account.call("ec2", "terminate_instances", InstanceIds=[instance_id])


def _ec2_kind(kind: str, describe: tuple[str, str, str], delete: tuple[str, str], **scope: Any) -> Kind:
    """Return a kind that EC2 finds by a filter for the tag.

    Args:
        kind: Its name.
        describe: boto3's method that describes it, the answer's member, and the entry's member with the id.
        delete: boto3's method that deletes it, and the parameter for the id; a list if it ends in s.
        scope: More parameters of the description.
    """
    action, member, id_member = describe
    method, parameter = delete

    def find(account: Account, name: str) -> list[Found]:
        entries = account.pages("ec2", action, member, Filters=[_tag_filter(name)], **scope)
        there = [one for one in entries if str(one.get("State")).lower() not in {"deleted", "deleting"}]
        return [Found(kind, str(one[id_member])) for one in there]

    def remove(account: Account, resource_id: str) -> None:
        value = [resource_id] if parameter.endswith("s") else resource_id
        account.call("ec2", method, **{parameter: value})

    return Kind(kind, find, remove)


def _tag_filter(name: str) -> dict[str, Any]:
    return {"Name": f"tag:{DEPLOYMENT_TAG}", "Values": [name]}


# --- balancers ----------------------------------------------------------------------------------------------


def _balancer_kind(kind: str, noun: str) -> Kind:
    """Return the kind of load balancers or of target groups, which Elastic Load Balancing tells alike."""
    plural, arn = f"{noun}s", f"{noun}Arn"
    snake = "load_balancer" if noun == "LoadBalancer" else "target_group"

    def find(account: Account, name: str) -> list[Found]:
        entries = account.pages("elbv2", f"describe_{snake}s", plural)
        arns = [str(entry[arn]) for entry in entries]
        tagged: list[tuple[str, Mapping[str, str]]] = []
        for start in range(0, len(arns), _ARNS_AT_ONCE):
            asked = account.call("elbv2", "describe_tags", ResourceArns=arns[start : start + _ARNS_AT_ONCE])
            tagged += [(one["ResourceArn"], _tags_of(one)) for one in asked["TagDescriptions"]]
        return _judged(kind, name, tagged, is_named=False)

    def remove(account: Account, resource_arn: str) -> None:
        account.call("elbv2", f"delete_{snake}", **{arn: resource_arn})

    return Kind(kind, find, remove)


# --- SQS ----------------------------------------------------------------------------------------------------


def _find_queues(account: Account, name: str) -> list[Found]:
    urls = account.pages("sqs", "list_queues", "QueueUrls", QueueNamePrefix=f"{name}-")
    tagged = []
    for url in urls:
        try:
            tagged.append((url, account.call("sqs", "list_queue_tags", QueueUrl=url).get("Tags", {})))
        except ResourceNotFound:  # SQS lists a deleted queue for up to a minute
            continue
    named = [one for one in tagged if _has_a_queue_name(one[0].rpartition("/")[2], name)]
    others = [one for one in tagged if one not in named]
    return _judged("queue", name, named, is_named=True) + _judged("queue", name, others, is_named=False)


def _has_a_queue_name(queue: str, name: str) -> bool:
    is_reply_queue = queue.startswith(f"{name}-output-queue-")
    return is_reply_queue or queue in {f"{name}-input-queue", f"{name}-input-queue-dead"}


def _delete_queue(account: Account, url: str) -> None:
    account.call("sqs", "delete_queue", QueueUrl=url)


# --- S3 -----------------------------------------------------------------------------------------------------


def _find_buckets(account: Account, name: str) -> list[Found]:
    there = {bucket["Name"] for bucket in account.pages("s3", "list_buckets", "Buckets")}
    tagged: list[tuple[str, Mapping[str, str]]] = []
    for bucket in [one for one in bucket_names(account, name) if one in there]:
        try:
            tagged.append(
                (bucket, _tags_of(account.call("s3", "get_bucket_tagging", Bucket=bucket), "TagSet"))
            )
        except ResourceNotFound:  # it has no tags
            tagged.append((bucket, {}))
    return _judged("bucket", name, tagged, is_named=True)


def _delete_bucket(account: Account, bucket: str) -> None:
    """Delete a bucket with all versions of all of its objects."""
    while objects := _versions(account, bucket):
        answer = account.call(
            "s3", "delete_objects", Bucket=bucket, Delete={"Objects": objects, "Quiet": True}
        )
        for error in answer.get("Errors", []):
            raise BackendDenied("s3", "delete_objects", f"{error.get('Code')}: {error.get('Key')}")
    account.call("s3", "delete_bucket", Bucket=bucket)


def _versions(account: Account, bucket: str) -> list[dict[str, str]]:
    page = account.call("s3", "list_object_versions", Bucket=bucket, MaxKeys=_OBJECTS_AT_ONCE)
    entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    return [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in entries]


# --- IAM ----------------------------------------------------------------------------------------------------


def _find_roles(account: Account, name: str) -> list[Found]:
    tagged = []
    for role in _role_names(account, name):
        try:
            tagged.append((role, _tags_of(account.call("iam", "get_role", RoleName=role)["Role"])))
        except ResourceNotFound:
            continue
    return _judged("role", name, tagged, is_named=True)


def _delete_role(account: Account, role: str) -> None:
    """Delete a role with its policies, and take it out of its instance profiles."""
    for policy in account.pages("iam", "list_role_policies", "PolicyNames", RoleName=role):
        account.call("iam", "delete_role_policy", RoleName=role, PolicyName=policy)
    for policy in account.pages("iam", "list_attached_role_policies", "AttachedPolicies", RoleName=role):
        account.call("iam", "detach_role_policy", RoleName=role, PolicyArn=policy["PolicyArn"])
    for profile in account.pages("iam", "list_instance_profiles_for_role", "InstanceProfiles", RoleName=role):
        of_profile = {"InstanceProfileName": profile["InstanceProfileName"]}
        account.call("iam", "remove_role_from_instance_profile", RoleName=role, **of_profile)
    account.call("iam", "delete_role", RoleName=role)


def _find_profiles(account: Account, name: str) -> list[Found]:
    """Return the instance profiles; CloudFormation gives them no tags, so the roles of their names decide."""
    ours = {one.id for one in _find_roles(account, name) if one.is_ours}
    found = []
    for profile in _role_names(account, name):
        try:
            account.call("iam", "get_instance_profile", InstanceProfileName=profile)
        except ResourceNotFound:
            continue
        found.append(Found("instance profile", profile, is_ours=profile in ours))
    return found


def _delete_profile(account: Account, profile: str) -> None:
    of_profile = {"InstanceProfileName": profile}
    for role in account.call("iam", "get_instance_profile", **of_profile)["InstanceProfile"]["Roles"]:
        account.call("iam", "remove_role_from_instance_profile", RoleName=role["RoleName"], **of_profile)
    account.call("iam", "delete_instance_profile", **of_profile)


def _role_names(account: Account, name: str) -> list[str]:
    return [f"{name}-{account.region}-{purpose}" for purpose in _ROLES]


# --- CloudWatch ---------------------------------------------------------------------------------------------


def _find_log_groups(account: Account, name: str) -> list[Found]:
    wanted = f"/beholder/{name}"
    groups = account.pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=wanted)
    tagged = []
    for group in groups:
        if group["logGroupName"] == wanted or group["logGroupName"].startswith(f"{wanted}/"):
            tags = account.call("logs", "list_tags_log_group", logGroupName=group["logGroupName"])["tags"]
            tagged.append((str(group["logGroupName"]), tags))
    return _judged("log group", name, tagged, is_named=True)


def _delete_log_group(account: Account, group: str) -> None:
    account.call("logs", "delete_log_group", logGroupName=group)


def _find_alarms(account: Account, name: str) -> list[Found]:
    alarms = account.pages("cloudwatch", "describe_alarms", "MetricAlarms", AlarmNamePrefix=f"{name}-")
    tagged = []
    for alarm in alarms:
        tags = account.call("cloudwatch", "list_tags_for_resource", ResourceARN=alarm["AlarmArn"])
        tagged.append((str(alarm["AlarmName"]), _tags_of(tags)))
    return _judged("alarm", name, tagged, is_named=False)


def _delete_alarm(account: Account, alarm: str) -> None:
    account.call("cloudwatch", "delete_alarms", AlarmNames=[alarm])


def _find_topics(account: Account, name: str) -> list[Found]:
    caller = account.call("sts", "get_caller_identity")
    partition, owner = caller["Arn"].split(":")[1], caller["Account"]
    topic = f"arn:{partition}:sns:{account.region}:{owner}:{name}-alarms"
    told = account.call("sns", "list_tags_for_resource", expected=_NO_TOPIC, ResourceArn=topic)
    return [] if "Errors" in told else _judged("topic", name, [(topic, _tags_of(told))], is_named=True)


def _delete_topic(account: Account, topic: str) -> None:
    account.call("sns", "delete_topic", TopicArn=topic)


# What launches comes before what is launched, and what refers before what is referred to.
KINDS: Sequence[Kind] = (
    Kind("Auto Scaling group", _find_groups, _delete_group),
    Kind("instance", _find_instances, _terminate),
    _balancer_kind("load balancer", "LoadBalancer"),
    _balancer_kind("target group", "TargetGroup"),
    _ec2_kind(
        "launch template",
        ("describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
        ("delete_launch_template", "LaunchTemplateId"),
    ),
    _ec2_kind(
        "image",
        ("describe_images", "Images", "ImageId"),
        ("deregister_image", "ImageId"),
        Owners=["self"],
    ),
    _ec2_kind(
        "snapshot",
        ("describe_snapshots", "Snapshots", "SnapshotId"),
        ("delete_snapshot", "SnapshotId"),
        OwnerIds=["self"],
    ),
    _ec2_kind("volume", ("describe_volumes", "Volumes", "VolumeId"), ("delete_volume", "VolumeId")),
    _ec2_kind(
        "network interface",
        ("describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
        ("delete_network_interface", "NetworkInterfaceId"),
    ),
    _ec2_kind(
        "VPC endpoint",
        ("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
        ("delete_vpc_endpoints", "VpcEndpointIds"),
    ),
    _ec2_kind(
        "Elastic IP",
        ("describe_addresses", "Addresses", "AllocationId"),
        ("release_address", "AllocationId"),
    ),
    _ec2_kind(
        "security group",
        ("describe_security_groups", "SecurityGroups", "GroupId"),
        ("delete_security_group", "GroupId"),
    ),
    Kind("queue", _find_queues, _delete_queue),
    Kind("instance profile", _find_profiles, _delete_profile),
    Kind("role", _find_roles, _delete_role),
    Kind("alarm", _find_alarms, _delete_alarm),
    Kind("topic", _find_topics, _delete_topic),
    Kind("log group", _find_log_groups, _delete_log_group),
    Kind("bucket", _find_buckets, _delete_bucket),
)
