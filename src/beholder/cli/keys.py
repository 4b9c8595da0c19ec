"""`beholder keys`: make, list and revoke API keys."""

import json
from typing import Any

import click

from beholder.cli.options import open_backends, setting_options
from beholder.clock import utc_text
from beholder.config.texts import age_of
from beholder.errors import ConfigError

__all__ = ["keys"]

_SCOPES = ("read", "write", "admin", "aws")
_AWS_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_deployment = setting_options("stack", "backend", "region", "prefix", "data_dir")


@click.group()
def keys() -> None:
    """Make, list and revoke API keys, which requests need where the setting keys is on.

    Scopes: write sends images, read fetches jobs, models and limits, admin reads /metrics and /v1/fleet, aws
    sends images by an AWS SDK. None includes another.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(_SCOPES),
    multiple=True,
    default=("read", "write"),
    show_default=True,
    help="What the key allows; may be given several times.",
)
@click.option("--expires", metavar="AGE", help="After which the key is refused, such as 30d or 12h.")
@click.option(
    "--per-minute",
    metavar="N",
    type=click.IntRange(1, 1_000_000),
    help="Images, and other requests that write, that the key may send in a minute, in place of the "
    "setting requests_per_minute_max.",
)
@_deployment
def create(
    name: str, scopes: tuple[str, ...], expires: str | None, per_minute: int | None, **flags: Any
) -> None:
    """Make an API key called NAME, and print it; it is shown this once, because only its digest is kept.

    \b
    export BEHOLDER_API_KEY=$(beholder keys create phone)
    """  # noqa: D301 -- click needs the character \b itself, not its escape
    from beholder.api_keys import KeyScope, create_key  # noqa: PLC0415 -- `beholder --help` needs none of it

    try:
        lifetime_s = None if expires is None else age_of(expires)
    except ValueError as exc:
        raise ConfigError(f"--expires {exc}") from exc
    with open_backends(flags) as backends:
        now_s = backends.clock.now_s()
        expires_at_s = None if lifetime_s is None else now_s + lifetime_s
        made = create_key(
            backends.results,
            name=name,
            scopes=[KeyScope(scope) for scope in scopes],
            now_s=now_s,
            expires_at_s=expires_at_s,
            per_minute=per_minute,
        )
    click.echo(f"key {made.record.id}, {', '.join(made.record.scopes)}; it is not shown again", err=True)
    click.echo(made.text)
    if KeyScope.AWS in made.record.scopes:
        for variable, value in zip(_AWS_VARIABLES, made.aws_credentials, strict=True):
            click.echo(f"{variable}={value}")


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, one a key.")
@_deployment
def list_all(*, as_json: bool, **flags: Any) -> None:
    """List the API keys, oldest first, without their secrets."""
    from beholder.api_keys import list_keys  # noqa: PLC0415
    from beholder.documents import to_document  # noqa: PLC0415

    with open_backends(flags) as backends:
        now_s = backends.clock.now_s()
        found = sorted(list_keys(backends.results), key=lambda one: one.created_at_s)
    if as_json:
        for one in found:
            document = to_document(one)
            del document["sha256"]
            click.echo(json.dumps(document))
        return
    for one in found:
        end = "never" if one.expires_at_s is None else utc_text(one.expires_at_s)
        end = f"{end} (expired)" if one.is_expired(now_s) else end
        scopes = ",".join(one.scopes)
        rate = f"{one.per_minute}/min" if one.per_minute else ""
        times = f"made {utc_text(one.created_at_s)}  expires {end:<20}"
        click.echo(f"{one.id}  {scopes:<16}  {times}  {rate:<11}  {one.name}")
    if not found:
        click.echo("no API keys; `beholder keys create NAME` makes one")


@keys.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@_deployment
def revoke(ids: tuple[str, ...], **flags: Any) -> None:
    """Revoke the API keys of the given IDs; web processes refuse them within 5 seconds.

    The exit status is 2 if an ID names no key; the others are revoked.
    """
    from beholder.api_keys import revoke_key  # noqa: PLC0415

    unknown = []
    with open_backends(flags) as backends:
        for key_id in ids:
            if revoke_key(backends.results, key_id):
                click.echo(f"{key_id} revoked")
            else:
                unknown.append(key_id)
    if unknown:
        raise ConfigError(
            [f"no API key has the id {one!r}; `beholder keys list` shows them" for one in unknown]
        )
