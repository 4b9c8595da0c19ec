"""Arrivals from files, comparisons, tables and the page; and the command that brings them together."""

import csv
import io
import json
import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from beholder.cli.main import beholder
from beholder.errors import BeholderError, ConfigError
from beholder.scaling.records.history import HISTORY_KEY, FleetHistory, HistoryPoints
from beholder.simulator.arrivals import arrivals_of_history, read_arrivals
from beholder.simulator.bound import least_hours
from beholder.simulator.cloud import WorldSettings
from beholder.simulator.compare import Comparison, geometric_mean, verdicts
from beholder.simulator.experiment import POLICIES
from beholder.simulator.run import Figures, Run, figures_of, pooled
from beholder.simulator.tables import percent, seconds, text_table, verdict_lines
from beholder.simulator.traffic import TRAFFICS, Traffic, make_traffic
from helpers.served import served
from helpers.web import memory_ports


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """The command sets logging up for its process, which is this one."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def figures(
    policy: str, hours: float, *, over: float = 0.0, p99_s: float = 100.0, traffic: str = "t"
) -> Figures:
    return Figures(traffic, policy, 100, 0, hours, hours / 10, 1.0, 50.0, p99_s, over, 0.5, 3, 0, 0, 0)


def written(folder: Path, text: str) -> Path:
    path = folder / "arrivals.csv"
    path.write_text(text, encoding="utf-8")
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(beholder, ["simulate", *arguments])


# --- arrivals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "100\n101.5\n103\n",
        "seconds\n103\n100\n101.5\n",
        "2026-01-01T00:00:00Z\n2026-01-01T00:00:01.5Z\n2026-01-01T00:00:03Z\n",
        "2026-01-01T01:00:00+01:00\n2026-01-01 00:00:01.5\n\n2026-01-01T00:00:03\n",
        "job_id,status,created_at\na,ok,5\nb,ok,6.5\nc,ok,8\n",
        '{"created_at": "2026-01-01T00:00:00Z"}\n{"created_at": 1767225601.5}\n{"at": 1767225603}\n',
    ],
)
def test_arrivals_are_read_from_seconds_iso_times_csv_and_json_lines(tmp_path: Path, text: str) -> None:
    traffic = read_arrivals(written(tmp_path, text))
    assert traffic.arrivals_s.tolist() == [0.0, 1.5, 3.0]
    assert traffic.duration_s == 3.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no arrival"),
        ("at\n", "no arrival"),
        ("1\nsoon\n", "line 2"),
        ("a,at\n1,2\n3\n", "line 3"),
        ('{"at": 1}\n{"when": 1}\n', "line 2"),
        ('{"at": 1}\nnot json\n', "line 2"),
        ('{"at": true}\n', "line 1"),
        ("1\nnan\n", "line 2"),
    ],
)
def test_a_file_that_tells_no_times_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_arrivals(written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_arrivals(tmp_path / "none.csv")


def test_the_rates_of_a_history_become_arrivals_and_a_gap_has_none() -> None:
    # given: 10 a second for a minute, a gap of an hour, and 20 a second for the last minute
    at_s, zeros = (1000, 1060, 4660), (0, 0, 0)
    points = HistoryPoints(at_s, *[zeros] * 6, (10.0, 0.0, 20.0), (0.0, 0.0, 0.0))
    # when
    found = arrivals_of_history(points, "a-fleet", 1)
    # then
    assert (found.name, found.duration_s) == ("a-fleet", 3720.0)
    assert (np.diff(found.arrivals_s) >= 0).all()
    early, between, late = np.histogram(found.arrivals_s, bins=[0, 60, 3660, 3720])[0]
    assert early == pytest.approx(600, abs=100)
    assert between == 0
    assert late == pytest.approx(1200, abs=140)
    assert early + late == len(found.arrivals_s)
    # and: a point holds for five minutes at most, and the same seed draws the same
    long = HistoryPoints(at_s[1:], *[zeros[1:]] * 6, (1.0, 0.0), (0.0, 0.0))
    drawn = arrivals_of_history(long, "a-fleet", 1).arrivals_s
    assert drawn.max() < 300
    assert drawn.tolist() == arrivals_of_history(long, "a-fleet", 1).arrivals_s.tolist()


@pytest.mark.parametrize("points", [HistoryPoints(), HistoryPoints((60,), *[(0,)] * 6, (0.0,), (0.0,))])
def test_a_history_without_arrivals_is_refused(points: HistoryPoints) -> None:
    with pytest.raises(ConfigError, match="the history of a-fleet has no arrivals yet"):
        arrivals_of_history(points, "a-fleet", 1)


# --- comparison ---------------------------------------------------------------------------------------------


def test_the_best_baseline_is_the_cheapest_that_serves_as_many_inside_the_goal() -> None:
    played = [
        figures("us", 6.0),
        figures("dear", 20.0),
        figures("good", 10.0),
        figures("late", 1.0, over=0.1),
    ]
    (found,) = verdicts(played, ours="us")
    assert found.best is not None
    assert found.best.policy == "good"
    assert found.ratio == pytest.approx(0.6)


def test_half_a_point_more_late_requests_count_as_as_good_and_more_do_not() -> None:
    played = [
        figures("us", 6.0, over=0.01),
        figures("near", 5.0, over=0.0149, p99_s=101.0),
        figures("far", 1.0, over=0.0151),
    ]
    (found,) = verdicts(played, ours="us")
    assert found.best is not None
    assert found.best.policy == "near"
    assert found.better_in_both == ()


def test_a_baseline_is_as_quick_only_with_no_longer_a_median_and_p95() -> None:
    slow = replace(figures("slow", 2.0), p50_s=1.2)
    (found,) = verdicts([figures("us", 6.0), slow, figures("quick", 10.0)], ours="us")
    assert (found.best, found.quick) == (slow, figures("quick", 10.0))


def test_seeds_are_pooled_request_by_request() -> None:
    traffic = make_traffic("trickle", 1)
    halves = [
        Run("p", traffic, np.asarray(latencies), 9.0, (), 3600.0, 1.0, 2, 0, 0, 0)
        for latencies in ([1.0, 2.0, 3.0], [10.0])
    ]
    found = figures_of(pooled(halves), goal_s=5.0, price_per_hour=0.1)
    assert (found.requests, found.instance_hours, found.startups) == (4, 2.0, 4)
    assert (found.share_over, found.p50_s) == (0.25, 2.0)


@pytest.mark.parametrize(
    ("arrivals_s", "seconds"),
    [
        ([0.0], 1 * 0.5 + 200.0),
        # one instance does both in time; a gap as long as two startups costs one
        ([0.0, 1.0], 2 * 0.5 + 200.0),
        ([0.0, 1000.0], 2 * 0.5 + 2 * 200.0),
        ([0.0, 300.0], 2 * 0.5 + 200.0 + 70.0),
        # 1,000 at once are 500 s of work within 230 s: three instances
        ([0.0] * 1000, 500.0 + 3 * 200.0),
    ],
)
def test_the_bound_counts_work_startups_and_gaps(arrivals_s: list[float], seconds: float) -> None:
    traffic = Traffic("t", "", np.asarray(arrivals_s), 2000.0)
    assert least_hours(traffic, WorldSettings()) * 3600.0 == pytest.approx(seconds)


def test_a_baseline_better_in_cost_and_latency_is_named() -> None:
    played = [figures("us", 6.0), figures("both", 5.0, p99_s=99.0), figures("cheap", 5.0, p99_s=101.0)]
    (found,) = verdicts(played, ours="us")
    assert found.better_in_both == ("both",)
    assert verdict_lines([found]) == [
        "t: 20% more instance-hours than both; cheaper and sooner: both",
    ]


def test_where_no_baseline_serves_as_many_there_is_no_ratio() -> None:
    (found,) = verdicts([figures("us", 6.0), figures("late", 1.0, over=0.1)], ours="us")
    assert (found.best, found.ratio) == (None, None)
    assert geometric_mean([found.ratio]) is None
    assert verdict_lines([found]) == ["t: no baseline serves as many inside the goal"]


def test_without_our_policy_or_without_another_there_is_no_verdict() -> None:
    assert verdicts([figures("us", 6.0)], ours="us") == []
    assert verdicts([figures("other", 6.0)], ours="us") == []


def test_the_geometric_mean_is_over_ratios() -> None:
    halved = Comparison(figures("us", 5.0), figures("b", 10.0), ())
    doubled = Comparison(figures("us", 20.0), figures("b", 10.0), ())
    assert geometric_mean([halved.ratio, None, doubled.ratio]) == pytest.approx(1.0)
    assert geometric_mean([halved.ratio, halved.ratio]) == pytest.approx(0.5)


# --- tables -------------------------------------------------------------------------------------------------


def test_a_share_is_rounded_down_so_that_100_means_all() -> None:
    assert percent(1.0) == "100.00 %"
    assert percent(0.999999) == "99.99 %"


def test_what_was_not_served_is_never_and_in_json_null() -> None:
    one = figures("us", 1.0, p99_s=math.inf)
    assert seconds(one.p99_s) == "never"
    assert one.as_json()["p99_s"] is None
    assert "never" in text_table([one])


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_plays_a_file_and_prints_the_same_json_twice(tmp_path: Path) -> None:
    path = written(tmp_path, "".join(f"{index * 0.2:g}\n" for index in range(500)))
    given = ("--arrivals", str(path), "--policy", "beholder", "--policy", "keda", "--startup", "1m", "--json")
    one, other = run(*given), run(*given)
    assert one.exit_code == 0, one.output
    assert one.stdout == other.stdout
    document = json.loads(one.stdout)
    assert document["goal_s"] == 90.0
    assert [row["policy"] for row in document["runs"]] == ["beholder", "keda"]
    assert all(row["unserved"] == 0 and row["requests"] == 500 for row in document["runs"])
    assert document["verdicts"][0]["traffic"] == "arrivals.csv"
    assert "500" not in one.stderr.partition(" requests")[2]


def test_csv_has_a_line_per_run(tmp_path: Path) -> None:
    path = written(tmp_path, "1\n2\n3\n")
    result = run("--arrivals", str(path), "--policy", "all", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["policy"] for row in rows] == list(POLICIES)


def test_the_page_stands_alone_and_has_charts(tmp_path: Path) -> None:
    path, page = written(tmp_path, "1\n2\n3\n"), tmp_path / "out.html"
    result = run("--arrivals", str(path), "--policy", "beholder", "--policy", "cortex", "--html", str(page))
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 2 + 2
    assert "http" not in text
    assert "nan" not in text


def test_spot_costs_less_an_hour(tmp_path: Path) -> None:
    path = written(tmp_path, "1\n2\n3\n")
    given = ("--arrivals", str(path), "--policy", "keda", "--price", "1", "--interruptions", "0", "--json")
    (usual,), (spot,) = (json.loads(run(*given, *more).stdout)["runs"] for more in ((), ("--spot",)))
    assert spot["cost"] == pytest.approx(0.4 * usual["cost"], rel=1e-3)


def test_tables_go_between_the_marks_of_a_page(tmp_path: Path) -> None:
    path, page = written(tmp_path, "1\n2\n3\n"), tmp_path / "page.md"
    page.write_text("before\n<!-- simulated -->\nlast time\n<!-- /simulated -->\nafter\n", encoding="utf-8")
    given = ("--arrivals", str(path), "--policy", "beholder", "--policy", "keda", "--compare")
    assert run(*given, "--into", str(page)).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "last time" not in text
    assert "| arrivals.csv | keda |" in text
    assert "| arrivals.csv | beholder |" in run(*given).stdout


def test_the_table_of_aims_has_a_line_for_each_aim_over_all_seeds() -> None:
    given = ("--workload", "flash", "--startup", "25s", "--max", "4", "--aims", "--seed", "2")
    head, _, *rows = ([cell.strip() for cell in line.split("|")] for line in run(*given).stdout.splitlines())
    assert [row[1:4] for row in rows] == [["25", "0.5", "steady"], ["25", "0.5", "deadline"]]
    for row in rows:
        found = dict(zip(head, row, strict=True))
        # with one traffic the mean is its own; a baseline more in the choice makes no ratio smaller
        assert found["best in hindsight"] == found["worst traffic"] >= found["as shipped"]
        assert float(found["times the bound"]) >= 1.0
        assert found["p50, s"].startswith("flash ")


def test_the_list_names_every_traffic_and_policy() -> None:
    text = run("--list").stdout
    assert all(name in text for name in (*TRAFFICS, *POLICIES))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--workload", "none"), "no workload 'none'"),
        (("--policy", "none"), "no policy 'none'"),
        (("--min", "5", "--max", "2"), "--min is above --max"),
        (("--service", "0"), "--service must be above 0"),
        (("--aims", "--json"), "leave out --html, --csv, --json and --compare"),
        (("--arrivals", "/none/there.csv"), "cannot be read"),
    ],
)
def test_what_cannot_be_played_is_a_sentence(arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, ConfigError)
    assert says in str(result.exception)


@pytest.mark.parametrize("text", ["200", "200s", "200000ms", "3.3333333333333335m"])
def test_a_time_may_have_a_unit(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, "1\n")
    document = json.loads(
        run("--arrivals", str(path), "--policy", "keda", "--startup", text, "--json").stdout
    )
    assert document["goal_s"] == pytest.approx(230.0)


def test_an_invalid_duration_is_refused() -> None:
    assert "is not a duration" in run("--startup", "soon").output


def test_the_command_plays_the_day_of_a_service() -> None:
    ports = memory_ports()
    points = HistoryPoints((0, 60), *[(0, 0)] * 6, (2.0, 3.0), (0.0, 0.0))
    ports.results.put(HISTORY_KEY, FleetHistory(points).to_bytes())
    with served(ports) as url:
        result = run("--from", url, "--policy", "beholder", "--max", "4", "--json")
        other = run("--from", f"{url}/v1", "--policy", "beholder")
        refused = run("--aims", "--from", url)
    assert result.exit_code == 0, result.output
    (played,) = json.loads(result.stdout)["runs"]
    assert played["traffic"] == url
    assert 200 < played["requests"] < 400
    # and: what is no service is said so
    assert isinstance(other.exception, BeholderError)
    assert isinstance(refused.exception, ConfigError)
    assert "--from" in str(refused.exception)
