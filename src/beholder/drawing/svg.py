"""Charts as inline SVG: frame, axes and bars."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["PlotArea", "bar", "grid", "log_axis", "nice", "svg", "text", "ticks", "time_axis"]

_TICK_COUNT = 5


@dataclass(frozen=True, slots=True)
class PlotArea:
    """The drawing area of a chart within its box, in SVG units."""

    width: int
    height: int = 280
    left: int = 58
    right: int = 16
    top: int = 12
    bottom: int = 40

    def x(self, share: float) -> float:
        """Return the position of a share of the horizontal axis, 0 to 1."""
        return self.left + share * (self.width - self.left - self.right)

    def y(self, share: float) -> float:
        """Return the position of a share of the vertical axis, 0 at its foot to 1."""
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


def nice(value: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is not below `value`; 1 if that is 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def ticks(top: float, step_min: float = 0.0) -> list[float]:
    """Return round values from 0 to the first that is not below `top`, at least two."""
    step = max(step_min, nice(top / _TICK_COUNT))
    return [index * step for index in range(max(1, math.ceil(top / step - 1e-9)) + 1)]


def grid(frame: PlotArea, levels: Sequence[float], name: str) -> Iterator[str]:
    """Yield the lines and numbers of the vertical axis, and its name."""
    for tick in levels:
        y = frame.y(tick / levels[-1])
        yield f'<line class="grid" x1="{frame.x(0):.1f}" x2="{frame.x(1):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield text(frame.x(0) - 8, y + 4, f"{tick:,.6g}", "end")
    middle = frame.y(0.5)
    turned = f'transform="translate(14 {middle:.1f}) rotate(-90)"'
    yield f'<text class="name" text-anchor="middle" {turned}>{name}</text>'


def time_axis(frame: PlotArea, end_s: float, name: str) -> Iterator[str]:
    """Yield the numbers of a horizontal axis from 0 to `end_s` seconds, and its name."""
    for tick in ticks(end_s):
        if tick <= end_s:
            yield text(frame.x(tick / end_s), frame.y(0) + 18, f"{tick:,.6g}", "middle")
    yield text(frame.x(0.5), frame.height - 4, name, "middle", "name")


def log_axis(
    frame: PlotArea, low: float, high: float, name: str = "latency, ms (logarithmic)"
) -> Iterator[str]:
    """Yield the numbers of a logarithmic horizontal axis, and its name; its ends are logarithms."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    for tick in [(step * 10.0**power) for power in powers for step in (1, 2, 5)]:
        if low <= math.log10(tick) <= high:
            x = frame.x((math.log10(tick) - low) / (high - low))
            foot = frame.y(0)
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{foot:.1f}" y2="{foot + 5:.1f}"/>'
            yield text(x, foot + 18, f"{tick:,.6g}", "middle")
    yield text(frame.x(0.5), frame.height - 4, name, "middle", "name")


def text(x: float, y: float, words: str, anchor: str, kind: str = "tick") -> str:
    """Return a piece of text."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def bar(kind: str, sides: tuple[float, float], top: float, foot: float, title: str) -> str:
    """Return a bar with a title for the pointer."""
    x, width = sides[0] + 0.5, max(sides[1] - sides[0] - 1, 0.5)
    box = f'x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{max(foot - top, 0.5):.1f}"'
    return f'<rect class="{kind}" {box}><title>{escape(title)}</title></rect>'


def svg(frame: PlotArea, title: str, about: str, parts: Sequence[str]) -> str:
    """Return the chart; a screen reader reads `title` and `about`."""
    label = escape(f"{title}. {about}")
    box = f"0 0 {frame.width} {frame.height}"
    return f'<svg role="img" aria-label="{label}" viewBox="{box}">{"".join(parts)}</svg>'
