"""moto's server, with what `beholder deploy` relies on as AWS documents it.

- An update changes every resource whose properties differ once all functions are worked out; moto 5.2 looks
  for Ref alone, and forgets resources that it cannot update.
- An Auto Scaling group that is updated keeps its instances, and its size unless the template's changed; moto
  deletes the group and makes another.
- An instance of a group has the version of the launch template that it was launched from.
- A stack has the outputs and the parameters of the change set that was executed last.
- The execution of a change set removes all change sets of its stack.
- A change set for a new stack, made while another one waits for its execution, is of the same stack.
- A bucket that an earlier stack retained is taken over by a change set that imports existing resources, if
  its name in the template is a text; buckets with RetainExceptOnCreate stay when their stack is deleted.
- A VPC endpoint of a stack has its tags, and goes with it; so have, and do, Elastic IP, balancer and target
  group.
- Where the tests play the balancer (`ec2.balancer`), it says in tags of the target group which targets are
  healthy, and an instance of the group that is terminated is `Terminating` until it has no more requests.
- A parameter that is a list is told as its text.
- A network interface that a launch makes goes with its instance.
- A disk of a launch template without a size has that of the image; moto refuses it.
- Of several conditional puts of one object at once one succeeds; moto looks and writes without a lock.
"""

import copy
import functools
import threading
from typing import Any

import yaml
from moto.autoscaling.models import (
    AutoScalingBackend,
    FakeAutoScalingGroup,
    InstanceState,
    TerminateInstanceActivity,
    autoscaling_backends,
)
from moto.cloudformation import parsing
from moto.cloudformation.models import ChangeSet, Stack, cloudformation_backends
from moto.cloudformation.responses import CloudFormationResponse
from moto.cloudformation.utils import yaml_tag_constructor
from moto.core import responses
from moto.ec2.models.amis import AmiBackend
from moto.ec2.models.elastic_block_store import EBSBackend
from moto.ec2.models.elastic_ip_addresses import ElasticAddress
from moto.ec2.models.instances import Instance
from moto.ec2.models.vpcs import VPCEndPoint
from moto.ec2.responses.instances import InstanceResponse
from moto.elbv2.models import (
    FakeHealthStatus,
    FakeListener,
    FakeLoadBalancer,
    FakeTargetGroup,
    elbv2_backends,
)
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.s3.models import FakeBucket, s3_backends
from moto.s3.responses import S3Response
from moto.server import main
from moto.utilities.utils import get_partition
from werkzeug.serving import WSGIRequestHandler

_GROUP = "AWS::AutoScaling::AutoScalingGroup"
_BUCKET = "AWS::S3::Bucket"
_IMAGE_GB = 8
_create_image = AmiBackend.create_image
_validate_device = InstanceResponse._validate_block_device_mapping
_apply = ChangeSet.apply
_enter_group = InstanceState.__init__
_create_change_set = CloudFormationResponse.create_change_set
_create_bucket = FakeBucket.create_from_cloudformation_json
_create_endpoint = VPCEndPoint.create_from_cloudformation_json
_create_address = ElasticAddress.create_from_cloudformation_json
_delete_resources = parsing.ResourceMap.delete
# Names of the buckets that the change set under way may take over.
importing: set[str] = set()
_create_volume = EBSBackend.create_volume
_prepare_interfaces = Instance.prep_nics
_terminate = Instance.terminate
_create_balancer = FakeLoadBalancer.create_from_cloudformation_json
_create_target_group = FakeTargetGroup.create_from_cloudformation_json
_health_for = FakeTargetGroup.health_for
_register = FakeTargetGroup.register
_terminate_instance = AutoScalingBackend.terminate_instance
_put_object = S3Response.put_object
_putting = threading.Lock()
# The tag with which a target group says that its health is checked; see `ec2.balancer`.
CHECKED = "health"


def update_group(
    original_resource: Any,
    new_resource_name: str,
    cloudformation_json: dict[str, Any],
    account_id: str,
    region_name: str,
) -> Any:
    """Update a group in place, as CloudFormation does without an UpdatePolicy."""
    del new_resource_name
    properties = cloudformation_json["Properties"]
    wanted = str(properties["DesiredCapacity"])
    had = getattr(original_resource, "template_capacity", None)
    group = autoscaling_backends[account_id][region_name].update_auto_scaling_group(
        original_resource.name,
        availability_zones=[],
        desired_capacity=None if wanted == had else int(wanted),
        max_size=int(properties["MaxSize"]),
        min_size=int(properties["MinSize"]),
        launch_config_name="",
        launch_template=properties["LaunchTemplate"],
        vpc_zone_identifier=",".join(properties["VPCZoneIdentifier"]),
        health_check_period=int(properties["HealthCheckGracePeriod"]),
        health_check_type=properties["HealthCheckType"],
    )
    group.template_capacity = wanted
    return group


def update_stack(self: Any, template: dict[str, Any], parameters: dict[str, Any] | None = None) -> None:
    """Add, remove and change what differs once all functions are worked out; templates before groups."""
    before = _worked_out(self)
    self._template, self._resource_json_map = template, template["Resources"]
    self.input_parameters = parameters or self.input_parameters
    self.load_mapping()
    self.load_parameters()
    self.load_conditions()
    there = [name for name, one in template["Resources"].items() if _is_wanted(self, one)]
    for name in set(before) - set(there):
        self._delete_resource(self._parsed_resources.pop(name), before[name])
    for name in there:
        self[name]
    for name in sorted(there, key=lambda one: template["Resources"][one]["Type"] == _GROUP):
        resource = template["Resources"][name]
        if name in before and parsing.clean_json(copy.deepcopy(resource), self) != before[name]:
            changed = parsing.parse_and_update_resource(
                name, copy.deepcopy(resource), self, self._account_id, self._region_name
            )
            # moto cannot update every type; what it cannot stays as it is.
            self._parsed_resources[name] = changed or self._parsed_resources[name]


def _worked_out(self: Any) -> dict[str, Any]:
    return {
        name: parsing.clean_json(copy.deepcopy(one), self)
        for name, one in self._resource_json_map.items()
        if name in self._parsed_resources and _is_wanted(self, one)
    }


def _is_wanted(self: Any, resource: dict[str, Any]) -> bool:
    return "Condition" not in resource or self.lazy_condition_map[resource["Condition"]]


def enter_group(self: Any, *positional: Any, **named: Any) -> None:
    _enter_group(self, *positional, **named)
    self.template_version = self.auto_scaling_group.launch_template_version


def instance_template(self: Any) -> dict[str, Any]:
    template = self.auto_scaling_group.ec2_launch_template
    return {
        "LaunchTemplateId": template.id,
        "LaunchTemplateName": template.name,
        "Version": self.template_version,
    }


def apply_change_set(self: Any) -> None:
    importing.clear()
    if self.imports:
        buckets = [one for one in self.template_dict["Resources"].values() if one["Type"] == _BUCKET]
        importing.update(str(one["Properties"]["BucketName"]) for one in buckets)
    _apply(self)
    stack = self.stack
    stack.template, stack.parameters = self.template, self.parameters
    stack._parse_template()
    stack.output_map = stack._create_output_map()
    sets = cloudformation_backends[stack.account_id][stack.region_name].change_sets
    for key in [key for key, one in sets.items() if one.stack is stack]:
        del sets[key]


def create_change_set(self: Any) -> Any:
    name, backend = self._get_param("StackName"), self.cloudformation_backend
    if self._get_param("ChangeSetType") == "CREATE":
        for one in [one for one in backend.stacks.values() if one.name == name]:
            assert one.status == "REVIEW_IN_PROGRESS", "AWS refuses to create a stack that exists"
            del backend.stacks[one.stack_id]
    answer = _create_change_set(self)
    made = list(backend.change_sets.values())[-1]
    made.imports = str(self._get_param("ImportExistingResources")).lower() == "true"
    return answer


def create_bucket(resource_name: str, cloudformation_json: Any, *positional: Any, **named: Any) -> Any:
    account_id, region = positional[:2]
    there = s3_backends[account_id][get_partition(region)].buckets
    if resource_name in there and resource_name in importing:
        return there[resource_name]
    return _create_bucket(resource_name, cloudformation_json, *positional, **named)


def create_tagged(
    create: Any, resource_name: str, cloudformation_json: Any, *positional: Any, **named: Any
) -> Any:
    made = create(resource_name, cloudformation_json, *positional, **named)
    made.add_tags({tag["Key"]: tag["Value"] for tag in cloudformation_json["Properties"].get("Tags", [])})
    return made


def delete_address(self: Any, *_: Any) -> None:
    self.ec2_backend.release_address(address=self.public_ip)


def delete_endpoint(self: Any, *_: Any) -> None:
    self.ec2_backend.vpc_end_points.pop(self.id, None)


def create_balanced(
    create: Any, resource_name: str, cloudformation_json: Any, *positional: Any, **named: Any
) -> Any:
    made = create(resource_name, cloudformation_json, *positional, **named)
    properties, (account_id, region) = cloudformation_json["Properties"], positional[:2]
    elbv2_backends[account_id][region].add_tags([made.arn], properties.get("Tags", []))
    for one in properties.get("TargetGroupAttributes", []):
        made.attributes[one["Key"]] = one["Value"]
    return made


def delete_balanced(self: Any, account_id: str, region: str) -> None:
    backend = elbv2_backends[account_id][region]
    if isinstance(self, FakeTargetGroup):
        backend.delete_target_group(self.arn)
    elif self.load_balancer_arn in backend.load_balancers:
        backend.delete_listener(self.arn)


def health_tags(group: Any) -> dict[str, str]:
    backend = elbv2_backends[group.account_id][group.region_name]
    tags: dict[str, str] = backend.tagging_service.get_tag_dict_for_resource(group.arn)
    return tags


def health_for(self: Any, target: dict[str, Any], ec2_backend: Any) -> Any:
    told, tags = _health_for(self, target, ec2_backend), health_tags(self)
    if CHECKED not in tags or target["Id"] not in self.targets:
        return told
    port = self.targets[target["Id"]]["Port"]
    return FakeHealthStatus(
        target["Id"], port, self.health_check_port, tags.get(f"{CHECKED}:{target['Id']}", "initial")
    )


def register(self: Any, targets: list[dict[str, Any]]) -> None:
    """Register targets; moto registers those of a group again that are about to go."""
    _register(self, [one for one in targets if one["Id"] not in self.terminated_targets])


def terminate_instance(self: Any, instance_id: str, should_decrement: bool) -> Any:  # noqa: FBT001 -- as moto has it
    groups = self.autoscaling_groups.values()
    group, state = next(
        (group, one) for group in groups for one in group.instance_states if one.instance.id == instance_id
    )
    balanced = [self.elbv2_backend.target_groups[arn] for arn in group.target_group_arns]
    if not any(CHECKED in health_tags(one) for one in balanced):
        return _terminate_instance(self, instance_id, should_decrement)
    size = group.desired_capacity
    state.lifecycle_state = "Terminating"
    for one in balanced:
        one.deregister_terminated_instances([instance_id])
    group.set_desired_capacity(size - should_decrement)
    return TerminateInstanceActivity(state.instance, size)


def prepare_interfaces(self: Any, asked: list[dict[str, Any]], *positional: Any, **named: Any) -> None:
    earlier = {one.get("NetworkInterfaceId") for one in asked}
    _prepare_interfaces(self, asked, *positional, **named)
    for one in self.nics.values():
        one.delete_on_termination |= one.id not in earlier


def terminate(self: Any) -> Any:
    """Terminate an instance; a second call finds its network interfaces gone, at which moto fails."""
    before = _terminate(self)
    for one in self.nics.values():
        one.delete_on_termination = False
    return before


def delete_resources(self: Any) -> None:
    for one in self._resource_json_map.values():
        if one.get("DeletionPolicy") == "RetainExceptOnCreate":
            one["DeletionPolicy"] = "Retain"
    _delete_resources(self)


def create_image(
    self: Any, instance: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
) -> Any:
    """Make an image; CreateImage can give tags to its snapshots, at which moto fails."""
    kinds = ("image", "snapshot")
    of = {kind: [one for one in tag_specifications if one["ResourceType"] == kind] for kind in kinds}
    image = _create_image(self, instance, name, description, of["image"])
    for one in of["snapshot"]:
        image.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for tag in one["Tags"]})
    return image


def validate_device(device: dict[str, Any]) -> None:
    if "SnapshotId" not in device.get("Ebs", {"SnapshotId": ""}):
        device["Ebs"].setdefault("VolumeSize", _IMAGE_GB)
    _validate_device(device)


def parameter_list(self: Any) -> list[dict[str, Any]]:
    told = self.resource_map.resolved_parameters
    return [
        {"ParameterKey": key, "ParameterValue": ",".join(one) if isinstance(one, list) else str(one)}
        for key, one in told.items()
    ]


@functools.wraps(_create_volume)
def create_volume(self: Any, size: int | None, *positional: Any, **named: Any) -> Any:
    snapshot = named.get("snapshot_id")
    return _create_volume(self, size or (None if snapshot else _IMAGE_GB), *positional, **named)


def put_object(self: Any) -> Any:
    with _putting:
        return _put_object(self)


def spend_less() -> None:
    """Keep what moto works out anew for each request, and write no access log, which nothing reads.

    For each request moto lists its own folder, compares the host with all services' addresses, and inspects
    all methods of a class.
    """
    for owner, name in (
        (DomainDispatcherApplication, "get_backend_for_host"),
        (responses, "method_names_from_class"),
    ):
        setattr(owner, name, functools.cache(getattr(owner, name)))
    WSGIRequestHandler.log_request = lambda *_: None


if __name__ == "__main__":
    # A template takes moto half a second to read, several times a change, by a parser in Python.
    yaml.CLoader.add_multi_constructor("", yaml_tag_constructor)
    yaml.Loader = yaml.CLoader
    FakeAutoScalingGroup.update_from_cloudformation_json = staticmethod(update_group)
    parsing.ResourceMap.update = update_stack
    InstanceState.__init__ = enter_group
    InstanceState.launch_template = property(instance_template)
    ChangeSet.apply = apply_change_set
    CloudFormationResponse.create_change_set = create_change_set
    FakeBucket.create_from_cloudformation_json = staticmethod(create_bucket)
    for tagged, create in ((VPCEndPoint, _create_endpoint), (ElasticAddress, _create_address)):
        tagged.create_from_cloudformation_json = staticmethod(functools.partial(create_tagged, create))
    ElasticAddress.delete = delete_address
    VPCEndPoint.delete = delete_endpoint
    for balanced, create in ((FakeLoadBalancer, _create_balancer), (FakeTargetGroup, _create_target_group)):
        balanced.create_from_cloudformation_json = staticmethod(functools.partial(create_balanced, create))
    FakeTargetGroup.delete = FakeListener.delete = delete_balanced
    FakeTargetGroup.health_for = health_for
    FakeTargetGroup.register = register
    AutoScalingBackend.terminate_instance = terminate_instance
    parsing.ResourceMap.delete = delete_resources
    Stack.parameter_list = property(parameter_list)
    InstanceResponse._validate_block_device_mapping = staticmethod(validate_device)
    AmiBackend.create_image = create_image
    EBSBackend.create_volume = create_volume
    Instance.prep_nics = prepare_interfaces
    Instance.terminate = terminate
    S3Response.put_object = put_object
    spend_less()
    main()
