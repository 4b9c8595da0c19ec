"""What is deployed in an AWS account: the outputs of its stack."""

from beholder.deploy.stack import read_outputs

__all__ = ["read_outputs"]
