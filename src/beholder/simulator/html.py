"""The simulator's report as one HTML page."""

from collections.abc import Sequence
from html import escape

from beholder.drawing.page import card, page, table, tile
from beholder.simulator.charts import cost_chart, fleet_chart, latency_chart
from beholder.simulator.compare import Comparison
from beholder.simulator.run import Figures, Run
from beholder.simulator.tables import cells, percent, seconds, verdict_lines

__all__ = ["html_report"]

# Colours that differ in hue and lightness, on a light and on a dark page.
_COLOURS = (
    "#2563c9",
    "#c2570c",
    "#2f8f4e",
    "#a3338d",
    "#8a6d00",
    "#0f8a94",
    "#d0405a",
    "#6b5bd6",
    "#5f7d1a",
    "#8c5a3c",
    "#70808f",
)
_STYLE = (
    "main>.card,.wide{margin-bottom:12px}main>h1{margin-top:32px}"
    ".demand{fill:var(--edge)}.line.desired{stroke:var(--line);stroke-dasharray:5 4;stroke-width:1.5}"
    ".line.serving{stroke:var(--good)}.line.goal{stroke:var(--bad);stroke-dasharray:3 3}"
    ".bar.idle{fill-opacity:.35}"
    + "".join(
        f".line.policy-{index}{{stroke:{colour};stroke-width:1.6}}.tick.key-{index}{{fill:{colour};font-weight:600}}"
        for index, colour in enumerate(_COLOURS)
    )
)
_HEAD = (
    "policy",
    "cost",
    "inside the goal",
    "p50 s",
    "p95 s",
    "p99 s",
    "idle h",
    "startups",
    "kills",
    "instance-hours",
)


def html_report(
    runs: Sequence[Run],
    figures: Sequence[Figures],
    found: Sequence[Comparison],
    *,
    goal_s: float,
    service_s: float,
    world: Sequence[tuple[str, str]],
) -> str:
    """Return the page.

    Args:
        runs: Every run, those of one traffic together.
        figures: Of each run, in the same order.
        found: Our policy against the baselines; may be empty.
        goal_s: Latency that counts as inside the goal.
        service_s: Mean time of a job, for the demand.
        world: Names and values of the settings.
    """
    lead = f"{len(runs)} runs; inside the goal means within {goal_s:g} s, a startup included"
    parts = [f"<header><h1>Simulation</h1><p>{escape(lead)}</p></header>"]
    parts += [_verdicts(found)] if found else []
    for name in dict.fromkeys(run.traffic.name for run in runs):
        picked = [(run, one) for run, one in zip(runs, figures, strict=True) if run.traffic.name == name]
        parts.append(_section(picked, goal_s=goal_s, service_s=service_s))
    parts.append(card("Settings", table(("Setting", "value"), world)))
    return page("Simulation", "".join(parts), _STYLE)


def _verdicts(found: Sequence[Comparison]) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in verdict_lines(found))
    return card("Ours against the best baseline that serves as many inside the goal", f"<ul>{lines}</ul>")


def _section(picked: Sequence[tuple[Run, Figures]], *, goal_s: float, service_s: float) -> str:
    runs, figures = [run for run, _ in picked], [one for _, one in picked]
    traffic = runs[0].traffic
    rows = [(row[1], *row[3:11], row[2]) for row in map(cells, figures)]
    hint = "Area: demand in instances. Dashed: desired. Line: in service."
    parts = [
        f"<h1>{escape(traffic.name)}</h1>",
        f"<p>{len(traffic.arrivals_s):,} requests: {escape(traffic.about)}</p>",
        _tiles(figures),
        card("Figures", table(_HEAD, rows)),
        f'<div class="wide">{card("Cost", cost_chart(figures))}</div>',
        f'<div class="wide">{card("Latencies", latency_chart(runs, goal_s=goal_s))}</div>',
    ]
    for run in runs:
        chart = fleet_chart(run, service_s=service_s)
        parts.append(f'<div class="wide">{card(f"Fleet of {escape(run.policy)}", chart, hint)}</div>')
    return "".join(parts)


def _tiles(figures: Sequence[Figures]) -> str:
    first = figures[0]
    tiles = (
        tile("instance-hours", f"{first.instance_hours:,.2f}", first.policy),
        tile("inside the goal", percent(first.share_inside), first.policy, is_bad=first.unserved > 0),
        tile("99th percentile", f"{seconds(first.p99_s)} s", f"median {seconds(first.p50_s)} s"),
        tile("cost", f"{first.cost:,.2f}", f"{first.idle_hours:,.2f} hours idle"),
    )
    return f'<section class="tiles" style="--columns:4">{"".join(tiles)}</section>'
