"""The reasons why CreateFleet does not launch an instance, in sentences for an operator."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["FALLS_BACK", "REFUSALS", "sentences"]

# Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (2026-11), and issues
# 1556, 5789 and 5850 of karpenter-provider-aws.
_WORDS = {
    "InsufficientInstanceCapacity": "EC2 has no capacity",
    "InsufficientHostCapacity": "EC2 has no capacity",
    "UnfulfillableCapacity": "EC2 has no capacity",
    "ReservationCapacityExceeded": "the capacity reservation is full",
    "SpotMaxPriceTooLow": "the spot price is above the template's highest price",
    "MaxSpotInstanceCountExceeded": "the account's quota of spot vCPUs is used up; ask for a higher one",
    "SpotInstanceCountLimitExceeded": "the account's quota of spot is used up; ask for a higher one",
    "InstanceLimitExceeded": "the account's quota of instances is used up; ask for a higher one",
    "VcpuLimitExceeded": "the account's quota of vCPUs is used up; ask for a higher one",
    "MaxFleetCountExceeded": "the account's quota of fleets is used up; ask for a higher one",
    "InsufficientFreeAddressesInSubnet": "the subnet has no free address; add a larger one",
    "Unsupported": "the zone does not offer the type; remove either from the settings",
    "UnauthorizedOperation": "a permission is missing; docs/aws.md lists what a controller needs",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        "the service-linked role of spot is missing; run: "
        "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
    ),
    "PendingVerification": "AWS still verifies the account for this region; wait for its e-mail",
    "InvalidLaunchTemplateName.NotFoundException": "there is no such template; correct launch_template",
    "InvalidLaunchTemplateId.NotFound": "there is no such template; correct launch_template",
    "InvalidLaunchTemplateId.VersionNotFound": "the launch template has no such version",
    "InvalidLaunchTemplate": "the launch template cannot be used",
    "InvalidFleetConfiguration": "the launch template and the settings do not go together",
    "InvalidAMIID.NotFound": "the launch template's image does not exist; make a new version of it",
    "InvalidSubnetID.NotFound": "there is no such subnet; correct subnets",
    "InvalidParameterValue": "EC2 does not take a value",
}

# These codes may fail the whole call or a part of it; either way they are an answer, and no outage.
REFUSALS = frozenset(_WORDS)

# After one of these, on-demand capacity may still be there.
FALLS_BACK = frozenset(
    {
        "InsufficientInstanceCapacity",
        "UnfulfillableCapacity",
        "SpotMaxPriceTooLow",
        "MaxSpotInstanceCountExceeded",
        "SpotInstanceCountLimitExceeded",
        "Unsupported",
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    }
)
_MESSAGE_CHARS_MAX = 300
_POOLS_NAMED = 6


def sentences(errors: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return one sentence for each kind of refusal, with the pools that it is about.

    Args:
        errors: Entries of CreateFleet's `Errors`.
    """
    pools: dict[tuple[str, str], dict[str, None]] = {}
    messages: dict[tuple[str, str], str] = {}
    for error in errors:
        kind = str(error.get("Lifecycle") or ""), str(error.get("ErrorCode"))
        pools.setdefault(kind, {}).update(dict.fromkeys(_pool_of(error)))
        messages.setdefault(kind, str(error.get("ErrorMessage") or "no message"))
    found = [_sentence(kind, tuple(pools[kind]), messages[kind]) for kind in pools]
    return tuple(found) or ("EC2 launched fewer instances than asked for, and gave no reason",)


def _pool_of(error: Mapping[str, Any]) -> list[str]:
    """Return the type and place that an error names."""
    override = (error.get("LaunchTemplateAndOverrides") or {}).get("Overrides") or {}
    place = override.get("AvailabilityZone") or override.get("SubnetId")
    words = [override.get("InstanceType"), f"in {place}" if place else None]
    text = " ".join(word for word in words if word)
    return [text] if text else []


def _sentence(kind: tuple[str, str], pools: tuple[str, ...], message: str) -> str:
    lifecycle, code = kind
    more = len(pools) - _POOLS_NAMED
    named = [lifecycle, *pools[:_POOLS_NAMED], f"{more} more" if more > 0 else ""]
    about = ", ".join(name for name in named if name)
    words = f"{_WORDS.get(code, 'EC2 refuses')} ({code}: {message[:_MESSAGE_CHARS_MAX]})"
    return f"{about}: {words}" if about else words
