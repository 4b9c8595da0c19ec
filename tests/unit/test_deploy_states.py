"""`beholder deploy` and `beholder destroy` meet every state in which a stack can be; a script plays them."""

from pathlib import Path
from typing import Any, cast

import pytest

from beholder.deploy.account import Account
from beholder.deploy.bundle import Bundle
from beholder.deploy.costs import Costs
from beholder.deploy.deploy import Deploy
from beholder.deploy.destroy import Destroy
from beholder.deploy.plan import Plan, template_text
from beholder.deploy.web_tier import WebTier
from beholder.errors import ConfigError, DeployError
from helpers.scripted_stack import OWNER, Moment, ScriptedStack

BUNDLE = Bundle(Path("a" * 64 + ".tar.gz"), "a" * 64)
PARAMETERS = {"Models": "m", "OnDemandShare": "1", "WebInstances": "1", "HostName": ""}
BUCKETS = [f"zoo-{OWNER}-eu-west-1-{purpose}" for purpose in ("input", "output", "bundles")]

NOTHING: Moment = ("", [])
DELETION: list[Moment] = [
    ("DELETE_IN_PROGRESS", [("zoo", "DELETE_IN_PROGRESS", "User Initiated")]),
    ("DELETE_IN_PROGRESS", [("InputQueue", "DELETE_COMPLETE", "")]),
    NOTHING,
]
STILLBORN = [
    ("zoo", "CREATE_IN_PROGRESS", "User Initiated"),
    ("InputQueue", "CREATE_FAILED", "zoo-input-queue already exists"),
    ("WebRole", "CREATE_FAILED", "Resource creation cancelled"),
    ("zoo", "ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create"),
]
UPDATED: list[Moment] = [
    ("UPDATE_IN_PROGRESS", [("zoo", "UPDATE_IN_PROGRESS", "")]),
    (
        "UPDATE_IN_PROGRESS",
        [("WebTemplate", "UPDATE_IN_PROGRESS", ""), ("WebTemplate", "UPDATE_COMPLETE", "")],
    ),
    ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", [("zoo", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "")]),
    ("UPDATE_COMPLETE", [("zoo", "UPDATE_COMPLETE", "")]),
]
MADE = [
    ("zoo", "CREATE_IN_PROGRESS", ""),
    ("InputQueue", "CREATE_COMPLETE", ""),
    ("zoo", "CREATE_COMPLETE", ""),
]


def deploying(stack: ScriptedStack) -> Deploy:
    return Deploy(cast("Account", stack), "zoo", stack.waiting)


def deploy(stack: ScriptedStack) -> str:
    """Carry out a plan that was made for a deployment as it is."""
    costs = Costs(None, None)
    plan = Plan(
        "zoo", "eu-west-1", OWNER, "", stack.parameters, PARAMETERS, "", costs, template=template_text()
    )
    return deploying(stack).run(plan, BUNDLE, canary=lambda _url, _host_name: None)


def there(**scripts: Any) -> ScriptedStack:
    """Return a deployment that works, of the bundle before."""
    stack = ScriptedStack(("CREATE_COMPLETE", MADE), **scripts)
    stack.parameters = {**PARAMETERS, "BundleKey": "b.tar.gz", "Prices": "none"}
    return stack


def changes(*ids: str) -> list[Any]:
    return [
        {
            "ResourceChange": {
                "Action": "Modify",
                "LogicalResourceId": one,
                "ResourceType": "AWS::EC2::LaunchTemplate",
                "Replacement": "True" if one == "Replaced" else "False",
            }
        }
        for one in ids
    ]


# --- what an earlier run, or another one, left --------------------------------------------------------------


@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"])
def test_a_creation_that_failed_is_told_by_its_first_cause_and_deleted(status: str) -> None:
    stack = ScriptedStack((status, [*STILLBORN, ("zoo", status, "")]), delete_stack=DELETION)

    deploying(stack).settle()

    assert stack.actions == ["delete_stack"]
    assert stack.lines == [
        "an earlier creation failed: InputQueue: zoo-input-queue already exists",
        "removing what is left of it",
        "waiting until CloudFormation is done",
        "  removed InputQueue",
    ]


def test_a_status_that_is_the_old_one_for_a_moment_after_the_deletion_began_ends_no_wait() -> None:
    failed: Moment = ("ROLLBACK_COMPLETE", [])
    stack = ScriptedStack(("ROLLBACK_COMPLETE", STILLBORN), delete_stack=[failed, failed, *DELETION])

    deploying(stack).settle()

    assert stack.actions == ["delete_stack"]
    assert stack.call("cloudformation", "describe_stacks").get("Errors")


@pytest.mark.parametrize("end", ["UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED"])
def test_a_rollback_that_failed_is_continued(end: str) -> None:
    failed = [("zoo", "UPDATE_IN_PROGRESS", ""), ("WebGroup", "UPDATE_FAILED", "no such subnet")]
    stack = ScriptedStack(
        ("UPDATE_ROLLBACK_FAILED", failed),
        continue_update_rollback=[
            ("UPDATE_ROLLBACK_FAILED", []),  # the old status, for a moment
            ("UPDATE_ROLLBACK_IN_PROGRESS", [("zoo", "UPDATE_ROLLBACK_IN_PROGRESS", "")]),
            (end, [("zoo", end, "")]),
        ],
    )

    if end == "UPDATE_ROLLBACK_FAILED":
        with pytest.raises(
            DeployError, match=r"is UPDATE_ROLLBACK_FAILED: WebGroup: no such subnet.*destroy zoo"
        ):
            deploying(stack).settle()
    else:
        deploying(stack).settle()

    assert stack.actions == ["continue_update_rollback"]


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", ""])
def test_a_stack_at_rest_is_left_alone_and_its_old_events_are_not_told(status: str) -> None:
    stack = ScriptedStack((status, MADE))
    deploying(stack).settle()
    assert (stack.actions, stack.lines) == ([], [])


def test_a_change_of_another_run_is_waited_for_and_told_once_in_order() -> None:
    stack = ScriptedStack(
        ("CREATE_IN_PROGRESS", [("zoo", "CREATE_IN_PROGRESS", ""), ("InputQueue", "CREATE_IN_PROGRESS", "")]),
        ("CREATE_IN_PROGRESS", [("InputQueue", "CREATE_COMPLETE", ""), ("WebRole", "CREATE_COMPLETE", "")]),
        ("CREATE_IN_PROGRESS", []),
        ("CREATE_COMPLETE", [("WebGroup", "CREATE_COMPLETE", ""), ("zoo", "CREATE_COMPLETE", "")]),
    )

    deploying(stack).settle()

    assert stack.actions == []
    assert stack.lines == [
        "waiting until CloudFormation is done",
        "  made InputQueue",
        "  made WebRole",
        "  made WebGroup",
    ]


def test_a_deletion_of_another_run_is_waited_for() -> None:
    stack = ScriptedStack(*DELETION)
    deploying(stack).settle()
    assert stack.actions == []
    assert stack.lines[-1] == "  removed InputQueue"


def test_a_deletion_that_failed_is_told_with_its_cause_and_the_command() -> None:
    events = [
        ("zoo", "DELETE_IN_PROGRESS", ""),
        ("WebSecurityGroup", "DELETE_FAILED", "has a dependent object"),
    ]
    stack = ScriptedStack(("DELETE_FAILED", events))
    with pytest.raises(DeployError) as refused:
        deploying(stack).settle()
    assert refused.value.message == (
        "the stack is DELETE_FAILED: WebSecurityGroup: has a dependent object; "
        "run beholder destroy zoo, then deploy"
    )


def test_a_stack_that_was_never_executed_is_no_deployment_and_becomes_one() -> None:
    """It has neither tags nor resources, and the change set of the run that was killed."""
    created: Moment = ("CREATE_COMPLETE", MADE)
    stack = ScriptedStack(
        ("REVIEW_IN_PROGRESS", [("zoo", "REVIEW_IN_PROGRESS", "")]), execute_change_set=[created]
    )
    stack.tags, stack.change_sets = [], ["beholder"]
    work = deploying(stack)

    work.settle()
    assert (stack.actions, stack.lines) == ([], [])
    stack.tags = ScriptedStack(NOTHING).tags
    deploy(stack)

    assert "delete_change_set" in stack.actions
    kinds = [given["ChangeSetType"] for action, given in stack.changed if action == "create_change_set"]
    assert kinds == ["CREATE", "UPDATE"]


def test_a_stack_of_the_name_with_a_change_set_of_someone_else_is_refused() -> None:
    stack = ScriptedStack(("REVIEW_IN_PROGRESS", [("zoo", "REVIEW_IN_PROGRESS", "")]))
    stack.tags, stack.change_sets = [], ["theirs"]
    with pytest.raises(ConfigError, match="choose another name"):
        deploying(stack).settle()


# --- change sets --------------------------------------------------------------------------------------------


def test_a_change_set_without_changes_is_not_executed() -> None:
    stack = there()
    stack.prepared = [
        {"Status": "FAILED", "StatusReason": "The submitted information didn't contain changes."}
    ]
    assert deploy(stack) == "http://192.0.2.1:8080"
    assert "execute_change_set" not in stack.actions
    assert stack.change_sets == []


def test_a_change_set_that_cannot_be_made_is_refused_in_the_words_of_cloudformation() -> None:
    stack = there()
    stack.prepared = [
        {"Status": "CREATE_PENDING"},
        {"Status": "FAILED", "StatusReason": "Parameter X is wrong"},
    ]
    with pytest.raises(DeployError, match="CloudFormation refuses the change: Parameter X is wrong"):
        deploy(stack)
    assert "execute_change_set" not in stack.actions


def test_a_change_set_with_pages_is_read_to_its_end() -> None:
    stack = there(execute_change_set=UPDATED)
    stack.prepared = [{"Status": "CREATE_COMPLETE", "Changes": changes("A", "B", "C", "D", "Replaced")}]
    deploy(stack)
    assert "5 resources change, Replaced by new ones" in stack.lines


def test_the_events_of_a_change_are_told_once_though_its_status_is_the_old_one_for_a_moment() -> None:
    old: Moment = ("CREATE_COMPLETE", [])
    stack = there(execute_change_set=[old, old, *UPDATED])
    deploy(stack)
    assert [line for line in stack.lines if line.startswith("  ")] == ["  changed WebTemplate"]


def test_a_change_that_fails_is_told_by_its_first_cause() -> None:
    stack = there(
        execute_change_set=[
            ("UPDATE_IN_PROGRESS", [("zoo", "UPDATE_IN_PROGRESS", "")]),
            ("UPDATE_ROLLBACK_IN_PROGRESS", [("WebGroup", "UPDATE_FAILED", "no such subnet")]),
            ("UPDATE_ROLLBACK_COMPLETE", [("WebGroup", "UPDATE_COMPLETE", "")]),
        ]
    )
    with pytest.raises(DeployError, match="the stack is UPDATE_ROLLBACK_COMPLETE: WebGroup: no such subnet"):
        deploy(stack)
    assert "  could not change WebGroup: no such subnet" in stack.lines


@pytest.mark.parametrize("busy", [2, 1_000])
def test_a_change_set_that_is_still_worked_out_is_waited_for(busy: int) -> None:
    stack = there(execute_change_set=UPDATED)
    stack.change_sets, stack.busy = ["beholder"], busy
    if busy == 2:
        deploy(stack)
    else:
        with pytest.raises(DeployError, match="busy with an earlier change; run the command again"):
            deploy(stack)
    assert "waiting until an earlier change set is gone" in stack.lines
    assert ("execute_change_set" in stack.actions) is (busy == 2)


@pytest.mark.parametrize("kept", [[], BUCKETS[:2]])
def test_buckets_that_were_kept_become_the_new_stack_s(kept: list[str]) -> None:
    """CloudFormation imports what has a literal name in the template."""
    stack = ScriptedStack(NOTHING, execute_change_set=[("CREATE_COMPLETE", MADE)])
    stack.buckets = kept
    deploy(stack)
    (_, asked), *_ = [one for one in stack.changed if one[0] == "create_change_set"]
    names = [
        line.partition("BucketName: ")[2]
        for line in asked["TemplateBody"].splitlines()
        if "BucketName: " in line
    ]
    assert asked.get("ImportExistingResources", False) is bool(kept)
    assert [name for name in names if "AWS::AccountId" not in name] == (
        [f'"{one}"' for one in BUCKETS] if kept else []
    )


# --- destroy ------------------------------------------------------------------------------------------------


def test_a_stack_that_cannot_delete_a_resource_is_deleted_without_it() -> None:
    failing: list[Moment] = [
        ("CREATE_COMPLETE", []),  # the old status, for a moment
        ("DELETE_IN_PROGRESS", [("zoo", "DELETE_IN_PROGRESS", "")]),
        ("DELETE_FAILED", [("OutputBucket", "DELETE_FAILED", "The bucket you tried to delete is not empty")]),
    ]
    stack = ScriptedStack(("CREATE_COMPLETE", MADE), delete_stack=failing)

    left = Destroy(cast("Account", stack), "zoo", stack.waiting).run(delete_data=True)

    assert [one.get("RetainResources") for _, one in stack.changed] == [None, ["OutputBucket"]]
    assert (
        "the stack could not delete OutputBucket: The bucket you tried to delete is not empty" in stack.lines
    )
    assert [one.reason for one in left] == [
        "is DELETE_FAILED: The bucket you tried to delete is not empty",
    ]


def test_a_change_that_does_not_end_is_told_and_nothing_is_deleted() -> None:
    stack = ScriptedStack(("UPDATE_ROLLBACK_IN_PROGRESS", [("zoo", "UPDATE_IN_PROGRESS", "")]))
    with pytest.raises(DeployError, match="still UPDATE_ROLLBACK_IN_PROGRESS; run the command again"):
        Destroy(cast("Account", stack), "zoo", stack.waiting).run(delete_data=True)
    assert stack.actions == []


@pytest.mark.parametrize(
    ("is_ready", "came_through", "sizes"),
    [(False, False, ["1", "0"]), (True, False, ["1", "1"]), (False, True, ["1", "1"])],
    ids=["first-deploy-killed", "late-instance", "being-healed"],
)
def test_only_a_web_tier_that_never_worked_is_ended_where_a_version_fails(
    monkeypatch: pytest.MonkeyPatch, *, is_ready: bool, came_through: bool, sizes: list[str]
) -> None:
    """The group would launch instances that fail for ever; one that worked heals itself."""

    def fail(*_: Any) -> None:
        raise DeployError("the web instance i-1 did not start: no space")

    stack = there(execute_change_set=UPDATED)
    stack.changes = changes("WebGroup")
    monkeypatch.setattr(WebTier, "_is_ready", lambda *_: True)
    if came_through:
        deploy(stack)
    monkeypatch.setattr(WebTier, "_is_ready", lambda *_: is_ready)
    monkeypatch.setattr(WebTier, "replace", fail)
    monkeypatch.setattr(WebTier, "end_new", lambda _: None)
    stack.changed.clear()

    with pytest.raises(DeployError, match="no space"):
        deploy(stack)

    made = [given["Parameters"] for action, given in stack.changed if action == "create_change_set"]
    given = [{one["ParameterKey"]: one.get("ParameterValue") for one in parameters} for parameters in made]
    assert [one["WebInstances"] for one in given] == sizes
