"""The certificate with which a balancer speaks TLS: whether it will do, and for which host name."""

import re

from beholder.deploy.account import Account
from beholder.errors import ConfigError, DeployError, ResourceNotFound

__all__ = ["host_name_of"]

_ARN = re.compile(r"arn:[\w-]+:acm:([\w-]+):\d{12}:certificate/[\w-]+")
_HOST_NAME = re.compile(r"([a-z0-9-]{1,63}\.)+[a-z0-9-]{2,63}", re.IGNORECASE)


def host_name_of(account: Account, certificate: str, asked: str) -> str:
    """Return the host name by which clients reach the balancer.

    A balancer takes certificates of its own region alone. Source:
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/https-listener-certificates.html
    (2026-11)

    Args:
        account: The account and region of the balancer.
        certificate: The ARN of its certificate.
        asked: The host name that is asked for; empty for the certificate's own.

    Raises:
        ConfigError: The ARN is no certificate's of the region, or the host name is none.
        DeployError: ACM has no such certificate, has not issued it, or it is for other names.
        BackendError: ACM refuses, or does not answer.
    """
    arn = _ARN.fullmatch(certificate)
    if arn is None:
        raise ConfigError(
            f"--certificate is {certificate!r}; give the ARN of a certificate of AWS Certificate Manager, "
            f"such as arn:aws:acm:{account.region}:123456789012:certificate/…"
        )
    if arn[1] != account.region:
        raise ConfigError(
            f"the certificate {certificate} is in {arn[1]}; a balancer in {account.region} takes those of "
            "its own region alone"
        )
    if asked and not _HOST_NAME.fullmatch(asked):
        raise ConfigError(f"--host-name is {asked!r}; give a name such as photos.example.com")
    try:
        told = account.call("acm", "describe_certificate", CertificateArn=certificate)["Certificate"]
    except ResourceNotFound as exc:
        raise DeployError(f"{account.region} has no certificate {certificate}") from exc
    if told["Status"] != "ISSUED":
        raise DeployError(
            f"the certificate {certificate} is {told['Status']}; a balancer takes an issued one"
        )
    names = list(dict.fromkeys([told["DomainName"], *told.get("SubjectAlternativeNames", [])]))
    host_name = asked or next((one for one in names if not one.startswith("*.")), "")
    if not host_name:
        raise DeployError(
            f"the certificate {certificate} is for {', '.join(names)}; say by --host-name which of these "
            "names clients use"
        )
    if not any(_covers(one, host_name.lower()) for one in names):
        raise DeployError(f"the certificate {certificate} is for {', '.join(names)}, not for {host_name}")
    return host_name.lower()


def _covers(name: str, host_name: str) -> bool:
    """Say whether a certificate's name is a host's; an asterisk stands for one label, the first."""
    name = name.lower()
    return name == host_name or (name.startswith("*.") and name[2:] == host_name.partition(".")[2])
