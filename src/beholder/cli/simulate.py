"""`beholder simulate`: what a scaling policy would have cost on some traffic, and how long requests waited.

Modules that need numpy are imported when the command runs, so that `beholder --help` stays fast.
"""

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beholder.cli.progress import with_progress
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
# The share of the usual price that a spot instance costs, and how often EC2 takes it away: cautious guesses.
_SPOT_PRICE_SHARE = 0.4
_SPOT_INTERRUPTIONS_PER_HOUR = 0.05
_TABLE = re.compile(r"(<!-- simulated -->\n).*?(<!-- /simulated -->)", re.DOTALL)


def _duration(value: str) -> float:
    """Return the seconds of a duration such as 200, 200s, 500ms, 5m or 1h."""
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is not a duration; write 200s, 500ms, 5m or 1h")
    return float(found[1]) * _UNITS_S[found[2]]


_count = partial(click.option, show_default=True)
_number = partial(click.option, type=click.FloatRange(min=0), show_default=True)
_share = partial(click.option, type=click.FloatRange(min=0, max=1), show_default=True)
_time = partial(click.option, type=_duration, metavar="TIME", show_default=True)
_named = partial(click.option, multiple=True, metavar="NAME")
_file = partial(click.option, type=click.Path(path_type=Path))


@click.command()
@_named("--workload", "names", help="A built-in workload (see --list), or all; may be repeated.")
@_file(
    "--arrivals",
    "files",
    multiple=True,
    help="CSV of arrival times, in seconds or ISO form, or JSON lines with created_at; may be repeated.",
)
@click.option(
    "--from",
    "source",
    metavar="URL",
    help="Arrivals at the rates of the last 24 hours of the service at this address.",
)
@click.option(
    "--key",
    default="",
    envvar="BEHOLDER_API_KEY",
    show_envvar=True,
    help="With --from: API key with the scope admin; better in the environment, because every user of the "
    "machine sees command lines.",
)
@_named("--policy", "policies", help="beholder, a baseline, or all; may be repeated.")
@_time("--startup", "startup_s", default="200s", help="Mean startup time.")
@_time("--service", "service_s", default="0.5s", help="Mean time to process one job.")
@_count("--max", "capacity_max", type=click.IntRange(min=1), default=20, help="Instances at most.")
@_count("--min", "capacity_min", type=click.IntRange(min=0), default=0, help="Instances at least.")
@_time(
    "--latency-goal",
    "latency_goal_s",
    default="30s",
    help="Latency goal; with a startup's time, what counts as late.",
)
@_number("--price", "price_per_hour", default=0.1, help="Price of an instance-hour.")
@click.option(
    "--spot",
    "is_spot",
    is_flag=True,
    help="Spot instances: 40 % of the price, 0.05 interruptions per instance-hour by default.",
)
@_number(
    "--interruptions",
    "interruptions_per_hour",
    help="How often spot takes an instance away, per instance-hour.",
)
@_number("--startup-spread", default=0.15, help="Spread of startup times: sigma of their logarithm.")
@_share("--startup-failures", default=0.0, help="Share of launches that never come up.")
@_share("--refusals", default=0.0, help="Share of launches that the cloud refuses.")
@_number("--service-spread", default=0.0, help="Standard deviation of job times over their mean.")
@_time("--queue-lag", "queue_lag_s", default="3s", help="Age of the message counts that the policy sees.")
@_share("--queue-noise", default=0.0, help="Relative error of the counts.")
@click.option(
    "--aim",
    type=click.Choice(["steady", "deadline"]),
    default="steady",
    show_default=True,
    help="beholder only: how it reads the goal; see the setting of this name.",
)
@_time(
    "--stay-min",
    "stay_s_min",
    default="15s",
    help="beholder only: how long the last worker is idle at least before it leaves.",
)
@_count("--seed", type=click.IntRange(min=0), default=1, help="Seed of the random numbers.")
@_file("--html", "page", help="Write a report with charts to this file.")
@click.option("--csv", "is_csv", is_flag=True, help="Print the figures as CSV.")
@click.option("--json", "is_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--compare", "is_compared", is_flag=True, help="Print the comparison as Markdown tables.")
@click.option(
    "--aims",
    "is_of_aims",
    is_flag=True,
    help="Print beholder with each aim against the baselines, over all workloads together, as one table;"
    " seven workloads if none is chosen.",
)
@_count(
    "--seeds", type=click.IntRange(min=1), default=1, help="With --aims: pool so many seeds, from --seed."
)
@_file("--into", help="With --compare: insert the tables into this Markdown file, between its marks.")
@click.option("--list", "is_listed", is_flag=True, help="List the traffics and the policies.")
def simulate(
    *,
    page: Path | None,
    into: Path | None,
    is_csv: bool,
    is_json: bool,
    is_compared: bool,
    is_of_aims: bool,
    seeds: int,
    is_listed: bool,
    **choices: Any,
) -> None:
    """Play scaling policies against traffic on a virtual clock and print what each cost.

    \b
    beholder simulate                                     the step, every policy
    beholder simulate --workload all --policy beholder    our policy on every traffic that ships
    beholder simulate --arrivals week.csv --spot --min 2  the cost of a week on spot, two always on
    beholder simulate --from http://127.0.0.1:8080        today, under other policies and bounds
    """  # noqa: D301 - click needs the character \b itself, not its escape
    from beholder.simulator.compare import verdicts  # noqa: PLC0415
    from beholder.simulator.html import html_report  # noqa: PLC0415
    from beholder.simulator.ours import Ours  # noqa: PLC0415
    from beholder.simulator.tables import csv_table, markdown_tables, text_table, verdict_lines  # noqa: PLC0415

    # The production code logs each refused launch; here the figures count them.
    configure_logging(level="error", process="simulate", form="text")
    if is_listed:
        click.echo(_listing())
        return
    experiment, world = _experiment(**choices)
    if is_of_aims:
        _print_aims(experiment, choices, seeds, has_form=bool(page or is_csv or is_json or is_compared))
        return
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
        _print_or_insert(markdown_tables(figures, found), into)
    else:
        click.echo("\n".join((text_table(figures), *verdict_lines(found))))


def _print_aims(experiment: "Experiment", choices: dict[str, Any], seeds: int, *, has_form: bool) -> None:
    from beholder.simulator.aims import AIMS_TRAFFICS, aims_table  # noqa: PLC0415

    if has_form:
        raise ConfigError("--aims prints a table in Markdown; leave out --html, --csv, --json and --compare")
    if choices["files"] or choices["source"] or choices["policies"]:
        raise ConfigError(
            "--aims plays built-in workloads with its own policies; leave out --arrivals, --from and --policy"
        )
    traffics = [one.name for one in experiment.traffics] if choices["names"] else AIMS_TRAFFICS
    first = experiment.settings.seed
    for line in aims_table(experiment.settings, traffics, range(first, first + seeds)):
        click.echo(line)


def _played(experiment: "Experiment", *, keeps_runs: bool) -> tuple[list["Run"], list["Figures"]]:
    """Return the runs, if a report needs them, and the figures; print the speed on standard error."""
    clock = MonotonicClock()
    runs, figures, began_s = [], [], clock.now_s()
    count = len(experiment.traffics) * len(experiment.policies)
    for run, one in with_progress(experiment.play(), count, "simulating"):
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
    source: str | None,
    key: str,
    policies: Sequence[str],
    is_spot: bool,
    aim: str,
    stay_s_min: float,
    **numbers: Any,
) -> tuple["Experiment", list[tuple[str, str]]]:
    from beholder.scaling.policy.limits import Aim  # noqa: PLC0415
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
    fleets = [] if source is None else [_traffic_of(source, key, numbers["seed"])]
    experiment = Experiment(
        [*_traffics(names, files, numbers["seed"], has_more=bool(fleets)), *fleets],
        _chosen(policies, POLICIES, "policy") or POLICIES,
        _settings(numbers),
        Aim(aim),
        stay_s_min,
    )
    world = [(name, f"{value:g}") for name, value in numbers.items()]
    return experiment, [
        *world,
        ("aim", aim),
        ("stay_s_min", f"{stay_s_min:g}"),
    ]


def _settings(numbers: dict[str, Any]) -> "WorldSettings":
    from beholder.simulator.cloud import WorldSettings  # noqa: PLC0415
    from beholder.simulator.policy import WorldLimits  # noqa: PLC0415

    bounds = {name: numbers[name] for name in WorldLimits.__dataclass_fields__}
    rest = {name: value for name, value in numbers.items() if name not in bounds}
    return WorldSettings(limits=WorldLimits(**bounds), **rest)


def _traffic_of(url: str, key: str, seed: int) -> "Traffic":
    """Return the arrivals of a service, by its history."""
    from beholder.cli.service_reader import service_reader  # noqa: PLC0415
    from beholder.documents import from_document  # noqa: PLC0415
    from beholder.scaling.records.history import HistoryPoints  # noqa: PLC0415
    from beholder.simulator.arrivals import arrivals_of_history  # noqa: PLC0415

    with service_reader(url, key) as get:
        body = get("/v1/fleet/history")
    try:
        points = from_document(HistoryPoints, json.loads(body)["points"])
        points.rows()
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(f"{url} answers no history of a service of beholder; see --from") from exc
    return arrivals_of_history(points, url, seed)


def _traffics(names: Sequence[str], files: Sequence[Path], seed: int, *, has_more: bool) -> list["Traffic"]:
    from beholder.simulator.arrivals import read_arrivals  # noqa: PLC0415
    from beholder.simulator.traffic import TRAFFICS, make_traffic  # noqa: PLC0415

    chosen = _chosen(names, tuple(TRAFFICS), "workload")
    if not chosen and not files and not has_more:
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
        "aim": experiment.aim,
        "settings": {name: float(value) for name, value in world if name != "aim"},
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


def _print_or_insert(tables: str, into: Path | None) -> None:
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
