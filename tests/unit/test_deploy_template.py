"""What no linter sees of the template of a deployment."""

import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from beholder.config import DECLARED, Settings, load_settings, make_settings
from beholder.fleet.ec2 import DEPLOYMENT_TAG, LAUNCH_TAG
from docs.pages import read, table
from helpers.cloudformation import PARAMETERS, Rendered, schema_of, template_text

LINES_MAX = 500
FOURTEEN_DAYS_S = 14 * 86_400
# CloudFormation can tag none of these types.
# Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/ of each type (2026-11)
UNTAGGED = {
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::IAM::Policy",
    "AWS::IAM::InstanceProfile",
    "AWS::ElasticLoadBalancingV2::Listener",
    "AWS::Logs::MetricFilter",
}
WAYS: dict[str, dict[str, str]] = {
    "instance": {},
    "internal": {"Reach": "vpc", "PublicAddresses": "no"},
    "balancer": {
        "Front": "balancer",
        "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/a",
        "HostName": "photos.example.com",
    },
    "plain balancer": {"Front": "balancer", "Reach": "vpc"},
    "everything else": {"RouteTables": "rtb-0a", "BudgetPerHour": "1.5", "WebInstances": "2"},
}
PARTITIONS = {
    "aws": "ap-southeast-2",
    "aws-cn": "cn-northwest-1",
    "aws-us-gov": "us-gov-west-1",
    "aws-iso": "us-iso-east-1",
    "aws-eusc": "eusc-de-east-1",
}
LONGEST_NAME = "a" * 27


@pytest.fixture(params=WAYS)
def stack(request: pytest.FixtureRequest) -> Rendered:
    return Rendered({"BudgetPerHour": "1.5", **WAYS[request.param]})


def tags_of(resource_type: str, properties: dict[str, Any]) -> dict[str, str]:
    tags = properties.get("Tags", [])
    if resource_type == "AWS::EC2::LaunchTemplate":
        (tags,) = (
            one["Tags"] for one in properties["TagSpecifications"] if one["ResourceType"] == "launch-template"
        )
    return {one["Key"]: one["Value"] for one in tags}


def actions_of(statement: dict[str, Any]) -> list[str]:
    found = statement["Action"]
    return [found] if isinstance(found, str) else found


def resources_of(statement: dict[str, Any]) -> list[str]:
    found = statement["Resource"]
    return [found] if isinstance(found, str) else found


def settings_of(stack: Rendered, template: str) -> Settings:
    """Return the settings that an instance's process reads."""
    found = re.findall(r"^(BEHOLDER_\w+)=(.*)$", stack.user_data(template), re.MULTILINE)
    return load_settings(dict(found), {}).settings


def test_a_person_can_read_the_template() -> None:
    lines = template_text().splitlines()
    assert len(lines) <= LINES_MAX
    assert all(len(line) <= 220 for line in lines)


def test_the_linter_of_cloudformation_has_nothing_to_say() -> None:
    path = str(resources.files("beholder.deploy") / "template.yaml")
    lint = Path(sys.executable).with_name("cfn-lint")
    run = subprocess.run([lint, path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_waiver_of_checkov_has_its_reason() -> None:
    waived = json.loads((Path(__file__).resolve().parents[2] / ".checkov.baseline").read_text("utf-8"))
    (of_template,) = waived["failed_checks"]
    checks = {check for one in of_template["findings"] for check in one["check_ids"]}
    rows = table(read("docs/deploy.md"), "check")
    assert {row[0].strip("`") for row in rows if row[0].startswith("`CKV")} == checks
    resources_of_template = {
        f"{one['Type']}.{name}" for name, one in Rendered().template["Resources"].items()
    }
    assert {one["resource"] for one in of_template["findings"]} <= resources_of_template


def test_every_resource_carries_the_tag_of_the_deployment(stack: Rendered) -> None:
    for name, one in stack.resources.items():
        if one["Type"] not in UNTAGGED:
            assert tags_of(one["Type"], one["Properties"]).get(DEPLOYMENT_TAG) == "zoo", name
    for name, one in stack.of_type("AWS::EC2::LaunchTemplate").items():
        given = {
            spec["ResourceType"]: {tag["Key"]: tag["Value"] for tag in spec["Tags"]}
            for spec in one["LaunchTemplateData"]["TagSpecifications"]
        }
        assert given["instance"][DEPLOYMENT_TAG] == given["volume"][DEPLOYMENT_TAG] == "zoo", name
        # it would make a worker of a web instance, and what was launched by hand part of the fleet
        assert LAUNCH_TAG not in given["instance"]


def test_a_resource_that_exists_once_is_named_after_the_deployment(stack: Rendered) -> None:
    for name, one in stack.resources.items():
        for key in (
            "BucketName",
            "QueueName",
            "RoleName",
            "LaunchTemplateName",
            "AutoScalingGroupName",
            "AlarmName",
        ):
            if key in one["Properties"]:
                assert str(one["Properties"][key]).startswith("zoo-"), name


# --- buckets and queues -------------------------------------------------------------------------------------


def test_buckets_are_private_encrypted_and_kept(stack: Rendered) -> None:
    buckets = stack.of_type("AWS::S3::Bucket")
    assert set(buckets) == {"InputBucket", "OutputBucket", "BundleBucket"}
    for name, one in buckets.items():
        assert list(one["PublicAccessBlockConfiguration"].values()) == [True] * 4
        assert "SSEAlgorithm" in json.dumps(one["BucketEncryption"])
        # a create that failed leaves nothing behind which the next one would stumble over
        assert stack.resources[name]["DeletionPolicy"] == "RetainExceptOnCreate"
        assert stack.resources[name]["UpdateReplacePolicy"] == "Retain"
        (policy,) = (
            each["PolicyDocument"]
            for each in stack.of_type("AWS::S3::BucketPolicy").values()
            if each["Bucket"] == one["BucketName"]
        )
        (statement,) = policy["Statement"]
        arn = f"arn:aws:s3:::{one['BucketName']}"
        assert statement == {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }


def test_lifecycle_rules_delete_images_and_results_and_nothing_else() -> None:
    buckets = Rendered().of_type("AWS::S3::Bucket")

    def expired(bucket: str) -> dict[str, int]:
        rules = buckets[bucket]["LifecycleConfiguration"]["Rules"]
        return {one["Prefix"]: one["ExpirationInDays"] for one in rules if "ExpirationInDays" in one}

    assert expired("InputBucket") == {"images/": 30, "drop/": 30}
    assert expired("OutputBucket") == dict.fromkeys(
        ("results/", "resent/", "fleet/failed-starts/", "fleet/startups/"), 30
    )
    assert expired("BundleBucket") == {}


def test_queues_keep_messages_as_long_as_sqs_can() -> None:
    queues = Rendered().of_type("AWS::SQS::Queue")
    assert {one["MessageRetentionPeriod"] for one in queues.values()} == {FOURTEEN_DAYS_S}
    assert all(one["SqsManagedSseEnabled"] for one in queues.values())
    assert queues["InputQueue"]["RedrivePolicy"] == {
        "deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:zoo-input-queue-dead",
        "maxReceiveCount": make_settings().queue.receive_count_max,
    }
    assert "RedrivePolicy" not in queues["DeadLetterQueue"]


def test_the_queue_allows_the_bucket_before_the_bucket_notifies_it() -> None:
    stack = Rendered()
    bucket = stack.resources["InputBucket"]
    assert bucket["DependsOn"] == "InputQueuePolicy"
    (statement,) = stack.resources["InputQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{bucket['Properties']['BucketName']}"},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }
    (told,) = bucket["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    assert told["Queue"] == statement["Resource"]
    assert told["Filter"] == {"S3Key": {"Rules": [{"Name": "prefix", "Value": "drop/"}]}}


# --- rights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["WebRole", "WorkerRole"])
def test_no_role_has_a_wildcard_of_actions(stack: Rendered, role: str) -> None:
    for statement in stack.statements(role):
        assert statement["Effect"] == "Allow"
        assert not [one for one in actions_of(statement) if "*" in one]
        if "*" in resources_of(statement):
            # Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
            # and list_amazonsqs.html (2026-11): neither knows a resource
            assert sorted(actions_of(statement)) == ["ec2:DescribeInstances", "sqs:ListQueues"]


@pytest.mark.parametrize("role", ["WebRole", "WorkerRole"])
def test_no_instance_may_write_a_bundle_or_an_api_key(stack: Rendered, role: str) -> None:
    for statement in stack.statements(role):
        if {"s3:PutObject", "s3:DeleteObject"} & set(actions_of(statement)):
            written = resources_of(statement)
            assert not [one for one in written if "-bundles" in one or "/keys/" in one]
            assert not [one for one in written if one.endswith(("-input/*", "-output/*"))]


def test_a_worker_has_nothing_of_ec2_or_iam(stack: Rendered) -> None:
    services = {one.partition(":")[0] for each in stack.statements("WorkerRole") for one in actions_of(each)}
    assert services == {"s3", "sqs", "logs"}


def test_the_web_tier_launches_from_the_workers_template_alone(stack: Rendered) -> None:
    template = "arn:aws:ec2:us-east-1:123456789012:launch-template/id-of-WorkerTemplate"
    launches = [one for one in stack.statements("WebRole") if "ec2:RunInstances" in actions_of(one)]
    # every launch needs an instance, and that is allowed with the template alone
    assert all(one["Condition"]["ArnEquals"] == {"ec2:LaunchTemplate": template} for one in launches)
    (image,) = (one for one in launches if any("image/" in each for each in resources_of(one)))
    assert image["Condition"]["Bool"] == {"ec2:IsLaunchTemplateResource": "true"}
    # no security group but the workers' own
    groups = {
        each
        for one in stack.statements("WebRole")
        for each in resources_of(one)
        if ":security-group/" in each
    }
    assert groups == {"arn:aws:ec2:us-east-1:123456789012:security-group/GroupId-of-WorkerSecurityGroup"}
    templates = {
        each
        for one in stack.statements("WebRole")
        for each in resources_of(one)
        if "launch-template/" in each
    }
    assert templates == {template}


def test_the_web_tier_ends_workers_of_its_deployment_and_passes_their_role_alone(stack: Rendered) -> None:
    def condition_of(action: str) -> Any:
        (found,) = (one for one in stack.statements("WebRole") if action in actions_of(one))
        return found, found["Condition"]

    _, ends = condition_of("ec2:TerminateInstances")
    assert ends == {
        "StringEquals": {f"aws:ResourceTag/{DEPLOYMENT_TAG}": "zoo"},
        "Null": {f"aws:ResourceTag/{LAUNCH_TAG}": "false"},
    }
    _, tags = condition_of("ec2:CreateTags")
    assert tags == {
        "StringEquals": {
            f"aws:RequestTag/{DEPLOYMENT_TAG}": "zoo",
            "ec2:CreateAction": ["CreateFleet", "RunInstances"],
        }
    }
    passes, to_whom = condition_of("iam:PassRole")
    assert passes["Resource"] == "arn:aws:iam::123456789012:role/zoo-us-east-1-worker"
    assert to_whom == {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]}}


# --- instances ----------------------------------------------------------------------------------------------


def test_instances_guard_their_role_and_end_with_their_shutdown(stack: Rendered) -> None:
    for one in stack.of_type("AWS::EC2::LaunchTemplate").values():
        data = one["LaunchTemplateData"]
        assert data["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert "KeyName" not in data
        (disk,) = data["BlockDeviceMappings"]
        assert disk["Ebs"] == {"VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}


def test_nothing_can_reach_a_worker_and_only_clients_the_web_tier(stack: Rendered) -> None:
    groups = stack.of_type("AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in groups["WorkerSecurityGroup"]
    (into_web,) = groups["WebSecurityGroup"]["SecurityGroupIngress"]
    assert into_web["FromPort"] == into_web["ToPort"] == 8080
    if "BalancerSecurityGroup" in groups:
        assert into_web["SourceSecurityGroupId"] == "GroupId-of-BalancerSecurityGroup"
        (into_balancer,) = groups["BalancerSecurityGroup"]["SecurityGroupIngress"]
        assert into_balancer["CidrIp"] == PARAMETERS["ExposeCidr"]
    else:
        assert into_web["CidrIp"] == PARAMETERS["ExposeCidr"]
    everybody = [one for one in groups.values() if "0.0.0.0/0" in json.dumps(one.get("SecurityGroupIngress"))]
    assert everybody == []


def test_every_line_of_the_environment_is_a_setting_or_one_of_the_start_script(stack: Rendered) -> None:
    settings = {f"BEHOLDER_{name.upper()}" for name in DECLARED}
    for template, own in (("WorkerTemplate", 0), ("WebTemplate", 1)):
        script = stack.user_data(template)
        found = re.search(r"<<'EOF'\n(.*?)^EOF\n(.*)", script, re.DOTALL | re.MULTILINE)
        assert found, script
        assert found[2].strip() == PARAMETERS["StartScript"]
        names = [line.partition("=")[0] for line in found[1].splitlines()]
        plain = [name for name in names if not name.startswith("BEHOLDER_")]
        assert plain == ["ROLE", "BUNDLE", "BUNDLE_SHA256", "LOG_GROUP", *["ELASTIC_IP"] * own]
        assert set(names) - set(plain) <= settings
        assert "${" not in found[1]
        assert settings_of(stack, template).deployment.prefix == "zoo"


def longest() -> dict[str, str]:
    """Return parameters that are as long as the template lets them be."""
    declared = Rendered().template["Parameters"]
    lengths = {name: one["MaxLength"] for name, one in declared.items() if "MaxLength" in one}
    return {
        **{name: "a" * length for name, length in lengths.items()},
        "InstanceTypes": ",".join(["c7a.48xlarge"] * 10),
        "WorkerSubnets": ",".join(["subnet-0123456789abcdef0"] * 6),
        "BundleSha256": "a" * 64,
    }


def test_user_data_never_passes_what_ec2_takes() -> None:
    # given: 16 KB before it is encoded
    # Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html (2026-11)
    stack = Rendered(longest(), {"AWS::StackName": LONGEST_NAME, "AWS::Region": "ap-southeast-2"})
    for template in ("WorkerTemplate", "WebTemplate"):
        assert len(stack.user_data(template).encode()) <= 16_384


def test_user_data_as_launched_is_below_four_kilobytes() -> None:
    script = (resources.files("beholder.deploy") / "user_data.sh").read_text("utf-8")
    stack = Rendered({"StartScript": script})
    for template in ("WorkerTemplate", "WebTemplate"):
        assert len(stack.user_data(template).encode()) < 4_096


# --- the web tier -------------------------------------------------------------------------------------------


def test_the_balancer_outlasts_a_request_and_closes_before_the_web_process() -> None:
    stack = Rendered(WAYS["balancer"])
    told = stack.of_type("AWS::ElasticLoadBalancingV2::LoadBalancer")["Balancer"]["LoadBalancerAttributes"]
    idle_s = int({one["Key"]: one["Value"] for one in told}["idle_timeout.timeout_seconds"])
    assert make_settings().limits.wait_s_max < idle_s < make_settings().limits.keep_alive_s
    group = stack.resources["TargetGroup"]["Properties"]
    assert group["HealthCheckPath"] == "/readyz"
    assert group["TargetGroupAttributes"] == [
        {"Key": "deregistration_delay.timeout_seconds", "Value": str(idle_s)}
    ]


def test_a_web_process_serves_until_the_balancer_has_seen_that_it_ends(stack: Rendered) -> None:
    settings = settings_of(stack, "WebTemplate")
    delay_s = settings.web.shutdown_delay_s
    group = stack.resources.get("TargetGroup")
    if group is None:
        assert delay_s == 0
        return
    told = group["Properties"]
    unseen_s = told["HealthCheckIntervalSeconds"] * told["UnhealthyThresholdCount"]
    assert unseen_s < delay_s
    # and: systemd waits until the process has drained
    unit = (resources.files("beholder.deploy") / "instance" / "beholder.service").read_text("utf-8")
    killed_s = int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0])
    assert delay_s + settings.worker.drain_s + 5 < killed_s


def test_only_the_balancer_is_a_proxy_that_counts() -> None:
    networks = "10.0.0.0/24,10.0.1.0/24"
    for name, parameters in WAYS.items():
        told = settings_of(Rendered({"ProxyCidrs": networks, **parameters}), "WebTemplate")
        assert ",".join(told.web.trusted_proxies) == (networks if "balancer" in name else ""), name


def test_a_stack_tells_the_state_before_its_own_if_there_was_one() -> None:
    assert "PreviousState" not in Rendered().outputs
    assert Rendered({"PreviousState": "states/a.json"}).outputs["PreviousState"] == "states/a.json"


def test_a_certificate_makes_the_front_https_and_nothing_is_left_of_it_without() -> None:
    secure, plain = Rendered(WAYS["balancer"]), Rendered(WAYS["plain balancer"])
    listener = secure.resources["Listener"]["Properties"]
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    assert listener["SslPolicy"].startswith("ELBSecurityPolicy-TLS13")
    assert secure.outputs["Url"] == "https://photos.example.com"
    assert plain.outputs["Url"] == f"http://{plain.outputs['BalancerHost']}"
    listener = plain.resources["Listener"]["Properties"]
    assert (listener["Port"], listener["Protocol"]) == (80, "HTTP")
    assert "Certificates" not in listener
    assert plain.resources["Balancer"]["Properties"]["Scheme"] == "internal"


def test_the_front_is_an_elastic_ip_a_balancer_or_inside_the_vpc() -> None:
    fronts = {name: Rendered(parameters) for name, parameters in WAYS.items()}
    assert {name for name, one in fronts.items() if "Address" in one.resources} == {
        "instance",
        "everything else",
    }
    assert {name for name, one in fronts.items() if "Balancer" in one.resources} == {
        "balancer",
        "plain balancer",
    }
    assert "Url" not in fronts["internal"].outputs
    assert "ELASTIC_IP=\n" in fronts["internal"].user_data("WebTemplate")
    assert "AddressPolicy" not in fronts["internal"].resources


def test_no_update_policy_replaces_web_instances_behind_deploy_s_back() -> None:
    group = Rendered().resources["WebGroup"]
    assert "UpdatePolicy" not in group
    largest = int(Rendered().template["Parameters"]["WebInstances"]["MaxValue"])
    assert int(group["Properties"]["MaxSize"]) == largest + 1


# --- partitions and names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("partition", PARTITIONS)
def test_every_arn_is_of_the_partition(partition: str) -> None:
    # given
    pseudo = {
        "AWS::Partition": partition,
        "AWS::Region": PARTITIONS[partition],
        "AWS::StackName": LONGEST_NAME,
    }
    # when
    stack = Rendered(WAYS["instance"], pseudo)
    # then
    arns = re.findall(r"arn:([^:]+):", json.dumps(stack.resources))
    assert set(arns) == {partition}
    # and: names are within what S3, IAM and ELB take
    assert all(len(one["BucketName"]) <= 63 for one in stack.of_type("AWS::S3::Bucket").values())
    assert all(len(one["RoleName"]) <= 64 for one in stack.of_type("AWS::IAM::Role").values())
    balancer = Rendered({**WAYS["plain balancer"]}, pseudo).resources["Balancer"]
    assert len(balancer["Properties"]["Name"]) <= 32


def test_no_arn_of_the_template_names_a_partition() -> None:
    assert not re.findall(r"arn:(?!\$\{AWS::Partition\})", template_text())


# --- outputs and alarms -------------------------------------------------------------------------------------


def test_what_a_stack_tells_is_what_stack_reads() -> None:
    outputs = Rendered(WAYS["instance"]).outputs
    told = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): value for name, value in outputs.items()}
    read = make_settings(backend="aws", **{name: told[name] for name in told if name in DECLARED})
    assert read.store.input_bucket == "zoo-123456789012-us-east-1-input"
    assert read.queue.dead_letter_queue == "zoo-input-queue-dead"
    assert read.fleet.template.launch_template == "id-of-WorkerTemplate"
    ours = {"bundle_bucket", "web_group", "log_group", "worker_role", "web_role", "elastic_ip", "url"}
    ours |= {"image_source"}
    assert {name for name in told if name not in DECLARED} == ours


def test_there_is_an_alarm_for_each_thing_that_needs_a_person() -> None:
    assert set(Rendered().of_type("AWS::CloudWatch::Alarm")) == {
        "DeadLettersAlarm",
        "OldestMessageAlarm",
        "FailedStartupsAlarm",
    }
    assert "SpendAlarm" in Rendered({"BudgetPerHour": "1.5"}).resources
    (group,) = Rendered().of_type("AWS::Logs::LogGroup").values()
    assert group["RetentionInDays"] == 14


def test_every_alarm_tells_the_address_that_is_given_and_nobody_without() -> None:
    told = Rendered({"BudgetPerHour": "1.5", "AlarmEmail": "ops@example.com"})
    (topic,) = told.of_type("AWS::SNS::Topic").values()
    assert topic["Subscription"] == [{"Protocol": "email", "Endpoint": "ops@example.com"}]
    assert topic["TopicName"] == "zoo-alarms"
    alarms = told.of_type("AWS::CloudWatch::Alarm").values()
    assert [one["AlarmActions"] for one in alarms] == [["id-of-AlarmTopic"]] * 4
    silent = Rendered({"BudgetPerHour": "1.5"})
    assert silent.of_type("AWS::SNS::Topic") == {}
    assert not [one for one in silent.of_type("AWS::CloudWatch::Alarm").values() if "AlarmActions" in one]


# What deploy changes in place.
CHANGED = {
    "WorkerSubnets": "subnet-0c",
    "WebSubnets": "subnet-0c,subnet-0d",
    "PublicAddresses": "no",
    "RouteTables": "rtb-0b",
    "ImageId": "ami-0b",
    "InstanceTypes": "m6a.large",
    "WebInstanceType": "t3.medium",
    "WebInstances": "2",
    "ExposeCidr": "198.51.100.0/24",
    "ProxyCidrs": "10.0.0.0/24",
    "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/b",
    "BundleKey": "b.tar.gz",
    "Models": "b",
    "AlarmEmail": "b@example.com",
    "BudgetPerHour": "2.5",
    "StartScript": "false",
    "Keys": "open",
}
NAMES = (
    "Name",
    "BucketName",
    "QueueName",
    "RoleName",
    "LaunchTemplateName",
    "AutoScalingGroupName",
    "AlarmName",
)


def replaced(parameter: str, value: str) -> set[str]:
    """Return the named resources that CloudFormation would have to replace without another name."""
    before = Rendered(WAYS["plain balancer"] | {"Reach": "internet"})
    after = Rendered(WAYS["plain balancer"] | {"Reach": "internet", parameter: value})
    found = set()
    for name, one in before.resources.items():
        old, new = one["Properties"], after.resources.get(name, one)["Properties"]
        fixed = {each.split("/")[2] for each in schema_of(one["Type"]).get("createOnlyProperties", [])}
        names = [key for key in (*NAMES, "TopicName", "LogGroupName") if key in old]
        if names and old[names[0]] == new[names[0]] and any(old.get(key) != new.get(key) for key in fixed):
            found.add(name)
    return found


@pytest.mark.parametrize("parameter", CHANGED)
def test_a_change_that_deploy_allows_replaces_no_resource_that_keeps_its_name(parameter: str) -> None:
    assert replaced(parameter, CHANGED[parameter]) == set()


def test_a_change_that_deploy_refuses_could_not_be_made() -> None:
    assert replaced("VpcId", "vpc-0b") == {"TargetGroup"}
    assert replaced("Reach", "vpc") == {"Balancer"}
