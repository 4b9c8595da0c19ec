"""Answers 'why was the fleet so at that moment?' in words, from the records."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from beholder.scaling.records.record import Record

__all__ = ["explain", "line_of"]

_STALE_S = 900.0


def explain(records: Sequence[Record], at_s: float, zone: tzinfo = UTC) -> str:
    """Return the decision at a moment, its reason, and what came before and after.

    Args:
        records: Around the moment, in any order; ticks that changed nothing may be missing.
        at_s: The moment, seconds since the Unix epoch.
        zone: The time zone of the times in the text.
    """
    ordered = sorted(records, key=lambda one: one.at_s)
    before = [one for one in ordered if one.at_s <= at_s]
    after = [one for one in ordered if one.at_s > at_s]
    if not before:
        return f"Nothing is recorded before {_time(at_s, zone)}: no controller led, or its records are gone."
    now = before[-1]
    lines = []
    if at_s - now.at_s > _STALE_S:
        minutes = (at_s - now.at_s) / 60
        lines.append(
            f"The last record is {minutes:.0f} minutes older: no controller led, or nothing is kept."
        )
    lines += [f"{_time(now.at_s, zone)} ({now.leader})", *_facts(now)]
    changes = [one for one in before[:-1] if _has_change(one)][-3:]
    if changes:
        lines += ["", "Before that:", *(f"  {line_of(one, zone)}" for one in changes)]
    later = [one for one in after if _has_change(one)][:3]
    if later:
        lines += ["", "After that:", *(f"  {line_of(one, zone)}" for one in later)]
    return "\n".join(lines)


def line_of(record: Record, zone: tzinfo = UTC) -> str:
    """Return a record in one line."""
    parts = []
    decision = record.decision
    if record.launched:
        parts.append(f"launched {len(record.launched)}")
    elif decision.launch:
        parts.append(f"asked for {decision.launch}")
    parts += [f"ended {one.id} ({one.why})" for one in record.terminated]
    if record.refused:
        parts.append(f"refused: {record.refused}")
    what = ", ".join(parts) or "changed nothing"
    return f"{_time(record.at_s, zone)}  {what}: {decision.reason}"


def _facts(record: Record) -> list[str]:
    decision, forecast = record.decision, record.decision.forecast
    states = ", ".join(f"{count} {state}" for state, count in sorted(record.states.items())) or "none"
    busy = f"; {record.busy} busy" if record.busy else ""
    learnt = (
        f"{forecast.arrivals_per_s:.3g} messages a second arrive, one takes {forecast.service_s:.3g} s, "
        f"a startup {forecast.startup_s:.0f} s (95 in 100 within {forecast.startup_s_p95:.0f} s)"
    )
    lines = [
        f"  queue      {record.backlog} visible, {record.in_flight} in flight, {record.delayed} delayed",
        f"  instances  {states}{busy}",
        f"  learnt     {learnt}",
        f"  decision   {decision.desired} desired, {decision.alive} there, {decision.launch} to launch",
        f"  why        {decision.reason}",
    ]
    lines += [f"  bound      {one.name}: {one.before} to {one.after}, {one.why}" for one in decision.bounds]
    if forecast.drained_s is not None and forecast.messages >= 1:
        lines.append(f"  forecast   the queue is empty in {forecast.drained_s:.0f} s at these rates")
    if record.launched:
        lines.append(f"  launched   {', '.join(record.launched)}")
    if record.refused:
        lines.append(f"  refused    {record.refused}")
    lines += [f"  ended      {one.id}: {one.why}" for one in record.terminated]
    return lines


def _has_change(record: Record) -> bool:
    return bool(record.launched or record.terminated or record.refused or record.decision.launch)


def _time(at_s: float, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(at_s, zone):%Y-%m-%d %H:%M:%S}"
