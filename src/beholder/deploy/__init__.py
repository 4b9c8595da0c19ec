"""Deployments in an AWS account: what their stacks and resources are, and how they are taken down."""

from beholder.deploy.outputs import read_outputs

__all__ = ["read_outputs"]
