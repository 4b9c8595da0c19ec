"""A deployment as its template makes it, on moto: `beholder deploy` without its questions and its waiting."""

import secrets
from importlib import resources

from aws.emulators import Emulator
from beholder.deploy.bundle import Bundle
from beholder.fleet.ec2 import DEPLOYMENT_TAG
from helpers.cloudformation import template_text

__all__ = ["Stack"]


class Stack:
    """A stack with its bundle uploaded, and no web instance yet.

    Args:
        moto: Where it is.
        bundle: What its instances fetch.
        parameters: Of the template, beside those of the smallest deployment.
    """

    def __init__(self, moto: Emulator, bundle: Bundle, **parameters: str) -> None:
        self.moto, self.name = moto, f"zoo-{secrets.token_hex(4)}"
        ec2 = moto.client("ec2")
        (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        found = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
        subnets = ",".join(one["SubnetId"] for one in found[:2])
        script = (resources.files("beholder.deploy") / "user_data.sh").read_text("utf-8")
        given = {
            "VpcId": vpc["VpcId"],
            "WorkerSubnets": subnets,
            "WebSubnets": subnets,
            "ImageId": "ami-0123456789abcdef0",
            "InstanceTypes": "c7a.large,c6a.large",
            "ExposeCidr": "192.0.2.7/32",
            "FleetMax": "1",
            "BundleKey": bundle.key,
            "BundleSha256": bundle.sha256,
            "Keys": "open",
            # A nonce, because the harness finds an instance's template by its user data.
            "StartScript": f"# {self.name}\n{script}",
        } | parameters
        cloudformation = moto.client("cloudformation")
        cloudformation.create_stack(
            StackName=self.name,
            TemplateBody=template_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": one} for key, one in given.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Tags=[{"Key": DEPLOYMENT_TAG, "Value": self.name}],
        )
        (described,) = cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in described["Outputs"]}
        moto.client("s3").upload_file(str(bundle.path), self.outputs["BundleBucket"], bundle.key)

    def set_web_instances(self, count: int) -> None:
        """Let the Auto Scaling group launch or terminate; moto does it at once."""
        self.moto.client("autoscaling").set_desired_capacity(
            AutoScalingGroupName=self.outputs["WebGroup"], DesiredCapacity=count
        )

    def address_of(self) -> str:
        """Return the instance that has the Elastic IP, empty while none has it."""
        (address,) = self.moto.client("ec2").describe_addresses(PublicIps=[self.outputs["ElasticIp"]])[
            "Addresses"
        ]
        return str(address.get("InstanceId", ""))

    def read_output(self, key: str) -> str:
        """Return an object of the output bucket."""
        found = self.moto.client("s3").get_object(Bucket=self.outputs["OutputBucket"], Key=key)
        return str(found["Body"].read().decode())
