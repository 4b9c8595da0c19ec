"""The rights that a person needs who deploys: the least with which the commands of this room work."""

import json
from importlib import resources
from string import Template
from typing import Any

__all__ = ["deployer_policy"]

_FILE = "deployer_policy.json"


def deployer_policy(name: str, account: str, region: str, partition: str) -> dict[str, Any]:
    """Return the policies that let a person deploy, upgrade and destroy one deployment.

    They are two, because a managed policy has at most 6,144 characters without white space. Source:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html (2026-11)

    Args:
        name: The deployment's name.
        account: The id of its account.
        region: Its region.
        partition: The partition of the region, such as 'aws'.

    Returns:
        The documents of the policies, by their names.
    """
    text = (resources.files("beholder.deploy") / _FILE).read_text("utf-8")
    filled = Template(text).substitute(Name=name, Account=account, Region=region, Partition=partition)
    return {f"{name}-deploy-{part}": document for part, document in json.loads(filled).items()}
