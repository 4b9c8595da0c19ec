"""What doctor asks of services that no emulator has, held against botocore's models of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from beholder.deploy.account import Account
from beholder.deploy.doctor import Level
from beholder.deploy.doctor.capacity import InstanceType, check_each_quota, check_spot_capacity
from beholder.deploy.doctor.requirements import read_parameters, requirements_of
from beholder.deploy.doctor.rights import check_rights

REGION = "eu-west-1"
TYPES = {
    "c7a.large": InstanceType("c7a.large", 2, [f"{REGION}a"]),
    "c7a.xlarge": InstanceType("c7a.xlarge", 4, [f"{REGION}a"]),
    "t3.small": InstanceType("t3.small", 2, [f"{REGION}a"]),
}
Stub = Callable[[str], Stubber]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return Account(REGION)


@pytest.fixture
def stub(account: Account) -> Iterator[Stub]:
    """Return what gives a service's answers; a question that was not foreseen is an error."""
    stubbers: dict[str, Stubber] = {}
    with ExitStack() as open_stubs:

        def of(service: str) -> Stubber:
            if service not in stubbers:
                stubber = Stubber(account._client(service).boto)
                stubbers[service] = open_stubs.enter_context(stubber)
            return stubbers[service]

        yield of
        for one in stubbers.values():
            one.assert_no_pending_responses()


def needs(**parameters: str) -> Any:
    return requirements_of("zoo", {"InstanceTypes": "c7a.large,c7a.xlarge", "FleetMax": "10", **parameters})


def quota(stub: Stub, code: str, value: float | None, default: float = 0.0) -> None:
    """Let Service Quotas tell a quota; None where the account never asked for another than the default."""
    asked = {"ServiceCode": "ec2", "QuotaCode": code}
    if value is not None:
        stub("service-quotas").add_response("get_service_quota", {"Quota": {"Value": value}}, asked)
        return
    stub("service-quotas").add_client_error("get_service_quota", "NoSuchResourceException", "none")
    stub("service-quotas").add_response("get_aws_default_service_quota", {"Quota": {"Value": default}}, asked)


# --- quotas -------------------------------------------------------------------------------------------------


def test_both_quotas_are_asked_by_their_codes(account: Account, stub: Stub) -> None:
    """At most ten workers of four vCPUs and three web instances of two."""
    quota(stub, "L-1216C47A", None, default=5.0)
    quota(stub, "L-34B43A08", 40.0)

    on_demand, spot = check_each_quota(account, needs(), TYPES)

    assert (on_demand.check, on_demand.level) == ("on-demand quota", Level.WARNING)
    assert "allows 5 vCPUs, and at its maximum the deployment uses 6" in on_demand.sentence
    assert (spot.check, spot.level) == ("spot quota", Level.OK)


def test_a_fleet_on_demand_needs_no_spot_quota(account: Account, stub: Stub) -> None:
    quota(stub, "L-1216C47A", 46.0)

    (finding,) = check_each_quota(account, needs(OnDemandShare="1"), TYPES)

    assert (finding.check, finding.level) == ("on-demand quota", Level.OK)


def test_a_share_counts_against_both(account: Account, stub: Stub) -> None:
    """A quarter of ten is two or three: three on demand at most, eight spot at most."""
    quota(stub, "L-1216C47A", 17.0)
    quota(stub, "L-34B43A08", 31.0)

    found = check_each_quota(account, needs(OnDemandShare="0.25"), TYPES)

    assert ["uses 18" in found[0].sentence, "uses 32" in found[1].sentence] == [True, True]


def test_types_with_quotas_of_their_own_are_not_checked(account: Account) -> None:
    types = {"g5.xlarge": InstanceType("g5.xlarge", 4, [])}

    (finding,) = check_each_quota(account, needs(InstanceTypes="g5.xlarge"), types)

    assert (finding.level, "g5.xlarge" in finding.sentence) == (Level.WARNING, True)


# --- spot capacity ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scores", "level"), [([2, 9], Level.OK), ([1], Level.WARNING), ([], Level.WARNING)])
def test_the_best_score_of_the_region_counts(
    account: Account, stub: Stub, scores: list[int], level: Level
) -> None:
    stub("ec2").add_response(
        "get_spot_placement_scores",
        {"SpotPlacementScores": [{"Region": REGION, "Score": one} for one in scores]},
        {"InstanceTypes": ["a", "b", "c"], "TargetCapacity": 10, "RegionNames": [REGION]},
    )

    (finding,) = check_spot_capacity(account, needs(InstanceTypes="a,b,c"))

    assert finding.level is level


def test_a_fleet_on_demand_asks_for_no_score(account: Account) -> None:
    assert check_spot_capacity(account, needs(OnDemandShare="1")) == []


# --- rights -------------------------------------------------------------------------------------------------


def test_rights_of_an_assumed_role_are_simulated_for_the_role(account: Account, stub: Stub) -> None:
    session = "arn:aws:sts::123456789012:assumed-role/admin/ann"
    role = "arn:aws:iam::123456789012:role/team/admin"
    for _ in range(2):  # who calls, and for whose account the policy is
        identity = {"Arn": session, "Account": "123456789012", "UserId": "A"}
        stub("sts").add_response("get_caller_identity", identity)
    described = {
        "Path": "/team/",
        "RoleName": "admin",
        "RoleId": "A" * 20,
        "Arn": role,
        "CreateDate": "2026-01-01T00:00:00Z",
    }
    stub("iam").add_response("get_role", {"Role": described}, {"RoleName": "admin"})
    asked: list[Any] = []

    def simulate(params: dict[str, Any], **_: Any) -> None:
        asked.append(params)
        answer = {
            "EvaluationResults": [
                {
                    "EvalActionName": action,
                    "EvalDecision": "allowed" if action != "sqs:CreateQueue" else "implicitDeny",
                }
                for action in params["ActionNames"]
            ]
        }
        stub("iam").add_response(
            "simulate_principal_policy",
            answer,
            {
                "PolicySourceArn": role,
                "ActionNames": ANY,
                "ContextEntries": ANY,
                **({"ResourceArns": ANY} if "ResourceArns" in params else {}),
            },
        )

    events = account._client("iam").boto.meta.events
    events.register_first("provide-client-params.iam.SimulatePrincipalPolicy", simulate)

    (finding,) = check_rights(account, "zoo")

    assert finding.level is Level.PROBLEM
    assert "may not: sqs:CreateQueue;" in finding.sentence
    assert len(asked) > 10
    assert all(len(one["ActionNames"]) <= 100 for one in asked)


# --- the stock image ----------------------------------------------------------------------------------------


def test_without_a_stack_the_image_is_the_stock_image_of_the_region(account: Account, stub: Stub) -> None:
    stub("cloudformation").add_client_error("describe_stacks", "ValidationError", "does not exist")
    stub("ssm").add_response("get_parameter", {"Parameter": {"Value": "ami-1"}}, {"Name": ANY})

    assert read_parameters(account, "zoo") == {"ImageId": "ami-1"}
