"""The fleet on EC2 where it launches fewer instances than asked for, or none; botocore's stub answers.

The emulator has capacity without end, ignores client tokens and never fails in part, so this is said here.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import ANY, Stubber

from beholder.errors import BackendDenied, BackendError, BackendThrottled, BackendUnavailable
from beholder.fleet.ec2 import Ec2Fleet
from beholder.fleet.ec2_client import Ec2Client
from beholder.fleet.ec2_refusals import sentences
from beholder.fleet.template import InstanceTemplate

TEMPLATE = InstanceTemplate(
    "workers", instance_types=("c7a.large", "c6a.large"), subnets=("subnet-a", "subnet-b")
)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ec2Client]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    client = Ec2Client(attempts_max=1)
    yield client
    client.close()


@pytest.fixture
def stub(client: Ec2Client) -> Iterator[Stubber]:
    with Stubber(client.boto) as stub:
        yield stub
        stub.assert_no_pending_responses()


def described(*ids: str, **fields: Any) -> dict[str, Any]:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    plain = {"LaunchTime": at, "InstanceType": "c7a.large", "State": {"Name": "running"}}
    return {"Reservations": [{"Instances": [{"InstanceId": one, **plain, **fields} for one in ids]}]}


def launched(lifecycle: str, *ids: str) -> dict[str, Any]:
    return {"Lifecycle": lifecycle, "InstanceIds": list(ids), "InstanceType": "c7a.large"}


def failed(
    code: str, lifecycle: str = "spot", instance_type: str = "c7a.large", zone: str = "a"
) -> dict[str, Any]:
    override = {"InstanceType": instance_type, "AvailabilityZone": f"us-east-1{zone}"}
    pool = {"LaunchTemplateAndOverrides": {"Overrides": override}} if instance_type else {}
    return {"ErrorCode": code, "ErrorMessage": f"words on {code}", "Lifecycle": lifecycle, **pool}


class Asked:
    """Matches any value of a parameter, and keeps it."""

    def __init__(self) -> None:
        self.value: Any = None

    def __eq__(self, other: object) -> bool:
        self.value = other
        return True

    __hash__ = None  # type: ignore[assignment]


def answer_a_fleet(stub: Stubber, response: dict[str, Any]) -> tuple[Asked, Asked]:
    """Let CreateFleet answer so once; return what its token and its capacity will have been."""
    token, capacity = Asked(), Asked()
    expected = {
        "Type": "instant",
        "ClientToken": token,
        "LaunchTemplateConfigs": ANY,
        "TargetCapacitySpecification": capacity,
        "SpotOptions": ANY,
        "OnDemandOptions": ANY,
        "TagSpecifications": ANY,
    }
    stub.add_response("create_fleet", response, expected)
    return token, capacity


def test_spot_that_is_missing_is_asked_for_as_on_demand(client: Ec2Client, stub: Stubber) -> None:
    # given: one of three, and no capacity for the others
    stub.add_response("describe_instances", {})
    errors = [failed("InsufficientInstanceCapacity", zone=zone) for zone in "ab"]
    first, _ = answer_a_fleet(stub, {"Instances": [launched("spot", "i-1")], "Errors": errors})
    second, capacity = answer_a_fleet(stub, {"Instances": [launched("on-demand", "i-2", "i-3")]})
    # when
    launch = Ec2Fleet(client, "zoo", TEMPLATE).launch(count=3, token="t1")  # noqa: S106 -- a name
    # then
    assert launch.ids == ("i-1", "i-2", "i-3")
    assert launch.refusals == ()
    assert (first.value, second.value) == ("t1", "t1-od")
    assert capacity.value["TotalTargetCapacity"] == capacity.value["OnDemandTargetCapacity"] == 2
    assert capacity.value["DefaultTargetCapacityType"] == "on-demand"


def test_refusals_are_one_sentence_for_each_kind_of_error(client: Ec2Client, stub: Stubber) -> None:
    # given
    stub.add_response("describe_instances", {})
    errors = [
        failed("InsufficientInstanceCapacity", instance_type=instance_type)
        for instance_type in TEMPLATE.instance_types
    ]
    answer_a_fleet(
        stub, {"Instances": [launched("spot", "i-1")], "Errors": [*errors, failed("Unsupported", zone="b")]}
    )
    answer_a_fleet(stub, {"Errors": [failed("VcpuLimitExceeded", "on-demand", instance_type="")]})
    # when
    launch = Ec2Fleet(client, "zoo", TEMPLATE).launch(count=3, token="t1")  # noqa: S106
    # then
    assert launch.ids == ("i-1",)
    spot, unsupported, firm = launch.refusals
    assert spot == (
        "spot, c7a.large in us-east-1a, c6a.large in us-east-1a: EC2 has no capacity"
        " (InsufficientInstanceCapacity: words on InsufficientInstanceCapacity)"
    )
    assert unsupported.startswith("spot, c7a.large in us-east-1b: the zone does not offer the type")
    assert firm.startswith("on-demand: the account's quota of vCPUs is used up")


def test_of_very_many_pools_some_are_named() -> None:
    errors = [
        failed("InsufficientInstanceCapacity", instance_type=f"c{number}.large") for number in range(20)
    ]
    (only,) = sentences(errors)
    assert "c5.large in us-east-1a, 14 more: EC2 has no capacity" in only


def test_errors_of_pools_are_no_refusal_where_others_gave_enough(client: Ec2Client, stub: Stubber) -> None:
    """Or the controller would wait for nothing."""
    stub.add_response("describe_instances", {})
    errors = [failed("InsufficientInstanceCapacity")]
    answer_a_fleet(stub, {"Instances": [launched("spot", "i-1", "i-2")], "Errors": errors})
    launch = Ec2Fleet(client, "zoo", TEMPLATE).launch(count=2, token="t1")  # noqa: S106
    assert launch.ids == ("i-1", "i-2")
    assert launch.refusals == ()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("UnauthorizedOperation", "a permission is missing"),
        ("InvalidLaunchTemplate", "the launch template cannot be used"),
        ("InvalidAMIID.NotFound", "image does not exist"),
        ("InsufficientFreeAddressesInSubnet", "no free address"),
        ("SomethingNew", "spot: EC2 refuses"),
    ],
)
def test_an_error_that_on_demand_has_too_is_not_asked_for_again(
    client: Ec2Client, stub: Stubber, code: str, words: str
) -> None:
    stub.add_response("describe_instances", {})
    answer_a_fleet(stub, {"Errors": [failed(code, instance_type="")]})
    launch = Ec2Fleet(client, "zoo", TEMPLATE).launch(count=2, token="t1")  # noqa: S106
    assert launch.ids == ()
    (refusal,) = launch.refusals
    assert words in refusal
    assert code in refusal


def test_fewer_instances_without_an_error_are_a_refusal_too(client: Ec2Client, stub: Stubber) -> None:
    stub.add_response("describe_instances", {})
    answer_a_fleet(stub, {"Instances": [launched("spot", "i-1")]})
    launch = Ec2Fleet(client, "zoo", TEMPLATE).launch(count=2, token="t1")  # noqa: S106
    assert launch.refusals == ("EC2 launched fewer instances than asked for, and gave no reason",)


@pytest.mark.parametrize("code", ["MaxSpotInstanceCountExceeded", "InsufficientInstanceCapacity"])
def test_a_whole_call_that_ends_with_such_an_error_counts_as_its_answer(
    client: Ec2Client, stub: Stubber, code: str
) -> None:
    """Without a life cycle or a pool: on-demand is tried all the same."""
    stub.add_response("describe_instances", {})
    stub.add_client_error("create_fleet", code, "words", 400)
    answer_a_fleet(stub, {"Instances": [launched("on-demand", "i-1")]})
    launch = Ec2Fleet(client, "zoo", TEMPLATE).launch(count=1, token="t1")  # noqa: S106
    assert launch.ids == ("i-1",)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("RequestLimitExceeded", 503, BackendThrottled),
        ("InternalError", 500, BackendUnavailable),
        ("Unavailable", 503, BackendUnavailable),
        ("IdempotentInstanceLaunchInProgress", 400, BackendUnavailable),
        ("IdempotentParameterMismatch", 400, BackendDenied),
        ("AuthFailure", 401, BackendDenied),
    ],
)
def test_an_error_of_the_call_is_sorted_by_who_must_act(
    client: Ec2Client, stub: Stubber, code: str, status: int, error: type[BackendError]
) -> None:
    stub.add_response("describe_instances", {})
    stub.add_client_error("create_fleet", code, "words", status)
    with pytest.raises(error, match=code) as caught:
        Ec2Fleet(client, "zoo", TEMPLATE).launch(count=1, token="t1")  # noqa: S106
    assert type(caught.value) is error


def test_a_launch_whose_answer_was_lost_is_asked_for_under_the_same_token(
    client: Ec2Client, stub: Stubber
) -> None:
    """EC2 then answers with the first launch; instances that show already are returned without asking."""
    # given
    fleet = Ec2Fleet(client, "zoo", InstanceTemplate("workers", on_demand_share=0.3))
    stub.add_response("describe_instances", {})
    stub.add_client_error("create_fleet", "InternalError", "lost", 500)
    with pytest.raises(BackendUnavailable):
        fleet.launch(count=5, token="t1")  # noqa: S106
    # when: not seen yet
    stub.add_response("describe_instances", {})
    token, capacity = answer_a_fleet(stub, {"Instances": [launched("spot", "i-1")]})
    first = fleet.launch(count=5, token="t1")  # noqa: S106
    asked = dict(capacity.value)
    # then
    assert token.value == "t1"
    assert fleet.launch(count=5, token="t1") == first  # noqa: S106
    # when: another process, which sees what was launched
    stub.add_response("describe_instances", described("i-1", "i-2"))
    again = Ec2Fleet(client, "zoo", TEMPLATE).launch(count=5, token="t1")  # noqa: S106
    assert again.ids == ("i-1", "i-2")
    # and: a process that sees nothing asks for exactly the same, or EC2 refuses the token
    stub.add_response("describe_instances", {})
    _, capacity = answer_a_fleet(stub, {"Instances": [launched("spot", "i-1")]})
    other = Ec2Fleet(client, "zoo", InstanceTemplate("workers", on_demand_share=0.3))
    other.launch(count=5, token="t1")  # noqa: S106
    assert capacity.value == asked


def test_the_request_names_template_pools_and_shares(client: Ec2Client, stub: Stubber) -> None:
    # given
    config = Asked()
    stub.add_response("describe_instances", {})
    stub.add_response(
        "create_fleet",
        {"Instances": [launched("spot", "i-1", "i-2"), launched("on-demand", "i-3", "i-4")]},
        {
            "Type": "instant",
            "ClientToken": "t1",
            "LaunchTemplateConfigs": config,
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": 4,
                "OnDemandTargetCapacity": 2,
                "SpotTargetCapacity": 2,
                "DefaultTargetCapacityType": "spot",
            },
            "SpotOptions": {"AllocationStrategy": "price-capacity-optimized"},
            "OnDemandOptions": {"AllocationStrategy": "lowest-price"},
            "TagSpecifications": ANY,
        },
    )
    template = InstanceTemplate("lt-01", "7", TEMPLATE.instance_types, TEMPLATE.subnets, on_demand_share=0.5)
    # when
    Ec2Fleet(client, "zoo", template).launch(count=4, token="t1")  # noqa: S106
    # then
    (only,) = config.value
    assert only["LaunchTemplateSpecification"] == {"LaunchTemplateId": "lt-01", "Version": "7"}
    assert {(one["InstanceType"], one["SubnetId"]) for one in only["Overrides"]} == {
        ("c7a.large", "subnet-a"),
        ("c7a.large", "subnet-b"),
        ("c6a.large", "subnet-a"),
        ("c6a.large", "subnet-b"),
    }


def test_single_launches_share_on_demand_by_their_tokens(client: Ec2Client, stub: Stubber) -> None:
    """A share of a quarter would round to nothing for ever otherwise."""
    fleet = Ec2Fleet(client, "zoo", InstanceTemplate("workers", on_demand_share=0.25))
    firm = 0
    for number in range(200):
        stub.add_response("describe_instances", {})
        _, capacity = answer_a_fleet(
            stub, {"Instances": [launched("spot", "i-1"), launched("on-demand", "i-2")]}
        )
        fleet.launch(count=1, token=f"t{number}")
        firm += capacity.value["OnDemandTargetCapacity"]
    assert 30 <= firm <= 70


def test_where_an_instance_is_gone_meanwhile_the_others_are_ended_all_the_same(
    client: Ec2Client, stub: Stubber
) -> None:
    """EC2 ends none of a call that names one it does not know."""
    stub.add_response("describe_instances", described("i-1", "i-2"))
    stub.add_client_error("terminate_instances", "InvalidInstanceID.NotFound", "i-2", 400)
    stub.add_response("terminate_instances", {}, {"InstanceIds": ["i-1"]})
    stub.add_client_error("terminate_instances", "InvalidInstanceID.NotFound", "i-2", 400)
    Ec2Fleet(client, "zoo", TEMPLATE).terminate(["i-1", "i-2"])


def test_many_are_ended_in_portions_of_what_a_filter_takes(client: Ec2Client, stub: Stubber) -> None:
    ids = [f"i-{number}" for number in range(201)]
    for start in (0, 200):
        portion = ids[start : start + 200]
        stub.add_response("describe_instances", described(*portion))
        stub.add_response("terminate_instances", {}, {"InstanceIds": portion})
    Ec2Fleet(client, "zoo", TEMPLATE).terminate(ids)


def test_describe_goes_through_all_pages_and_sorts_states(client: Ec2Client, stub: Stubber) -> None:
    # given
    stub.add_response("describe_instances", described("i-1") | {"NextToken": "next"})
    last = described("i-2", State={"Name": "shutting-down"}, InstanceLifecycle="spot") | {"NextToken": ""}
    stub.add_response("describe_instances", last, {"Filters": ANY, "MaxResults": 1000, "NextToken": "next"})
    # when
    first, second = Ec2Fleet(client, "zoo", TEMPLATE).describe()
    # then
    assert (first.id, first.is_ending, first.spot) == ("i-1", False, False)
    assert (second.id, second.is_ending, second.spot) == ("i-2", True, True)
    assert first.launched_at_s == datetime(2026, 11, 22, tzinfo=UTC).timestamp()


def test_a_server_that_cannot_be_reached_is_unavailable(
    client: Ec2Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(**_: object) -> None:
        raise ConnectTimeoutError(endpoint_url="https://ec2")

    monkeypatch.setattr(client.boto, "describe_instances", unreachable)
    with pytest.raises(BackendUnavailable, match="ec2 fleet: describe"):
        Ec2Fleet(client, "zoo", TEMPLATE).describe()
