"""`beholder simulate`: what a scaling policy would have cost on some traffic, and how long requests waited.

What needs numpy is imported when the command runs, so that `beholder --help` stays fast.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beholder.clock import MonotonicClock
from beholder.errors import ConfigError
from beholder.telemetry.log import configure_logging

if TYPE_CHECKING:
    from beholder.simulator.cloud import WorldSettings
    from beholder.simulator.compare import Comparison
    from beholder.simulator.experiment import Experiment
    from beholder.simulator.run import Figures, Run
    from beholder.simulator.traffic import Traffic

__all__ = ["simulate"]

_UNITS_S = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|)")
# What spot costs of the usual price, and how often it takes an instance away: guesses on the dear side.
_SPOT_PRICE_SHARE = 0.4
_SPOT_INTERRUPTIONS_PER_HOUR = 0.05
_TABLE = re.compile(r"(<!-- simulated -->\n).*?(<!-- /simulated -->)", re.DOTALL)


def _duration(value: str) -> float:
    """Return the seconds of a time written as 200, 200s, 500ms, 5m or 1h."""
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is no time; write 200s, 500ms, 5m or 1h")
    return float(found[1]) * _UNITS_S[found[2]]


_SHARE = click.FloatRange(min=0, max=1)
_NOT_NEGATIVE = click.FloatRange(min=0)


@click.command()
@click.option(
    "--workload",
    "names",
    multiple=True,
    metavar="NAME",
    help="A traffic that ships, or all; may be repeated.",
)
@click.option(
    "--arrivals",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="CSV of arrival times, in seconds or ISO form, or JSON lines with created_at; may be repeated.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME",
    help="beholder, a baseline, or all; may be repeated.",
)
@click.option(
    "--startup",
    "startup_s",
    type=_duration,
    metavar="TIME",
    default="200s",
    show_default=True,
    help="Mean startup time.",
)
@click.option(
    "--service",
    "service_s",
    type=_duration,
    metavar="TIME",
    default="0.5s",
    show_default=True,
    help="Mean time of a job.",
)
@click.option(
    "--max",
    "capacity_max",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Instances at most.",
)
@click.option(
    "--min",
    "capacity_min",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Instances that are always kept.",
)
@click.option(
    "--latency-goal",
    "latency_goal_s",
    type=_duration,
    metavar="TIME",
    default="30s",
    show_default=True,
    help="Goal beyond a startup.",
)
@click.option(
    "--price",
    "price_per_hour",
    type=_NOT_NEGATIVE,
    default=0.1,
    show_default=True,
    help="Price of an instance-hour.",
)
@click.option(
    "--spot",
    "is_spot",
    is_flag=True,
    help="At 0.4 of the price; each instance is taken away 0.05 times an hour, or as --interruptions says.",
)
@click.option(
    "--interruptions",
    "interruptions_per_hour",
    type=_NOT_NEGATIVE,
    help="How often spot takes an instance away, per instance-hour.",
)
@click.option(
    "--startup-spread", type=_NOT_NEGATIVE, default=0.15, show_default=True, help="0 for startups all alike."
)
@click.option(
    "--startup-failures",
    type=_SHARE,
    default=0.0,
    show_default=True,
    help="Share of launches that never come up.",
)
@click.option(
    "--refusals",
    type=_SHARE,
    default=0.0,
    show_default=True,
    help="Share of launches that the cloud refuses.",
)
@click.option(
    "--service-spread",
    type=_NOT_NEGATIVE,
    default=0.0,
    show_default=True,
    help="Standard deviation of job times over their mean.",
)
@click.option(
    "--queue-lag",
    "queue_lag_s",
    type=_duration,
    metavar="TIME",
    default="3s",
    show_default=True,
    help="Age of the queue's counts.",
)
@click.option(
    "--queue-noise", type=_SHARE, default=0.0, show_default=True, help="Relative error of the counts."
)
@click.option(
    "--startup-patience",
    type=_SHARE,
    default=1.0,
    show_default=True,
    help="Ours only: share of a startup that a request may wait besides the goal.",
)
@click.option(
    "--stay-min",
    "stay_s_min",
    type=_duration,
    metavar="TIME",
    default="15s",
    show_default=True,
    help="Ours only: how long the last worker stays idle at least.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of all that is drawn."
)
@click.option(
    "--html", "page", type=click.Path(path_type=Path), help="Write a report with charts to this file."
)
@click.option("--csv", "is_csv", is_flag=True, help="Print the figures as CSV.")
@click.option("--json", "is_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--compare", "is_compared", is_flag=True, help="Print the comparison as Markdown tables.")
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    help="With --compare: put the tables into this page, between its marks.",
)
@click.option("--list", "is_listed", is_flag=True, help="List the traffics and the policies.")
def simulate(
    *,
    page: Path | None,
    into: Path | None,
    is_csv: bool,
    is_json: bool,
    is_compared: bool,
    is_listed: bool,
    **choices: Any,
) -> None:
    """Play scaling policies against traffic on a virtual clock and say what each cost.

    \b
    beholder simulate                                     the step, every policy
    beholder simulate --workload all --policy beholder       our policy on every traffic that ships
    beholder simulate --arrivals week.csv --spot --min 2  what a week had cost on spot, two warm
    """  # noqa: D301 - click needs the character \b itself, not its escape
    from beholder.simulator.compare import verdicts  # noqa: PLC0415
    from beholder.simulator.html import html_report  # noqa: PLC0415
    from beholder.simulator.ours import Ours  # noqa: PLC0415
    from beholder.simulator.tables import csv_table, markdown_tables, text_table, verdict_lines  # noqa: PLC0415

    # The production code tells of each launch that is refused; here the figures count them.
    configure_logging(level="error", process="simulate", form="text")
    if is_listed:
        click.echo(_listing())
        return
    experiment, world = _experiment(**choices)
    runs, figures = _played(experiment, keeps_runs=page is not None)
    found = verdicts(figures, ours=Ours.name)
    if page is not None:
        service_s = experiment.settings.limits.service_s
        html = html_report(runs, figures, found, goal_s=experiment.goal_s, service_s=service_s, world=world)
        _write(page, html)
    if is_json:
        click.echo(json.dumps(_document(experiment, world, figures, found)))
    elif is_csv:
        click.echo(csv_table(figures), nl=False)
    elif is_compared:
        _tell(markdown_tables(figures, found), into)
    else:
        click.echo("\n".join((text_table(figures), *verdict_lines(found))))


def _played(experiment: "Experiment", *, keeps_runs: bool) -> tuple[list["Run"], list["Figures"]]:
    """Play and say on standard error how fast that went; runs are kept where a report draws them."""
    clock = MonotonicClock()
    runs, figures, began_s = [], [], clock.now_s()
    for run, one in experiment.play():
        figures.append(one)
        if keeps_runs:
            runs.append(run)
    requests, took_s = sum(one.requests for one in figures), max(clock.now_s() - began_s, 1e-9)
    click.echo(f"{requests:,} requests in {took_s:.1f} s: {requests / took_s:,.0f} a second", err=True)
    return runs, figures


def _experiment(
    *,
    names: Sequence[str],
    files: Sequence[Path],
    policies: Sequence[str],
    is_spot: bool,
    startup_patience: float,
    stay_s_min: float,
    **numbers: Any,
) -> tuple["Experiment", list[tuple[str, str]]]:
    from beholder.simulator.experiment import POLICIES, Experiment  # noqa: PLC0415

    if is_spot:
        numbers["price_per_hour"] *= _SPOT_PRICE_SHARE
        if numbers["interruptions_per_hour"] is None:
            numbers["interruptions_per_hour"] = _SPOT_INTERRUPTIONS_PER_HOUR
    numbers["interruptions_per_hour"] = numbers["interruptions_per_hour"] or 0.0
    if numbers["capacity_min"] > numbers["capacity_max"]:
        raise ConfigError("--min is above --max")
    if not numbers["service_s"]:
        raise ConfigError("--service must be above 0")
    experiment = Experiment(
        _traffics(names, files, numbers["seed"]),
        _chosen(policies, POLICIES, "policy") or POLICIES,
        _settings(numbers),
        startup_patience,
        stay_s_min,
    )
    world = [(name, f"{value:g}") for name, value in numbers.items()]
    return experiment, [
        *world,
        ("startup_patience", f"{startup_patience:g}"),
        ("stay_s_min", f"{stay_s_min:g}"),
    ]


def _settings(numbers: dict[str, Any]) -> "WorldSettings":
    from beholder.simulator.cloud import WorldSettings  # noqa: PLC0415
    from beholder.simulator.policy import WorldLimits  # noqa: PLC0415

    bounds = {name: numbers[name] for name in WorldLimits.__dataclass_fields__}
    rest = {name: value for name, value in numbers.items() if name not in bounds}
    return WorldSettings(limits=WorldLimits(**bounds), **rest)


def _traffics(names: Sequence[str], files: Sequence[Path], seed: int) -> list["Traffic"]:
    from beholder.simulator.arrivals import read_arrivals  # noqa: PLC0415
    from beholder.simulator.traffic import TRAFFICS, make_traffic  # noqa: PLC0415

    chosen = _chosen(names, tuple(TRAFFICS), "workload")
    if not chosen and not files:
        chosen = ("step",)
    return [*(make_traffic(name, seed) for name in chosen), *(read_arrivals(file) for file in files)]


def _chosen(given: Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    if "all" in given:
        return tuple(known)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ConfigError(f"no {what} {unknown[0]!r}; there are {', '.join(known)}, and all")
    return tuple(dict.fromkeys(given))


def _listing() -> str:
    from beholder.simulator.experiment import POLICIES  # noqa: PLC0415
    from beholder.simulator.traffic import TRAFFICS  # noqa: PLC0415

    width = max(map(len, TRAFFICS))
    traffics = [f"  {name.ljust(width)}  {about}" for name, (about, _) in TRAFFICS.items()]
    return "\n".join(("workloads", *traffics, "policies", f"  {', '.join(POLICIES)}"))


def _document(
    experiment: "Experiment",
    world: Sequence[tuple[str, str]],
    figures: Sequence["Figures"],
    found: Sequence["Comparison"],
) -> dict[str, Any]:
    return {
        "goal_s": experiment.goal_s,
        "settings": {name: float(value) for name, value in world},
        "runs": [one.as_json() for one in figures],
        "verdicts": [
            {
                "traffic": one.ours.traffic,
                "best": one.best.policy if one.best is not None else None,
                "ratio": None if one.ratio is None else round(one.ratio, 6),
                "better_in_both": list(one.better_in_both),
            }
            for one in found
        ],
    }


def _tell(tables: str, into: Path | None) -> None:
    if into is None:
        click.echo(tables, nl=False)
        return
    try:
        text = into.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"{into} cannot be read: {exc.strerror}") from exc
    if _TABLE.search(text) is None:
        raise ConfigError(f"{into} has no marks <!-- simulated --> and <!-- /simulated -->")
    _write(into, _TABLE.sub(lambda found: f"{found[1]}\n{tables}\n{found[2]}", text))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc
