"""Whatever the commands on a deployment ask of AWS, the deployer's policy allows."""

import pytest

from beholder.deploy.deployer_policy import deployer_policy
from helpers.aws_calls import asked, calls_in, rights_of, sources
from helpers.iam import is_granted, known_actions


def test_every_call_says_what_it_calls() -> None:
    """The inventory makes some calls by names that it composes; those are recorded."""
    unnamed = [
        f"{path}:{node.lineno}"
        for path, tree in sources()
        for node, names in calls_in(tree)
        if None in names and path.name != "inventory.py"
    ]
    assert unnamed == []


@pytest.mark.parametrize(("service", "action"), sorted(asked()))
def test_the_policy_of_deployers_allows_what_the_commands_call(service: str, action: str) -> None:
    policies = deployer_policy("zoo", "123456789012", "us-east-1", "aws").values()
    statements = [one for document in policies for one in document["Statement"]]
    for right in rights_of(service, action):
        assert right.lower() in known_actions(), "IAM has no such right; name it in helpers/aws_calls.py"
        assert is_granted(statements, right), "add it to deployer_policy.json, with the narrowest resource"
