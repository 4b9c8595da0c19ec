"""`beholder prune`: delete old finished jobs, or the oldest beyond a size, all at once."""

import json
from collections.abc import Sequence
from typing import Any

import click

from beholder.cli.options import read_settings, setting_options
from beholder.errors import BackendError, ConfigError
from beholder.words import counted

__all__ = ["prune"]

# An unfinished file of this age belongs to a process that is gone.
_TIDY_AGE_S = 3600.0


@click.command()
@click.option("--dry-run", is_flag=True, help="Print what would be deleted, and delete nothing.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object.")
@setting_options("retention", "retention_bytes_max", "prefix", "data_dir")
def prune(*, dry_run: bool, as_json: bool, **flags: Any) -> None:
    """Delete images and outcomes of finished jobs that are old, oldest first.

    `beholder up` does so by itself, a few jobs a second; this command may run beside it. A job without an
    outcome is never deleted. On AWS the buckets' lifecycle rules delete objects.
    """
    settings = read_settings(flags).settings
    from beholder.clock import SystemClock  # noqa: PLC0415
    from beholder.store.retention import expired  # noqa: PLC0415
    from beholder.wiring import profile_of  # noqa: PLC0415
    from beholder.wiring.buckets import open_buckets  # noqa: PLC0415
    from beholder.wiring.retention import bounds_of  # noqa: PLC0415

    if not profile_of(settings).is_one_machine:
        raise ConfigError("beholder prune works on one machine; on AWS the buckets' lifecycle rules delete")
    if not (settings.deployment.data_dir / "buckets").is_dir():
        raise ConfigError(
            f"data_dir {settings.deployment.data_dir} holds no buckets; give another with --data-dir"
        )
    images, results = open_buckets(settings, must_exist=True)
    now_s = SystemClock().now_s()
    found = expired(images, results, bounds_of(settings), now_s)
    if dry_run:
        _print([one.size_bytes for one in found], is_deleted=False, as_json=as_json)
        return
    deleted: list[int] = []
    refused: list[BackendError] = []
    for one in found:
        try:
            one.delete(images, results)
            deleted.append(one.size_bytes)
        except BackendError as exc:  # the others are deleted all the same
            refused.append(exc)
    for bucket in (images, results):
        bucket.tidy(now_s - _TIDY_AGE_S)
    _print(deleted, is_deleted=True, as_json=as_json)
    if refused:
        raise refused[0]


def _print(sizes_bytes: Sequence[int], *, is_deleted: bool, as_json: bool) -> None:
    jobs, size_bytes = len(sizes_bytes), sum(sizes_bytes)
    if as_json:
        click.echo(json.dumps({"is_deleted": is_deleted, "jobs": jobs, "size_bytes": size_bytes}))
    else:
        click.echo(
            f"{'deleted' if is_deleted else 'would delete'} {counted(jobs, 'job')}, {size_bytes / 1e6:.1f} MB"
        )
