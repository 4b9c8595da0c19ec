"""`beholder deploy` and `beholder upgrade` refuse what cannot be: a sentence and an exit status, at once."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from beholder.cli import main
from beholder.deploy.account import Account
from beholder.errors import BackendDenied

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
