"""Reads what happened to a deployment's fleet, from the objects of the output bucket and from consoles."""

import json
from collections.abc import Sequence
from dataclasses import replace

from beholder.deploy.account import Account
from beholder.deploy.status.seen import StartFailure, StartupSeen
from beholder.errors import ObjectNotFound, ResourceNotFound
from beholder.fleet.startup import STARTUPS_PREFIX
from beholder.scaling.records.decision_log import read_records
from beholder.scaling.records.explain import line_of
from beholder.scaling.records.record import Record
from beholder.scaling.records.snapshot import FleetSnapshot
from beholder.store.port import ObjectInfo, Store

__all__ = ["controller_problem", "last_decisions", "last_failure", "last_refusal", "last_startups"]

FAILED_STARTS_PREFIX = "fleet/failed-starts/"
_DECISIONS_MAX = 3
_STARTUPS_MAX = 3
_TAIL_LINES_MAX = 15
_HOURS_MAX = 6
_HOUR_S, _DAY_S = 3600.0, 86_400.0


def controller_problem(snapshot: FleetSnapshot | None, now_s: float) -> str:
    """Return why no controller leads; nothing if one does."""
    if snapshot is None:
        return "no controller has written a record yet"
    if snapshot.is_stale(now_s):
        return f"no controller leads: the last record is {snapshot.age_s(now_s):.0f} s old"
    return ""


def last_decisions(store: Store, snapshot: FleetSnapshot | None, now_s: float) -> list[str]:
    """Return the last decisions of some hours that changed something, and the newest one, as lines.

    Raises:
        BackendError: The bucket cannot be read.
    """
    records: list[Record] = []
    # An hour has a dozen objects, each a GET, so that a day would take ten seconds.
    for hours in range(_HOURS_MAX):
        until_s = now_s - hours * _HOUR_S
        records += filter(_changed, read_records(store, until_s - _HOUR_S, until_s))
        if len(records) >= _DECISIONS_MAX:
            break
    unique = sorted({one.at_s: one for one in records}.values(), key=lambda one: one.at_s)
    last = unique[-_DECISIONS_MAX:]
    # The log is written every five minutes, the snapshot at once.
    if snapshot is not None and (not last or snapshot.record.at_s > last[-1].at_s):
        last.append(snapshot.record)
    return [line_of(one) for one in last]


def _changed(record: Record) -> bool:
    return bool(record.launched or record.terminated or record.refused)


def last_refusal(snapshot: FleetSnapshot | None, now_s: float) -> str:
    """Return why the cloud refused a launch within a day; nothing if it did not."""
    if snapshot is None or not snapshot.refusals:
        return ""
    last = snapshot.refusals[0]
    return last.why if now_s - last.at_s < _DAY_S else ""


def last_failure(account: Account, store: Store, snapshot: FleetSnapshot | None) -> StartFailure | None:
    """Return the last start that failed: by what the instance stored, or by its console if it stored nothing.

    Raises:
        BackendError: The bucket cannot be read, or EC2 refuses the console.
    """
    found = [
        StartFailure(_id(one, FAILED_STARTS_PREFIX), one.stored_at_s, "", ())
        for one in _newest(store, FAILED_STARTS_PREFIX, 1)
    ]
    if snapshot and snapshot.failed_startups:
        seen = snapshot.failed_startups[0]
        found.append(StartFailure(seen.startup.id, seen.at_s, seen.startup.why, ()))
    if not found:
        return None
    last = max(found, key=lambda one: one.at_s)
    try:
        reason, *lines = store.get(FAILED_STARTS_PREFIX + last.id).decode(errors="replace").splitlines()
    except ObjectNotFound:
        return replace(last, tail=_tail(_console(account, last.id).splitlines()))
    except ValueError:  # it is empty
        return last
    return replace(last, reason=reason, tail=_tail(lines))


def _console(account: Account, instance: str) -> str:
    """Return the end of an instance's console, which EC2 keeps for about an hour after its end."""
    try:
        return str(account.call("ec2", "get_console_output", InstanceId=instance).get("Output", ""))
    except ResourceNotFound:
        return ""


def last_startups(store: Store) -> list[StartupSeen]:
    """Return the last starts that worked, the newest first.

    Raises:
        BackendError: The bucket cannot be read.
    """
    found = []
    for one in _newest(store, STARTUPS_PREFIX, _STARTUPS_MAX):
        try:
            steps = json.loads(store.get(one.key))
        except (ObjectNotFound, ValueError):
            continue
        found.append(StartupSeen(_id(one, STARTUPS_PREFIX).removesuffix(".json"), one.stored_at_s, steps))
    return found


def _newest(store: Store, prefix: str, count: int) -> list[ObjectInfo]:
    return sorted(store.list(prefix), key=lambda one: one.stored_at_s, reverse=True)[:count]


def _id(one: ObjectInfo, prefix: str) -> str:
    return one.key.removeprefix(prefix)


def _tail(lines: Sequence[str]) -> list[str]:
    return [one.rstrip() for one in lines if one.strip()][-_TAIL_LINES_MAX:]
