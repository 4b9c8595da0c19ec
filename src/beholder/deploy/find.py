"""Finds a deployment by its name, and says where it is if it is not where it was looked for."""

from collections.abc import Mapping
from typing import Any

from beholder.deploy.account import Account
from beholder.deploy.destroy import other_regions
from beholder.deploy.stack import Stack
from beholder.errors import DeployError

__all__ = ["find_deployment"]


def find_deployment(account: Account, name: str, command: str) -> Mapping[str, Any]:
    """Return the stack of a deployment, as CloudFormation describes it.

    Args:
        account: The account and region.
        name: The deployment's name.
        command: The command that looks for it, such as 'status'; for the error.

    Raises:
        DeployError: There is none; the sentence names the next command.
        ConfigError: The stack of this name is not beholder's.
        BackendError: CloudFormation refuses, or does not answer.
    """
    stack = Stack(account, name).describe()
    if stack is not None:
        return stack
    others = [
        f"it is in {region}: beholder {command} {name} --region {region}"
        for region in other_regions(account, name)
    ]
    sentences = [
        f"there is no deployment {name} in {account.region}",
        *(others or [f"beholder deploy {name} makes one"]),
    ]
    raise DeployError("; ".join(sentences))
