"""What policies of IAM allow, worked out as IAM does; emulators leave out conditions of EC2.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
and reference_policies_evaluation-logic.html (2026-11)
"""

import fnmatch
import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["actions_of", "is_allowed", "is_granted", "known_actions", "listed", "matches"]

Statement = Mapping[str, Any]


def listed(value: str | list[str]) -> list[str]:
    """Return the values of an element that may be one or several."""
    return [value] if isinstance(value, str) else value


def actions_of(statements: Sequence[Statement]) -> Iterator[str]:
    """Return the actions of statements, patterns among them."""
    for statement in statements:
        yield from listed(statement["Action"])


def matches(text: str, pattern: str) -> bool:
    """Return whether a pattern matches a text; its only special characters are * and ?."""
    return _compiled(pattern).match(text) is not None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))


def is_granted(statements: Sequence[Statement], action: str) -> bool:
    """Return whether an action is allowed on anything."""
    return any(matches(action.lower(), one.lower()) for one in actions_of(statements))


def is_allowed(statements: Sequence[Statement], action: str, on: Mapping[str, Mapping[str, str]]) -> bool:
    """Return whether a call is allowed.

    Args:
        statements: All of them allow.
        action: Such as 'ec2:RunInstances'.
        on: The ARNs of all resources of the call; each with the condition keys that the call has for it.
    """
    return all(
        any(_applies(statement, action, arn, keys) for statement in statements) for arn, keys in on.items()
    )


def _applies(statement: Statement, action: str, arn: str, keys: Mapping[str, str]) -> bool:
    assert statement["Effect"] == "Allow"
    return (
        is_granted([statement], action)
        and any(matches(arn, one) for one in listed(statement["Resource"]))
        and all(
            _holds(operator, keys.get(key), listed(wanted))
            for operator, tests in statement.get("Condition", {}).items()
            for key, wanted in tests.items()
        )
    )


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "Bool": lambda value, wanted: value == wanted,
    "ArnEquals": matches,
}


def _holds(operator: str, value: str | None, wanted: list[str]) -> bool:
    if operator == "Null":
        return [str(value is None).lower()] == wanted
    if value is None:
        return operator.endswith("IfExists")
    return any(_OPERATORS[operator.removesuffix("IfExists")](value, one) for one in wanted)


@functools.cache
def known_actions() -> Mapping[str, Sequence[str]]:
    """Return every action that IAM knows, in lower case, with patterns of the ARNs of its resources.

    The data is what cfn-lint has of the service authorization reference; no resource is '*'.
    """
    file = metadata.distribution("cfn-lint").locate_file("cfnlint/data/AdditionalSpecs/Policies.json")
    data = json.loads(Path(str(file)).read_text("utf-8"))
    found = {}
    for service, one in data.items():
        for action, about in one["Actions"].items():
            kinds = [one["Resources"].get(kind, {}) for kind in about.get("Resources", [])]
            arns = [arn for kind in kinds for arn in kind.get("ARNFormats", ["arn:*"])]
            found[f"{service}:{action}"] = [
                re.sub(r"\$\{\w+\}", "*", arn.replace(".*", "*")) for arn in arns
            ] or ["*"]
    return found
