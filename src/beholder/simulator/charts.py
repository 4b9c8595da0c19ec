"""The charts of the simulator's report: the fleet under its demand, latencies, cost."""

import math
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from beholder.drawing.svg import PlotArea, bar, grid, log_axis, svg, text, ticks, time_axis
from beholder.simulator.run import Figures, Run

__all__ = ["cost_chart", "fleet_chart", "latency_chart"]

_BINS = 240
_LOW_S, _HIGH_S = 0.1, 10_000.0
_FLEET = PlotArea(width=1080, height=260)
_LATENCY = PlotArea(width=1080, right=150)
_COST = PlotArea(width=1080, left=150)


def fleet_chart(run: Run, *, service_s: float) -> str:
    """Draw the demand in instances, and over it the desired instances and those in service."""
    end_s = max(run.end_s, 1.0)
    demand = _demand(run, service_s, end_s)
    steps = (
        [*run.history, (end_s, *run.history[-1][1:])] if run.history else [(0.0, 0, 0, 0), (end_s, 0, 0, 0)]
    )
    top = max(
        float(demand.max()), *(max(desired, pending + serving) for _, desired, pending, serving in steps)
    )
    levels = ticks(top, step_min=1.0)
    parts = [*grid(_FLEET, levels, "instances"), *time_axis(_FLEET, end_s, "seconds from the start")]
    foot, points = _FLEET.y(0), []
    for index, need in enumerate(demand):
        points.append(
            (_FLEET.x((index + 0.5) / len(demand)), _FLEET.y(min(float(need), levels[-1]) / levels[-1]))
        )
    area = [(_FLEET.x(0), foot), *points, (_FLEET.x(1), foot)]
    parts.append(f'<polygon class="demand" points="{_points(area)}"/>')
    for kind, value in (("desired", 1), ("serving", 3)):
        line = [
            (_FLEET.x(at_s / end_s), _FLEET.y(float(size) / levels[-1]))
            for at_s, size in _stairs(steps, value)
        ]
        parts.append(f'<polyline class="line {kind}" points="{_points(line)}"/>')
    about = "Demand as an area, desired instances dashed, instances in service as a line."
    return svg(_FLEET, f"Fleet of {run.policy} on {run.traffic.name}", about, parts)


def latency_chart(runs: Sequence[Run], *, goal_s: float) -> str:
    """Draw the distribution of latencies of each policy, over the logarithm of the latency."""
    low, high = math.log10(_LOW_S), math.log10(_HIGH_S)
    parts = [*grid(_LATENCY, [0, 25, 50, 75, 100], "percent of requests"), *_latency_axis(low, high)]
    goal_x = _LATENCY.x((math.log10(goal_s) - low) / (high - low))
    goal = [(goal_x, _LATENCY.y(0)), (goal_x, _LATENCY.y(1))]
    parts.append(f'<polyline class="line goal" points="{_points(goal)}"/>')
    edges = np.logspace(low, high, 160)
    for index, run in enumerate(runs):
        count = max(len(run.latency_s), 1)
        shares = np.searchsorted(np.sort(run.latency_s), edges, side="right") / count
        line = [
            (_LATENCY.x((math.log10(edge) - low) / (high - low)), _LATENCY.y(float(share)))
            for edge, share in zip(edges, shares, strict=True)
        ]
        name = escape(run.policy)
        parts.append(
            f'<polyline class="line policy-{index}" points="{_points(line)}"><title>{name}</title></polyline>'
        )
        y = _LATENCY.y(1) + 10 + 17 * index
        parts.append(text(_LATENCY.x(1) + 6, y, name, "start", f"tick key-{index}"))
    about = "For each policy the share of requests that took no longer; the upright line is the goal."
    return svg(_LATENCY, "Latencies", about, parts)


def cost_chart(figures: Sequence[Figures]) -> str:
    """Draw the cost of each policy, idle hours in another colour."""
    frame = PlotArea(width=_COST.width, left=_COST.left, height=52 + 26 * len(figures))
    top = ticks(max((one.instance_hours for one in figures), default=0.0))
    parts = []
    for tick in top:
        x = frame.x(tick / top[-1])
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(0):.1f}" y2="{frame.y(1):.1f}"/>'
        )
        parts.append(text(x, frame.y(0) + 18, f"{tick:,.6g}", "middle"))
    parts.append(text(frame.x(0.5), frame.height - 4, "instance-hours; idle ones lighter", "middle", "name"))
    for index, one in enumerate(figures):
        y = frame.top + 26 * index
        work = frame.x(max(one.instance_hours - one.idle_hours, 0.0) / top[-1])
        end = frame.x(one.instance_hours / top[-1])
        title = f"{one.policy}: {one.instance_hours:.2f} instance-hours, {one.idle_hours:.2f} of them idle"
        parts.append(text(frame.x(0) - 8, y + 15, escape(one.policy), "end"))
        parts.append(bar("bar", (frame.x(0), work), y, y + 20, title))
        parts.append(bar("bar idle", (work, end), y, y + 20, title))
    return svg(frame, "Cost", "A bar for each policy.", parts)


def _demand(run: Run, service_s: float, end_s: float) -> NDArray[np.float64]:
    """Return the instances that the arrivals of each stretch of time would keep busy."""
    counts, _ = np.histogram(run.traffic.arrivals_s, bins=_BINS, range=(0.0, end_s))
    demand: NDArray[np.float64] = counts * (service_s * _BINS / end_s)
    return demand


def _stairs(steps: Sequence[tuple[float, int, int, int]], value: int) -> Iterator[tuple[float, float]]:
    before = 0.0
    for step in steps:
        if step[value] != before:
            yield step[0], before
        before = step[value]
        yield step[0], before


def _latency_axis(low: float, high: float) -> Iterator[str]:
    yield from log_axis(_LATENCY, low, high, "latency, seconds (logarithmic)")


def _points(line: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
