"""Which certificates a balancer can have, and for which host names; refused before anything is made."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from beholder.deploy.account import Account
from beholder.deploy.certificate import host_name_of
from beholder.errors import ConfigError, DeployError, ResourceNotFound

ARN = "arn:aws:acm:eu-west-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"


class Acm:
    """An account with one certificate."""

    region = "eu-west-1"

    def __init__(self, names: Sequence[str], status: str = "ISSUED") -> None:
        self._told = {"DomainName": names[0], "SubjectAlternativeNames": list(names), "Status": status}

    def call(self, service: str, action: str, CertificateArn: str) -> Mapping[str, Any]:  # noqa: N803 -- AWS's name
        assert (service, action) == ("acm", "describe_certificate")
        if CertificateArn != ARN:
            raise ResourceNotFound(service, action)
        return {"Certificate": self._told}


def host_name(asked: str = "", *names: str, status: str = "ISSUED", arn: str = ARN) -> str:
    return host_name_of(cast("Account", Acm(names or ["photos.example.com"], status)), arn, asked)


def test_without_a_name_it_is_the_certificate_s_first_that_is_one() -> None:
    assert host_name() == "photos.example.com"
    assert host_name("", "*.example.com", "www.example.org") == "www.example.org"


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("photos.example.com", "photos.example.com"),
        ("Photos.Example.com", "photos.example.com"),
        ("photos.example.com", "*.example.com"),
        ("a.b.example.com", "*.b.EXAMPLE.com"),
    ],
)
def test_a_name_that_the_certificate_covers_is_taken_in_lower_case(asked: str, name: str) -> None:
    assert host_name(asked, "other.example.org", name) == asked.lower()


@pytest.mark.parametrize("asked", ["example.com", "a.b.example.com", "photos.example.org", "xexample.com"])
def test_a_name_that_it_does_not_cover_is_refused_with_those_that_it_does(asked: str) -> None:
    with pytest.raises(DeployError, match=rf"is for \*\.example\.com, www\.example\.net, not for {asked}"):
        host_name(asked, "*.example.com", "www.example.net")


def test_a_certificate_for_a_whole_domain_asks_for_a_name() -> None:
    with pytest.raises(DeployError, match=r"is for \*\.example\.com; say by --host-name"):
        host_name("", "*.example.com")


@pytest.mark.parametrize(
    "asked", ["https://photos.example.com", "photos", "a b.example.com", "photos.example.com:443"]
)
def test_what_is_no_host_name_is_refused(asked: str) -> None:
    with pytest.raises(ConfigError, match=r"such as photos\.example\.com"):
        host_name(asked, "*.example.com")


@pytest.mark.parametrize("status", ["PENDING_VALIDATION", "EXPIRED", "REVOKED"])
def test_a_certificate_that_acm_does_not_stand_for_is_refused(status: str) -> None:
    with pytest.raises(DeployError, match=f"is {status}; a balancer takes an issued one"):
        host_name(status=status)


@pytest.mark.parametrize(
    ("arn", "sentence"),
    [
        ("photos.example.com", "give the ARN of a certificate of AWS Certificate Manager"),
        ("arn:aws:iam::123456789012:server-certificate/photos", "give the ARN"),
        (ARN.replace("eu-west-1", "us-east-1"), "is in us-east-1; a balancer in eu-west-1 takes those of"),
    ],
    ids=["no_arn", "certificate_of_iam", "other_region"],
)
def test_an_arn_that_no_balancer_here_takes_is_refused(arn: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        host_name(arn=arn)


def test_a_certificate_that_is_not_there_is_told() -> None:
    with pytest.raises(DeployError, match="eu-west-1 has no certificate"):
        host_name(arn=ARN.replace("certificate/1", "certificate/2"))
