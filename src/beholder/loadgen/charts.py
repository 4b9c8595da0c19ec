"""Charts as inline SVG: the points, the throughput and the spread of latencies of one run."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from beholder.drawing.svg import PlotArea, bar, grid, log_axis, nice, svg, text, ticks, time_axis
from beholder.loadgen.answer import Answer

__all__ = ["latency_chart", "spread_chart", "throughput_chart"]

# A browser draws this many shapes without a stutter.
_POINTS_MAX = 5_000
_SLOWEST_KEPT = 50
_BAR_COUNT = 40
# A rate over less time than this says more about chance than about the service.
_BAR_S_MIN = 0.05
_LATENCY_MS_MIN = 0.01

_WIDE = PlotArea(width=1080)
_HALF = PlotArea(width=530, right=44)


def latency_chart(answers: Sequence[Answer]) -> str:
    """Draw each request by its due time and latency; errors have another shape and colour."""
    frame = _WIDE
    end_s = max((answer.done_at_s for answer in answers), default=0.0) or 1.0
    latency_ms = ticks(max((answer.latency_s for answer in answers), default=0.0) * 1000)
    parts = [
        *grid(frame, latency_ms, "latency, ms"),
        *time_axis(frame, end_s, "due at, seconds from the start"),
    ]
    for answer in _thinned(answers):
        x = frame.x(answer.due_at_s / end_s)
        y = frame.y(answer.latency_s * 1000 / latency_ms[-1])
        outcome = answer.response.label or answer.response.error
        title = f"{answer.file}: {outcome}, {answer.latency_s * 1000:.1f} ms, due at {answer.due_at_s:.3f} s"
        parts.append(_point(x, y, title, is_error=not answer.is_answered))
    return svg(frame, "Latency of each request over time", "A point per request; diamonds are errors.", parts)


def throughput_chart(answers: Sequence[Answer]) -> str:
    """Draw how many requests per second were answered, errors on top."""
    frame = _HALF
    end_s = max((answer.done_at_s for answer in answers), default=0.0)
    bin_s = max(_BAR_S_MIN, nice(end_s / _BAR_COUNT))
    good, bad = [0] * (int(end_s / bin_s) + 1), [0] * (int(end_s / bin_s) + 1)
    for answer in answers:
        (good if answer.is_answered else bad)[int(answer.done_at_s / bin_s)] += 1
    rates = ticks(max((g + b for g, b in zip(good, bad, strict=True)), default=0) / bin_s)
    end_s = len(good) * bin_s
    parts = [
        *grid(frame, rates, "requests per second"),
        *time_axis(frame, end_s, "seconds from the start"),
    ]
    for index, (g, b) in enumerate(zip(good, bad, strict=True)):
        x0, x1 = (frame.x((index + step) * bin_s / end_s) for step in (0, 1))
        low, high = (frame.y(number / bin_s / rates[-1]) for number in (g, g + b))
        title = (
            f"{index * bin_s:g} to {(index + 1) * bin_s:g} s: {g / bin_s:g} answers/s, {b / bin_s:g} errors/s"
        )
        parts += [bar("bar", (x0, x1), low, frame.y(0), title)] if g else []
        parts += [bar("bar error", (x0, x1), high, low, title)] if b else []
    return svg(frame, "Throughput", f"Requests per second in steps of {bin_s:g} s; errors on top.", parts)


def spread_chart(answers: Sequence[Answer]) -> str:
    """Draw the distribution of latencies, and the share of requests that took no longer."""
    frame = _HALF
    latencies_ms = [max(a.latency_s * 1000, _LATENCY_MS_MIN) for a in answers if a.is_answered]
    low = math.log10(min(latencies_ms, default=1.0)) - 0.02
    high = math.log10(max(latencies_ms, default=10.0)) + 0.02
    counts = [0] * _BAR_COUNT
    for latency_ms in latencies_ms:
        counts[int((math.log10(latency_ms) - low) / (high - low) * _BAR_COUNT)] += 1
    numbers = ticks(max(counts), step_min=1.0)
    parts = [*grid(frame, numbers, "answers"), *log_axis(frame, low, high)]
    total, seen, line = max(len(latencies_ms), 1), 0, [(frame.x(0), frame.y(0))]
    for index, number in enumerate(counts):
        seen += number
        x0, x1 = frame.x(index / _BAR_COUNT), frame.x((index + 1) / _BAR_COUNT)
        line.append((x1, frame.y(seen / total)))
        edges = (10 ** (low + (index + step) * (high - low) / _BAR_COUNT) for step in (0, 1))
        title = (
            "{:.3g} to {:.3g} ms: ".format(*edges) + f"{number} answers; {seen / total:.1%} took no longer"
        )
        parts += [bar("bar", (x0, x1), frame.y(number / numbers[-1]), frame.y(0), title)] if number else []
    parts.append(f'<polyline class="line" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in line)}"/>')
    for share in (0.0, 0.5, 1.0):
        parts.append(text(frame.x(1) + 6, frame.y(share) + 4, f"{share:.0%}", "start"))
    return svg(frame, "Spread of latencies", "Bars: answers; line: share that took no longer.", parts)


def _thinned(answers: Sequence[Answer]) -> Iterator[Answer]:
    """Yield every n-th answer, the slowest ones and every n-th error: no more than can be drawn."""
    errors = [answer for answer in answers if not answer.is_answered]
    good = [answer for answer in answers if answer.is_answered]
    good_max = _POINTS_MAX - _SLOWEST_KEPT
    if len(good) > _POINTS_MAX:
        slowest = sorted(range(len(good)), key=lambda index: good[index].latency_s)[-_SLOWEST_KEPT:]
        good = [good[index] for index in sorted({*range(0, len(good), -(-len(good) // good_max)), *slowest})]
    yield from good
    yield from errors[:: max(1, -(-len(errors) // _POINTS_MAX))]


def _point(x: float, y: float, title: str, *, is_error: bool) -> str:
    if is_error:
        shape = f'<path class="point error" d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z">'
        return f"{shape}<title>{escape(title)}</title></path>"
    return f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(title)}</title></circle>'
