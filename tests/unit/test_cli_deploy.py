"""`beholder deploy` and `beholder upgrade` refuse what cannot be: a sentence and an exit status, at once."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from beholder.cli import main
from beholder.cli.deploy import _model_folder
from beholder.cli.deploying import Deploying
from beholder.deploy.account import Account
from beholder.deploy.costs import Costs
from beholder.deploy.deploy import Deploy
from beholder.deploy.plan import Plan
from beholder.errors import BackendDenied, DeployError
from beholder.model.registry import ModelEntry, ModelRegistry

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs a command and returns its exit status and what it says."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["beholder", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


@pytest.mark.parametrize("command", ["deploy", "upgrade"])
@pytest.mark.parametrize("name", ["a" * 28, "Zoo", "2zoo", "zoo_2", "zoo."])
def test_a_name_that_buckets_could_not_have_is_refused(run: Run, command: str, name: str) -> None:
    status, said = run(command, name, "--region", "eu-west-1")
    assert (status, "up to 27 lower-case letters" in said) == (2, True), said


def test_a_name_of_27_characters_is_none_of_these(run: Run) -> None:
    _, said = run("deploy", "a" * 27, "--region", "eu-west-9")
    assert "27 lower-case letters" not in said


@pytest.mark.parametrize("command", ["deploy", "upgrade"])
def test_an_unknown_region_is_told_with_the_one_that_is_meant(run: Run, command: str) -> None:
    status, said = run(command, "zoo", "--region", "eu-west-9")
    assert status == 1
    assert "botocore knows no region eu-west-9; is eu-west-" in said
    assert "nothing was changed" in said


@pytest.mark.parametrize("arguments", [("deploy", "zoo"), ("deploy", "zoo", "--plan"), ("upgrade", "zoo")])
def test_without_credentials_nothing_is_begun(run: Run, arguments: tuple[str, ...]) -> None:
    status, said = run(*arguments, "--region", "eu-west-1")
    assert status == 1
    assert "no credentials were found" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--instance-types", " , ,", "give types such as c7a.large,c7i.large"),
        ("--budget-per-hour", "0", "give dollars such as 2.50, or none"),
        ("--budget-per-hour", "two", "give dollars such as 2.50, or none"),
        ("--max", "-1", "not in the range"),
        ("--front", "door", "not one of"),
        ("--alarm-email", "ops", "give an address such as ops@example.com, or none"),
        ("--aim", "high", "not one of"),
    ],
)
def test_an_option_that_cannot_be_is_refused(run: Run, option: str, value: str, sentence: str) -> None:
    status, said = run("deploy", "zoo", "--region", "eu-west-1", option, value)
    assert (status, sentence in said) == (2, True), said


def answering(monkeypatch: pytest.MonkeyPatch, regions: dict[str, str]) -> list[str]:
    """Let accounts answer: each region with the status of its stack. Return all other calls."""
    changed: list[str] = []

    def call(self: Account, service: str, action: str, **_: Any) -> Any:
        if action == "get_caller_identity":
            return {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/deployer"}
        if action == "describe_regions":
            return {"Regions": [{"RegionName": one} for one in regions]}
        if action == "describe_stacks":
            tags = [{"Key": "beholder:deployment", "Value": "zoo"}]
            status = regions[self.region]
            return {"Stacks": [{"StackStatus": status, "Tags": tags}]} if status else {"Errors": [{}]}
        changed.append(action)
        raise BackendDenied(service, action)

    monkeypatch.setattr(Account, "call", call)
    return changed


def test_ctrl_c_says_in_what_state_things_are_and_that_the_command_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = dict.fromkeys(("Models", "ImageId", "VpcId", "ExposeCidr", "RouteTables", "Prices"), "")
    given |= {"Front": "instance", "Reach": "vpc", "WebInstanceType": "t3.small", "BudgetPerHour": "none"}
    given |= {"FleetMax": "1", "InstanceTypes": "c6a.large", "OnDemandShare": "1"}
    plan = Plan("zoo", "eu-west-1", "1", "", {}, given, "", Costs(None, None))

    def interrupted(_self: Deploying, work: Deploy, *_: Any, **__: Any) -> str:
        work.step = "CloudFormation changes the stack, and goes on without this command"
        raise KeyboardInterrupt

    monkeypatch.setattr("beholder.cli.deploying.check_access", lambda *_: [])
    monkeypatch.setattr(Deploying, "_check", lambda *_: None)
    monkeypatch.setattr(Deploying, "_check_models", lambda *_: None)
    monkeypatch.setattr(Deploy, "settle", lambda _: None)
    monkeypatch.setattr(Deploying, "_carry_out", interrupted)
    with pytest.raises(DeployError) as said:
        Deploying(account=Account("eu-west-1"), name="zoo", python="3.12").run(lambda: plan, yes=True)
    assert said.value.message == (
        "interrupted: CloudFormation changes the stack, and goes on without this command; the same command "
        "goes on from there, and beholder status zoo --region eu-west-1 shows what is there"
    )


@pytest.mark.parametrize("where", ["settle", "plan", "question"])
def test_ctrl_c_before_the_change_says_that_nothing_was_changed(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise click.Abort if where == "question" else KeyboardInterrupt

    monkeypatch.setattr("beholder.cli.deploying.check_access", lambda *_: [])
    monkeypatch.setattr(Deploy, "settle", interrupt if where == "settle" else lambda _: None)
    monkeypatch.setattr(Deploying, "_show", lambda *_, **__: None)
    if where == "plan":
        monkeypatch.setattr(Deploying, "_show", interrupt)
    monkeypatch.setattr("click.confirm", interrupt)
    with pytest.raises(DeployError) as said:
        Deploying(account=Account("eu-west-1"), name="zoo", python="3.12").run(interrupt)
    assert said.value.message == (
        "interrupted: nothing was changed yet; the same command goes on from there, and "
        "beholder status zoo --region eu-west-1 shows what is there"
    )


def test_an_imported_model_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models" / "mushrooms"
    entry = ModelEntry("mushrooms", folder, is_builtin=False, spec=None)
    monkeypatch.setattr(ModelRegistry, "list_models", lambda _: [entry])
    assert _model_folder("mushrooms", "us-east-1") == folder
    assert _model_folder("efficientnet-lite0", "us-east-1") is None
    assert _model_folder("toadstools", "us-east-1") is None
    assert _model_folder(str(tmp_path), "us-east-1") == tmp_path


@pytest.mark.parametrize(
    ("arguments", "command"), [(["upgrade", "zoo"], "upgrade"), (["deploy", "zoo", "--rollback"], "deploy")]
)
def test_a_deployment_that_is_elsewhere_is_found(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], command: str
) -> None:
    changed = answering(monkeypatch, {"eu-west-1": "", "us-east-2": "UPDATE_COMPLETE"})
    status, said = run(*arguments, "--region", "eu-west-1")
    assert (status, changed) == (1, [])
    assert "there is no deployment zoo in eu-west-1; it is in us-east-2" in said
    assert f"beholder {command} zoo --region us-east-2" in said
