"""What is deployed in an AWS account, and what it says of itself."""

from beholder.deploy.stack import read_outputs

__all__ = ["read_outputs"]
